//! Moments, by the clock of the scheduler.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use crate::engine::scheduler::{self, Limit};
use crate::engine::sys;
use crate::engine::time::Deadline;

/// A moment by the clock of the scheduler that runs on this thread: the system's monotonic clock,
/// unless [`Builder::clock`](crate::Builder::clock) has set another one. Outside a run it is the
/// monotonic clock. Moments of different clocks have nothing to do with each other.
///
/// ```
/// use majjen::{Instant, Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(|| {
///     let mut next = Instant::now();
///     for _ in 0..3 {
///         next += Duration::from_millis(1); // Keeps the pace, however long the work takes.
///         task::sleep_until(next).unwrap();
///         assert!(Instant::now() >= next);
///     }
/// });
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    ns: u64,
}

impl Instant {
    /// Now.
    ///
    /// ```
    /// let before = majjen::Instant::now();
    /// assert!(majjen::Instant::now() >= before);
    /// ```
    pub fn now() -> Instant {
        let ns = match scheduler::current() {
            Some(scheduler) => scheduler.time.clock.deadline_now_ns(),
            None => sys::monotonic_ns(),
        };
        Instant { ns }
    }

    /// How long ago the moment is; nothing if it is still to come.
    ///
    /// ```
    /// use majjen::{Instant, Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let slept = scheduler.spawn(|| {
    ///     let before = Instant::now();
    ///     task::sleep(Duration::from_millis(1)).map(|()| before.elapsed())
    /// });
    /// scheduler.run()?;
    /// assert!(slept.join()?? >= Duration::from_millis(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn elapsed(self) -> Duration {
        Instant::now() - self
    }

    pub(super) fn as_ns(self) -> u64 {
        self.ns
    }
}

/// A later moment; the end of the clock where there is none. A sleep until then never ends.
impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, span: Duration) -> Instant {
        Instant { ns: self.ns.saturating_add(to_ns(span)) }
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

/// An earlier moment; the beginning of the clock where there is none.
impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, span: Duration) -> Instant {
        Instant { ns: self.ns.saturating_sub(to_ns(span)) }
    }
}

/// The time between two moments; nothing if the second one is later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }
}

/// In nanoseconds, at most as many as there is a number for.
pub(super) fn to_ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The limit of a call of the safe API, which goes on through wake-ups that are not for it.
pub(super) fn limit(timeout: Option<Duration>) -> Limit {
    Limit::uninterrupted(timeout.map_or(Deadline::Never, |timeout| Deadline::In(to_ns(timeout))))
}
