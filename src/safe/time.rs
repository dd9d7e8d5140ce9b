//! Moments, by the clock of the scheduler.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::{self, Duration};

use crate::engine::scheduler::{self, Limit};
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
        Instant { ns: scheduler::now_ns() }
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

    /// How long after an earlier moment it is; nothing if that is the later one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let moment = majjen::Instant::now();
    /// let later = moment + Duration::from_secs(1);
    /// assert_eq!(later.duration_since(moment), Duration::from_secs(1));
    /// assert_eq!(moment.duration_since(later), Duration::ZERO);
    /// ```
    pub fn duration_since(self, earlier: Instant) -> Duration {
        self.checked_duration_since(earlier).unwrap_or_default()
    }

    /// How long after an earlier moment it is; `None` if that is the later one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let moment = majjen::Instant::now();
    /// let later = moment + Duration::from_secs(1);
    /// assert_eq!(later.checked_duration_since(moment), Some(Duration::from_secs(1)));
    /// assert_eq!(moment.checked_duration_since(later), None);
    /// ```
    pub fn checked_duration_since(self, earlier: Instant) -> Option<Duration> {
        self.ns.checked_sub(earlier.ns).map(Duration::from_nanos)
    }

    /// A later moment; `None` past the end of the clock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let moment = majjen::Instant::now();
    /// assert!(moment.checked_add(Duration::from_secs(1)) > Some(moment));
    /// assert_eq!(moment.checked_add(Duration::MAX), None);
    /// ```
    pub fn checked_add(self, span: Duration) -> Option<Instant> {
        let ns = self.ns.checked_add(u64::try_from(span.as_nanos()).ok()?)?;
        Some(Instant { ns })
    }

    /// An earlier moment; `None` before the beginning of the clock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let moment = majjen::Instant::now() + Duration::from_secs(1);
    /// assert!(moment.checked_sub(Duration::from_secs(1)) < Some(moment));
    /// assert_eq!(moment.checked_sub(Duration::MAX), None);
    /// ```
    pub fn checked_sub(self, span: Duration) -> Option<Instant> {
        let ns = self.ns.checked_sub(u64::try_from(span.as_nanos()).ok()?)?;
        Some(Instant { ns })
    }

    pub(in crate::safe) fn as_ns(self) -> u64 {
        self.ns
    }

    /// The moment of a deadline of the core, where `u64::MAX` is none.
    pub(super) fn from_deadline(ns: u64) -> Option<Instant> {
        (ns != u64::MAX).then_some(Instant { ns })
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

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, span: Duration) {
        *self = *self - span;
    }
}

/// As [`Instant::duration_since`].
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

/// The moment that is as far from now by the clock of the scheduler as the other one is by the
/// system's. Never earlier: the clocks are read one after the other.
impl From<time::Instant> for Instant {
    fn from(moment: time::Instant) -> Instant {
        let (other_now, now) = (time::Instant::now(), Instant::now());
        match moment.checked_duration_since(other_now) {
            Some(ahead) => now + ahead,
            None => now - other_now.duration_since(moment),
        }
    }
}

/// The other way round. Never earlier, either.
impl From<Instant> for time::Instant {
    fn from(moment: Instant) -> time::Instant {
        let (now, other_now) = (Instant::now(), time::Instant::now());
        let converted = match moment.checked_duration_since(now) {
            Some(ahead) => other_now.checked_add(ahead),
            None => other_now.checked_sub(now - moment),
        };
        // The system's clock goes further than this one, both ways.
        converted.unwrap_or(other_now)
    }
}

/// In nanoseconds, at most as many as there is a number for.
pub(super) fn to_ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The limit of a call of the safe API, which goes on through wake-ups that are not for it.
pub(super) fn limit(timeout: Option<Duration>) -> Limit {
    Limit::uninterrupted(
        timeout.map_or(Deadline::Never, |timeout| Deadline::after_ns(to_ns(timeout))),
    )
}
