//! The model of channels between threads, whose ends are all on this one. Their elements take their way through
//! the buffer, and nobody is readied by the call that makes it possible: the loop of a scheduler is told, and does
//! the cases of its tasks that wait, in FIFO order. So a call that comes before that may have what they wait for.
//!
//! When the loop does so is not foreseen: what it has done is found out afterwards ([`Model::settle`]), from what the
//! tasks' memory and the number of elements say. It must have been possible, and those that have waited
//! for longer come first. Before the scheduler is idle it must have done all ([`Model::check_served`]).

use std::ffi::c_int;

use libc::EPIPE;

use super::majjen_h::mj_xchan_length;
use super::model::{Model, TIME};
use super::objects::{Case, Given, REMOTE};

/// What memory contains into which nothing was received, and a result that nobody has set.
pub const EMPTY: u64 = 0xA5A5_A5A5_A5A5_A5A5;
pub const UNSET: c_int = 1;

/// What has become of a case that was waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    /// With this result.
    Done(c_int),
    /// A send whose time is over: whether it is done is not to be seen.
    Hidden,
}

impl Case {
    pub fn is_remote(&self) -> bool {
        self.object.is_some_and(|object| REMOTE.contains(&object))
    }

    /// The result, or nothing for a case of no select.
    fn result(&self) -> Option<c_int> {
        // SAFETY: of a call that has not returned.
        (!self.result.is_null()).then(|| unsafe { self.result.read_volatile() })
    }

    fn has_received(&self) -> bool {
        // SAFETY: as above.
        !self.sends && unsafe { self.memory.read_volatile() } != EMPTY
    }
}

impl Model {
    /// Records what the loop has done for those who wait at channels between threads. `seen` is the queue, with
    /// the running task first if its turn has begun.
    pub fn settle(&mut self, home: usize, seen: &[usize]) {
        if self.running == Some(home) {
            REMOTE.for_each(|channel| self.settle_channel(home, seen, channel));
        }
    }

    fn settle_channel(&mut self, home: usize, seen: &[usize], channel: usize) {
        let of_home = |(task, _): &(usize, usize)| self.tasks[*task].home == home;
        let waiters: Vec<(usize, usize)> =
            self.objects[channel].waiters.iter().copied().filter(of_home).collect();
        if waiters.is_empty() {
            return;
        }
        let [mut sends, receives] = [true, false].map(|sends| {
            let at_end = |(task, by): &&(usize, usize)| self.tasks[*task].cases[*by].sends == sends;
            let mut fates: Vec<(usize, usize, Fate)> = Vec::new();
            for &(task, by) in waiters.iter().filter(at_end) {
                fates.push((task, by, self.fate(task, by, seen)));
            }
            self.check_order(&mut fates);
            fates
        });
        let is_done = |(_, _, fate): &&(usize, usize, Fate)| *fate == Fate::Done(0);
        let [sent, received] =
            [&sends, &receives].map(|fates| fates.iter().filter(is_done).count());
        let object = &self.objects[channel];
        let length = mj_xchan_length(object.at.cast()) as i64 - self.length_by_caller(channel);
        let hidden = length - object.elements.len() as i64 - sent as i64 + received as i64;
        let first = sends.iter_mut().filter(|(_, _, fate)| *fate == Fate::Hidden);
        first.take(hidden.max(0) as usize).for_each(|(_, _, fate)| *fate = Fate::Done(0));

        // In FIFO order: who has looked by itself was still in the list when the loop served those behind it.
        let mut queues = [sends, receives].map(|mut fates| {
            fates.retain(|(_, _, fate)| *fate == Fate::Done(0));
            fates.into_iter().peekable()
        });
        while let Some((task, by, _)) = queues.iter_mut().find_map(|queue| {
            queue.next_if(|(task, by, _)| self.can_be_done(self.tasks[*task].cases[*by]))
        }) {
            let given = self.transfer(self.tasks[task].cases[by], by);
            self.end(task, given);
        }
        for queue in &mut queues {
            assert_eq!(queue.next().map(|(task, ..)| task), None, "it has got what was not there");
        }
        self.end_closed(channel, &waiters, seen);
    }

    /// Tells those who wait at a closed channel.
    fn end_closed(&mut self, channel: usize, waiters: &[(usize, usize)], seen: &[usize]) {
        for &(task, by) in waiters {
            if !self.tasks[task].wait.listed || self.fate(task, by, seen) != Fate::Done(-EPIPE) {
                continue;
            }
            let case = self.tasks[task].cases[by];
            let is_over = case.sends || self.objects[channel].elements.is_empty();
            assert!(self.objects[channel].closed && is_over, "task {task}: it is not closed");
            self.end(task, Given { status: -EPIPE, case: Some(by), element: None });
        }
    }

