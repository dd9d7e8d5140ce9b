//! The model: the state of schedulers and tasks, as far as the calls and the header's promises
//! determine it.
//!
//! It predicts where it can: a call that readies a task puts it at the end of the queue, and so
//! does the model. What the loop does in between is compared afterwards, in [`Model::look`], at the
//! beginning of each turn and each callback (`comparison.rs`): the queue must be the previous one,
//! without the task that is running, and each task that has entered it must have a reason. The
//! reasons then decide what the task's call may return.

use std::ffi::c_int;

use super::budget::{Budget, Yield};
use super::majjen_h::*;
use super::objects::{Aim, COUNT, Case, Given, Object};
use super::uninterrupted;

/// Why a task was made ready: a set, since several events may have happened.
pub type Reasons = u16;
pub const YIELDED: Reasons = 1;
pub const TOLD: Reasons = 2;
pub const CANCELED: Reasons = 4;
pub const TIME: Reasons = 8;
pub const EVENT: Reasons = 16;
pub const ENDED: Reasons = 32;
pub const CLOSED: Reasons = 64;
pub const HANDED_OFF: Reasons = 128;
/// It was enqueued when it was ready already.
pub const ENQUEUED: Reasons = 256;

/// What a task waits for, besides a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// It only yields.
    Nothing,
    /// A wake-up.
    AnyTime,
    Fd {
        fd: i32,
        events: i16,
        /// It is watched; not so when it was closed, without mj_fd_close(): then the task may be
        /// told so, or of an event that the file still has.
        watched: bool,
    },
    End(usize),
    /// A synchronization object (`objects.rs`).
    Object(Aim),
    /// Its body has returned in a state that parks it.
    Called,
}

/// The call that a task is making.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub what: For,
    /// It may return after a yield, instead of waiting.
    pub may_yield: bool,
    /// The earliest and the latest correct deadline. The latest is counted from the time of the
    /// comparison.
    pub limit: Option<Limit>,
    /// The deadline, once it is known.
    pub deadline_ns: Option<u64>,
    /// Orders waits by their start.
    pub serial: u64,
    /// It is in the queues of what it waits for.
    pub listed: bool,
    /// The result of a call that waits for an object, once it is determined.
    pub given: Option<Given>,
    /// Whether the call yields first.
    pub yields: Yield,
    /// The task was enqueued before that yield: it is so again when it goes on.
    pub again: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// The span after some instant from `earliest_ns - span` on.
    Span {
        span_ns: u64,
        earliest_ns: u64,
    },
    At(u64),
}

impl Wait {
    pub fn new(what: For, limit: Option<Limit>) -> Wait {
        Wait {
            what,
            may_yield: what == For::Nothing,
            limit,
            deadline_ns: None,
            serial: 0,
            listed: false,
            given: None,
            yields: Yield::No,
            again: false,
        }
    }
}

/// The calls that a running code is in.
#[derive(Default)]
pub struct Context {
    /// How deeply callbacks are nested.
    pub depth: u32,
    pub in_log: bool,
    pub in_clock: bool,
    /// Schedulers that were passed to a call that has not returned.
    pub uses: Vec<usize>,
    /// Objects that were passed to a call that has not returned.
    pub objects: Vec<usize>,
}

pub struct Task {
    pub at: *mut mj_task,
    pub id: u64,
    pub home: usize,
    pub alive: bool,
    pub canceled: bool,
    /// It is not told that it is canceled.
    pub shielded: bool,
    /// The turn in which the call began that it is in, or went on after its yield.
    pub call_turns: u64,
    /// Whether what the call is for could be had then.
    pub had_it: bool,
    /// See `budget.rs`.
    pub returned: Option<usize>,
    /// What a call that waits for an object has returned, until that is compared.
    pub result: Option<c_int>,
    /// Dequeued by mj_scheduler_dequeue().
    pub taken_out: bool,
    /// Its body has returned after mj_task_exit().
    pub leaving: bool,
    /// It is counted as ended, and a line about it is being written.
    pub counted: bool,
    pub wait: Wait,
    /// For a call that waits for channels.
    pub cases: Vec<Case>,
    pub why: Reasons,
    pub turns: u64,
    pub context: Context,
}

impl Task {
    pub fn new(at: *mut mj_task, id: u64, home: usize) -> Task {
        let wait = Wait::new(For::Nothing, None);
        Task {
            at,
            id,
            home,
            alive: true,
            canceled: false,
            shielded: false,
            call_turns: 0,
            had_it: false,
            returned: None,
            result: None,
            taken_out: false,
            leaving: false,
            counted: false,
            wait,
            cases: Vec::new(),
            why: TOLD,
            turns: 0,
            context: Context::default(),
        }
    }

    pub fn is_canceled(&self) -> bool {
        self.canceled && !self.shielded
    }

    /// The public field, of a living task.
    pub fn state(&self) -> u32 {
        assert!(self.alive);
        // SAFETY: a living task of a living scheduler.
        unsafe { (*self.at).state }
    }
}

#[derive(Default)]
pub struct Scheduler {
    /// NULL when there is none.
    pub at: *mut mj_scheduler,
    /// The queue, without tasks in it that have ended.
    pub queue: Vec<usize>,
    pub current: Option<usize>,
    /// Tasks that waited for a descriptor that was ready when the wait function returned.
    pub due: Vec<usize>,
    pub stop: Option<Stop>,
    pub budget: Budget,
    /// Tasks that were enqueued again in turns that nobody has seen.
    pub again: Vec<usize>,
    // Since the counters were reset:
    pub created: u64,
    pub ended: u64,
    pub turns: u64,
    pub waits: u64,
    pub peak: u64,
    pub timers_at_reset: u64,
}

