//! pthread_cancel() on threads that use the Rust API: not in a run, nor in a call of the library. (A thread
//! of the standard library's must not be canceled at all: that ends the process. These are C's.)

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::ptr::{null, null_mut};
use std::time::Duration;

use majjen::logger::{self, Level};
use majjen::{Builder, Ended, Error, Scheduler, task};

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

extern "C-unwind" fn calls(progress: *mut c_void) -> *mut c_void {
    // SAFETY: of `on_a_thread`.
    let progress: &'static Progress = unsafe { &*progress.cast() };
    request();
    for _ in 0..3 {
        let scheduler = Builder::new().clock(|| Duration::ZERO).build().unwrap();
        let _ = scheduler.stop_handle().stop();
        scheduler.spawn(|| ());
        drop(scheduler);
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
