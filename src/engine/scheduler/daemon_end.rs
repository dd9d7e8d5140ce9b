//! Daemons: tasks that do not keep a run going.
//!
//! When all other tasks have ended, the daemons are canceled, and the run goes on for a limited time, so that
//! they can end. Those that have not by then are left as they are, with a line that names them. If one of
//! them makes another task meanwhile, all is as before until that has ended.

use std::fmt;

use super::daemons::Daemons;
use super::object::Scheduler;
use crate::engine::log::{self, Counted};
use crate::engine::task::{Named, Task};

impl Scheduler {
    /// Sets whether a task is a daemon.
    pub fn set_daemon(&self, task: &Task, daemon: bool) {
        if task.daemon.replace(daemon) == daemon {
            return;
        }
        let count = &self.daemons.count;
        if daemon {
            count.set(count.get() + 1);
            task.expect_end();
            if self.daemons.are_ending() {
                self.cancel(task);
            }
        } else {
            count.set(count.get() - 1);
        }
    }

    /// Sets how long a run waits for daemons to end when all other tasks have.
    pub fn set_daemon_limit(&self, limit_ns: u64) {
        self.daemons.limit_ns.set(limit_ns);
    }

    /// How many tasks there are that keep a run going.
    pub(super) fn others_than_daemons(&self) -> usize {
        self.tasks.alive() - self.daemons.count.get()
    }

    /// Whether there are tasks that the run is for, or messages of other threads, which may make some; or
    /// it is held; or there are daemons that it waits for at its end.
    pub(super) fn has_work(&self) -> bool {
        let Daemons { count, until_ns, .. } = &self.daemons;
        if self.others_than_daemons() > 0 || !self.posts.is_empty() || self.is_held() {
            until_ns.set(None);
            return true;
        }
        self.remote.has_messages() || count.get() > 0 && self.awaits_daemons()
    }

    #[cold]
    fn awaits_daemons(&self) -> bool {
        let Daemons { limit_ns, until_ns, .. } = &self.daemons;
        let now_ns = self.time.clock.now_ns();
        if let Some(until_ns) = until_ns.get() {
            return now_ns < until_ns;
        }
        until_ns.set(Some(now_ns.saturating_add(limit_ns.get())));
        let daemons = self.tasks.iter().filter(|task| task.daemon.get());
        daemons.for_each(|task| self.cancel(task));
        true
    }

    /// The run is over: names those that are left, if it has waited for them.
    pub(super) fn end_daemons(&self) {
        if self.daemons.until_ns.take().is_some() && self.daemons.count.get() > 0 {
            let left = self.daemons.count.get();
            log::warn(format_args!(
                "the run ends, and leaves {} that {} canceled and did not end in time: {}",
                Counted(left, "daemon", "daemons"),
                if left == 1 { "was" } else { "were" },
                Names(self),
            ));
        }
    }
}

/// The daemons, by id and name.
struct Names<'s>(&'s Scheduler);

impl fmt::Display for Names<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 8;
        let daemons = self.0.tasks.iter().filter(|task| task.daemon.get());
        for (index, task) in daemons.take(MOST + 1).enumerate() {
            if index == MOST {
                return out.write_str(" and others");
            }
            let separator = if index == 0 { "" } else { ", " };
            write!(out, "{separator}{}", Named(task))?;
        }
        Ok(())
    }
}
