//! The model of synchronization objects: mutexes, condition variables, semaphores, wait groups and
//! channels. A waiting task is in the wait queue of each of its objects. When it leaves them, its
//! call's result is determined.
//!
//! A task enters the queues when its turn ends in such a call ([`Model::begin_to_wait`]), and
//! leaves them whenever it is readied. Only the library decides when timeouts expire: tasks whose
//! timers are gone from the heap leave in the order of their deadlines ([`Model::expire`]).

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ops::Range;

use libc::{ECANCELED, EDEADLK, EINTR, EINVAL, EOWNERDEAD, EPERM, EPIPE, ETIMEDOUT};

use super::budget::Yield;
use super::majjen_h::MJ_TASK_EXITED;
use super::model::{CANCELED, For, HANDED_OFF, Limit, Model, Reasons, TIME, TOLD, Wait, YIELDED};

/// A program's objects, by kind. Each is created when it is first used.
pub const MUTEXES: Range<usize> = 0..2;
pub const CONDITIONS: Range<usize> = 2..4;
pub const SEMAPHORES: Range<usize> = 4..6;
pub const GROUPS: Range<usize> = 6..8;
pub const CHANNELS: Range<usize> = 8..12;
/// Channels between threads, of which all ends are in the tasks here (`remote_channels.rs`).
pub const REMOTE: Range<usize> = 12..15;
/// How many there are.
pub const COUNT: usize = REMOTE.end;

/// For each channel of both kinds: the capacity of its buffer, and the size of its elements.
const CAPACITIES: [usize; 7] = [0, 1, 2, 1, 1, 2, 3];
const ELEMENT_BYTES: [usize; 7] = [8, 8, 3, 0, 8, 3, 8];

/// The capacity of a channel, and the size of its elements.
pub fn layout(channel: usize) -> (usize, usize) {
    let index = channel - CHANNELS.start;
    (CAPACITIES[index], ELEMENT_BYTES[index])
}

#[derive(Default)]
pub struct Object {
    /// NULL when there is none.
    pub at: *mut c_void,
    /// The scheduler that it is bound to.
    pub home: Option<usize>,
    /// Waiting tasks in FIFO order, each with the index of its case.
    pub waiters: Vec<(usize, usize)>,
    /// The task that has locked it, alive or not.
    pub owner: Option<usize>,
    /// The mutex that waiters of a condition variable will relock.
    pub mutex: Option<usize>,
    /// Permits, or a wait group's count.
    pub count: usize,
    pub elements: VecDeque<u64>,
    pub closed: bool,
}

/// What a task waits for, at which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    Lock(usize),
    /// The mutex, after a condition wait that will return this.
    Relock(usize, c_int),
    /// A signal, and then the mutex.
    Signal(usize, usize),
    /// As `Relock`, after a yield.
    Turn(usize, c_int),
    Permits(usize, u32),
    Zero(usize),
    /// One of the task's cases.
    Transfer,
}

/// One case of a task's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The channel, if there is one.
    pub object: Option<usize>,
    pub sends: bool,
    pub element: u64,
    /// Where it is, or is to be received.
    pub memory: *const u64,
    /// That of a select's case, or NULL.
    pub result: *const c_int,
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// 0, or a negative errno value: the case's, if there is one.
    pub status: c_int,
    pub case: Option<usize>,
    /// The received element.
    pub element: Option<u64>,
}

impl Given {
    pub fn status(status: c_int) -> Given {
        Given { status, case: None, element: None }
    }
}

impl Model {
    /// Whether the running task may use an object, which is then bound to its scheduler.
    pub fn may_use(&mut self, object: usize) -> bool {
        let home = &mut self.objects[object].home;
        if REMOTE.contains(&object) {
            return true;
        }
        *home = home.or(self.running);
        *home == self.running
    }

    /// `may_use` for a call that does not wait, and may come from outside a task.
    pub fn may_visit(&self, object: usize) -> bool {
        let home = self.objects[object].home;
        self.running.is_none() || home.is_none() || home == self.running
    }

    pub fn owns(&self, task: usize) -> usize {
        self.objects.iter().filter(|object| object.owner == Some(task)).count()
    }

    /// Whether only a mutex ends a task's wait, and has not yet.
    pub fn is_relocking(&self, task: usize) -> bool {
        let Wait { what, listed, .. } = self.tasks[task].wait;
        listed && matches!(what, For::Object(Aim::Relock(..)))
    }

    fn owner_lives(&self, mutex: usize) -> bool {
        self.objects[mutex].owner.is_some_and(|owner| self.tasks[owner].alive)
    }