/// A call of mj_scheduler_stop().
pub struct Stop {
    /// How many tasks may still begin a turn: none if a task called it or the run had not begun.
    /// From the loop, the turn that it is about to start may start.
    pub turns_left: u32,
}

#[derive(Default)]
pub struct Model {
    pub tasks: Vec<Task>,
    pub schedulers: [Scheduler; 2],
    /// The running scheduler.
    pub running: Option<usize>,
    pub now_ns: u64,
    /// The latest time that the loop has read.
    pub loop_ns: u64,
    pub serial: u64,
    /// The descriptors that were closed, in order.
    pub closed: Vec<i32>,
    pub objects: [Object; COUNT],
    /// How many elements were sent: each is different.
    pub elements: u64,
}

impl Model {
    pub fn current(&self) -> Option<usize> {
        self.schedulers[self.running?].current
    }

    pub fn living(&self, home: usize) -> impl Iterator<Item = (usize, &Task)> {
        self.tasks.iter().enumerate().filter(move |(_, task)| task.alive && task.home == home)
    }

    /// The living task at an address.
    pub fn at(&self, home: usize, address: *const mj_task) -> Option<usize> {
        self.living(home).find(|(_, task)| std::ptr::eq(task.at, address)).map(|(index, _)| index)
    }

    pub fn is_queued(&self, task: usize) -> bool {
        self.schedulers[self.tasks[task].home].queue.contains(&task)
    }

    /// Whether a task waits, by its own state: a running one may have parked itself already.
    pub fn is_parked(&self, task: usize) -> bool {
        let parked = [MJ_TASK_SLEEPING, MJ_TASK_WAITING_IO].contains(&self.tasks[task].state());
        parked && self.can_be_queued(task)
    }

    /// Whether a call can put a task into the queue.
    pub fn can_be_queued(&self, task: usize) -> bool {
        !self.is_queued(task) && !self.is_relocking(task)
    }

    /// A call makes a task ready.
    pub fn ready(&mut self, task: usize, why: Reasons) {
        assert!(!self.is_queued(task));
        if !self.leave_lists(task, why) {
            return;
        }
        let it = &mut self.tasks[task];
        // The outcome of a dequeued task's wait stays what it was.
        it.why = if it.taken_out { it.why | why } else { why };
        it.taken_out = false;
        self.schedulers[self.tasks[task].home].queue.push(task);
    }

    /// A task is enqueued, in whatever state it is.
    pub fn enqueue(&mut self, task: usize) {
        if self.can_be_queued(task) {
            self.ready(task, TOLD);
        } else if self.is_queued(task) {
            self.tasks[task].why |= ENQUEUED;
        }
    }

    /// The tasks that wait for a descriptor, in FIFO order.
    pub fn waiting_for(&self, home: usize, fd: i32) -> Vec<usize> {
        let mut found: Vec<usize> = self
            .living(home)
            .filter(|(index, task)| {
                matches!(task.wait.what, For::Fd { fd: other, .. } if other == fd)
                    && self.is_waiting(*index)
            })
            .map(|(index, _)| index)
            .collect();
        found.sort_by_key(|index| self.tasks[*index].wait.serial);
        found
    }

    /// Whether a task still waits where its call has put it.
    pub fn is_waiting(&self, task: usize) -> bool {
        let it = &self.tasks[task];
        it.alive
            && !it.taken_out
            && !self.is_queued(task)
            && self.schedulers[it.home].current != Some(task)
    }

    /// Records the tasks whose descriptors are ready, when the wait function returns.
    pub fn expect_events(&mut self, home: usize) {
        let due = self.living(home).filter(|(index, task)| {
            let For::Fd { fd, events, watched: true } = task.wait.what else { return false };
            self.is_waiting(*index) && poll(fd, events).is_some_and(|happened| happened != 0)
        });
        self.schedulers[home].due = due.map(|(index, _)| index).collect();
    }

    /// A descriptor is closed without telling the tasks that wait for it.
    pub fn stop_watching(&mut self, closed: i32) {
        self.closed.push(closed);
        for task in &mut self.tasks {
            if let For::Fd { fd, watched, .. } = &mut task.wait.what
                && *fd == closed
            {
                *watched = false;
            }
        }
    }

    /// A task's body returns, and its state says what happens to it.
    pub fn leave(&mut self, task: usize) {
        let state = self.tasks[task].state();
        let parks =
            [MJ_TASK_SLEEPING, MJ_TASK_WAITING_IO].contains(&state) && !self.is_queued(task);
        let it = &mut self.tasks[task];
        it.leaving = state == MJ_TASK_EXITED;
        it.wait = Wait::new(if parks { For::Called } else { For::Nothing }, None);
        it.why = 0;
    }

    /// Whether a call with this scheduler has not returned yet.
    pub fn is_used(&self, home: usize) -> bool {
        self.tasks.iter().any(|task| task.alive && task.context.uses.contains(&home))
    }
}

/// The events of a descriptor that end a wait for `events`; `None` if it is not open.
pub fn poll(fd: i32, events: i16) -> Option<i16> {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    let place = &raw mut poll;
    // SAFETY: one pollfd.
    let result = uninterrupted(|| unsafe { libc::poll(place, 1, 0) });
    assert!(result >= 0);
    (fd >= 0 && poll.revents & libc::POLLNVAL == 0).then_some(poll.revents)
}