    fn fate(&self, task: usize, by: usize, seen: &[usize]) -> Fate {
        let (it, case) = (&self.tasks[task], &self.tasks[task].cases[by]);
        let closed = case.object.is_some_and(|channel| self.objects[channel].closed);
        match (it.result, case.result()) {
            (Some(result), Some(of_case)) if result == by as c_int => Fate::Done(of_case),
            (Some(result), None) if result == 0 || result == -EPIPE => Fate::Done(result),
            (Some(_), _) | (None, Some(UNSET)) => Fate::Waits,
            (None, Some(of_case)) => Fate::Done(of_case),
            (None, None) if case.has_received() => Fate::Done(0),
            (None, None) if self.is_queued(task) => self.unseen(case),
            (None, None) if !seen.contains(&task) => Fate::Waits,
            (None, None) if self.is_late(task) => self.unseen(case),
            (None, None) if closed => Fate::Done(-EPIPE),
            (None, None) => {
                if case.sends {
                    Fate::Done(0)
                } else {
                    Fate::Waits
                }
            }
        }
    }

    fn unseen(&self, case: &Case) -> Fate {
        if case.sends { Fate::Hidden } else { Fate::Waits }
    }

    /// Whether a task's time is over.
    fn is_late(&self, task: usize) -> bool {
        let wait = &self.tasks[task].wait;
        self.tasks[task].why & TIME != 0 || wait.deadline_ns.is_some_and(|ns| ns <= self.now_ns)
    }

    /// Nobody is served before those who have waited for longer, but one whose time was over may have looked.
    fn check_order(&self, fates: &mut [(usize, usize, Fate)]) {
        let by_loop = |(task, _, fate): &(usize, usize, Fate)| {
            let has_looked = self.tasks[*task].result.is_some() && self.is_late(*task);
            *fate == Fate::Done(0) && !has_looked
        };
        let served = fates.iter().rposition(by_loop).unwrap_or(0);
        for (task, _, fate) in &mut fates[..served] {
            assert!(*fate != Fate::Waits, "task {task} waits, and one behind it is served");
            if *fate == Fate::Hidden {
                *fate = Fate::Done(0);
            }
        }
    }

    /// By how much the number of elements has changed by the running task's call, which has yielded and of which
    /// the model does not know yet.
    fn length_by_caller(&self, channel: usize) -> i64 {
        let Some(task) = self.current_in_turn() else { return 0 };
        let it = &self.tasks[task];
        let Some(case) = it.returned.and_then(|chosen| it.cases.get(chosen)) else { return 0 };
        let is_done =
            it.result.is_some_and(|result| result >= 0) && case.result().unwrap_or(0) == 0;
        match case.object == Some(channel) && is_done && it.wait.given.is_none() {
            false => 0,
            true if case.sends => 1,
            true => -1,
        }
    }

    /// The task whose call has returned.
    fn current_in_turn(&self) -> Option<usize> {
        self.tasks.iter().position(|task| task.alive && task.result.is_some())
    }

    /// A task leaves before the loop has told it, and looks once more: what it gets so.
    pub fn last_look(&mut self, task: usize) -> Option<Given> {
        let cases = self.tasks[task].cases.clone();
        let ready = |by: &usize| cases[*by].is_remote() && self.can_be_done(cases[*by]);
        let ready: Vec<usize> = (0..cases.len()).filter(ready).collect();
        let is_chosen = |by: &&usize| cases[**by].result().is_none_or(|result| result != UNSET);
        ready.first()?;
        let by =
            *ready.iter().find(is_chosen).expect("it has left, and there was something for it");
        Some(self.transfer(cases[by], by))
    }

    /// The scheduler is idle: nobody waits for what is there.
    pub fn check_served(&self, home: usize) {
        for channel in REMOTE {
            for (task, by) in &self.objects[channel].waiters {
                let it = &self.tasks[*task];
                let could = it.home == home && self.can_be_done(it.cases[*by]);
                assert!(!could, "task {task} waits for what is there: {:?}", it.cases[*by]);
            }
        }
    }

    /// The tasks that wait at channels between threads, and what for.
    pub fn remote_waiters(&self) -> Vec<(usize, Case)> {
        let waiters = self.objects[REMOTE].iter().flat_map(|object| &object.waiters);
        waiters.map(|(task, by)| (*task, self.tasks[*task].cases[*by])).collect()
    }

    /// Whether a task of a scheduler waits at a channel between threads.
    pub fn waits_at_remote(&self, home: usize) -> bool {
        self.remote_waiters().iter().any(|(task, _)| self.tasks[*task].home == home)
    }
}
