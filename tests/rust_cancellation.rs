//! pthread_cancel() on threads that use the Rust API: not in a run, nor in a call of the library. (A thread
//! of the standard library's must not be canceled at all: that ends the process. These are C's.)

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::ptr::{null, null_mut};
use std::time::Duration;

use majjen::io::Suspending;
use majjen::logger::{self, Level};
use majjen::net::{self, TcpListener, UdpSocket};
use majjen::sync::remote::channel;
use majjen::{Builder, Ended, Error, Scheduler, blocking, cluster, process, task};

const DEFERRED: c_int = 0;
const ASYNCHRONOUS: c_int = 1;

type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

unsafe extern "C-unwind" {
    fn pthread_cancel(thread: libc::pthread_t) -> c_int;
    fn pthread_setcanceltype(kind: c_int, before: *mut c_int) -> c_int;
    fn pthread_testcancel();
}

/// What a thread has got done.
#[derive(Default)]
struct Progress {
    kind: c_int,
    tasks: Cell<u32>,
    calls: Cell<bool>,
    survived: Cell<bool>,
}

/// Runs a function on a thread of C's, and returns what it has got done.
fn on_a_thread(start: Start, kind: c_int) -> Progress {
    let mut progress = Progress { kind, ..Progress::default() };
    let mut thread = 0;
    // SAFETY: the function has the type of a start routine, but may be unwound, as such routines are
    // when their thread is canceled. The progress outlives the thread.
    unsafe {
        let start = transmute::<Start, extern "C" fn(*mut c_void) -> *mut c_void>(start);
        let argument = (&raw mut progress).cast();
        assert_eq!(libc::pthread_create(&mut thread, null(), start, argument), 0);
        assert_eq!(libc::pthread_join(thread, null_mut()), 0);
    }
    progress
}

/// From here on a request is pending, unless the thread cannot be canceled.
fn request() {
    // SAFETY: this thread.
    unsafe { pthread_cancel(libc::pthread_self()) };
}

extern "C-unwind" fn runs(progress: *mut c_void) -> *mut c_void {
    // SAFETY: of `on_a_thread`.
    let progress: &'static Progress = unsafe { &*progress.cast() };
    let scheduler = Scheduler::new().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    scheduler.spawn(move || {
        // SAFETY: a type, and no address to write to. The thread cannot be canceled now.
        unsafe { pthread_setcanceltype(progress.kind, null_mut()) };
        request();
        // Cancellation points of the program's own, and of the library.
        assert_eq!(task::sleep(Duration::from_millis(1)), Ok(()));
        let waited = task::wait_readable_timeout(&reader, Duration::from_millis(1));
        assert_eq!(waited, Err(Error::TimedOut));
        drop(writer);
        assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
        logger::log(Level::Error, format_args!("in a run"));
        progress.tasks.set(progress.tasks.get() + 1);
    });
    scheduler.spawn(|| progress.tasks.set(progress.tasks.get() + 1));
    let ended = scheduler.run();
    // Only with the deferred type.
    assert_eq!(ended, Ok(Ended::Completed));
    std::mem::forget(scheduler); // What unwinds the thread runs its destructor otherwise.
    // SAFETY: no preconditions; it unwinds this frame, which owns nothing.
    unsafe { pthread_testcancel() };
    progress.survived.set(true);
    null_mut()
}

#[test]
fn a_run_is_over_before_its_thread_is_canceled() {
    let progress = on_a_thread(runs, DEFERRED);
    assert_eq!(progress.tasks.get(), 2);
    assert!(!progress.survived.get());
}

#[test]
fn with_the_asynchronous_type_too() {
    let progress = on_a_thread(runs, ASYNCHRONOUS);
    assert_eq!(progress.tasks.get(), 2);
    assert!(!progress.survived.get());
}

/// What is for other threads, and for threads that run no scheduler.
fn between_threads(scheduler: &Scheduler) {
    let remote = scheduler.remote();
    let task = scheduler.spawn(|| ());
    assert!(remote.spawn(|| ()).is_ok());
    assert_eq!(remote.wake(task.task().id()), Ok(()));
    assert_eq!(remote.cancel(task.task().id()), Ok(()));
    assert!(remote.metrics_json().is_ok());
    let (sender, receiver) = channel(1);
    assert!(sender.send(1).is_ok());
    assert!(sender.send_timeout(2, Duration::from_millis(1)).is_err());
    assert!(sender.try_send(2).is_err());
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    assert_eq!(receiver.try_recv(), Err(Error::WouldBlock));
}

/// What a scheduler, its metrics and its trace are set up and read by.
fn of_a_scheduler(scheduler: &Scheduler) {
    scheduler.set_name("a name");
    assert!(!scheduler.metrics_text().is_empty() && !scheduler.dump().is_empty());
    assert_eq!(scheduler.trace(1024), Ok(()));
    assert!(!scheduler.trace_json().is_empty());
    assert_eq!(scheduler.dump_on_signal(Some(libc::SIGUSR2)), Ok(()));
    assert_eq!(scheduler.dump_on_signal(None), Ok(()));
    scheduler.report_long_turns(Some(Duration::from_millis(100)));
    assert_eq!(scheduler.run(), Ok(Ended::Completed));
    scheduler.spawn(|| ());
    assert_eq!(scheduler.run_until_signal(Duration::ZERO, || ()), Ok(Ended::Completed));
}

/// What belongs to the process.
fn of_the_process() {
    assert!(!process::notify("READY=1").unwrap());
    assert_eq!(blocking::run(|| ()), Err(Error::NotInTask));
    let cluster = cluster::Builder::new().cores(2).build().unwrap();
    cluster.spawn(1, || ()).unwrap();
    cluster.start().unwrap();
    cluster.join().unwrap();
}

/// What is opened, and what closes it: its drop, and an error.
fn of_sockets_and_files() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(TcpListener::bind(listener.local_addr().unwrap()).is_err());
    drop(listener);
    drop(UdpSocket::bind("127.0.0.1:0").unwrap());
    assert!(net::lookup_host(("localhost", 80)).is_ok());
    let (reader, writer) = std::io::pipe().unwrap();
    drop((Suspending::new(reader), Suspending::new(writer)));
}

extern "C-unwind" fn calls(progress: *mut c_void) -> *mut c_void {
    // SAFETY: of `on_a_thread`.
    let progress: &'static Progress = unsafe { &*progress.cast() };
    request();
    for _ in 0..3 {
        let scheduler = Builder::new().clock(|| Duration::ZERO).build().unwrap();
        let _ = scheduler.stop_handle().stop();
        scheduler.spawn(|| ());
        drop(scheduler);
        let scheduler = Scheduler::new().unwrap();
        between_threads(&scheduler);
        of_a_scheduler(&scheduler);
        drop(scheduler);
        of_the_process();
        of_sockets_and_files();
        logger::log(Level::Error, format_args!("outside a run"));
        assert!(logger::to_file("/nowhere/at/all").is_err());
        assert!(task::yield_now().is_err());
    }
    progress.calls.set(true);
    // SAFETY: as in `runs`.
    unsafe { pthread_testcancel() };
    progress.survived.set(true);
    null_mut()
}

#[test]
fn no_call_is_a_cancellation_point() {
    let progress = on_a_thread(calls, DEFERRED);
    assert!(progress.calls.get() && !progress.survived.get());
    // Nothing is locked.
    logger::log(Level::Error, format_args!("afterwards"));
    logger::to_streams().unwrap();
    eprintln!("afterwards");
}
