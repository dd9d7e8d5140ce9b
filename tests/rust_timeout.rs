//! `task::timeout`: what it unwinds and what not, and what passes it.

mod support;

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::time::Duration;

use majjen::net::UnixStream;
use majjen::sync::{Condvar, Mutex, Semaphore, channel};
use majjen::task::{Elapsed, no_unwind, set_deadline, shield, sleep, timeout, timeout_at};
use majjen::{Error, Instant, JoinError, Scheduler, task};
use support::{Drops, HOUR, OnDrop, run_for_a_moment, scheduler};

const MS: Duration = Duration::from_millis(1);

thread_local!(static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) });

/// The test's clock goes on by so much.
fn pass(span: Duration) {
    NOW.set(NOW.get() + span);
}

/// Runs a task in simulated time, and returns its result.
fn in_a_task<T: 'static>(body: impl FnOnce() -> T + 'static) -> T {
    majjen::logger::set_level(majjen::logger::Level::Error);
    let wait = |limit: Option<Duration>, _: std::os::fd::BorrowedFd<'_>| {
        pass(limit.unwrap_or_default());
        Ok(0)
    };
    let scheduler = Scheduler::builder().clock(|| NOW.get()).wait(wait).build().unwrap();
    let handle = scheduler.spawn(body);
    scheduler.run().unwrap();
    handle.join().unwrap()
}

#[test]
fn a_value_is_returned_however_late() {
    let results = in_a_task(|| {
        let in_time = timeout(5 * MS, || sleep(2 * MS).map(|()| 1));
        let late = timeout(5 * MS, || {
            pass(HOUR);
            2
        });
        (in_time, late, timeout(Duration::MAX, || sleep(HOUR)))
    });
    assert_eq!(results, (Ok(Ok(1)), Ok(2), Ok(Ok(()))));
    assert_eq!(timeout(Duration::ZERO, task::yield_now), Ok(Err(Error::NotInTask)));
}

#[test]
fn a_wait_past_the_limit_is_unwound_to_the_call_and_no_further() {
    let drops = Drops::default();
    let guards = (drops.guard(), drops.guard());
    let seen = drops.clone();
    in_a_task(move || {
        let (inside, _outside) = guards;
        let before = Instant::now();
        let result: Result<(), Elapsed> = timeout(5 * MS, || {
            let _inside = inside;
            let _ = sleep(HOUR);
            unreachable!("it is unwound");
        });
        assert_eq!(before.elapsed(), 5 * MS);
        assert!(result.is_err() && seen.count() == 1);
        assert!(!std::thread::panicking());
        assert_eq!(sleep(HOUR), Ok(())); // It has no limit any more.
        assert_eq!(set_deadline(None), Ok(None));
    });
    assert_eq!(drops.count(), 2);
}

#[test]
fn the_limit_that_passes_first_ends_its_own_call() {
    in_a_task(|| {
        let inner_first = timeout(9 * MS, || {
            let inner = timeout(5 * MS, || sleep(HOUR));
            (inner.is_err(), sleep(3 * MS)) // 8 of 9.
        });
        assert_eq!(inner_first, Ok((true, Ok(()))));
        let outer_first = timeout(5 * MS, || {
            let _ = timeout(9 * MS, || sleep(HOUR));
            unreachable!("it is the outer one's");
        });
        assert_eq!(outer_first.err().map(Error::from), Some(Error::TimedOut));
        let both = timeout(5 * MS, || {
            let inner = timeout(3 * MS, || {
                pass(HOUR);
                sleep(MS)
            });
            assert!(inner.is_err());
            let _ = sleep(MS);
            unreachable!("the outer one has passed as well");
        });
        assert!(both.is_err());
        let deadline = Instant::now() + 5 * MS;
        let equal = timeout_at(deadline, || timeout_at(deadline, || sleep(HOUR)).is_err());
        assert_eq!(equal, Ok(true));
        let three =
            timeout(5 * MS, || timeout(9 * MS, || timeout(3 * MS, || sleep(HOUR)).is_err()));
        assert_eq!(three, Ok(Ok(true)));
    });
}

#[test]
fn past_the_limit_there_is_what_needs_no_waiting() {
    in_a_task(|| {
        let (sender, receiver) = channel(2);
        sender.send(1).unwrap();
        let mut received = Vec::new();
        let result = timeout(Duration::ZERO, || {
            for number in &receiver {
                received.push(number);
            }
        });
        assert!(result.is_err());
        assert_eq!(received, [1]);
        let yields =
            timeout_at(Instant::now() - HOUR, || (0..1000).try_for_each(|_| task::yield_now()));
        assert_eq!(yields, Ok(Ok(())));
    });
}