    /// Whether destroying an object is refused.
    pub fn is_in_use(&self, object: usize) -> bool {
        let Object { home, waiters, .. } = &self.objects[object];
        let Some(home) = *home else { return false };
        // A waiter of a condition variable will relock the mutex.
        let wants = self.living(home).any(|(_, task)| match task.wait.what {
            _ if task.wait.yields == Yield::Ready => task.context.objects.contains(&object),
            For::Object(Aim::Signal(_, mutex)) => mutex == object && task.wait.listed,
            For::Object(Aim::Turn(mutex, _)) => mutex == object,
            _ => false,
        });
        wants || !waiters.is_empty() || self.owner_lives(object)
    }

    /// The first waiting sender or receiver of a channel.
    fn first(&self, channel: usize, sends: bool) -> Option<(usize, usize)> {
        let mut waiters = self.objects[channel].waiters.iter();
        waiters.find(|(task, case)| self.tasks[*task].cases[*case].sends == sends).copied()
    }

    /// The task that a send or a receive hands its element to, or takes it from.
    fn partner(&self, channel: usize, sends: bool) -> Option<(usize, usize)> {
        // In a channel between threads all elements take their way through the buffer.
        if REMOTE.contains(&channel) { None } else { self.first(channel, !sends) }
    }

    /// Whether a case can proceed.
    pub fn can_be_done(&self, case: Case) -> bool {
        let Some(channel) = case.object else { return false };
        let Object { elements, closed, .. } = &self.objects[channel];
        let has_room = elements.len() < layout(channel).0;
        let is_there = if case.sends { has_room } else { !elements.is_empty() };
        *closed || is_there || self.partner(channel, case.sends).is_some()
    }

    /// Whether a task can proceed without waiting.
    pub fn is_available(&self, task: usize, aim: Aim) -> bool {
        match aim {
            Aim::Lock(mutex) => self.objects[mutex].owner.is_none(),
            Aim::Permits(semaphore, permits) => {
                let Object { waiters, count, .. } = &self.objects[semaphore];
                waiters.is_empty() && *count >= permits as usize
            }
            Aim::Zero(group) => self.objects[group].count == 0,
            Aim::Transfer => self.tasks[task].cases.iter().any(|case| self.can_be_done(*case)),
            Aim::Relock(..) | Aim::Signal(..) | Aim::Turn(..) => false,
        }
    }

    /// A task's call returns without having waited: what it returns, and what it has taken. `chosen`
    /// is the case that was done, if one was.
    pub fn at_once(&mut self, task: usize, aim: Aim, chosen: usize) -> Given {
        let has_ended = self.tasks[task].state() == MJ_TASK_EXITED && !self.is_available(task, aim);
        let owner = match aim {
            Aim::Lock(mutex) => self.objects[mutex].owner,
            _ => None,
        };
        match aim {
            Aim::Signal(_, mutex) if self.objects[mutex].owner != Some(task) => {
                Given::status(-EPERM)
            }
            Aim::Lock(_) if owner == Some(task) => Given::status(-EDEADLK),
            Aim::Lock(mutex) if owner.is_some() && !self.owner_lives(mutex) => {
                Given::status(-EOWNERDEAD)
            }
            _ if has_ended => Given::status(-ECANCELED),
            Aim::Signal(condition, mutex) => {
                let Object { waiters, mutex: other, .. } = &self.objects[condition];
                assert!(!waiters.is_empty() && *other != Some(mutex), "it has not waited");
                Given::status(-EINVAL)
            }
            Aim::Transfer => self.transfer(self.tasks[task].cases[chosen], chosen),
            _ => {
                assert!(self.is_available(task, aim), "it has not waited");
                self.take(task, aim);
                Given::status(0)
            }
        }
    }

    pub fn take(&mut self, task: usize, aim: Aim) {
        match aim {
            Aim::Lock(mutex) => self.objects[mutex].owner = Some(task),
            Aim::Permits(semaphore, permits) => self.objects[semaphore].count -= permits as usize,
            _ => {}
        }
    }

    /// Does a case.
    pub fn transfer(&mut self, case: Case, index: usize) -> Given {
        assert!(self.can_be_done(case), "it has not waited");
        let channel = case.object.expect("it can be done");
        let done = Given { status: 0, case: Some(index), element: None };
        if case.sends {
            if self.objects[channel].closed {
                return Given { status: -EPIPE, ..done };
            }
            match self.partner(channel, true) {
                Some((receiver, by)) => {
                    let given = Given { case: Some(by), element: Some(case.element), ..done };
                    self.give(receiver, given);
                }
                None => self.objects[channel].elements.push_back(case.element),
            }
            return done;
        }
        let sender = self.partner(channel, false);
        if let Some((sender, by)) = sender {
            let element = self.tasks[sender].cases[by].element;
            self.objects[channel].elements.push_back(element);
            self.give(sender, Given { case: Some(by), ..done });
        }
        match self.objects[channel].elements.pop_front() {
            None => Given { status: -EPIPE, ..done },
            element => Given { element, ..done },
        }
    }

