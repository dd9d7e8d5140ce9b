//! What the flight recorder of a scheduler has recorded, as JSON; into a file if the environment says so.

use std::ffi::CStr;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::engine::log;
use crate::engine::measure::{Entry, Reading, Recording, write_chrome};
use crate::engine::scheduler::Scheduler;
use crate::engine::sys::{self, Error, QuietWrites, Result, until_nul};
use crate::engine::task::{Name, SchedulerRef, WaitKind};
use crate::engine::threads::this_process;
use crate::engine::time::{Instant, Ratio};

/// Writes what is recorded, in the format of Chrome's trace viewer and of Perfetto.
pub fn write_trace(scheduler: &Scheduler, out: &mut dyn fmt::Write) -> fmt::Result {
    let clock = &scheduler.time.clock;
    let reading = scheduler.recorder.read();
    let recording = OfScheduler {
        scheduler,
        numbers: reading.numbers(),
        reading,
        running: scheduler.running(),
        name: scheduler.name.get(),
        ratio: clock.ratio(),
        now: clock.now(),
    };
    write_chrome(out, &[&recording])
}

struct OfScheduler<'s> {
    scheduler: &'s Scheduler,
    reading: Reading<'s>,
    /// Those that are there at the beginning. What is written may have tasks take turns.
    numbers: Range<u64>,
    /// Behind them.
    running: Option<Entry>,
    name: Name,
    ratio: Ratio,
    now: Instant,
}

impl Recording for OfScheduler<'_> {
    fn number(&self) -> u32 {
        self.scheduler.tasks.serial
    }

    fn name(&self) -> &[u8] {
        match until_nul(&self.name) {
            [] => b"scheduler",
            name => name,
        }
    }

    fn numbers(&self) -> Range<u64> {
        self.numbers.start..self.numbers.end + u64::from(self.running.is_some())
    }

    fn entry(&self, number: u64) -> Option<Entry> {
        let ns_of =
            |ticks| self.now.ns.saturating_sub(self.ratio.ns_between(ticks, self.now.ticks));
        let entry = match number == self.numbers.end {
            true => self.running,
            false => self.reading.get(number),
        };
        entry.map(|entry| entry.at(ns_of))
    }

    fn names(&self, call: &mut dyn FnMut(u64, &[u8]) -> fmt::Result) -> fmt::Result {
        self.scheduler.tasks.iter().try_for_each(|task| match until_nul(&task.name.get()) {
            [] => Ok(()),
            name => call(Entry::slot_of(task.id.get()), name),
        })
    }

    fn kind(&self, index: u8, call: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        let kind = self.scheduler.recorder.kind_address(index) as *const WaitKind;
        // SAFETY: null, or a static, which a task has waited by.
        let name = unsafe { kind.as_ref() }.map_or(c"something", WaitKind::name);
        call(name.to_str().unwrap_or_default())
    }
}

/// The variable of the environment with the name of a file.
const VARIABLE: &CStr = c"MAJJEN_TRACE";

/// In the name it stands for the number of the process.
const PROCESS: &[u8] = b"%p";

/// How many entries are kept then.
const ENTRIES: usize = 1 << 16;

/// The process that writes files whose names do not tell processes apart, by its identity; 0 for none yet.
static WRITES_FILES: AtomicU32 = AtomicU32::new(0);

/// If the environment says so, a new scheduler records, and writes that to a file at the end of each run: the
/// first one of the process to the file that is named there, others with their numbers behind the name.
pub fn trace_if_asked(scheduler: &Scheduler) {
    if file_name().is_none() {
        return;
    }
    match scheduler.record(ENTRIES) {
        Ok(()) => scheduler.call_at_run_end(write_file),
        Err(error) => {
            log::warn(format_args!("MAJJEN_TRACE is set, but nothing is recorded: {error}"))
        }
    }
}

/// What the environment says, if it is for this process. A child of fork() would write to the files of its parent,
/// as would all the others of a server with several.
fn file_name<'v>() -> Option<&'v CStr> {
    let name = sys::variable(VARIABLE).filter(|name| !name.is_empty())?;
    let is_own = || {
        let this = this_process();
        let known = WRITES_FILES.compare_exchange(0, this, Relaxed, Relaxed);
        known.map_or_else(|known| known == this, |_| true)
    };
    (place_of_process(name.to_bytes()).is_some() || is_own()).then_some(name)
}

fn place_of_process(name: &[u8]) -> Option<usize> {
    name.windows(PROCESS.len()).position(|part| part == PROCESS)
}

/// # Safety
/// Called with a living scheduler.
unsafe fn write_file(scheduler: SchedulerRef) {
    let Some(name) = file_name() else { return };
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    let mut path = [0u8; 4096];
    let written = match name_file(name.to_bytes(), scheduler.tasks.serial, &mut path) {
        Ok(()) => write_to(scheduler, &path),
        Err(_) => Err(Error::Os(libc::ENAMETOOLONG)),
    };
    let shown = until_nul(&path).escape_ascii();
    match written {
        Ok(()) => log::info(format_args!("trace written to {shown}")),
        Err(error) => {
            // The error first: a line has room for that, and for most names.
            log::error(format_args!("MAJJEN_TRACE: cannot write a trace: {error}: {shown}"));
        }
    }
}

/// Puts the name of a scheduler's file into a buffer of zeros, of which one is left.
fn name_file(name: &[u8], serial: u32, path: &mut [u8; 4096]) -> io::Result<()> {
    let room = path.len() - 1;
    let (mut out, mut rest) = (&mut path[..room], name);
    while let Some(place) = place_of_process(rest) {
        out.write_all(&rest[..place])?;
        write!(out, "{}", sys::process_id())?;
        rest = &rest[place + PROCESS.len()..];
    }
    out.write_all(rest)?;
    if serial > 1 { write!(out, ".{serial}") } else { Ok(()) }
}

fn write_to(scheduler: &Scheduler, path: &[u8]) -> Result<()> {
    let path = CStr::from_bytes_until_nul(path).map_err(|_| Error::InvalidArgument)?;
    // Of a pipe that nobody reads it is an error.
    let file = sys::open_file(path, sys::NEW_FILE | libc::O_NONBLOCK, 0o644)?;
    let mut out = File {
        fd: file.as_raw_fd(),
        writes: QuietWrites::begin(),
        text: [0; 4096],
        length: 0,
        result: Ok(()),
    };
    let _ = write_trace(scheduler, &mut out); // It keeps its error.
    out.flush();
    out.result
}

/// Collects text, and writes it.
struct File {
    fd: i32,
    writes: QuietWrites,
    text: [u8; 4096],
    length: usize,
    result: Result<()>,
}

impl File {
    fn flush(&mut self) {
        /// How long it waits for a reader that stands still, if the file is a pipe.
        const PATIENCE_NS: u64 = 10_000_000_000;
        let text = &self.text[..std::mem::take(&mut self.length)];
        if self.result.is_ok() {
            let written = self.writes.write_all(self.fd, text, PATIENCE_NS);
            self.result = written.map_err(|(_, error)| error);
        }
    }
}

impl fmt::Write for File {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let count = rest.len().min(self.text.len() - self.length);
            let (now, later) = rest.split_at(count);
            self.text[self.length..self.length + count].copy_from_slice(now);
            self.length += count;
            rest = later;
            if self.length == self.text.len() {
                self.flush();
            }
        }
        self.result.map_err(|_| fmt::Error)
    }
}
