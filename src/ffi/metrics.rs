//! The scheduler's counters, and what its tasks are doing.

use std::ffi::{c_char, c_int};
use std::fmt;
use std::ptr::{from_ref, null};

use super::types::{FILE, MetricsFormatInt, mj_metrics, mj_remote, mj_scheduler};
use super::{own_scheduler_ref, status};
use crate::engine::inspect::{self, Format};
use crate::engine::log;
use crate::engine::measure::Metrics;
use crate::engine::sys::{Error, Result, TruncatingWriter, Uncancelable};
use crate::engine::threads::Remote;

unsafe extern "C" {
    /// In `shim/stream.c`: writes to a live stream.
    fn majjen_shim_write(out: *mut FILE, text: *const c_char, length: usize) -> c_int;
}

/// An open stream of C.
pub(super) struct Stream(*mut FILE);

impl Stream {
    /// The stream, if it is not NULL; else nothing, and a line that names the function.
    ///
    /// # Safety
    /// NULL, or a stream that stays open during the call.
    #[track_caller]
    pub(super) unsafe fn new(out: *mut FILE, function: &str) -> Option<Stream> {
        if out.is_null() {
            log::warn(format_args!("{function}: the stream is NULL"));
            return None;
        }
        Some(Stream(out))
    }
}

impl fmt::Write for Stream {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The program's stream must not stay locked.
        let _uncancelable = Uncancelable::begin();
        // SAFETY: open, by the contract of `new`; the text is as long as said.
        let failed = unsafe { majjen_shim_write(self.0, text.as_ptr().cast(), text.len()) } != 0;
        if failed { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Brings the counters up to date. Does not suspend.
///
/// Returns the counters, which stay the scheduler's, go on counting, and are valid until it is
/// destroyed; or NULL, with a line in the log, for NULL and when the scheduler is running on
/// another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_get_metrics(
    scheduler: *mut mj_scheduler,
) -> *const mj_metrics {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_get_metrics") } {
        Ok(scheduler) => {
            scheduler.publish_metrics();
            from_ref(&scheduler.metrics).cast()
        }
        Err(_) => null(),
    }
}

/// Resets the counters to 0, but not the gauges: `current_tasks` and `memory_allocated_bytes` stay,
/// and `peak_tasks` becomes `current_tasks`. A scheduler that is NULL or running on another thread
/// is reported in the log. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_reset_metrics(scheduler: *mut mj_scheduler) {
    // SAFETY: as this function's contract says.
    if let Ok(scheduler) = unsafe { own_scheduler_ref(scheduler, "mj_scheduler_reset_metrics") } {
        scheduler.reset_metrics();
    }
}

/// Prints the counters as a block of text to a stream, which stays the caller's and whose error
/// indicator tells if that failed. NULL for either, and a scheduler that is running on another
/// thread, is reported in the log. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_print_metrics(scheduler: *mut mj_scheduler, out: *mut FILE) {
    const NAME: &str = "mj_scheduler_print_metrics";
    // SAFETY: as this function's contract says.
    let (scheduler, stream) =
        unsafe { (own_scheduler_ref(scheduler, NAME), Stream::new(out, NAME)) };
    if let (Ok(scheduler), Some(mut stream)) = (scheduler, stream) {
        let _ = inspect::print_metrics(scheduler, &mut stream);
    }
}

/// Writes the counters, and the distributions of how long turns take, how late timers are served, how
/// long the loop does not look for events, and how long ready tasks wait for a turn and jobs for a
/// thread of the pool, to a buffer: as much as fits, with a NUL behind it, as snprintf(3) does. Does not
/// suspend.
///
/// Returns the length of the whole text without the NUL: a result of `buffer_bytes` or more means
/// that it was cut. Errors:
///   -EINVAL  `scheduler` is NULL, `buffer` is NULL with a size, or `format` is unknown
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_write_metrics(
    scheduler: *mut mj_scheduler,
    buffer: *mut c_char,
    buffer_bytes: usize,
    format: MetricsFormatInt,
) -> c_int {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { own_scheduler_ref(scheduler, "mj_scheduler_write_metrics") };
    let written = scheduler.and_then(|scheduler| {
        let write =
            |format, out: &mut dyn fmt::Write| inspect::write_metrics(scheduler, format, out);
        // SAFETY: the caller's buffer of this size, which nobody else uses during the call.
        unsafe { write_to_buffer(buffer, buffer_bytes, format, write) }
    });
    written.unwrap_or_else(Error::status)
}

