//! The wait function: the scheduler is idle, so nobody may wait for what is there, or for a time that is
//! over. Then time passes, or something happens, or all tasks are told to end.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use super::super::majjen_h::*;
use super::calls::{needs_no_task, perform};
use super::files::File;
use super::program::Kind;
use super::verdict::{For, Op, Use, poll};
use super::{World, next_if, program, tell, with};

/// Who waited for what was there, when the wait function returned.
#[derive(Default)]
pub struct Idle {
    ready: Vec<(usize, u64)>,
    executions: u64,
    /// How often nothing has happened.
    stuck: u32,
}

pub unsafe extern "C" fn wait(at: *mut mj_scheduler, timeout_ns: u64, _: *mut c_void) -> c_int {
    let forever = timeout_ns == u64::MAX;
    if timeout_ns > 0 {
        with(|world| world.check_idle(at, timeout_ns));
        let is_for_here = |instruction: [u8; 4]| {
            instruction[3] % 4 == 1 && needs_no_task(program::act(instruction))
        };
        if let Some(act) = next_if(is_for_here) {
            tell(|_| format!("the wait function, for {timeout_ns} ns: {act:?}"));
            perform(act);
            with(|world| world.idle.ready.clear());
            return 1;
        }
    }
    with(|world| world.note_ready(at, forever));
    if !forever {
        tell(|_| format!("the wait function, for {timeout_ns} ns"));
        if with(|world| world.is_simulated) {
            with(|world| world.clock_ns += timeout_ns);
            return 0;
        }
        assert!(mj_wait_epoll(at, timeout_ns, null_mut()) >= 0);
        return 0;
    }
    if with(|world| !world.idle.ready.is_empty()) {
        return 0; // The loop has not seen it yet.
    }
    unstick(at);
    1
}

/// Nothing would ever happen: takes the next instruction or, when there is none, ends all tasks.
fn unstick(at: *mut mj_scheduler) {
    if let Some(act) = next_if(|_| true) {
        tell(|_| format!("the wait function, for ever: {act:?}"));
        if needs_no_task(act) {
            perform(act);
        }
        return;
    }
    tell(|_| "the wait function, for ever: all tasks are canceled".to_owned());
    let living: Vec<mj_task_id> = with(|world| {
        world.idle.stuck += 1;
        assert!(world.idle.stuck < 4, "tasks are canceled, and wait: {:?}", world.waiting());
        let living = world.tasks.iter_mut().filter(|task| task.alive && task.id != 0);
        living
            .map(|task| {
                task.canceled = true;
                task.id
            })
            .collect()
    });
    for id in living {
        assert_eq!(mj_scheduler_cancel(at, id), 0);
    }
}

impl World {
    fn waiting(&self) -> Vec<(usize, For)> {
        let tasks = self.tasks.iter().enumerate().filter(|(_, task)| task.alive);
        tasks.filter_map(|(index, task)| Some((index, task.op.as_ref()?.what))).collect()
    }

    fn executions(at: *mut mj_scheduler) -> u64 {
        // SAFETY: a living scheduler's.
        unsafe { (*mj_scheduler_get_metrics(at)).task_executions }
    }

    /// No task is ready, so each of them waits with reason.
    fn check_idle(&mut self, at: *mut mj_scheduler, timeout_ns: u64) {
        assert_eq!(self.current(), None);
        let now_ns = self.now_ns();
        let executions = World::executions(at);
        let has_budget = (0..self.tasks.len()).all(|task| self.has_budget(task));
        for (index, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.alive) {
            let Some(op) = &task.op else { continue };
            let what = op.what;
            let is_waited_for = what != For::Undisturbed;
            let is_canceled = task.canceled || has_budget && self.may_be_canceled(index);
            assert!(!(is_waited_for && is_canceled), "task {index} is canceled: {op:?}");
            let limit_ns = self.limit_of(index, op);
            if is_waited_for && self.has_budget(index) && limit_ns != u64::MAX {
                assert!(limit_ns > now_ns, "the time of task {index} is over: {op:?}");
                assert!(timeout_ns <= limit_ns - now_ns, "task {index} waits too long: {op:?}");
            }
            if timeout_ns == u64::MAX || self.is_simulated {
                assert!(!self.is_misdirected(op), "task {index} waits for nothing: {op:?}");
            }
            match what {
                For::End(other) | For::Either(_, other) => {
                    assert!(self.tasks[other].alive, "task {index} waits for {other}: {op:?}");
                }
                For::Place(group, made) => {
                    assert!(!self.has_place(group, made), "task {index}: there is a place: {op:?}");
                }
                For::Empty(group, made) if self.groups[group].made == made => {
                    assert!(self.groups[group].members > 0, "task {index}: the group is empty");
                }
                _ => {}
            }
        }
        if self.idle.executions == executions {
            for (task, serial) in &self.idle.ready {
                let op = self.tasks[*task].op.as_ref().filter(|op| op.serial == *serial);
                assert!(op.is_none(), "task {task} has missed an event: {op:?}");
            }
        }
        self.tasks.iter_mut().for_each(|task| task.will_be_told = false);
        self.check_conserved();
        self.check_posts();
    }

    /// Whether a call is for the other direction, so that there is nothing to wait for.
    fn is_misdirected(&self, op: &Op) -> bool {
        op.descriptors().any(|(fd, _)| {
            if op.is_gone || self.closed_unseen.contains(&fd) {
                return false;
            }
            let Some(file) = self.file(fd) else { return false };
            let File { kind, input, output, .. } = &self.files[file];
            *kind == Kind::Pipe
                && match op.uses {
                    Use::Reads | Use::ReadsOn => input.is_none(),
                    Use::Writes => output.is_none(),
                    Use::Waits => false,
                }
        })
    }

    /// Notes whose descriptors are ready.
    fn note_ready(&mut self, at: *mut mj_scheduler, forever: bool) {
        self.idle.executions = World::executions(at);
        self.idle.ready.clear();
        if !forever && !self.is_simulated {
            return; // The waits of owned descriptors may have to be checked yet.
        }
        for (index, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.alive) {
            let Some(op) = task.op.as_ref().filter(|op| !op.is_gone) else { continue };
            if op.descriptors().any(|(fd, events)| poll(fd, events).is_some_and(|it| it != 0)) {
                self.idle.ready.push((index, op.serial));
            }
        }
    }
}
