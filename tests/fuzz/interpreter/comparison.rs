//! The comparison: the visible state of a scheduler with the model's, and a reason for each task
//! that has entered the queue.

use super::budget::Yield;
use super::majjen_h::*;
use super::model::{CLOSED, ENDED, EVENT, For, Limit, Model, Reasons, TIME, YIELDED, poll};
use super::objects::{Aim, CHANNELS, Object, REMOTE, SEMAPHORES};

impl Model {
    /// Compares a scheduler with the model, and records what its loop has done.
    pub fn look(&mut self, home: usize) {
        let at = self.schedulers[home].at;
        if at.is_null() {
            return;
        }
        // SAFETY: a living scheduler.
        let metrics = unsafe { *mj_scheduler_get_metrics(at) };
        let executions = metrics.task_executions;
        let before = self.schedulers[home].current;
        let turn_ended = executions != self.schedulers[home].turns;
        if let Some(task) = before.filter(|_| turn_ended) {
            self.end_turn(task);
        }
        for _ in self.schedulers[home].turns..executions {
            self.settle(home, &self.seen(home, before, turn_ended));
            // The loop reads the clock, which looks, and ends waits before it gives turns.
            self.expire(home, false);
            self.unseen_turn(home);
        }
        if let Some(task) = before.filter(|_| metrics.tasks_exited != self.schedulers[home].ended) {
            self.count_out(task);
        }
        assert_eq!(executions, self.schedulers[home].turns, "task_executions");
        let current = self.real_current(home);
        let started = current.is_some() && (turn_ended || before.is_none());
        assert!(started || turn_ended || current == before, "{before:?} ran, and now {current:?}");
        let mut seen = self.seen(home, before, turn_ended);
        if let Some(task) = before.filter(|_| turn_ended) {
            let it = &self.tasks[task];
            let is_somewhere = !it.alive || it.wait.what != For::Nothing || seen.contains(&task);
            assert!(is_somewhere, "task {task} is in no queue");
        }
        self.settle(home, &seen);
        let known = self.schedulers[home].queue.clone();
        assert!(
            seen.starts_with(&known),
            "the queue, with the running task first if its turn began, is {seen:?}: it was {known:?}"
        );
        self.expire(home, false);
        if let Some(task) = current.filter(|_| started) {
            self.time_out(task); // It may leave permits to others, which also ends their timers.
        }
        // A call that has yielded may have gone on and come back meanwhile, and ended others' waits. If it
        // has waited first, it has gone on in an earlier turn.
        let goes_on = |task: &usize| {
            let it = &self.tasks[*task];
            started && it.returned.is_some() && it.wait.yields == Yield::Ready
        };
        let gone_on = current.filter(goes_on);
        self.expire(home, gone_on.is_none());
        let mut again = std::mem::take(&mut self.schedulers[home].again);
        again.extend(current.filter(|task| started && self.is_enqueued_again(*task)));
        let mut foreseen = self.schedulers[home].queue.split_off(known.len());
        foreseen.extend(&again);
        if let Some(task) = gone_on {
            assert!(self.go_on(task), "task {task} has not yielded");
            self.come_back(task);
            self.expire(home, true);
            // Who got its part when its time was over has its place already.
            let come = self.schedulers[home].queue.split_off(known.len());
            let later = come.into_iter().filter(|task| !foreseen.contains(task));
            foreseen.extend(later.collect::<Vec<usize>>());
        }
        let mut come = seen[known.len()..].to_vec();
        self.explain(come.iter().copied().filter(|task| !again.contains(task)));
        self.see_late_events(home);
        come.retain(|task| foreseen.contains(task));
        assert_eq!(
            come, foreseen,
            "the order of those whose time was over, and who got their part"
        );
        if started {
            let first = seen.remove(0);
            self.begin_turn(home, first);
        }
        let scheduler = &mut self.schedulers[home];
        scheduler.queue = seen;
        scheduler.current = current;
        if let Some(task) = current.filter(|_| started) {
            assert!(
                gone_on.is_some() || self.go_on(task) || self.take_turn(task),
                "task {task} goes on without the mutex"
            );
        }
        self.check(home);
        if started {
            self.check_nothing_was_missed(home);
        }
    }

    /// The running task as C sees it.
    fn real_current(&self, home: usize) -> Option<usize> {
        // SAFETY: a living scheduler.
        let address = unsafe { (*self.schedulers[home].at).current_task };
        let find = || self.at(home, address).expect("the current task is not one that is alive");
        (!address.is_null()).then(find)
    }

    /// The run queue, with the running task first if its turn has begun since the last comparison.
    fn seen(&self, home: usize, before: Option<usize>, turn_ended: bool) -> Vec<usize> {
        let started = self.real_current(home).filter(|_| turn_ended || before.is_none());
        started.into_iter().chain(self.real_queue(home)).collect()
    }