    pub fn close(&mut self, channel: usize) {
        self.objects[channel].closed = true;
        if REMOTE.contains(&channel) {
            return; // The loop tells those who wait.
        }
        for sends in [true, false] {
            while let Some((task, by)) = self.first(channel, sends) {
                self.give(task, Given { status: -EPIPE, case: Some(by), element: None });
            }
        }
    }

    /// Readies a task whose call has this outcome.
    fn give(&mut self, task: usize, given: Given) {
        if self.is_queued(task) {
            // Its deadline has passed, and it stays in the queue until it runs.
            self.end(task, given);
        } else {
            self.tasks[task].wait.given = Some(given);
            self.ready(task, HANDED_OFF);
        }
    }

    /// A task's call has this outcome; where it is in the queue is known, or found out.
    pub fn end(&mut self, task: usize, given: Given) {
        self.tasks[task].wait.given = Some(given);
        self.leave_lists(task, HANDED_OFF);
        self.tasks[task].why = HANDED_OFF;
    }

    /// Serves the first waiters of a semaphore.
    pub fn serve(&mut self, semaphore: usize) {
        while let Some((task, _)) = self.objects[semaphore].waiters.first().copied() {
            let For::Object(aim @ Aim::Permits(_, permits)) = self.tasks[task].wait.what else {
                unreachable!("it waits for a semaphore")
            };
            if self.objects[semaphore].count < permits as usize {
                return;
            }
            self.take(task, aim);
            self.give(task, Given::status(0));
        }
    }

    /// Readies all waiters of a wait group.
    pub fn finish(&mut self, group: usize) {
        while let Some((task, _)) = self.objects[group].waiters.first().copied() {
            self.give(task, Given::status(0));
        }
    }

    /// Signals the first waiter of a condition variable; returns whether there was one.
    pub fn signal(&mut self, condition: usize) -> bool {
        let first = self.objects[condition].waiters.first().copied();
        if let Some((task, _)) = first {
            self.give(task, Given::status(0));
        }
        first.is_some()
    }

    /// A mutex is unlocked.
    pub fn unlock_to_next(&mut self, mutex: usize) {
        let next = self.objects[mutex].waiters.first().copied();
        self.objects[mutex].owner = next.map(|(task, _)| task);
        let Some((task, _)) = next else { return };
        let status = match self.tasks[task].wait.what {
            For::Object(Aim::Relock(_, status)) => status,
            _ => 0,
        };
        self.give(task, Given::status(status));
    }

    /// A task whose condition wait has ended relocks the mutex; returns whether it can continue.
    fn relock(&mut self, task: usize, mutex: usize, status: c_int) -> bool {
        let is_free = self.objects[mutex].owner.is_none();
        if is_free || !self.owner_lives(mutex) {
            let status = if is_free { status } else { -EOWNERDEAD };
            self.tasks[task].wait.given = Some(Given::status(status));
            self.objects[mutex].owner.get_or_insert(task);
            return true;
        }
        let wait = &mut self.tasks[task].wait;
        (wait.given, wait.listed, wait.limit, wait.deadline_ns) = (None, true, None, None);
        wait.what = For::Object(Aim::Relock(mutex, status));
        self.objects[mutex].waiters.push((task, 0));
        false
    }

    /// A task's turn has ended in a call: it is in the wait queues, unless it only yields.
    pub fn begin_to_wait(&mut self, task: usize) {
        let For::Object(aim) = self.tasks[task].wait.what else { return };
        let is_queued = self.is_queued(task) || self.is_to_be_queued(task);
        let it = &mut self.tasks[task];
        let refused = if it.is_canceled() {
            Some(-ECANCELED)
        } else if is_queued {
            Some(-EINTR)
        } else {
            None
        };
        match (refused, aim) {
            (Some(status), Aim::Signal(_, mutex)) => {
                it.wait.what = For::Object(Aim::Turn(mutex, status));
                assert_eq!(self.objects[mutex].owner, Some(task), "it does not have the mutex");
                return self.unlock_to_next(mutex);
            }
            (Some(status), _) => {
                it.wait.given = Some(Given::status(status));
                it.why |= YIELDED;
                return;
            }
            (None, _) => it.wait.listed = true,
        }
        assert!(!self.is_available(task, aim), "task {task} waits for what it could have");
        match aim {
            Aim::Lock(object) | Aim::Permits(object, _) | Aim::Zero(object) => {
                self.objects[object].waiters.push((task, 0));
            }
            Aim::Signal(condition, mutex) => {
                assert_eq!(self.objects[mutex].owner, Some(task), "it does not have the mutex");
                self.objects[condition].waiters.push((task, 0));
                self.objects[condition].mutex = Some(mutex);
                self.unlock_to_next(mutex);
            }
            Aim::Transfer => {
                for (index, case) in self.tasks[task].cases.iter().enumerate() {
                    if let Some(channel) = case.object {
                        self.objects[channel].waiters.push((task, index));
                    }
                }
            }
            Aim::Relock(..) | Aim::Turn(..) => unreachable!("its call has not begun so"),
        }
        if let Aim::Lock(mutex) = aim {
            let owner = self.objects[mutex].owner;
            assert!(owner != Some(task) && self.owner_lives(mutex), "task {task} waits in vain");
        }
    }

