//! The model: what is known of schedulers and tasks from the calls that were made, and what the
//! header promises of them.
//!
//! It predicts where it can: a call that readies a task puts it at the end of the queue, and so does
//! the model. What the loop does in between is looked at afterwards, at each [`Model::look`], which
//! is at the beginning of each turn and each callback: the queue must be what it was, less the task
//! whose turn it is, and each task that has come must have a reason. The reasons then decide what the
//! call that the task is in may return.

use super::api::*;

/// Why a task was made ready: a set, since what has happened may have been two things.
pub type Reasons = u8;
pub const YIELDED: Reasons = 1;
pub const TOLD: Reasons = 2;
pub const CANCELED: Reasons = 4;
pub const TIME: Reasons = 8;
pub const EVENT: Reasons = 16;
pub const ENDED: Reasons = 32;
pub const CLOSED: Reasons = 64;

/// What a task waits for, besides a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// It only gives the others their turn.
    Nothing,
    /// To be woken.
    AnyTime,
    Fd {
        fd: i32,
        events: i16,
        /// It is watched; not so when it was closed, without mj_fd_close().
        watched: bool,
    },
    End(usize),
    /// Its body has returned, in a state that parks it.
    Called,
}

/// The call that a task is in.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub what: For,
    /// It may come back after a turn of the others, instead of waiting.
    pub may_yield: bool,
    /// The earliest and the latest deadline that are right. The latest is counted from the time
    /// when it is looked at.
    pub limit: Option<Limit>,
    /// The deadline, once it is known.
    pub deadline_ns: Option<u64>,
    /// Orders waits by their beginning.
    pub serial: u64,
}

#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// So long after some moment from `earliest_ns - span` on.
    Span {
        span_ns: u64,
        earliest_ns: u64,
    },
    At(u64),
}

impl Wait {
    pub fn new(what: For, limit: Option<Limit>) -> Wait {
        Wait { what, may_yield: what == For::Nothing, limit, deadline_ns: None, serial: 0 }
    }
}

/// What somebody who has the thread is in the middle of.
#[derive(Default)]
pub struct Context {
    /// How many callbacks, one in the other.
    pub depth: u32,
    pub in_log: bool,
    pub in_clock: bool,
    /// Schedulers that were handed to a call that has not returned.
    pub uses: Vec<usize>,
}

pub struct Task {
    pub at: *mut mj_task,
    pub id: u64,
    pub home: usize,
    pub alive: bool,
    pub canceled: bool,
    /// Taken out of the queue by mj_scheduler_dequeue().
    pub taken_out: bool,
    /// Its body has returned after mj_task_exit().
    pub leaving: bool,
    pub wait: Wait,
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
            taken_out: false,
            leaving: false,
            wait,
            why: TOLD,
            turns: 0,
            context: Context::default(),
        }
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
    /// The queue, without tasks that have ended in it.
    pub queue: Vec<usize>,
    pub current: Option<usize>,
    /// Tasks that waited for a descriptor that was ready when the wait function returned.
    pub due: Vec<usize>,
    pub stop: Option<Stop>,
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
    /// How many tasks may still begin a turn: none, when it was a task that called it or a run had
    /// not begun. In the loop, the turn that it is about to give may be given.
    pub turns_left: u32,
}

#[derive(Default)]
pub struct Model {
    pub tasks: Vec<Task>,
    pub schedulers: [Scheduler; 2],
    /// Which one is running.
    pub running: Option<usize>,
    pub now_ns: u64,
    /// The latest time that the loop was told.
    pub loop_ns: u64,
    pub serial: u64,
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

    /// Whether a task waits, by its own account: a running one may have parked itself already.
    pub fn is_parked(&self, task: usize) -> bool {
        !self.is_queued(task) && [SLEEPING, WAITING_IO].contains(&self.tasks[task].state())
    }

    /// A task is made ready by a call.
    pub fn ready(&mut self, task: usize, why: Reasons) {
        assert!(!self.is_queued(task));
        let it = &mut self.tasks[task];
        // What ended the wait of a task that was taken out of the queue since still holds.
        it.why = if it.taken_out { it.why | why } else { why };
        it.taken_out = false;
        self.schedulers[self.tasks[task].home].queue.push(task);
    }

