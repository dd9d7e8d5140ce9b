//! Clusters in a process that lacks descriptors or threads: each in one of its own.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::mem::transmute;
use std::net::TcpStream as Plain;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::Duration;

use majjen::{Error, JoinError, net};

use super::support::in_child;
use super::{Drops, cluster, named, threads_of, wait_until};

/// Runs a test that returns, and returns what it has written to stderr.
fn in_a_process_of_its_own(test: &str, body: impl FnOnce()) -> String {
    let output = in_child(&format!("shortages::{test}"), body);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    text
}

// ---- descriptors

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Calls a function while so many descriptors may be opened, and no more.
fn with_descriptors<T>(count: c_int, function: impl FnOnce() -> T) -> T {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the address is good.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    let first_free = File::open("/dev/null").unwrap().as_raw_fd();
    let few = libc::rlimit { rlim_cur: (first_free + count) as libc::rlim_t, ..limit };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    let result = function();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    result
}

#[test]
fn a_run_that_does_not_begin_changes_nothing() {
    in_a_process_of_its_own("a_run_that_does_not_begin_changes_nothing", || {
        let (cluster, drops) = (cluster(1), Drops::default());
        let guard = drops.guard();
        let handler = move |mut stream: net::TcpStream| {
            let _guard = &guard;
            stream.write_all(b"x").unwrap();
        };
        let address = cluster.listen("127.0.0.1:0", handler).unwrap();
        let refused = with_descriptors(0, || cluster.run(Duration::ZERO));
        assert!(matches!(refused, Err(JoinError::Failed(Error::Os(libc::EMFILE)))), "{refused:?}");
        assert_eq!(drops.count(), 0);
        cluster.start().unwrap(); // It was not.
        Plain::connect(address).unwrap().read_exact(&mut [0]).unwrap();
        cluster.stop(Duration::MAX);
        cluster.join().unwrap();
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_port_at_which_not_all_cores_can_listen_is_given_back() {
    in_a_process_of_its_own("a_port_at_which_not_all_cores_can_listen_is_given_back", || {
        let (cluster, drops) = (cluster(2), Drops::default());
        let (before, guard) = (descriptors(), drops.guard());
        let handler = move |_: net::TcpStream| _ = &guard;
        let refused = with_descriptors(1, || cluster.listen("127.0.0.1:0", handler));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EMFILE));
        assert_eq!((descriptors(), drops.count()), (before, 1));
        assert!(cluster.listeners().unwrap().is_empty());
    });
}

// ---- threads

thread_local! {
    /// Whether this thread can make no other one.
    static IS_THE_LAST: Cell<bool> = const { Cell::new(false) };
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Start,
    *mut c_void,
) -> c_int;

/// Takes the place of the C library's, which the standard library calls.
///
/// # Safety
/// As that one.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    if IS_THE_LAST.get() {
        return libc::EAGAIN;
    }
    // SAFETY: the name is a C string, and that of a function of this type; as this function's contract says.
    unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr());
        transmute::<*mut c_void, Create>(next)(thread, attributes, start, argument)
    }
}

#[test]
fn a_last_handle_that_no_thread_can_wait_for_is_told_in_the_log() {
    let name = "a_last_handle_that_no_thread_can_wait_for_is_told_in_the_log";
    let text = in_a_process_of_its_own(name, || {
        let (cluster, drops) = (named("untold"), Drops::default());
        for core in 0..2 {
            let guard = drops.guard();
            let becomes_the_last = move || {
                IS_THE_LAST.set(true);
                drop(guard);
            };
            cluster.spawn(core, becomes_the_last).unwrap();
        }
        cluster.start().unwrap();
        wait_until("the cores do nothing", || drops.count() == 2);
        let (own, guard) = (cluster.clone(), drops.guard());
        let (sender, go) = mpsc::channel();
        let last = move || {
            go.recv().unwrap();
            drop(own);
            drop(guard);
        };
        cluster.spawn(0, last).unwrap();
        drop(cluster);
        sender.send(()).unwrap();
        wait_until("it does not end", || drops.count() == 3 && threads_of("untold") == 0);
    });
    let line =
        "a cluster was dropped in a task, and no thread can be made that would wait for its end";
    assert!(text.contains(line), "{text}");
}
