//! Turns that are too long: when the watchdog looks at the scheduler.

use super::object::Scheduler;

impl Scheduler {
    /// Has turns reported, while they last, that take longer; 0 for none. Not while another thread runs it.
    pub fn report_long_turns(&self, ns: u64) {
        self.watch.set_limit(ns);
        if self.options.in_run.get() {
            self.watch.end();
            self.watch.begin(self.dispatch.turn_times.turn(), self.current_task.word());
        }
    }

    pub(super) fn begin_watch(&self) {
        self.options.in_run.set(true);
        self.watch.begin(self.dispatch.turn_times.turn(), self.current_task.word());
    }

    pub(super) fn end_watch(&self) {
        self.options.in_run.set(false);
        self.watch.end();
    }

    /// A child of fork() goes on with the run.
    pub(super) fn watch_in_child(&self) {
        self.watch.begin_in_child(self.dispatch.turn_times.turn(), self.current_task.word());
    }
}