    /// The tasks that wait for a descriptor, first come first.
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

    /// Whether a task is where its wait puts it.
    pub fn is_waiting(&self, task: usize) -> bool {
        let it = &self.tasks[task];
        it.alive
            && !it.taken_out
            && !self.is_queued(task)
            && self.schedulers[it.home].current != Some(task)
    }

    /// Compares a scheduler with the model, and takes note of what its loop has done.
    pub fn look(&mut self, home: usize) {
        let at = self.schedulers[home].at;
        if at.is_null() {
            return;
        }
        // SAFETY: a living scheduler.
        let (address, executions) =
            unsafe { ((*at).current_task, (*mj_scheduler_get_metrics(at)).task_executions) };
        let before = self.schedulers[home].current;
        let turn_ended = executions != self.schedulers[home].turns;
        if turn_ended {
            self.end_turn(before.expect("a turn has ended, and none had begun"));
        }
        assert_eq!(executions, self.schedulers[home].turns, "task_executions");
        let current = (!address.is_null())
            .then(|| self.at(home, address).expect("the current task is not one that is alive"));
        let started = current.is_some() && (turn_ended || before.is_none());
        assert!(started || turn_ended || current == before, "{before:?} ran, and now {current:?}");
        let mut seen = self.real_queue(home);
        seen.splice(0..0, current.filter(|_| started));
        if let Some(task) = before.filter(|_| turn_ended) {
            let it = &self.tasks[task];
            let is_somewhere = !it.alive || it.wait.what != For::Nothing || seen.contains(&task);
            assert!(is_somewhere, "task {task} is in no queue");
        }
        let known = self.schedulers[home].queue.clone();
        assert!(
            seen.starts_with(&known),
            "the queue, with the running task first if its turn began, is {seen:?}: it was {known:?}"
        );
        self.explain(&seen[known.len()..]);
        if started {
            let first = seen.remove(0);
            self.begin_turn(home, first);
        }
        let scheduler = &mut self.schedulers[home];
        scheduler.queue = seen;
        scheduler.current = current;
        self.check(home);
        if started {
            self.check_nothing_was_missed(home);
        }
    }

    /// The run queue as C sees it, without tasks that have ended in it.
    fn real_queue(&self, home: usize) -> Vec<usize> {
        // SAFETY: a living scheduler.
        let at = unsafe { &*self.schedulers[home].at };
        let (mut tasks, mut count) = (Vec::new(), 0);
        let (mut next, mut last) = (at.runnable_head, std::ptr::null_mut());
        while !next.is_null() {
            count += 1;
            assert!(count <= at.runnable_count, "the queue is longer than runnable_count");
            match self.at(home, next) {
                Some(index) => tasks.push(index),
                // It was enqueued while it ran, and has ended since.
                // SAFETY: what is in the queue is a slot of a living scheduler.
                None => assert_eq!(unsafe { (*next).state }, EXITED, "who is in the queue?"),
            }
            last = next;
            // SAFETY: as above.
            next = unsafe { (*next).next };
        }
        assert_eq!(count, at.runnable_count, "runnable_count");
        assert_eq!(last, at.runnable_tail, "runnable_tail");
        tasks
    }

    fn end_turn(&mut self, task: usize) {
        self.serial += 1;
        let it = &mut self.tasks[task];
        it.turns += 1;
        it.wait.serial = self.serial;
        let scheduler = &mut self.schedulers[it.home];
        scheduler.turns += 1;
        if it.leaving {
            it.alive = false;
            scheduler.ended += 1;
            scheduler.queue.retain(|other| *other != task);
        }
    }

    fn begin_turn(&mut self, home: usize, task: usize) {
        assert!(!self.tasks[task].taken_out);
        if let Some(stop) = &mut self.schedulers[home].stop {
            assert!(stop.turns_left > 0, "task {task} has a turn after mj_scheduler_stop()");
            stop.turns_left -= 1;
        }
    }

