//! Waiting for signals: `mj_signal_wait` and `signal::wait`.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use majjen::{Error, signal, task};

use super::c_abi::{CAbi, ns, result};
use super::majjen_h::*;
use super::runs::alone;
use super::rust_api::RustApi;
use super::{Api, End, Events, MS, in_task};

behaviours!(
    a_task_is_told_of_a_signal,
    a_wait_for_signals_has_a_time_limit,
    a_task_that_waits_for_a_signal_is_canceled,
    a_wake_up_does_not_end_a_wait_for_signals,
    what_is_no_signal_is_refused,
    a_signal_between_two_waits_ends_the_second,
    all_tasks_that_wait_are_told,
    the_schedulers_of_all_threads_are_told,
    a_signal_that_is_waited_for_stops_no_run,
    a_signal_does_as_before_when_nobody_waits,
    a_scheduler_ends_while_a_task_waits_for_a_signal,
    a_run_ends_in_order_at_a_signal,
    a_run_that_no_signal_ends_is_as_any,
);

/// What a task is told: the number, the process that has sent it, and the value.
type Told = (i32, u32, i32);

/// One API of signals.
trait Signals: Api {
    fn wait(signals: &[i32], timeout: Option<Duration>) -> Result<Told, i32>;
    fn release() -> Result<(), i32>;
    /// The running task's.
    fn name() -> String;
    /// A run that a signal ends in order. Returns how many tasks are left, and the signal.
    fn run_until_signal(&self, grace: Duration, stop: fn()) -> (u64, i32);
}

impl Signals for RustApi {
    fn wait(signals: &[i32], timeout: Option<Duration>) -> Result<Told, i32> {
        let waited = task::no_unwind(|| match timeout {
            Some(timeout) => signal::wait_timeout(signals, timeout),
            None => signal::wait(signals),
        });
        let told = waited.map_err(Error::errno)?;
        Ok((told.signal, told.sender.map_or(0, |(pid, _)| pid), told.value))
    }

    fn release() -> Result<(), i32> {
        signal::release().map_err(Error::errno)
    }

    fn name() -> String {
        task::current().and_then(|task| task.name()).unwrap_or_default()
    }

    fn run_until_signal(&self, grace: Duration, stop: fn()) -> (u64, i32) {
        self.scheduler().run_until_signal(grace, stop).unwrap();
        let left = self.scheduler().metrics().current_tasks;
        (left, self.scheduler().signal().unwrap_or(0))
    }
}

impl Signals for CAbi {
    fn wait(signals: &[i32], timeout: Option<Duration>) -> Result<Told, i32> {
        let mut info = mj_signal_info::default();
        let (first, count) = (signals.as_ptr(), signals.len());
        let number = mj_signal_wait(first, count, &raw mut info, ns(timeout));
        if number < 0 {
            return Err(-number);
        }
        assert_eq!(number, info.signal);
        Ok((number, info.pid as u32, info.value))
    }

    fn release() -> Result<(), i32> {
        result(mj_signal_release())
    }

    fn name() -> String {
        // SAFETY: the running task has a string, and is not renamed.
        let name = unsafe { CStr::from_ptr(mj_task_get_name(mj_task_current())) };
        name.to_string_lossy().into_owned()
    }

    fn run_until_signal(&self, grace: Duration, stop: fn()) -> (u64, i32) {
        unsafe extern "C" fn call(stop: *mut c_void) {
            // SAFETY: from below, and alive as long as the run.
            unsafe { (*stop.cast::<fn()>())() };
        }
        let argument = (&raw const stop).cast_mut().cast();
        let ended = mj_run_until_signal(self.scheduler(), Some(call), argument, ns(Some(grace)));
        assert!(ended >= 0);
        let (added, gone) = self.tasks();
        (added - gone, mj_scheduler_signal(self.scheduler()))
    }
}

/// Sends a signal to this thread, which gets it before this returns.
fn send(number: i32) {
    // SAFETY: no memory is concerned.
    assert_eq!(unsafe { libc::raise(number) }, 0);
}

/// What a signal does.
fn action(number: i32) -> usize {
    // SAFETY: zero is a value of this struct, and the address is good for the answer.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(number, null(), &raw mut action), 0);
        action.sa_sigaction
    }
}

const USR1: &[i32] = &[libc::SIGUSR1];

