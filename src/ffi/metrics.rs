//! The scheduler's counters.

use std::ptr::{from_ref, null};

use super::scheduler_ref;
use super::types::{FILE, mj_metrics, mj_scheduler};

unsafe extern "C" {
    /// In `shim/metrics.c`: prints to a live stream.
    fn majjen_shim_print_metrics(metrics: *const mj_metrics, out: *mut FILE);
}

/// Brings the counters up to date and returns them. They stay the scheduler's, go on counting, and are
/// valid until it is destroyed. Returns NULL, with a WARN line, for NULL. Does not suspend.
///
/// The pointer is NULL or a live scheduler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_get_metrics(
    scheduler: *mut mj_scheduler,
) -> *const mj_metrics {
    // SAFETY: as this function's contract says.
    match unsafe { scheduler_ref(scheduler, "mj_scheduler_get_metrics") } {
        Some(scheduler) => {
            scheduler.publish_metrics();
            from_ref(&scheduler.metrics).cast()
        }
        None => null(),
    }
}

/// Sets the counters to 0, save those that say what there is now: `current_tasks` and
/// `memory_allocated_bytes` stay, `peak_tasks` becomes `current_tasks`. NULL is reported in the log. Does not
/// suspend.
///
/// The pointer is NULL or a live scheduler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_reset_metrics(scheduler: *mut mj_scheduler) {
    // SAFETY: as this function's contract says.
    if let Some(scheduler) = unsafe { scheduler_ref(scheduler, "mj_scheduler_reset_metrics") } {
        scheduler.reset_metrics();
    }
}

/// Prints the counters as a block of text to a stream, which stays the caller's. NULL for either is
/// reported in the log. Does not suspend.
///
/// `scheduler` is NULL or alive; `out` is NULL or an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_print_metrics(scheduler: *mut mj_scheduler, out: *mut FILE) {
    // SAFETY: as this function's contract says.
    let Some(scheduler) = (unsafe { scheduler_ref(scheduler, "mj_scheduler_print_metrics") })
    else {
        return;
    };
    if out.is_null() {
        crate::log::warn(format_args!("mj_scheduler_print_metrics: the stream is NULL"));
        return;
    }
    scheduler.publish_metrics();
    // SAFETY: the stream is open by contract, the metrics are alive, and the shim keeps neither.
    unsafe { majjen_shim_print_metrics(from_ref(&scheduler.metrics).cast(), out) }
}