#[test]
fn a_limit_of_a_call_inside_is_its_own() {
    in_a_task(|| {
        let (_sender, receiver) = channel::<()>(1);
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        let semaphore = Semaphore::new(0);
        let result = timeout(HOUR, || {
            assert_eq!(receiver.recv_timeout(MS), Err(Error::TimedOut));
            assert_eq!(task::park(MS), Err(Error::TimedOut));
            assert!(semaphore.acquire_timeout(1, MS).is_err());
            let waited = condvar.wait_timeout(mutex.lock().unwrap(), MS).unwrap();
            assert!(waited.1.timed_out());
        });
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn a_panic_passes_through() {
    in_a_task(|| {
        let panics = AssertUnwindSafe(|| timeout(HOUR, || timeout(HOUR, || panic_any(7))));
        let payload = catch_unwind(panics).map(drop).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&7));
        assert_eq!(set_deadline(None), Ok(None)); // And so the limits are gone.
    });
}

#[test]
fn a_cancellation_passes_through() {
    for is_past in [false, true] {
        let scheduler = scheduler();
        let drops = Drops::default();
        let guard = drops.guard();
        let canceled = scheduler.spawn(move || {
            let _ = timeout(HOUR, || {
                let _guard = guard;
                if is_past {
                    task::current().unwrap().cancel();
                    set_deadline(Instant::now() - MS).unwrap();
                }
                let _ = sleep(HOUR);
            });
            unreachable!("it is canceled");
        });
        run_for_a_moment(&scheduler);
        if is_past {
            drop(scheduler);
        } else {
            canceled.cancel();
            scheduler.run().unwrap();
        }
        assert!(matches!(canceled.join(), Err(JoinError::Canceled)));
        assert_eq!(drops.count(), 1);
    }
}

#[test]
fn who_catches_the_unwinding_is_unwound_again() {
    in_a_task(|| {
        let caught = Cell::new(0);
        let result = timeout(MS, || {
            for _ in 0..10 {
                let payload = catch_unwind(|| sleep(HOUR)).unwrap_err();
                assert!(payload.is::<Elapsed>());
                caught.set(caught.get() + 1);
            }
        });
        assert_eq!((result, caught.get()), (Ok(()), 10));
    });
}

#[test]
fn a_destructor_cannot_wait_while_a_limit_unwinds() {
    in_a_task(|| {
        let results = RefCell::new(Vec::new());
        let result = timeout(MS, || {
            let _guard = OnDrop(|| results.borrow_mut().push(sleep(MS)));
            let _guard = OnDrop(|| results.borrow_mut().push(timeout(HOUR, || sleep(MS)).unwrap()));
            let _ = sleep(HOUR);
        });
        assert!(result.is_err());
        assert_eq!(results.take(), [Err(Error::Unwinding); 2]);
    });
}

#[test]
fn where_nothing_is_unwound_the_wait_returns_an_error() {
    in_a_task(|| {
        let mut is_told = false;
        let result = timeout(5 * MS, || {
            no_unwind(|| {
                assert_eq!(sleep(HOUR), Err(Error::TimedOut));
                assert_eq!(task::park(None), Err(Error::TimedOut));
                // A limit in there can be unwound to, but it has not passed.
                assert_eq!(timeout(HOUR, || sleep(HOUR)), Ok(Err(Error::TimedOut)));
                assert!(timeout(Duration::ZERO, || sleep(HOUR)).is_err());
            });
            is_told = true;
            let _ = sleep(HOUR);
            unreachable!("outside it is unwound");
        });
        assert!(result.is_err() && is_told);
        let inside = no_unwind(|| timeout(5 * MS, || sleep(HOUR)));
        assert!(inside.is_err());
    });
}

#[test]
fn a_shield_holds_the_limits_around_it() {
    in_a_task(|| {
        let mut is_held = false;
        let result = timeout(5 * MS, || {
            shield(|| {
                assert_eq!(sleep(HOUR), Ok(()));
                assert_eq!(task::park(MS), Err(Error::TimedOut));
                assert!(timeout(MS, || sleep(HOUR)).is_err()); // One of its own.
                assert_eq!(sleep(HOUR), Ok(()));
            });
            is_held = true;
            let _ = sleep(MS);
            unreachable!("it is past");
        });
        assert!(result.is_err() && is_held);
        let past = Instant::now();
        set_deadline(past).unwrap();
        assert_eq!(shield(|| sleep(HOUR)), Ok(()));
        assert_eq!(sleep(HOUR), Err(Error::TimedOut));
        assert_eq!(set_deadline(None), Ok(Some(past)));
    });
}

#[test]
fn a_deadline_that_the_task_sets_is_an_error() {
    in_a_task(|| {
        // Around it:
        let deadline = Instant::now() + 5 * MS;
        set_deadline(deadline).unwrap();
        assert_eq!(timeout(HOUR, || sleep(HOUR)), Ok(Err(Error::TimedOut)));
        set_deadline(None).unwrap();
        // And inside, where it is in place of the limit:
        let mut is_told = false;
        let result = timeout(5 * MS, || {
            set_deadline(Instant::now() + MS).unwrap();
            assert_eq!(sleep(HOUR), Err(Error::TimedOut));
            set_deadline(None).unwrap();
            assert_eq!(sleep(HOUR), Ok(()));
            assert_eq!(task::park(MS), Err(Error::TimedOut)); // By its own limit.
            set_deadline(Instant::now() + HOUR).unwrap();
            assert_eq!(task::park(MS), Err(Error::TimedOut));
            is_told = true;
            let _ = sleep(2 * HOUR);
            unreachable!("both are past");
        });
        assert!(result.is_err() && is_told);
        assert_eq!(set_deadline(None), Ok(None));
    });
}

#[test]
fn a_loop_around_a_condition_ends_at_the_deadline_of_the_task() {
    in_a_task(|| {
        let (mutex, condvar) = (Mutex::new(1), Condvar::new());
        set_deadline(Instant::now() + 5 * MS).unwrap();
        let waited = condvar.wait_while(mutex.lock().unwrap(), |number| *number == 1);
        assert_eq!(waited.err(), Some(Error::TimedOut));
        let waited = condvar.wait_timeout(mutex.lock().unwrap(), HOUR);
        assert_eq!(waited.map(drop), Err(Error::TimedOut));
        set_deadline(None).unwrap();
        let result = timeout(5 * MS, || {
            let _ = condvar.wait_while(mutex.lock().unwrap(), |number| *number == 1);
        });
        assert!(result.is_err());
        assert!(mutex.try_lock().is_ok()); // The guard is dropped.
    });
}

#[test]
fn sockets_wait_no_longer_than_the_limit() {
    let scheduler = scheduler();
    let (mut stream, peer) = UnixStream::pair().unwrap();
    let reads = scheduler.spawn(move || {
        let _peer = peer;
        let unwound = timeout(MS, || stream.read(&mut [0]));
        assert!(unwound.is_err());
        set_deadline(Instant::now() + MS).unwrap();
        let late = no_unwind(|| stream.read(&mut [0]));
        assert_eq!(late.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
        stream.set_read_timeout(Some(HOUR)).unwrap();
        assert_eq!(stream.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
    });
    scheduler.run().unwrap();
    reads.join().unwrap();
}

#[test]
fn the_wait_for_a_task_that_a_limit_ends_leaves_its_handle() {
    in_a_task(|| {
        let child = task::spawn(|| sleep(HOUR));
        assert!(timeout(MS, || child.wait()).is_err());
        assert!(!child.is_finished());
        assert_eq!(child.join().unwrap(), Ok(()));
        // A task that is spawned inside has no limit.
        let inside = timeout(MS, || task::spawn(|| sleep(HOUR))).unwrap();
        assert_eq!(inside.join().unwrap(), Ok(()));
    });
}

#[test]
fn an_element_that_is_not_sent_in_time_is_dropped() {
    let drops = Drops::default();
    let (guard, seen) = (drops.guard(), drops.clone());
    in_a_task(move || {
        let (sender, receiver) = channel(0);
        assert!(timeout(MS, || sender.send(guard).map_err(drop)).is_err());
        assert_eq!(seen.count(), 1);
        assert_eq!(receiver.try_recv().map(drop), Err(Error::WouldBlock));
    });
}

#[test]
fn the_error_is_one_of_time() {
    in_a_task(|| {
        let elapsed = timeout(MS, || task::park(None)).unwrap_err();
        assert_eq!(elapsed.to_string(), "the time limit has passed");
        assert_eq!(std::io::Error::from(elapsed).kind(), ErrorKind::TimedOut);
        assert!(std::error::Error::source(&elapsed).is_none());
    });
}
