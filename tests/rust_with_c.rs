//! Rust tasks that call the C ABI, C functions that call back, and the Rust API in tasks that were
//! created through C.

#[path = "support/majjen_h.rs"]
mod majjen_h;
mod support;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::rc::Rc;

use majjen::{Error, JoinError, task};
use majjen_h::*;
use support::{Drops, HOUR, on_a_thread_that_stays, run_for_a_moment, scheduler};

/// Sleeps through the C ABI.
fn sleep_in_c() -> c_int {
    mj_sleep_ns(HOUR.as_nanos() as u64)
}

#[test]
fn the_c_abi_returns_where_the_rust_api_unwinds() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let (guard, result) = (drops.guard(), Rc::new(Cell::new(0)));
    let seen = result.clone();
    let handle = scheduler.spawn(move || {
        let _guard = guard;
        seen.set(sleep_in_c());
        task::yield_now()
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(result.get(), -libc::ECANCELED);
    assert_eq!(drops.count(), 1);
    assert!(matches!(handle.join(), Err(JoinError::Canceled)));
}

#[test]
fn a_task_that_ignores_errors_of_the_c_abi_is_leaked() {
    on_a_thread_that_stays(|| {
        let scheduler = scheduler();
        scheduler.spawn(|| {
            loop {
                sleep_in_c();
            }
        });
        run_for_a_moment(&scheduler);
        drop(scheduler);
    });
}

/// A callback for C's `qsort`, which cannot be unwound.
extern "C" fn compare(left: *const c_void, right: *const c_void) -> c_int {
    let canceled = task::no_unwind(|| task::sleep(HOUR)) == Err(Error::Canceled);
    CANCELED.with(|seen| seen.set(seen.get() && canceled));
    // SAFETY: `qsort` passes addresses of its elements.
    unsafe { *left.cast::<i32>() - *right.cast::<i32>() }
}

thread_local!(static CANCELED: Cell<bool> = const { Cell::new(true) });

#[test]
fn a_shield_keeps_unwinding_from_frames_of_c() {
    let scheduler = scheduler();
    let sorted = Rc::new(Cell::new([0; 4]));
    let result = sorted.clone();
    let handle = scheduler.spawn(move || {
        let mut numbers = [3, 1, 4, 2];
        // SAFETY: the number and size of the elements.
        unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 4, 4, Some(compare_pointer())) };
        result.set(numbers);
        task::sleep(HOUR)
    });
    run_for_a_moment(&scheduler);
    drop(scheduler); // Inside of qsort.
    assert_eq!(sorted.get(), [1, 2, 3, 4]);
    assert!(CANCELED.with(Cell::get));
    assert!(matches!(handle.join(), Err(JoinError::Canceled)));
}

fn compare_pointer() -> unsafe extern "C" fn(*const c_void, *const c_void) -> c_int {
    compare
}

thread_local!(static RESULTS: Cell<[Option<Error>; 3]> = const { Cell::new([None; 3]) });

/// The body of a task that was created through C, in Rust.
extern "C" fn body(_scheduler: *mut mj_scheduler, _user_state: *mut c_void) {
    mj_task_cancel(mj_task_current());
    let results =
        [task::sleep(HOUR).err(), task::yield_now().err(), task::Builder::new().spawn(|| ()).err()];
    RESULTS.with(|cell| cell.set(results));
    assert!(task::current().is_none());
    mj_task_exit();
}

#[test]
fn the_rust_api_works_in_tasks_of_c_and_does_not_unwind_them() {
    let scheduler = scheduler();
    scheduler.spawn(|| {
        let task = mj_create_task(mj_scheduler_current(), Some(body), std::ptr::null_mut());
        assert!(!task.is_null());
    });
    scheduler.run().unwrap();
    let expected = [Error::Canceled, Error::Canceled, Error::NotInTask].map(Some);
    assert_eq!(RESULTS.with(Cell::get), expected);
}

