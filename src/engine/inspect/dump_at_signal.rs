//! The list of tasks at a signal, in the log.

use std::ffi::c_int;
use std::fmt::{self, Write};

use super::dump::dump;
use crate::engine::log::{self, Counted};
use crate::engine::scheduler::{Scheduler, SignalSet};
use crate::engine::sys::Result;
use crate::engine::task::SchedulerRef;

/// Has the tasks of a scheduler written to the log whenever a signal comes; none: no more.
pub fn dump_at_signal(scheduler: &Scheduler, signal: Option<c_int>) -> Result<()> {
    let signals = signal.map(|signal| SignalSet::of([signal])).transpose()?;
    scheduler.call_at_signal(signals, write_to_log)
}

/// On the thread's own stack, by the loop.
///
/// # Safety
/// Called with the scheduler that runs on this thread.
unsafe fn write_to_log(scheduler: SchedulerRef, signal: c_int) {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    /// Turns that have kept the loop for less are not worth a word.
    const LONG_NS: u64 = 10_000_000;
    let clock = &scheduler.time.clock;
    let (ratio, now) = (clock.ratio(), clock.ticks());
    let (began, ended) = scheduler.dispatch.turn_times.latest_series();
    let title = scheduler.title(" of scheduler");
    let tasks = Counted(scheduler.tasks.alive(), "task", "tasks");
    match ratio.ns_between(began, ended) {
        ns if ns >= LONG_NS && ratio.ns_between(ended, now) < LONG_NS => {
            log::answer(format_args!(
                "dump at signal {signal}{title}: {tasks}; they have had the thread for the last {} ms",
                ns / 1_000_000
            ));
        }
        _ => log::answer(format_args!("dump at signal {signal}{title}: {tasks}")),
    }
    let _ = dump(scheduler, &mut Lines { bytes: [0; 1500], length: 0 }); // It takes all.
}

/// Writes each line to the log. What does not fit is cut.
struct Lines {
    bytes: [u8; 1500],
    length: usize,
}

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            let line = part.strip_suffix('\n').unwrap_or(part);
            let fits = line.floor_char_boundary(self.bytes.len() - self.length);
            self.bytes[self.length..self.length + fits].copy_from_slice(&line.as_bytes()[..fits]);
            self.length += fits;
            if part.len() > line.len() {
                let whole = &self.bytes[..std::mem::take(&mut self.length)];
                log::answer(format_args!("{}", String::from_utf8_lossy(whole)));
            }
        }
        Ok(())
    }
}
