//! The standard library's own blocking calls, in tasks of one thread.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use majjen_hook::{Kinds, counts};

/// Runs a function in a task, and those that it spawns, and checks that a call was hooked.
fn in_a_task(body: impl FnOnce() + 'static) {
    let before = counts();
    let scheduler = majjen::Scheduler::new().unwrap();
    let task = scheduler.spawn(body);
    scheduler.run().unwrap();
    task.join().unwrap();
    assert!(counts().suspended > before.suspended, "a call has suspended");
}

#[test]
fn sockets_wait_for_each_other() {
    in_a_task(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        majjen::task::spawn(move || {
            for _ in 0..20 {
                let (mut stream, _) = listener.accept().unwrap();
                majjen::task::spawn(move || {
                    let mut text = [0; 5];
                    stream.read_exact(&mut text).unwrap();
                    stream.write_all(&text).unwrap();
                });
            }
        });
        for _ in 0..20 {
            majjen::task::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                stream.write_all(b"hello").unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                assert_eq!(text, "hello");
            });
        }
    });
}

#[test]
fn much_is_written_to_who_reads_slowly() {
    in_a_task(|| {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let sent = vec![7; 3 << 20];
        majjen::task::spawn(move || {
            let mut received = Vec::new();
            let mut part = vec![0; 100_000];
            while let Ok(count @ 1..) = other.read(&mut part) {
                received.extend_from_slice(&part[..count]);
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(received.len(), 3 << 20);
        });
        one.write_all(&sent).unwrap();
    });
}

#[test]
fn limits_are_the_sockets() {
    in_a_task(|| {
        let (mut one, _other) = UnixStream::pair().unwrap();
        one.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let began = Instant::now();
        let error = one.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        assert!(began.elapsed() >= Duration::from_millis(5));
    });
}

#[test]
fn many_sleep_at_once() {
    let began = Instant::now();
    in_a_task(|| {
        for _ in 0..200 {
            majjen::task::spawn(|| thread::sleep(Duration::from_millis(20)));
        }
    });
    // One after another they would take 4 s.
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_child_is_waited_for() {
    in_a_task(|| {
        majjen_hook::set(Kinds::ALL).unwrap();
        let children: Vec<_> = (0..20)
            .map(|_| {
                majjen::task::spawn(|| {
                    let output = Command::new("sh").args(["-c", "sleep 0.1; echo said"]).output();
                    assert_eq!(output.unwrap().stdout, b"said\n");
                })
            })
            .collect();
        children.into_iter().for_each(|child| child.join().unwrap());
    });
}

#[test]
fn threads_go_on_as_ever() {
    let (mut one, mut other) = UnixStream::pair().unwrap();
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(1));
        one.write_all(b"x").unwrap();
    });
    other.read_exact(&mut [0]).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_dropped_scheduler_ends_those_that_sleep() {
    let scheduler = majjen::Scheduler::new().unwrap();
    let stop = scheduler.stop_handle();
    scheduler.spawn(|| {
        let (mut one, _other) = UnixStream::pair().unwrap();
        let _ = one.read(&mut [0]);
    });
    scheduler.spawn(|| {
        let mut one = libc_poll::entry();
        libc_poll::wait(&mut one, 100_000);
    });
    scheduler.spawn(move || {
        thread::sleep(Duration::from_millis(2));
        let _ = stop.stop();
    });
    scheduler.run().unwrap();
    drop(scheduler);
}

/// poll(2), by its name.
mod libc_poll {
    #[repr(C)]
    pub struct Entry {
        fd: i32,
        events: i16,
        happened: i16,
    }

    pub fn entry() -> Entry {
        Entry { fd: -1, events: 1, happened: 0 }
    }

    pub fn wait(entry: &mut Entry, timeout_ms: i32) -> i32 {
        unsafe extern "C" {
            fn poll(entries: *mut Entry, count: u64, timeout_ms: i32) -> i32;
        }
        // SAFETY: one entry.
        unsafe { poll(entry, 1, timeout_ms) }
    }
}