    /// Each task that has come into the queue by itself must have a reason, and those with the same
    /// reason must be in its order.
    fn explain(&mut self, come: &[usize]) {
        let mut orders: Vec<(Reasons, (i64, u64, u64))> = Vec::new();
        for task in come {
            let why = self.reasons(*task);
            assert!(
                why != 0,
                "task {task} is ready, and nothing has happened: {:?}",
                self.tasks[*task].wait
            );
            assert!(!self.tasks[*task].taken_out, "task {task} was taken out of the queue");
            let wait = &self.tasks[*task].wait;
            let key = match (why, wait.what) {
                (TIME, _) => Some((0, wait.deadline_ns.unwrap_or(0), wait.serial)),
                (EVENT, For::Fd { fd, .. }) => Some((i64::from(fd), 0, wait.serial)),
                (ENDED, For::End(other)) => Some((other as i64, 0, wait.serial)),
                _ => None,
            };
            if let Some(key) = key {
                let earlier = orders.iter().filter(|(w, k)| *w == why && k.0 == key.0);
                for (_, other) in earlier {
                    assert!(*other < key, "task {task} is ready too late: {other:?}, {key:?}");
                }
                orders.push((why, key));
            }
            self.tasks[*task].why = why;
        }
    }

    fn reasons(&self, task: usize) -> Reasons {
        let Task { wait, canceled, .. } = &self.tasks[task];
        let mut why = 0;
        if wait.may_yield || *canceled {
            why |= YIELDED;
        }
        let deadline = wait.deadline_ns.or(match wait.limit {
            Some(Limit::Span { earliest_ns, .. } | Limit::At(earliest_ns)) => Some(earliest_ns),
            None => None,
        });
        if deadline.is_some_and(|deadline| deadline <= self.now_ns) {
            why |= TIME;
        }
        match wait.what {
            For::Fd { fd, events, .. } => match poll(fd, events) {
                Some(0) => {}
                Some(_) => why |= EVENT,
                // What is not open cannot be waited for.
                None => why |= YIELDED,
            },
            For::End(other) if !self.tasks[other].alive => why |= ENDED,
            _ => {}
        }
        why
    }

    /// What always holds.
    fn check(&mut self, home: usize) {
        // SAFETY: a living scheduler.
        let at = unsafe { &*self.schedulers[home].at };
        let heap: &[*mut mj_task] = match at.timer_count {
            0 => &[],
            // SAFETY: as the header says of `timer_heap`.
            count => unsafe { std::slice::from_raw_parts(at.timer_heap, count) },
        };
        assert!(at.timer_count <= at.timer_capacity);
        for (index, entry) in heap.iter().enumerate() {
            let task = self.at(home, *entry).expect("a task in the heap is not alive");
            // SAFETY: a living task, and its parent.
            let (entry, parent) = unsafe { (&**entry, &*heap[index.saturating_sub(1) / 4]) };
            assert_eq!(entry.heap_index, index, "heap_index of task {task}");
            assert!(parent.wake_time_ns <= entry.wake_time_ns, "the heap's order at {index}");
        }
        let mut timers = 0;
        let mut alive = 0;
        for index in 0..self.tasks.len() {
            if !self.tasks[index].alive || self.tasks[index].home != home {
                continue;
            }
            alive += 1;
            let waiting = self.is_waiting(index);
            let task = &mut self.tasks[index];
            // SAFETY: a living task.
            let real = unsafe { &*task.at };
            let has_timer = waiting && task.wait.limit.is_some();
            assert_eq!(real.heap_index != usize::MAX, has_timer, "a timer of task {index}");
            timers += usize::from(has_timer);
            if has_timer {
                let (earliest, latest) = match task.wait.limit {
                    Some(Limit::Span { span_ns, earliest_ns }) => {
                        (earliest_ns, self.now_ns.saturating_add(span_ns))
                    }
                    Some(Limit::At(deadline)) => (deadline, deadline),
                    None => unreachable!(),
                };
                let deadline = real.wake_time_ns;
                assert!(deadline >= earliest && deadline <= latest, "wake_time_ns of task {index}");
                assert_eq!(*task.wait.deadline_ns.get_or_insert(deadline), deadline);
            }
            if waiting {
                assert!(
                    real.state == SLEEPING || real.state == WAITING_IO,
                    "state of task {index}"
                );
                assert!(task.wait.what != For::Nothing, "task {index} is in no queue");
            }
        }
        assert_eq!(at.timer_count, timers, "timer_count");
        let scheduler = &mut self.schedulers[home];
        scheduler.peak = scheduler.peak.max(alive);
        let metrics = &at.metrics;
        // Between a task's end and the next look, it is neither.
        assert_eq!(metrics.current_tasks, alive, "current_tasks");
        assert_eq!(metrics.tasks_created, scheduler.created, "tasks_created");
        assert_eq!(metrics.tasks_exited, scheduler.ended, "tasks_exited");
        assert_eq!(metrics.peak_tasks, scheduler.peak, "peak_tasks");
        assert_eq!(metrics.wait_calls, scheduler.waits, "wait_calls");
        let gone = metrics.timer_expirations + metrics.timer_cancellations;
        assert_eq!(
            (scheduler.timers_at_reset + metrics.heap_operations).wrapping_sub(2 * gone),
            at.timer_count as u64,
            "heap_operations, timer_expirations, timer_cancellations"
        );
    }

