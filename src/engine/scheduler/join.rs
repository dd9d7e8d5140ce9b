//! Waiting for a task to end.

use std::cell::Cell;
use std::ptr::{eq, from_ref};

use super::block::{Limit, Running, wait};
use super::object::{Scheduler, running_task};
use super::spend::yield_spent;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{
    FIRED, Holders, ObjectKind, Outcome, SchedulerRef, Task, Wait, WaitKind, WaitNode,
};

/// The task has a node in the other task's list `joiners`.
static JOIN: WaitKind = WaitKind {
    object: ObjectKind::Task,
    holders: Some(&Holders { words: "", one_suffices: false, next: next_target }),
    ..WaitKind::new(c"task", unlink)
};

/// # Safety
/// As [`Holders::next`].
unsafe fn next_target(_: SchedulerRef, target: usize, targets: &mut usize) -> *const Task {
    Holders::only(targets, || target as *const Task)
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, target: usize, task: &Task) {
    // SAFETY: a task that others wait for is alive: ending wakes them.
    let joiners = unsafe { &(*(target as *const Task)).joiners };
    if let Some(node) = joiners.iter().find(|node| eq(node.task(), task)) {
        node.leave(joiners);
    }
}

/// Suspends the running task until another one has ended.
pub fn join(id: u64, limit: Limit) -> Result<()> {
    let running = running_task().ok_or(Error::NotInTask)?;
    let has_waited = Cell::new(false);
    if running.0.spend(running.1) {
        // If it ends in the yield, it ends during the call.
        has_waited.set(running.0.tasks.find_id(id).is_some());
        yield_spent(running, Wait::NONE)?;
    }
    let look = |(scheduler, task): Running<'_>| match scheduler.tasks.find_id(id) {
        Some(target) if eq(target, task) => Err(Error::Deadlock),
        Some(_) => Ok(None),
        // The target ended in a yield, or between an unrelated wake-up and this attempt.
        None if has_waited.get() => Ok(Some(0)),
        None => Err(Error::NoSuchTask),
    };
    let node = WaitNode::default();
    let waited = wait(limit, look, |(scheduler, task)| {
        let target = scheduler.tasks.find_id(id).ok_or(Error::NoSuchTask)?;
        has_waited.set(true);
        node.begin(task, &target.joiners, 0);
        Ok(Wait::on(&JOIN, from_ref(target)))
    });
    match (waited, running_task()) {
        // The target ended after mj_scheduler_dequeue() had unlinked this task from its joiners.
        (Err(Error::TimedOut | Error::Canceled), Some((scheduler, _)))
            if has_waited.get() && scheduler.tasks.find_id(id).is_none() =>
        {
            Ok(())
        }
        (waited, _) => waited.map(drop),
    }
}

impl Scheduler {
    /// Wakes the joiners of a task that has ended.
    pub fn ready_joiners(&self, task: &Task) {
        while let Some(node) = task.joiners.first() {
            node.finish(&task.joiners, 1);
            self.end_wait(node.task(), Outcome::Ready(FIRED));
        }
    }
}