thread_local!(static LIMITED: Cell<Option<(Option<Error>, bool)>> = const { Cell::new(None) });

/// What mj_go() runs, in Rust.
extern "C" fn function(_argument: *mut c_void) {
    let result = task::timeout(std::time::Duration::from_millis(1), || task::sleep(HOUR).err());
    let is_lifted = task::set_deadline(None) == Ok(None);
    LIMITED.set(result.ok().map(|error| (error, is_lifted)));
}

#[test]
fn a_time_limit_is_an_error_in_tasks_of_c() {
    let scheduler = scheduler();
    scheduler.spawn(|| {
        let (function, nothing) = (Some(function as _), std::ptr::null_mut());
        assert_eq!(mj_go(mj_scheduler_current(), function, nothing, std::ptr::null_mut()), 0);
    });
    scheduler.run().unwrap();
    assert_eq!(LIMITED.get(), Some((Some(Error::TimedOut), true)));
}

/// C's calls in a Rust task take the limit as they are: nothing unwinds their frames.
#[test]
fn the_c_abi_returns_when_a_limit_has_passed() {
    let scheduler = scheduler();
    let results = scheduler.spawn(|| {
        let mut result = 0;
        let limited = task::timeout(std::time::Duration::from_millis(1), || {
            result = sleep_in_c();
            task::sleep(HOUR)
        });
        (result, limited.is_err())
    });
    scheduler.run().unwrap();
    assert_eq!(results.join().unwrap(), (-libc::ETIMEDOUT, true));
}

/// A wait of the Rust API that a call of the C ABI ends early.
type Wait = fn() -> bool;

#[test]
fn a_wake_up_by_c_ends_no_wait_of_the_rust_api_before_its_time() {
    const LONG: std::time::Duration = std::time::Duration::from_millis(3);
    let waits: [Wait; 3] = [
        || {
            let deadline = majjen::Instant::now() + LONG;
            task::sleep_until(deadline).is_ok() && majjen::Instant::now() >= deadline
        },
        || {
            let (reader, _writer) = std::io::pipe().unwrap();
            task::wait_readable_timeout(&reader, LONG) == Err(Error::TimedOut)
        },
        || {
            let permits = majjen::sync::Semaphore::new(0);
            permits.acquire_timeout(1, LONG).err() == Some(Error::TimedOut)
        },
    ];
    for (number, wait) in waits.into_iter().enumerate() {
        let scheduler = scheduler();
        let waiting = scheduler.spawn(move || {
            let this = mj_task_current();
            task::spawn(move || {
                assert_eq!(mj_task_wake(this), 1);
            });
            wait()
        });
        scheduler.run().unwrap();
        assert!(waiting.join().unwrap(), "wait {number}");
    }
}

/// Adds to the number at the address.
unsafe extern "C" fn add_one(number: *mut c_void) {
    // SAFETY: the number outlives the scheduler.
    unsafe { *number.cast::<i32>() += 1 };
}

/// Waits, and says so once it cannot.
unsafe extern "C" fn cleans_up(number: *mut c_void) {
    // SAFETY: as above.
    unsafe { *number.cast::<i32>() += if sleep_in_c() == -libc::ECANCELED { 10 } else { 1000 } };
}

#[test]
fn what_a_rust_task_defers_in_c_is_called_however_it_ends() {
    type Body = fn();
    let ways: [Body; 3] = [|| (), || panic!("on purpose"), || task::park(None).unwrap()];
    for (expected, way) in [1, 1, 11].into_iter().zip(ways) {
        let (scheduler, mut count) = (scheduler(), 0);
        let address = (&raw mut count).cast::<c_void>();
        scheduler.spawn(move || {
            assert_eq!(mj_task_defer(Some(add_one), address), 0);
            if expected > 10 {
                assert_eq!(mj_task_defer(Some(cleans_up), address), 0);
            }
            way();
        });
        run_for_a_moment(&scheduler);
        drop(scheduler); // It unwinds the task that is parked.
        assert_eq!(count, expected);
    }
}
