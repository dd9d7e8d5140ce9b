//! The flight recorder.

use super::scheduler::Scheduler;
use crate::engine::inspect;
use crate::engine::sys::Result;

impl Scheduler {
    /// Records what the tasks do: which of them runs from when to when, which one it makes ready or spawns, what it
    /// waits for afterwards, and when it ends. The last `events` are kept, rounded up to a power of two, of 16
    /// bytes each, from 1024 to 67,108,864. It begins with the next round of the loop, with nothing; 0 stops it, and
    /// what is recorded stays. A turn is an event, and so is a task that becomes ready: that is taken to be at the
    /// end of the turn in which it happens. While a scheduler does not record, this costs its tasks nothing. The
    /// program `majjen trace` does the same from outside, and shows it.
    ///
    /// With `MAJJEN_TRACE=FILE` in the environment a new scheduler records 65,536 events, and writes them to FILE at
    /// the end of each run, as [`trace_json`](Self::trace_json); the second scheduler of the process to FILE.2, and
    /// so on. A %p in FILE stands for the number of the process. A program that has more rights than who runs it, by
    /// set-uid or such, takes no notice.
    ///
    /// A child of fork() goes on with a record of its own, which begins as a copy of its parent's. If its parent has
    /// had schedulers with `MAJJEN_TRACE`, it writes no files, and its new schedulers do not record, unless there is
    /// a %p in FILE.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.trace(1024)?;
    /// majjen::task::Builder::new().name("worker").spawn_on(&scheduler, || ())?;
    /// scheduler.run()?;
    /// assert!(scheduler.trace_json().contains(r#""name":"worker""#));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for more events;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory). It goes on as it was.
    pub fn trace(&self, events: usize) -> Result<()> {
        self.core().record(events)
    }

    /// What is recorded, see [`trace`](Self::trace): JSON in the format of Chrome's trace viewer, which Perfetto
    /// shows too. There is a row for the loop, and one for each slot of tasks, in which one task is shown behind
    /// another; times are in microseconds of CLOCK_MONOTONIC.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// assert!(scheduler.trace_json().contains("traceEvents"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn trace_json(&self) -> String {
        let mut text = String::new();
        let _ = inspect::write_trace(self.core(), &mut text); // A String takes all.
        text
    }
}
