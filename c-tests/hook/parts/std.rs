//! Rust's own blocking calls, in tasks: the standard library's sockets, sleep and threads.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use majjen::Scheduler;

#[cfg(linked)]
#[link(name = "majjen-hook")]
unsafe extern "C" {
    fn mj_hook_set_enabled(enabled: bool) -> std::ffi::c_int;
}

const BYTES: usize = 1 << 20;

fn over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let scheduler = Scheduler::new().unwrap();
    scheduler.spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut data = vec![0; BYTES];
        stream.read_exact(&mut data).unwrap();
        assert!(data.iter().all(|byte| *byte == 7));
        stream.write_all(b"thanks").unwrap();
    });
    scheduler.spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&vec![7; BYTES]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "thanks");
        // A time limit of its own.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(silent.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let began = Instant::now();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        assert!(began.elapsed() >= Duration::from_millis(20));
    });
    scheduler.run().unwrap();
}

fn over_local_sockets() {
    let (mut one, mut other) = UnixStream::pair().unwrap();
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    let scheduler = Scheduler::new().unwrap();
    scheduler.spawn(move || {
        let mut data = [0; 5];
        one.read_exact(&mut data).unwrap();
        assert_eq!(&data, b"hello");
        assert_eq!(receiver.recv(&mut data).unwrap(), 3);
    });
    scheduler.spawn(move || {
        for byte in b"hello" {
            thread::sleep(Duration::from_millis(1));
            other.write_all(&[*byte]).unwrap();
        }
        sender.send(b"end").unwrap();
    });
    scheduler.run().unwrap();
}

/// What one task sleeps, others sleep, too: all together take less than half of one after the other.
fn sleeping() {
    const TASKS: u32 = 50;
    const TIME: Duration = Duration::from_millis(20);
    let scheduler = Scheduler::new().unwrap();
    let began = Instant::now();
    for _ in 0..TASKS {
        scheduler.spawn(|| thread::sleep(TIME));
    }
    scheduler.run().unwrap();
    assert!(began.elapsed() < TIME * TASKS / 2, "{:?}", began.elapsed());
}

/// Threads of the program's own are left alone, and a task may wait for what they send over a socket.
/// A channel of the standard library blocks the thread, so what comes from it must be of another one.
fn with_threads() {
    let scheduler = Scheduler::new().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    scheduler.spawn(move || {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            other.write_all(b"x").unwrap();
            sender.send(5).unwrap();
        });
        one.read_exact(&mut [0]).unwrap();
        assert_eq!(receiver.recv(), Ok(5));
        thread.join().unwrap();
    });
    scheduler.run().unwrap();
}

fn main() {
    #[cfg(linked)]
    // SAFETY: callable from anywhere; outside tasks it refuses.
    assert!(unsafe { mj_hook_set_enabled(true) } < 0);
    over_tcp();
    over_local_sockets();
    sleeping();
    with_threads();
}
