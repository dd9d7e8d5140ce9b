//! The calls that reach a scheduler's tasks by their ids, whether or not it runs, and the one that holds a
//! cancellation.

use std::ffi::c_int;
use std::ptr::null_mut;

use libc::{EINVAL, EPERM, ESRCH};

use super::actions::{self, logs, using};
use super::calls::{End, Which, Who};
use super::majjen_h::*;
use super::{model, with};

pub fn set_cancelable(cancelable: bool) {
    let Some(task) = with(|world| world.model.current()) else {
        let result = logs(|| mj_task_set_cancelable(cancelable, null_mut()));
        return assert_eq!(result, -EPERM);
    };
    let mut old = false;
    assert_eq!(mj_task_set_cancelable(cancelable, &raw mut old), 0);
    with(|world| {
        let shielded = std::mem::replace(&mut world.model.tasks[task].shielded, !cancelable);
        assert_eq!(old, !shielded);
    });
}

/// Makes a call for a task: its result, the task if the call is to succeed, and whether it was parked.
fn tell(
    which: Which,
    who: Who,
    call: impl Fn(*mut mj_scheduler, mj_task_id) -> c_int,
) -> Option<(c_int, usize, bool)> {
    let (home, id) = with(|world| (world.home(which), world.id(who)));
    let Some(home) = home else {
        assert_eq!(logs(|| call(null_mut(), id)), -EINVAL);
        return None;
    };
    let found = with(|world| {
        let mut living = world.model.living(home);
        let task = living.find(|(_, it)| it.id == id && it.state() != MJ_TASK_EXITED)?.0;
        drop(living);
        Some((task, world.model.is_parked(task)))
    });
    let result = using(which, |at| call(at, id));
    let Some((task, was_parked)) = found else {
        assert_eq!(result, -ESRCH);
        return None;
    };
    Some((result, task, was_parked))
}

pub fn wake(which: Which, who: Who) {
    let call = |at, id| mj_scheduler_wake(at, id);
    if let Some((result, task, was_parked)) = tell(which, who, call) {
        assert_eq!(result, c_int::from(was_parked));
        if was_parked {
            with(|world| world.model.ready(task, model::TOLD));
        }
    }
}

pub fn cancel(which: Which, who: Who) {
    let call = |at, id| mj_scheduler_cancel(at, id);
    if let Some((result, task, was_parked)) = tell(which, who, call) {
        assert_eq!(result, 0);
        with(|world| {
            world.model.tasks[task].canceled = true;
            if was_parked && !world.model.tasks[task].shielded {
                world.model.ready(task, model::CANCELED);
            }
        });
    }
}

pub fn close(which: Which, end: End) {
    match with(|world| world.home(which)) {
        None => assert_eq!(logs(|| mj_scheduler_close_fd(null_mut(), -1)), -EINVAL),
        home => {
            let call = |fd| using(which, |at| mj_scheduler_close_fd(at, fd));
            actions::close(end, Some(&call), home);
        }
    }
}