    /// The run queue as C sees it, without tasks in it that have ended.
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
                None => {
                    // SAFETY: what is in the queue is a slot of a living scheduler.
                    let state = unsafe { (*next).state };
                    assert_eq!(state, MJ_TASK_EXITED, "who is in the queue?");
                }
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
            scheduler.ended += u64::from(!it.counted);
            scheduler.queue.retain(|other| *other != task);
            self.abandon_mutexes(task);
        } else if !self.begin_to_yield(task) {
            self.begin_to_wait(task);
        }
    }

    /// A turn within mj_cond_wait(), which has found the mutex locked, or in which a call has gone on
    /// after its yield, and waits.
    fn unseen_turn(&mut self, home: usize) {
        let queue = &mut self.schedulers[home].queue;
        assert!(!queue.is_empty(), "somebody had a turn, and nobody was ready");
        let task = queue.remove(0);
        self.begin_turn(home, task);
        if self.is_enqueued_again(task) {
            self.schedulers[home].again.push(task);
        }
        let goes_on = self.go_on(task);
        assert!(goes_on || !self.take_turn(task), "task {task} had a turn, and did nothing");
        self.serial += 1;
        let it = &mut self.tasks[task];
        it.turns += 1;
        it.wait.serial = self.serial;
        self.schedulers[home].turns += 1;
        if goes_on {
            self.begin_to_wait(task);
        }
    }

    /// The running task is counted as ended, and a log line says that it leaves its mutexes locked.
    fn count_out(&mut self, task: usize) {
        let owns = self.owns(task);
        let it = &mut self.tasks[task];
        assert!(it.leaving && !it.counted && owns > 0, "tasks_exited");
        it.counted = true;
        self.schedulers[it.home].ended += 1;
    }

    fn begin_turn(&mut self, home: usize, task: usize) {
        assert!(!self.tasks[task].taken_out);
        if let Some(stop) = &mut self.schedulers[home].stop {
            assert!(stop.turns_left > 0, "task {task} has a turn after mj_scheduler_stop()");
            stop.turns_left -= 1;
        }
    }

    /// Each task that has entered the queue by itself must have a reason, and tasks with the same
    /// reason must be in that reason's order.
    fn explain(&mut self, come: impl Iterator<Item = usize>) {
        let mut orders: Vec<(Reasons, (i64, u64, u64))> = Vec::new();
        for task in come {
            let why = self.reasons(task);
            assert!(
                why != 0,
                "task {task} is ready, and nothing has happened: {:?}",
                self.tasks[task].wait
            );
            assert!(!self.tasks[task].taken_out, "task {task} was taken out of the queue");
            let wait = &self.tasks[task].wait;
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
            self.tasks[task].why = why;
        }
    }

    /// A task whose deadline has passed waits until it runs: its event may come before that, and may
    /// be over by then.
    fn see_late_events(&mut self, home: usize) {
        for task in self.schedulers[home].queue.clone() {
            let it = &mut self.tasks[task];
            if it.why & TIME != 0
                && let For::Fd { fd, events, watched: true } = it.wait.what
                && poll(fd, events).is_some_and(|happened| happened != 0)
            {
                it.why |= EVENT;
            }
        }
    }

    fn reasons(&self, task: usize) -> Reasons {
        let wait = &self.tasks[task].wait;
        if wait.given.is_some() {
            return self.tasks[task].why;
        }
        let mut why = 0;
        if wait.may_yield
            || self.tasks[task].is_canceled()
            || matches!(wait.what, For::Object(Aim::Turn(..)))
        {
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
            For::Fd { watched: false, .. } => why |= EVENT | CLOSED,
            For::Fd { fd, events, .. } => match poll(fd, events) {
                Some(0) => {}
                Some(_) => why |= EVENT,
                // A descriptor that is not open cannot be waited for.
                None => why |= YIELDED,
            },
            For::End(other) if !self.tasks[other].alive || self.tasks[other].counted => {
                why |= ENDED
            }
            _ => {}
        }
        why
    }

    /// The invariants.
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
            alive += u64::from(!self.tasks[index].counted);
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
                    real.state == MJ_TASK_SLEEPING || real.state == MJ_TASK_WAITING_IO,
                    "state of task {index}"
                );
                assert!(task.wait.what != For::Nothing, "task {index} is in no queue");
                assert_eq!(task.wait.given, None, "task {index} has it, and is not ready");
            }
        }
        assert_eq!(at.timer_count, timers, "timer_count");
        let of_others = |object: &&Object| object.home.is_some_and(|other| other != home);
        for object in self.objects[SEMAPHORES].iter().filter(|object| !of_others(object)) {
            assert_eq!(mj_sem_available(object.at.cast()) as usize, object.count, "permits");
        }
        for object in self.objects[CHANNELS].iter().filter(|object| !of_others(object)) {
            assert_eq!(mj_chan_length(object.at.cast()), object.elements.len(), "elements");
        }
        for object in
            self.objects[REMOTE].iter().filter(|_| self.running.is_none_or(|it| it == home))
        {
            assert_eq!(mj_xchan_length(object.at.cast()), object.elements.len(), "elements");
        }
        let scheduler = &mut self.schedulers[home];
        scheduler.peak = scheduler.peak.max(alive);
        let metrics = &at.metrics;
        // Between a task's end and the next comparison, it is neither.
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

    /// At the beginning of a turn, everything that the loop had time for is done.
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
}