    /// At the beginning of a turn, what the loop has had time for is done.
    fn check_nothing_was_missed(&mut self, home: usize) {
        for index in 0..self.tasks.len() {
            if self.tasks[index].home != home || !self.is_waiting(index) {
                continue;
            }
            let wait = &self.tasks[index].wait;
            assert!(
                wait.deadline_ns.is_none_or(|deadline| deadline > self.loop_ns),
                "the timer of task {index} is due since {:?}, and it is {}",
                wait.deadline_ns,
                self.loop_ns
            );
            if let For::End(other) = wait.what {
                assert!(self.tasks[other].alive, "task {index} waits for {other}, which has ended");
            }
        }
        for task in std::mem::take(&mut self.schedulers[home].due) {
            assert!(!self.is_waiting(task), "task {task} has missed an event");
        }
    }

    /// Takes note of the tasks whose descriptors are ready, as the wait function returns.
    pub fn expect_events(&mut self, home: usize) {
        let due = self.living(home).filter(|(index, task)| {
            let For::Fd { fd, events, watched: true } = task.wait.what else { return false };
            self.is_waiting(*index) && poll(fd, events).is_some_and(|happened| happened != 0)
        });
        self.schedulers[home].due = due.map(|(index, _)| index).collect();
    }

    /// A descriptor is closed, and those who wait for it are not told.
    pub fn stop_watching(&mut self, closed: i32) {
        for task in &mut self.tasks {
            if let For::Fd { fd, watched, .. } = &mut task.wait.what
                && *fd == closed
            {
                *watched = false;
            }
        }
    }

    /// A task's body returns, and says by its state what is to become of it.
    pub fn leave(&mut self, task: usize) {
        let state = self.tasks[task].state();
        let parks = [SLEEPING, WAITING_IO].contains(&state) && !self.is_queued(task);
        let it = &mut self.tasks[task];
        it.leaving = state == EXITED;
        it.wait = Wait::new(if parks { For::Called } else { For::Nothing }, None);
        it.why = 0;
    }

    /// Whether somebody is in the middle of a call with this scheduler.
    pub fn is_used(&self, home: usize) -> bool {
        self.tasks.iter().any(|task| task.alive && task.context.uses.contains(&home))
    }
}

/// The events of a descriptor that end a wait for `events`; `None` if it is not open.
pub fn poll(fd: i32, events: i16) -> Option<i16> {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd.
    let result = unsafe { libc::poll(&raw mut poll, 1, 0) };
    assert!(result >= 0);
    (fd >= 0 && poll.revents & libc::POLLNVAL == 0).then_some(poll.revents)
}