/// mj_scheduler_write_metrics() of the counters alone: what mj_remote_metrics() reads, as text. The
/// distributions are the scheduler's own thread's. Callable from any thread. Does not suspend.
///
/// Returns the length of the whole text without the NUL, as there. Errors:
///   -EPIPE   the scheduler has been destroyed
///   -EINVAL  `remote` is NULL, `buffer` is NULL with a size, or `format` is unknown
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_write_metrics(
    remote: *mut mj_remote,
    buffer: *mut c_char,
    buffer_bytes: usize,
    format: MetricsFormatInt,
) -> c_int {
    // SAFETY: as this function's contract says.
    let counters = unsafe {
        Remote::borrow_raw(remote.cast(), |remote| Ok((remote.counters()?, remote.name())))
    };
    let written = counters.unwrap_or(Err(Error::InvalidArgument)).and_then(|(values, name)| {
        let counters = Metrics::of(&values);
        let write = |format, out: &mut dyn fmt::Write| {
            inspect::write_counters(&counters, &name, format, out)
        };
        // SAFETY: the caller's buffer of this size, which nobody else uses during the call.
        unsafe { write_to_buffer(buffer, buffer_bytes, format, write) }
    });
    written.unwrap_or_else(Error::status)
}

/// Writes to a buffer, as much as fits, with a NUL behind it. Returns the length of the whole.
///
/// # Safety
/// The buffer has this size, and nobody else uses it during the call.
pub(super) unsafe fn write_to_buffer(
    buffer: *mut c_char,
    buffer_bytes: usize,
    format: MetricsFormatInt,
    write: impl FnOnce(Format, &mut dyn fmt::Write) -> fmt::Result,
) -> Result<c_int> {
    let formats = [Format::Text, Format::Prometheus, Format::Json];
    let format = formats.get(format as usize).copied().ok_or(Error::InvalidArgument)?;
    let text: &mut [u8] = match buffer_bytes {
        0 => &mut [],
        _ if buffer.is_null() => return Err(Error::InvalidArgument),
        // SAFETY: as this function's contract says.
        bytes => unsafe { std::slice::from_raw_parts_mut(buffer.cast(), bytes) },
    };
    let (text, nul) = match text.split_last_mut() {
        Some((nul, text)) => (text, Some(nul)),
        None => (&mut [][..], None),
    };
    if let Some(nul) = nul {
        *nul = 0;
    }
    text.fill(0);
    let mut out = TruncatingWriter::new(text);
    let _ = write(format, &mut out); // TruncatingWriter does not fail.
    Ok(c_int::try_from(out.length).unwrap_or(c_int::MAX))
}

/// Prints one line for each living task to a stream, which stays the caller's: its id, its name,
/// what it is doing (running, ready, or for which descriptor, task or time it waits, which tasks hold
/// that where it is known, and for how many seconds it has waited, of real time also with a clock of the
/// program's), how many mutexes it holds and of which group it is, "daemon" if it is one, the number of its
/// turns, and how much of its stack it has used. Behind them there is a line for each circle of tasks that
/// wait for each other without a limit, for mutexes, the ends of tasks or of groups: "deadlock: task 0x1 "a"
/// waits for mutex 0x2 held by task 0x3 "b", which waits for ...". NULL for either, and a scheduler that is
/// running on another thread, is reported in the log. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_dump(scheduler: *mut mj_scheduler, out: *mut FILE) {
    const NAME: &str = "mj_scheduler_dump";
    // SAFETY: as this function's contract says.
    let (scheduler, stream) =
        unsafe { (own_scheduler_ref(scheduler, NAME), Stream::new(out, NAME)) };
    if let (Ok(scheduler), Some(mut stream)) = (scheduler, stream) {
        let _ = inspect::dump(scheduler, &mut stream);
    }
}

/// Has the tasks of a scheduler listed in the log whenever `signal` comes to the process, as by
/// mj_scheduler_dump(): for a service that hangs, kill(1) asks it what it is doing. 0 ends that, and
/// another signal takes the place of the one before. The lines are of the level WARN, whatever level is
/// set, and are not limited; the first one says how many tasks there are.
///
/// The loop writes them, and not the handler of the signal: at once while it waits, and behind the turn
/// of a task that keeps the thread, which the first line then says; of a scheduler that is not running,
/// at the beginning of its next run. Signals that come meanwhile are one. Several schedulers may have
/// one signal, and tasks wait for it too: each is told. From this call on it does not do what it did
/// before, also between runs, and does that again once nobody has a use for it; one that has come by then,
/// and has not been listed, is forgotten. In a child of fork() it does that until the child goes on with the
/// run. Does not suspend.
///
/// Returns 0. Errors, with which what was set stays:
///   -EINVAL  `scheduler` is NULL, or the signal cannot be waited for: see mj_signal_wait()
///   -EPERM   the scheduler is running on another thread
///   -ENOMEM  out of memory
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_dump_on_signal(
    scheduler: *mut mj_scheduler,
    signal: c_int,
) -> c_int {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { own_scheduler_ref(scheduler, "mj_scheduler_dump_on_signal") };
    let signal = (signal != 0).then_some(signal);
    status(scheduler.and_then(|scheduler| inspect::dump_at_signal(scheduler, signal)))
}