    /// A task is being readied, and leaves the wait queues. Returns false if
    /// it waits for a mutex next.
    pub fn leave_lists(&mut self, task: usize, why: Reasons) -> bool {
        let wait = &mut self.tasks[task].wait;
        if !wait.listed {
            return true;
        }
        (wait.listed, wait.limit) = (false, None);
        let was_given = wait.given.is_some();
        let status = match why {
            TOLD => -EINTR,
            CANCELED => -ECANCELED,
            TIME => -ETIMEDOUT,
            _ => 0,
        };
        let what = wait.what;
        for object in &mut self.objects {
            object.waiters.retain(|(other, _)| *other != task);
        }
        let late = if was_given || status == -EINTR { None } else { self.last_look(task) };
        let wait = &mut self.tasks[task].wait;
        let given = *wait.given.get_or_insert(late.unwrap_or(Given::status(status)));
        match what {
            For::Object(Aim::Permits(semaphore, _)) if !was_given => self.serve(semaphore),
            For::Object(Aim::Signal(_, mutex)) => return self.relock(task, mutex, given.status),
            _ => {}
        }
        true
    }

    /// A task ends, and leaves its mutexes locked. Their waiters are woken, in any order.
    pub fn abandon_mutexes(&mut self, owner: usize) {
        for mutex in self.objects.iter_mut().filter(|mutex| mutex.owner == Some(owner)) {
            for (task, _) in mutex.waiters.drain(..) {
                let it = &mut self.tasks[task];
                (it.wait.listed, it.wait.limit, it.why) = (false, None, HANDED_OFF);
                it.wait.given = Some(Given::status(-EOWNERDEAD));
            }
        }
    }

    /// A task runs after it has yielded; returns whether it can continue.
    pub fn take_turn(&mut self, task: usize) -> bool {
        match self.tasks[task].wait.what {
            For::Object(Aim::Turn(mutex, status)) => self.relock(task, mutex, status),
            _ => true,
        }
    }

    /// A task whose deadline has passed runs, and nothing has ended its wait before.
    pub fn time_out(&mut self, task: usize) {
        if self.tasks[task].wait.listed && self.tasks[task].why & TIME != 0 {
            self.leave_lists(task, TIME);
        }
    }

    /// Readies tasks whose timers the loop has removed from the heap. With `all`, these must be all
    /// tasks that have lost their timers.
    pub fn expire(&mut self, home: usize, all: bool) {
        let mut over: Vec<(u64, u64, usize)> = Vec::new();
        for (index, task) in self.living(home) {
            // SAFETY: a living task.
            let real = unsafe { &*task.at };
            let has_timer = task.wait.listed && task.wait.limit.is_some();
            if has_timer && self.is_waiting(index) && real.heap_index == usize::MAX {
                over.push((real.wake_time_ns, task.wait.serial, index));
            }
        }
        over.sort_unstable();
        for (deadline_ns, _, task) in over {
            let now_ns = self.now_ns;
            let wait = &mut self.tasks[task].wait;
            if !wait.listed {
                continue; // Served when one before it left.
            }
            let Some(Limit::Span { earliest_ns, .. }) = wait.limit else { unreachable!() };
            let is_over = (earliest_ns..=now_ns).contains(&deadline_ns);
            if !is_over && !all {
                continue;
            }
            assert!(is_over, "the timer of task {task} is gone, at {now_ns}: {wait:?}");
            wait.deadline_ns.get_or_insert(deadline_ns);
            if matches!(wait.what, For::Object(Aim::Signal(..))) {
                self.ready(task, TIME);
            } else {
                wait.limit = None;
                self.tasks[task].why = TIME;
                self.schedulers[home].queue.push(task);
            }
        }
    }

    /// The scheduler is destroyed, and with it its waiting tasks.
    pub fn leave_home(&mut self, home: usize) {
        for object in self.objects.iter_mut().filter(|object| object.home == Some(home)) {
            object.home = None;
            object.waiters.clear();
        }
        for object in &mut self.objects[REMOTE] {
            object.waiters.retain(|(task, _)| self.tasks[*task].home != home);
        }
    }
}
