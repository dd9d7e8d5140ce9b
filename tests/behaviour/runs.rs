//! How a run ends, and what it returns then.

use std::sync::{Mutex, PoisonError};

use super::{Api, End, Events};

behaviours!(a_run_says_how_it_ended, a_signal_ends_a_run);

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

fn a_signal_ends_a_run<D: Api>() {
    // A signal stops all schedulers that handle it.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
