//! How long a task that has become ready waits for its turn: measured of one at a time.

use std::ptr::from_ref;

use super::object::Scheduler;
use crate::engine::task::Task;

impl Scheduler {
    /// The loop has found a task ready, by an event or a timer. It is measured, unless an earlier one still waits
    /// for its turn.
    #[inline]
    pub(super) fn measure_ready(&self, task: &Task) {
        // SAFETY: null, or a slot of the slab, and these are never unmapped.
        let earlier = unsafe { self.delays.sample().cast::<Task>().as_ref() };
        if earlier.is_none_or(|earlier| !earlier.queued.get()) {
            self.delays.begin_sample(from_ref(task).cast());
        }
    }

    /// The task that is measured has its turn.
    #[cold]
    #[inline(never)]
    pub(super) fn end_ready_sample(&self) {
        if let Some(since) = self.delays.end_sample()
            && let Some(ratio) = self.time.clock.known_ratio()
        {
            let began = self.dispatch.turn_times.began();
            self.delays.of_ready.record(ratio.ns_between(since, began));
        }
    }
}
