//! A scheduler whose thread ends in the middle of its run, by pthread_exit(3) in a task: nothing returns to the frames
//! of the run. Where the C library does not unwind it, the thread ends on the task's stack. So the scheduler is not
//! freed, with its stacks and descriptors; but others are told all that they are when one is destroyed.

use std::ptr::null;

use super::object::Scheduler;
use super::on_thread::OnThread;

/// This thread is in no run from now on: what it still calls does not suspend a task to which nothing returns.
pub fn leave_all_runs() {
    OnThread::NOTHING.install();
}

impl Scheduler {
    /// Whether there has been a run, as far as a turn of the loop.
    pub fn has_run(&self) -> bool {
        self.metrics.scheduler_loops.get() > 0
    }

    /// Its run is over, if it is one of this thread.
    pub fn leave_lost_run(&self) {
        if !self.remote.is_running() || self.remote.runs_elsewhere() {
            return;
        }
        self.current_task.set(null());
        self.end_watch();
        self.publish_metrics();
        self.living.is_run_by_none();
        self.remote.leave();
    }

    /// It is left as it is. To who has its address it is running.
    pub fn close_lost(&self) {
        self.part();
        self.signals.give_up(); // Else they would find nobody who waits for them, and be gone.
        let _ = self.remote.enter(); // No thread runs it.
    }
}
