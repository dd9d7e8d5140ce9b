//! How a run ends, and what it returns then.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Api, End, Events, MS};

behaviours!(
    a_run_says_how_it_ended,
    a_run_in_which_all_wait_for_ever_ends,
    a_sleep_for_ever_does_not_end_a_run_that_goes_on,
    a_signal_ends_a_run,
);

fn a_run_says_how_it_ended<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    assert_eq!(api.run(), End::Completed);
    let (inner, log, stop) = (D::new(), events.clone(), api.stop());
    let task = api.spawn(move || {
        log.push(inner.run());
        D::raise(&stop);
        D::yield_now().unwrap();
        let _ = D::park(None);
    });
    assert_eq!(api.run(), End::Stopped);
    events.are(&[End::Failed(libc::EBUSY)]);
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    D::raise(&api.stop());
    assert_eq!(api.run(), End::Stopped);
    api.spawn(move || D::wake(&task));
    assert_eq!(api.run(), End::Completed);
    // Stopped by the last task: no task is left.
    let stop = api.stop();
    api.spawn(move || D::raise(&stop));
    assert_eq!(api.run(), End::Completed);
}

/// So long that it ends behind the end of any clock.
const FOR_EVER: [Duration; 3] =
    [Duration::MAX, Duration::from_nanos(u64::MAX), Duration::from_nanos(u64::MAX - 1)];

/// A deadline that never comes wakes nobody, as no deadline does.
fn a_run_in_which_all_wait_for_ever_ends<D: Api>() {
    // The second clock is at its end.
    for api in [D::new(), D::with_clock(|| Duration::from_nanos(u64::MAX))] {
        for for_ever in FOR_EVER {
            let log = Events::new();
            let [sleeps, parks, joins, both] = [log.clone(), log.clone(), log.clone(), log.clone()];
            let sleeper = api.spawn(move || sleeps.push(D::sleep(for_ever)));
            let parked = api.spawn(move || parks.push(D::park(Some(for_ever))));
            let joined = sleeper.clone();
            let joiner = api.spawn(move || joins.push(D::join(&joined, Some(for_ever))));
            let limited = api.spawn(move || {
                D::set_deadline(Some(for_ever)).unwrap();
                both.push(D::park(None));
            });
            assert_eq!(api.run(), End::Failed(libc::EDEADLK));
            log.are(&[]);
            // They wait as before: the next run finds the same, and others may end it.
            assert_eq!(api.run(), End::Failed(libc::EDEADLK));
            for task in [joiner, parked, limited, sleeper] {
                api.cancel_in(&task).unwrap();
            }
            assert_eq!(api.run(), End::Completed);
            log.are(&[Err(libc::ECANCELED); 4]);
        }
    }
}

fn a_sleep_for_ever_does_not_end_a_run_that_goes_on<D: Api>() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (api, log) = (D::new(), Events::new());
    let sleeper = api.spawn(|| {
        let _ = D::sleep(Duration::MAX);
    });
    let (reads, naps) = (log.clone(), log.clone());
    api.spawn(move || {
        reads.push(D::wait_readable(reader.as_fd(), None).map(|()| "there is data"));
    });
    api.spawn(move || naps.push(D::sleep(5 * MS).map(|()| "slept")));
    let other = std::thread::spawn(move || {
        std::thread::sleep(50 * MS);
        writer.write_all(b"x").unwrap();
    });
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    log.are(&[Ok("slept"), Ok("there is data")]);
    other.join().unwrap();
    api.cancel_in(&sleeper).unwrap();
    assert_eq!(api.run(), End::Completed);
}

/// Signals are the process's: one test at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn a_signal_ends_a_run<D: Api>() {
    let _alone = alone();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // Shells start background jobs with SIGINT ignored, and a run does not handle an ignored
        // signal.
        // SAFETY: no handler is set.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let api = D::with_signals();
    let stop = api.stop();
    api.spawn(move || {
        // Each signal together with a stop; and then a stop alone.
        for signals in [&[libc::SIGTERM, libc::SIGINT][..], &[libc::SIGINT], &[]] {
            D::raise(&stop);
            for &signal in signals {
                // SAFETY: the run handles it.
                assert_eq!(unsafe { libc::raise(signal) }, 0);
            }
            D::yield_now().unwrap();
        }
    });
    assert_eq!(api.run(), End::Signal(libc::SIGTERM));
    assert_eq!(api.run(), End::Signal(libc::SIGINT));
    assert_eq!(api.run(), End::Stopped);
    assert_eq!(api.run(), End::Completed);
}
