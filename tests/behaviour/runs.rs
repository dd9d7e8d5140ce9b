//! How a run ends, and what it says of that.

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
    // Stopped by the last task: nothing is left of which that could be said.
    let stop = api.stop();
    api.spawn(move || D::raise(&stop));
    assert_eq!(api.run(), End::Completed);
}

fn a_signal_ends_a_run<D: Api>() {
    // A signal stops all schedulers that look after it.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // Shells start background jobs with SIGINT ignored, and then a run leaves it alone.
        // SAFETY: no handler is set.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let api = D::with_signals();
    let stop = api.stop();
    api.spawn(move || {
        // Each with a stop; and then a stop alone.
        for signals in [&[libc::SIGTERM, libc::SIGINT][..], &[libc::SIGINT], &[]] {
            D::raise(&stop);
            for &signal in signals {
                // SAFETY: the run looks after it.
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