fn a_task_is_told_of_a_signal<D: Signals>() {
    let _alone = alone();
    let api = D::new();
    let told = Rc::new(Cell::new(None));
    let place = told.clone();
    api.spawn(move || place.set(Some(D::wait(&[libc::SIGUSR2, libc::SIGUSR1], None))));
    api.spawn(|| {
        D::sleep(MS).unwrap();
        send(libc::SIGUSR1);
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(told.get(), Some(Ok((libc::SIGUSR1, std::process::id(), 0))));
    assert_eq!(action(libc::SIGUSR1), libc::SIG_DFL);
    assert_eq!(D::wait(USR1, None), Err(libc::EPERM));
    assert_eq!(D::release(), Err(libc::EPERM));
}

fn a_wait_for_signals_has_a_time_limit<D: Signals>() {
    let _alone = alone();
    in_task::<D>(|| {
        for timeout in [Duration::ZERO, MS] {
            let before = std::time::Instant::now();
            assert_eq!(D::wait(USR1, Some(timeout)), Err(libc::ETIMEDOUT));
            assert!(before.elapsed() >= timeout);
        }
        D::set_deadline(Some(MS)).unwrap();
        assert_eq!(D::wait(USR1, None), Err(libc::ETIMEDOUT));
        // What has come can be had all the same.
        send(libc::SIGUSR1);
        assert!(D::wait(USR1, None).is_ok());
    });
}

fn a_task_that_waits_for_a_signal_is_canceled<D: Signals>() {
    let _alone = alone();
    let (api, log) = (D::new(), Events::new());
    let events = log.clone();
    let waits = api.spawn(move || {
        events.push(D::wait(USR1, None).map(drop));
        events.push(D::wait(USR1, None).map(drop));
        send(libc::SIGUSR1);
        events.push(D::wait(USR1, None).map(drop));
    });
    api.spawn(move || {
        D::yield_now().unwrap();
        D::cancel(&waits);
    });
    assert_eq!(api.run(), End::Completed);
    log.are(&[Err(libc::ECANCELED), Err(libc::ECANCELED), Ok(())]);
}

fn a_wake_up_does_not_end_a_wait_for_signals<D: Signals>() {
    let _alone = alone();
    let (api, log) = (D::new(), Events::new());
    let events = log.clone();
    let waits = api.spawn(move || events.push(D::wait(USR1, None).is_ok()));
    let events = log.clone();
    api.spawn(move || {
        D::sleep(MS).unwrap();
        D::wake(&waits);
        D::sleep(MS).unwrap();
        events.are(&[]);
        send(libc::SIGUSR1);
    });
    assert_eq!(api.run(), End::Completed);
    log.are(&[true]);
}

fn what_is_no_signal_is_refused<D: Signals>() {
    let _alone = alone();
    in_task::<D>(|| {
        assert_eq!(D::wait(&[], None), Err(libc::EINVAL));
        for number in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 32, 33, 0, -1, 65, i32::MAX] {
            assert_eq!(D::wait(&[number], None), Err(libc::EINVAL), "{number}");
            assert_eq!(D::wait(&[libc::SIGUSR1, number], None), Err(libc::EINVAL), "{number}");
        }
        assert_eq!(action(libc::SIGUSR1), libc::SIG_DFL);
    });
}

fn a_signal_between_two_waits_ends_the_second<D: Signals>() {
    let _alone = alone();
    in_task::<D>(|| {
        assert_eq!(D::wait(USR1, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
        send(libc::SIGUSR1);
        send(libc::SIGUSR1);
        D::sleep(MS).unwrap();
        assert!(D::wait(USR1, None).is_ok());
        // Two that come before a wait are one.
        assert_eq!(D::wait(USR1, Some(MS)), Err(libc::ETIMEDOUT));
    });
}

fn all_tasks_that_wait_are_told<D: Signals>() {
    let _alone = alone();
    let (api, log) = (D::new(), Events::new());
    for number in 0..3 {
        let events = log.clone();
        api.spawn(move || {
            let told = D::wait(&[libc::SIGUSR1, libc::SIGUSR2], None).unwrap();
            events.push((number, told.0));
        });
    }
    api.spawn(|| send(libc::SIGUSR2));
    assert_eq!(api.run(), End::Completed);
    log.are(&[0, 1, 2].map(|number| (number, libc::SIGUSR2)));
}

fn the_schedulers_of_all_threads_are_told<D: Signals>() {
    let _alone = alone();
    let all_wait = Arc::new(Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..3 {
            let begun = all_wait.clone();
            scope.spawn(|| {
                in_task::<D>(move || {
                    assert_eq!(D::wait(USR1, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
                    begun.wait();
                    assert!(D::wait(USR1, None).is_ok());
                });
            });
        }
        all_wait.wait();
        send(libc::SIGUSR1);
    });
    assert_eq!(action(libc::SIGUSR1), libc::SIG_DFL);
}

fn a_signal_that_is_waited_for_stops_no_run<D: Signals>() {
    let _alone = alone();
    let (api, log) = (D::with_signals(), Events::new());
    let events = log.clone();
    api.spawn(move || {
        events.push(D::wait(&[libc::SIGTERM], None).map(|told| told.0));
        D::release().unwrap();
        D::yield_now().unwrap();
        send(libc::SIGTERM);
        let _ = D::park(None);
    });
    api.spawn(|| send(libc::SIGTERM));
    assert_eq!(api.run(), End::Signal(libc::SIGTERM));
    log.are(&[Ok(libc::SIGTERM)]);
}

fn a_signal_does_as_before_when_nobody_waits<D: Signals>() {
    let _alone = alone();
    extern "C" fn handler(_: i32) {}
    // SAFETY: a handler that does nothing; zero is a value of these structs.
    let before = unsafe {
        let (mut action, mut before): (libc::sigaction, libc::sigaction) = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &raw const action, &raw mut before);
        before
    };
    let ours = action(libc::SIGUSR1);
    in_task::<D>(move || {
        for _ in 0..2 {
            assert_eq!(action(libc::SIGUSR1), ours);
            assert_eq!(D::wait(USR1, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
            assert_ne!(action(libc::SIGUSR1), ours);
            D::release().unwrap();
        }
        assert_eq!(D::wait(USR1, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
        // Other signals take their place.
        let others = &[libc::SIGUSR2];
        assert_eq!(D::wait(others, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
        assert_eq!(action(libc::SIGUSR1), ours);
        assert_eq!(D::wait(USR1, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
    });
    // The task has ended.
    assert_eq!(action(libc::SIGUSR1), ours);
    assert_eq!(action(libc::SIGUSR2), libc::SIG_DFL);
    // SAFETY: what was there.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const before, null_mut()) };
}

fn a_scheduler_ends_while_a_task_waits_for_a_signal<D: Signals>() {
    let _alone = alone();
    let api = D::new();
    for _ in 0..2 {
        api.spawn(|| {
            let _ = D::wait(USR1, None);
        });
    }
    let stop = api.stop();
    api.spawn(move || D::raise(&stop));
    assert_eq!(api.run(), End::Stopped);
    assert_ne!(action(libc::SIGUSR1), libc::SIG_DFL);
    drop(api);
    assert_eq!(action(libc::SIGUSR1), libc::SIG_DFL);
}

fn a_run_ends_in_order_at_a_signal<D: Signals>() {
    let _alone = alone();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let (api, log) = (D::new(), Events::new());
        let events = log.clone();
        api.spawn(move || {
            events.push(("is not done", D::sleep(super::HOUR)));
            events.push(("cleans up", D::shield(|| D::sleep(MS))));
        });
        let events = log.clone();
        api.spawn(move || {
            send(signal);
            events.push(("is done in time", D::sleep(MS)));
        });
        let before = std::time::Instant::now();
        let told = || {
            assert_eq!(D::name(), "signal");
            D::sleep(MS).unwrap();
        };
        assert_eq!(api.run_until_signal(20 * MS, told), (0, signal));
        assert!(before.elapsed() >= 20 * MS);
        log.are(&[
            ("is done in time", Ok(())),
            ("is not done", Err(libc::ECANCELED)),
            ("cleans up", Ok(())),
        ]);
        assert_eq!(action(signal), libc::SIG_DFL);
    }
}

fn a_run_that_no_signal_ends_is_as_any<D: Signals>() {
    let _alone = alone();
    let api = D::new();
    api.spawn(|| D::sleep(MS).unwrap());
    assert_eq!(api.run_until_signal(MS, || unreachable!()), (0, 0));
    // Stopped by the next signal, and by others.
    api.spawn(|| {
        send(libc::SIGTERM);
        let _ = D::shield(|| D::sleep(super::HOUR));
    });
    api.spawn(|| {
        D::sleep(5 * MS).unwrap();
        send(libc::SIGTERM);
    });
    assert_eq!(api.run_until_signal(super::HOUR, || ()).1, libc::SIGTERM);
}
