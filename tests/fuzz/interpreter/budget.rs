//! The model of the budget: a task's turn makes so many calls that may suspend, but complete without
//! waiting. The next one yields, and then begins as if it were made then.
//!
//! The yield is a part of the call's [`Wait`](super::model::Wait): it is `Due` when the call begins, and
//! `Ready` from the end of the turn on, when the task is in the queue. If nobody has looked since when
//! the call has come back, what it has done is only known from its result, so the result is left in
//! `Task::returned` for the look that finds that the task has had its turn.
//!
//! An enqueue of the running task ends its next wait, and the yield is not that: a task that was
//! enqueued before the yield is so again when it goes on.

use super::majjen_h::MJ_TASK_EXITED;
use super::model::{For, Model, TOLD, YIELDED};
use super::objects::Given;

/// How many calls a turn may make.
const CALLS: u32 = 64;

/// The budget of a scheduler, whose current task spends it.
#[derive(Default)]
pub struct Budget {
    /// The turn that it is of.
    turn: Option<u64>,
    /// How many calls it has made.
    calls: u32,
}

/// Whether a call yields first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yield {
    No,
    Due,
    Ready,
    /// It does not, and the task is told that it is canceled.
    Told,
}

impl Model {
    /// The running task makes a call that may suspend.
    pub fn spend(&mut self, task: usize) -> Yield {
        let owns = self.owns(task) > 0;
        let is_canceled = self.tasks[task].is_canceled();
        let is_excused = self.tasks[task].state() == MJ_TASK_EXITED || owns && !is_canceled;
        let scheduler = &mut self.schedulers[self.tasks[task].home];
        let Budget { turn, calls } = &mut scheduler.budget;
        if turn.replace(scheduler.turns) != Some(scheduler.turns) {
            *calls = 0;
        }
        *calls = (*calls + 1).min(CALLS + 1);
        match *calls > CALLS && !is_excused {
            true if owns => Yield::Told,
            true => Yield::Due,
            false => Yield::No,
        }
    }

    /// A turn has ended: whether in the yield of a call, so that the task is in the queue.
    pub fn begin_to_yield(&mut self, task: usize) -> bool {
        let it = &mut self.tasks[task];
        if it.wait.yields != Yield::Due {
            return false;
        }
        it.wait.yields = Yield::Ready;
        it.why = YIELDED;
        let is_queued = self.is_queued(task);
        self.tasks[task].wait.again = is_queued;
        if !is_queued {
            self.schedulers[self.tasks[task].home].queue.push(task);
        }
        true
    }

    /// A task has its turn. Whether its call enqueues it as it goes on.
    pub fn is_enqueued_again(&self, task: usize) -> bool {
        let wait = &self.tasks[task].wait;
        wait.yields == Yield::Ready && wait.again
    }

    /// Whether a task was enqueued again since the last comparison.
    pub fn is_to_be_queued(&self, task: usize) -> bool {
        self.schedulers[self.tasks[task].home].again.contains(&task)
    }

    /// A task has its turn, and goes on with a call that has yielded. Whether it has.
    pub fn go_on(&mut self, task: usize) -> bool {
        let it = &mut self.tasks[task];
        if it.wait.yields != Yield::Ready {
            return false;
        }
        it.wait.yields = Yield::No;
        it.why = if std::mem::take(&mut it.wait.again) { TOLD } else { 0 };
        it.call_turns = it.turns;
        let is_canceled = it.is_canceled();
        let scheduler = &mut self.schedulers[it.home];
        scheduler.budget = Budget { turn: Some(scheduler.turns), calls: 1 };
        if let For::Object(aim) = self.tasks[task].wait.what {
            let is_available = self.is_available(task, aim);
            self.tasks[task].had_it = is_available;
            if is_canceled {
                self.tasks[task].wait.given = Some(Given::status(-libc::ECANCELED));
            }
        }
        true
    }

    /// The turn in which a call has come back has begun, and nobody has looked before.
    pub fn come_back(&mut self, task: usize) {
        let Some(chosen) = self.tasks[task].returned.take() else { return };
        if let For::Object(aim) = self.tasks[task].wait.what
            && self.tasks[task].wait.given.is_none()
        {
            let given = self.at_once(task, aim, chosen);
            self.tasks[task].wait.given = Some(given);
        }
    }
}
