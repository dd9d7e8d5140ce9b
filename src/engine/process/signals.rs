//! The signals of the application preset: while it runs, SIGINT and SIGTERM stop it, and SIGPIPE has
//! no effect on its thread. The latter is so on the threads of a cluster, too.
//!
//! All by handlers, which exec() takes away: no signal is blocked, since a mask would be inherited by
//! the threads and programs that a task starts. A handler decides what is meant: a signal that is not
//! for a scheduler of this process, or on SIGPIPE of this thread, has its default effect. So a child of
//! fork() that has not gone on with the run, and another thread, have what they would have without.

use std::ffi::c_int;

use super::handler::{self, For};
use super::places::{Place, bit};
use crate::engine::sys::{Result, SIGINT, SIGPIPE, SIGTERM};
use crate::engine::threads::Remote;

const SIGNALS: [c_int; 3] = [SIGINT, SIGTERM, SIGPIPE];

/// The signals are handled while this lives.
pub struct Guard {
    /// None once it has been left.
    place: Option<&'static Place>,
    /// The signals whose handler it uses, as bits.
    used: u64,
    /// The handle in the place.
    _remote: Remote,
}

impl Guard {
    /// Handles those signals whose action is SIG_DFL. The guard must stay on this thread.
    pub fn new(remote: &Remote) -> Result<Guard> {
        Guard::of(&SIGNALS, remote)
    }

    /// [`new`](Self::new) for SIGPIPE alone.
    pub fn of_pipes(remote: &Remote) -> Result<Guard> {
        Guard::of(&[SIGPIPE], remote)
    }

    fn of(signals: &[c_int], remote: &Remote) -> Result<Guard> {
        let place = Place::take()?;
        let remote = remote.clone();
        place.begin_run(&remote);
        let mut used = 0;
        for &signal in signals {
            // Before there is the handler, which a signal may call at once.
            place.want(bit(signal));
            if handler::begin_use(signal, For::Run) == Ok(true) {
                used |= bit(signal);
            }
        }
        place.forgo(!used);
        Ok(Guard { place: Some(place), used, _remote: remote })
    }

    /// The signals that stop the run, as bits: those with the numbers from 1 on.
    pub fn stops(&self) -> u64 {
        self.used & (bit(SIGINT) | bit(SIGTERM))
    }

    /// Ends it. Returns the first signal that came while it lived; 0 for none.
    pub fn end(mut self) -> c_int {
        self.leave()
    }

    fn leave(&mut self) -> c_int {
        let Some(place) = self.place.take() else { return 0 };
        let used = SIGNALS.into_iter().filter(|signal| self.used & bit(*signal) != 0);
        used.for_each(handler::end_use);
        // After that: a signal finds this scheduler, or the action that was there before.
        place.leave()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::super::places;
    use super::Guard;
    use crate::engine::sys::{self, Action, FaultInfo, Signal};
    use crate::engine::threads::Remote;

    static INTERRUPTIONS: AtomicU64 = AtomicU64::new(0);

    extern "C" fn interrupts(_: i32, _: *mut FaultInfo, _: *mut c_void) {
        INTERRUPTIONS.fetch_add(1 + u64::from(places::running_handlers()), SeqCst);
    }

    #[test]
    fn no_handler_of_the_program_is_waited_for() {
        let guard = Guard::new(&Remote::new().unwrap()).unwrap();
        let before = Action::now(sys::SIGUSR1).unwrap();
        assert!(Action::catching(interrupts, false, &before).set(sys::SIGUSR1));
        let signal = Signal { number: sys::SIGTERM, ..Signal::NONE };
        let used = places::offer_and(&signal, || {
            sys::raise(sys::SIGUSR1);
            assert_eq!(INTERRUPTIONS.load(SeqCst), 0, "interrupted");
        });
        assert!(used);
        assert_eq!(INTERRUPTIONS.load(SeqCst), 1, "once, when no handler was at work");
        assert!(before.set(sys::SIGUSR1));
        assert_eq!(guard.end(), sys::SIGTERM);
    }
}
