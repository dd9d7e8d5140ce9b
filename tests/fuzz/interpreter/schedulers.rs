//! Calls that create, run, stop and destroy schedulers.

use std::ptr::null_mut;

use libc::EINVAL;

use super::actions::{act, logs, using};
use super::calls::{Call, Which};
use super::majjen_h::*;
use super::model::{For, Scheduler, Stop, Task};
use super::{Callbacks, callbacks, with};

pub fn stop(which: Which) {
    let home = with(|world| world.home(which));
    let result = using(which, |at| mj_scheduler_stop(at));
    let Some(home) = home else { return assert_eq!(result, -EINVAL) };
    assert_eq!(result, 0);
    with(|world| {
        let in_loop = world.model.running == Some(home) && world.model.current().is_none();
        let stop = &mut world.model.schedulers[home].stop;
        stop.get_or_insert(Stop { turns_left: u32::from(in_loop) });
    });
}

pub fn run(which: Which) {
    let home = with(|world| world.home(which));
    let Some(home) = home.filter(|_| with(|world| world.model.running.is_none())) else {
        return using(which, |at| logs(|| mj_scheduler_run(at)));
    };
    with(|world| world.model.running = Some(home));
    using(which, |at| mj_scheduler_run(at));
    with(|world| {
        world.look();
        assert_eq!(world.model.current(), None);
        world.model.running = None;
        let was_stopped = world.model.schedulers[home].stop.take().is_some();
        // The log callback may create tasks when the run has ended: they have not run.
        let left = world.model.living(home).filter(|(_, task)| task.turns > 0).count();
        assert!(was_stopped || left == 0, "the run is over, and {left} tasks are left");
    });
    assert!(mj_scheduler_current().is_null());
}

/// With the built-in wait function, a run in which no task can ever be woken reports that and
/// returns.
pub fn run_until_parked(which: Which) {
    let applies = with(|world| {
        let Some(home) = world.home(which) else { return false };
        let Scheduler { queue, stop, at, .. } = &world.model.schedulers[home];
        // SAFETY: a living scheduler.
        let (count, timers) = unsafe { ((**at).runnable_count, (**at).timer_count) };
        let waits = |task: &Task| matches!(task.wait.what, For::Fd { .. });
        world.model.running.is_none()
            && (queue.is_empty() && count == 0 && timers == 0 && stop.is_none())
            && world.model.living(home).count() > 0
            && !world.model.living(home).any(|(_, task)| waits(task))
            && !world.model.waits_at_remote(home) // Another thread may wake it.
    });
    if !applies {
        return;
    }
    let callbacks = with(|world| {
        world.model.running = world.home(which);
        std::mem::take(&mut world.callbacks)
    });
    using(which, |at| {
        mj_scheduler_set_wait_func(at, None, null_mut());
        logs(|| mj_scheduler_run(at));
        mj_scheduler_set_wait_func(at, Some(callbacks::wait), null_mut());
    });
    with(|world| {
        world.look();
        world.model.running = None;
        world.callbacks = callbacks;
    });
}

pub fn create(which: Which, for_application: bool) {
    let home = match which {
        Which::First => 0,
        Which::Second => 1,
        Which::Null => return,
    };
    // Not in a callback: the call that it is in may have found the descriptor's number free.
    if with(|world| world.home(which).is_some() || world.context().depth > 0) {
        return;
    }
    // The calling task's scheduler must stay alive: what the call returns would be lost with it.
    let (caller, own) = with(|world| (world.model.current(), world.model.running));
    with(|world| world.context_of(caller).uses.extend(own));
    let at = if for_application { setup_scheduler_with_epoll() } else { mj_scheduler_create() };
    assert!(!at.is_null());
    with(|world| own.and_then(|_| world.context_of(caller).uses.pop()));
    if with(|world| world.home(which)).is_some() {
        return mj_scheduler_destroy(at); // A log callback has let others run, and created one.
    }
    assert_eq!(mj_scheduler_set_clock(at, Some(callbacks::clock), null_mut()), 0);
    mj_scheduler_set_wait_func(at, Some(callbacks::wait), null_mut());
    with(|world| world.model.schedulers[home] = Scheduler { at, ..Scheduler::default() });
}

pub fn destroy(which: Which) {
    let (home, running) = with(|world| (world.home(which), world.model.running));
    let Some(home) = home.filter(|home| Some(*home) != running) else {
        return logs(|| mj_scheduler_destroy(with(|world| world.scheduler(which))));
    };
    // It must stay alive while a call with it has not returned.
    if with(|world| world.context.uses.contains(&home) || world.model.is_used(home)) {
        return;
    }
    let at = with(|world| {
        for task in world.model.tasks.iter_mut().filter(|task| task.home == home) {
            task.alive = false;
        }
        world.model.leave_home(home);
        std::mem::take(&mut world.model.schedulers[home]).at
    });
    mj_scheduler_destroy(at);
}

/// Lets all tasks end, and destroys the schedulers.
pub fn finish() {
    with(|world| {
        world.callbacks = Callbacks::default();
        world.tick_ns = 0;
    });
    for (home, which) in [Which::First, Which::Second].into_iter().enumerate() {
        let left = || with(|world| world.model.living(home).count());
        for _ in 0..4 {
            if left() > 0 {
                act(Call::Run(which));
            }
        }
        assert_eq!(left(), 0, "tasks are left");
        act(Call::GetMetrics(which));
    }
    super::sync::destroy_all(|object| object % 2 == 0);
    for which in [Which::First, Which::Second] {
        act(Call::Destroy(which));
        assert!(with(|world| world.home(which)).is_none(), "a scheduler is left");
    }
    super::sync::destroy_all(|_| true);
}
