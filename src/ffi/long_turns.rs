//! Reports of turns that are too long.

use std::ffi::c_int;

use super::types::mj_scheduler;
use super::{own_scheduler_ref, status};
use crate::engine::watchdog;

/// Has each turn reported that lasts longer than `ns` nanoseconds, while it lasts, and once: by WARN
/// lines with the task's id and name, how long it has lasted so far, and the thread's stack at that
/// moment; 0, as at first, for none. Such turns are counted in `long_turns` of mj_metrics, also
/// those whose report the limit of the log's lines leaves out. While the scheduler runs it can be
/// called by its tasks. Does not suspend.
///
/// A thread of the library's own, "mj-watchdog", looks at the scheduler every `ns` / 2, but at most
/// once a millisecond, so that a turn is reported when it has lasted one to one and a half times `ns`.
/// It is there while a scheduler that asks for reports runs, and for a second after, and sleeps while
/// they all wait. It writes the lines, so a log callback is called on it.
///
/// The stack is copied by the handler of a real-time signal, which is sent to the scheduler's thread.
/// It is one whose disposition is the default one, and which is put back when the run returns; see
/// mj_set_long_turn_signal(). If the thread has no alternate stack for signals, it has one during the
/// run. System calls that the task is blocked in go on behind the handler (SA_RESTART), but for those
/// that signal(7) names, such as poll(2), nanosleep(2), and reading from a socket with a timeout:
/// these return with EINTR. A thread that blocks the signal, or is in a system call that no signal
/// interrupts, is reported without its task's name and its stack.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` is NULL
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_report_long_turns(
    scheduler: *mut mj_scheduler,
    ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { own_scheduler_ref(scheduler, "mj_scheduler_report_long_turns") };
    status(scheduler.map(|scheduler| scheduler.report_long_turns(ns)))
}

/// Chooses the real-time signal by which mj_scheduler_report_long_turns() sees the stack of a turn,
/// for the whole process: one of SIGRTMIN to SIGRTMAX; 0, as at first, for any whose disposition is
/// the default one. If the signal that is chosen has a handler of the program, or is ignored, that
/// stays, and reports are without names and stacks, which a WARN line says when a run begins.
/// Callable from any thread. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  there is no such real-time signal
///   -EBUSY   a scheduler that asks for reports is running
#[unsafe(no_mangle)]
pub extern "C" fn mj_set_long_turn_signal(signal: c_int) -> c_int {
    status(watchdog::set_signal(signal))
}
