//! Calls of synchronization objects: each is made, and its result is compared with the model.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libc::{EAGAIN, EBUSY, ECANCELED, EDEADLK, EINVAL, EOVERFLOW, EOWNERDEAD, EPERM, EPIPE};

use super::actions::logs;
use super::budget::Yield;
use super::calls::{Call, Span, Which, Who};
use super::channels::{select, transfer};
use super::majjen_h::*;
use super::model::{self, Context, For, Limit, Wait};
use super::objects::{Aim, CHANNELS, CONDITIONS, COUNT, Case, GROUPS};
use super::objects::{Given, MUTEXES, Object, REMOTE, SEMAPHORES, layout};
use super::sync_calls::{Element, It, SyncCall};
use super::waits::{get_errno, set_errno};
use super::{World, with};

/// Makes one of the calls.
pub fn act(call: SyncCall) {
    match call {
        SyncCall::Lock(it, span) => {
            let it = made(it);
            wait(&[(it, true)], Aim::Lock(it.unwrap_or(0)), span, || mj_mutex_lock(at(it), span));
        }
        SyncCall::TryLock(it) => try_lock(made(it)),
        SyncCall::Unlock(it) => unlock(made(it)),
        SyncCall::CondWait(it, mutex, span) => cond_wait(made(it), made(mutex), span),
        SyncCall::Signal(it) => {
            let it = made(it);
            visit(
                it,
                || mj_cond_signal(at(it)),
                |world, it| {
                    world.model.signal(it);
                    0
                },
            );
        }
        SyncCall::Broadcast(it) => {
            let it = made(it);
            visit(
                it,
                || mj_cond_broadcast(at(it)),
                |world, it| {
                    while world.model.signal(it) {}
                    0
                },
            );
        }
        SyncCall::Acquire(it, permits, span) => {
            let it = made(it);
            let aim = Aim::Permits(it.unwrap_or(0), permits);
            wait(&[(it, true)], aim, span, || mj_sem_acquire(at(it), permits, span));
        }
        SyncCall::TryAcquire(it, permits) => {
            let it = made(it);
            visit(
                it,
                || mj_sem_try_acquire(at(it), permits),
                |world, it| {
                    let aim = Aim::Permits(it, permits);
                    if !world.model.is_available(0, aim) {
                        return -EAGAIN;
                    }
                    world.model.take(0, aim);
                    0
                },
            );
        }
        SyncCall::Release(it, permits) => {
            let it = made(it);
            visit(
                it,
                || mj_sem_release(at(it), permits),
                |world, it| {
                    let count = &mut world.model.objects[it].count;
                    if *count + permits as usize > u32::MAX as usize {
                        return -EOVERFLOW;
                    }
                    *count += permits as usize;
                    world.model.serve(it);
                    0
                },
            );
        }
        SyncCall::Add(it, more) => {
            let it = made(it);
            visit(
                it,
                || mj_waitgroup_add(at(it), more),
                |world, it| {
                    let count = &mut world.model.objects[it].count;
                    let Some(sum) = count.checked_add(more) else { return -EOVERFLOW };
                    *count = sum;
                    0
                },
            );
        }
        SyncCall::Done(it) => {
            let it = made(it);
            visit(
                it,
                || mj_waitgroup_done(at(it)),
                |world, it| {
                    let count = &mut world.model.objects[it].count;
                    let Some(left) = count.checked_sub(1) else { return -EINVAL };
                    *count = left;
                    if left == 0 {
                        world.model.finish(it);
                    }
                    0
                },
            );
        }
        SyncCall::WaitGroup(it, span) => {
            let it = made(it);
            wait(&[(it, true)], Aim::Zero(it.unwrap_or(0)), span, || {
                mj_waitgroup_wait(at(it), span)
            });
        }
        SyncCall::Send(it, element, span) => transfer(made(it), true, element, Some(span)),
        SyncCall::TrySend(it, element) => transfer(made(it), true, element, None),
        SyncCall::Recv(it, element, span) => transfer(made(it), false, element, Some(span)),
        SyncCall::TryRecv(it, element) => transfer(made(it), false, element, None),
        SyncCall::Close(it) => {
            let it = made(it);
            visit(
                it,
                || match it {
                    Some(object) if REMOTE.contains(&object) => mj_xchan_close(at(it)),
                    _ => mj_chan_close(at(it)),
                },
                |world, it| {
                    if world.model.objects[it].closed {
                        return -EPIPE;
                    }
                    world.model.close(it);
                    0
                },
            );
        }
        SyncCall::Select(cases, span) => select(cases, Some(span)),
        SyncCall::TrySelect(cases) => select(cases, None),
        SyncCall::Destroy(it) => destroy(it),
        SyncCall::Spend(it, times) => spend(made(it), times),
        SyncCall::Meet { nth, cancels } => meet(nth, cancels),
        SyncCall::MakeNothing => make_nothing(),
    }
}

/// The address of an object, whose kind the caller knows.
pub fn at<T>(it: It) -> *mut T {
    it.map_or(null_mut(), |it| with(|world| world.model.objects[it].at.cast()))
}

/// The object, which is created if it does not exist and there is a scheduler.
pub fn made(it: It) -> It {
    let it = it?;
    let (home, scheduler) = with(|world| {
        let either = || world.home(Which::First).or(world.home(Which::Second));
        let home = world.model.running.or_else(either)?;
        Some((home, world.model.schedulers[home].at))
    })?;
    if at::<c_void>(Some(it)).is_null() {
        let count = it.saturating_sub(SEMAPHORES.start) % 2 + 1;
        let object: *mut c_void = match it {
            _ if MUTEXES.contains(&it) => mj_mutex_create(scheduler).cast(),
            _ if CONDITIONS.contains(&it) => mj_cond_create(scheduler).cast(),
            _ if SEMAPHORES.contains(&it) => mj_sem_create(scheduler, count as u32).cast(),
            _ if GROUPS.contains(&it) => mj_waitgroup_create(scheduler).cast(),
            _ => {
                let (capacity, bytes) = layout(it);
                match REMOTE.contains(&it) {
                    true => mj_xchan_create(bytes, capacity).cast(),
                    false => mj_chan_create(scheduler, bytes, capacity).cast(),
                }
            }
        };
        assert!(!object.is_null());
        let count = if SEMAPHORES.contains(&it) { count } else { 0 };
        let home = (!REMOTE.contains(&it)).then_some(home);
        let made = Object { at: object, home, count, ..Object::default() };
        with(|world| world.model.objects[it] = made);
    }
    Some(it)
}

/// An object, and whether the other arguments are valid.
pub type Use = (It, bool);

/// Makes a call that does not wait; `effect` is its result if it is allowed.
pub fn visit(
    it: It,
    make: impl FnOnce() -> c_int,
    effect: impl FnOnce(&mut World, usize) -> c_int,
) {
    let result = make();
    with(|world| {
        let expected = match it {
            None => -EINVAL,
            Some(it) if !world.model.may_visit(it) => -EPERM,
            Some(it) => effect(world, it),
        };
        assert_eq!(result, expected);
    });
}

/// The running task, if it may make the call; otherwise the call is made here and must fail.
fn task_for(uses: &[Use], selects: bool, make: impl FnOnce() -> c_int) -> Option<usize> {
    let task = with(|world| world.model.current());
    let status = with(|world| {
        let is_wrong = |(it, right): &Use| !right || it.is_none() && !selects;
        if !selects && uses.iter().any(is_wrong) {
            return Some(-EINVAL);
        }
        if task.is_none() {
            return Some(-EPERM);
        }
        uses.iter().find_map(|(it, right)| match it {
            _ if is_wrong(&(*it, *right)) => Some(-EINVAL),
            Some(it) if !world.model.may_use(*it) => Some(-EPERM),
            _ => None,
        })
    });
    let Some(status) = status else { return task };
    let result = if task.is_none() && status == -EPERM { logs(make) } else { make() };
    assert_eq!(result, status);
    None
}

/// Makes a call that may wait.
fn wait(uses: &[Use], aim: Aim, span: Span, make: impl Fn() -> c_int) -> Option<Given> {
    wait_for_cases(uses, aim, Vec::new(), false, span, make)
}

/// `wait` for calls that wait for channels. Returns the outcome, if the call is allowed.
pub fn wait_for_cases(
    uses: &[Use],
    aim: Aim,
    cases: Vec<Case>,
    selects: bool,
    span: Span,
    make: impl Fn() -> c_int,
) -> Option<Given> {
    const ERRNO: c_int = 1234;
    if is_clock_of_task() {
        return None; // A clock must not suspend.
    }
    let task = task_for(uses, selects, &make)?;
    let outer = with(|world| {
        let model = &mut world.model;
        // A wait for a condition suspends in any case.
        let yields = if matches!(aim, Aim::Signal(..)) { Yield::No } else { model.spend(task) };
        let is_queued = model.is_queued(task);
        let earliest_ns = model.now_ns.saturating_add(span);
        let limit = (span != u64::MAX).then_some(Limit::Span { span_ns: span, earliest_ns });
        let it = &mut model.tasks[task];
        it.cases = cases;
        let why = std::mem::replace(&mut it.why, if is_queued { model::TOLD } else { 0 });
        it.context.objects.extend(uses.iter().filter_map(|(it, _)| *it));
        let wait = Wait { yields, ..Wait::new(For::Object(aim), limit) };
        let outer = std::mem::replace(&mut it.wait, wait);
        it.call_turns = it.turns;
        let had_it = model.is_available(task, aim);
        model.tasks[task].had_it = had_it;
        (outer, why)
    });
    set_errno(ERRNO);
    let result = make();
    assert_eq!(get_errno(), ERRNO, "errno");
    let given = with(|world| {
        let model = &mut world.model;
        // SAFETY: the scheduler runs.
        let executions = unsafe {
            let scheduler = &model.schedulers[model.tasks[task].home];
            (*mj_scheduler_get_metrics(scheduler.at)).task_executions - scheduler.turns
        };
        model.tasks[task].result = Some(result);
        let it = &model.tasks[task];
        let chosen = if selects { result.max(0) as usize } else { 0 };
        let given = if it.wait.yields == Yield::Told {
            assert!(
                it.turns == it.call_turns && executions == 0,
                "it owns a mutex, and has yielded"
            );
            Some(Given::status(-ECANCELED))
        } else if it.wait.yields != Yield::No {
            assert!(it.turns > it.call_turns || executions > 0, "it has not yielded");
            model.tasks[task].returned = Some(chosen);
            None
        } else if it.turns == it.call_turns && executions == 0 && it.wait.given.is_none() {
            Some(model.at_once(task, aim, chosen))
        } else {
            assert!(!it.had_it || it.wait.given.is_some(), "it has waited for what it could have");
            None
        };
        world.look();
        assert_eq!(world.model.current(), Some(task));
        let it = &mut world.model.tasks[task];
        (it.returned, it.result) = (None, None);
        let has_waited = given.is_none();
        let given = given.or(it.wait.given).expect("nothing has ended the wait");
        (it.wait, it.why) = outer;
        if has_waited {
            it.why = 0;
        }
        it.context.objects.clear();
        given
    });
    let expected = given.case.filter(|_| selects).map_or(given.status, |case| case as c_int);
    assert_eq!(result, expected, "{given:?}");
    Some(given)
}

fn is_clock_of_task() -> bool {
    with(|world| world.model.current().is_some() && world.context().in_clock)
}

/// Waits for a group again and again, while nothing is left to be done.
fn spend(it: It, times: u8) {
    let is_done = || with(|world| it.is_some_and(|it| world.model.objects[it].count == 0));
    for _ in 0..times {
        if !is_done() || at::<c_void>(it).is_null() || with(|world| world.model.current()).is_none()
        {
            return;
        }
        act(SyncCall::WaitGroup(it, 0));
    }
}

/// Gives a task what it waits for at a channel between threads; and before the loop sees that, cancels the task.
fn meet(nth: usize, cancels: bool) {
    let found = with(|world| {
        let waiters = world.model.remote_waiters();
        let (task, case) = *waiters.get(nth % waiters.len().max(1))?;
        Some((task as u8, case)) // There are few tasks.
    });
    let Some((task, case)) = found else { return };
    transfer(case.object, !case.sends, Element::Here, None);
    if cancels {
        super::actions::act(Call::Cancel(Who::Task(task)));
    }
}

fn try_lock(it: It) {
    // A task must not own two mutexes and wait for a condition variable: see `cond_wait`.
    if is_clock_of_task() {
        return;
    }
    let Some(task) = task_for(&[(it, true)], false, || mj_mutex_try_lock(at(it))) else { return };
    let (it, result) = (it.unwrap_or(0), mj_mutex_try_lock(at(it)));
    with(|world| {
        let owner = world.model.objects[it].owner;
        let expected = match owner {
            None => 0,
            Some(owner) if owner == task => -EDEADLK,
            Some(owner) if world.model.tasks[owner].alive => -EAGAIN,
            Some(_) => -EOWNERDEAD,
        };
        assert_eq!(result, expected);
        world.model.objects[it].owner.get_or_insert(task);
    });
}

fn unlock(it: It) {
    let Some(task) = task_for(&[(it, true)], false, || mj_mutex_unlock(at(it))) else { return };
    let (it, result) = (it.unwrap_or(0), mj_mutex_unlock(at(it)));
    with(|world| {
        let owns = world.model.objects[it].owner == Some(task);
        assert_eq!(result, if owns { 0 } else { -EPERM });
        if owns {
            world.model.unlock_to_next(it);
        }
    });
}

/// Not for a task that owns another mutex: the second half of the wait cannot be interrupted, so
/// two of these would deadlock.
fn cond_wait(it: It, mutex: It, span: Span) {
    let has_another = with(|world| {
        let mut others = world.model.objects.iter().enumerate().filter(|(n, _)| Some(*n) != mutex);
        let task = world.model.current();
        task.is_some() && others.any(|(_, other)| other.owner == task)
    });
    if has_another {
        return;
    }
    let aim = Aim::Signal(it.unwrap_or(0), mutex.unwrap_or(0));
    let given =
        wait(&[(it, true), (mutex, true)], aim, span, || mj_cond_wait(at(it), at(mutex), span));
    with(|world| {
        let has_it = mutex.is_some_and(|mutex| {
            world.model.objects[mutex].owner.is_some_and(|it| Some(it) == world.model.current())
        });
        assert!(has_it || given.is_none_or(|it| [-EOWNERDEAD, -EPERM].contains(&it.status)));
    });
}

fn destroy(it: It) {
    // It must stay alive while a call with it may continue. Of a channel between threads, each call needs a
    // reference, and there is one.
    let is_used = |world: &mut World| {
        let uses = |context: &Context| it.is_some_and(|it| context.objects.contains(&it));
        let remote = it.is_some_and(|it| REMOTE.contains(&it));
        let mut others = world.model.tasks.iter().filter(|task| remote && task.alive);
        others.any(|task| uses(&task.context)) || uses(world.context())
    };
    if it.is_some() && (at::<c_void>(it).is_null() || with(is_used)) {
        return;
    }
    if let Some(object) = it.filter(|it| REMOTE.contains(it)) {
        mj_xchan_release(at(it));
        return with(|world| world.model.objects[object] = Object::default());
    }
    visit(
        it,
        || match it {
            Some(object) if MUTEXES.contains(&object) => mj_mutex_destroy(at(it)),
            Some(object) if CONDITIONS.contains(&object) => mj_cond_destroy(at(it)),
            Some(object) if SEMAPHORES.contains(&object) => mj_sem_destroy(at(it)),
            Some(object) if GROUPS.contains(&object) => mj_waitgroup_destroy(at(it)),
            _ => mj_chan_destroy(at(it)),
        },
        |world, it| {
            if world.model.is_in_use(it) {
                return -EBUSY;
            }
            world.model.objects[it] = Object::default();
            0
        },
    );
}

/// Creates and uses objects with NULL.
fn make_nothing() {
    fn is_refused<T>(make: impl FnOnce() -> *mut T) {
        set_errno(0);
        assert!(logs(make).is_null());
        assert_eq!(get_errno(), EINVAL);
    }
    is_refused(|| mj_mutex_create(null_mut()));
    is_refused(|| mj_cond_create(null_mut()));
    is_refused(|| mj_sem_create(null_mut(), 1));
    is_refused(|| mj_waitgroup_create(null_mut()));
    is_refused(|| mj_chan_create(null_mut(), 8, 1));
    for (bytes, capacity) in [(0, 1), (8, 0)] {
        set_errno(0);
        assert!(mj_xchan_create(bytes, capacity).is_null());
        assert_eq!(get_errno(), EINVAL);
    }
    let mut element = 0_u64;
    let place = (&raw mut element).cast::<c_void>();
    assert_eq!(mj_xchan_send(null_mut(), place, 0), -EINVAL);
    assert_eq!(mj_xchan_recv(null_mut(), place, 0), -EINVAL);
    assert_eq!(mj_xchan_try_send(null_mut(), place), -EINVAL);
    assert_eq!(mj_xchan_try_recv(null_mut(), place), -EINVAL);
    assert_eq!(mj_xchan_close(null_mut()), -EINVAL);
    assert_eq!(mj_xchan_length(null_mut()), 0);
    assert!(mj_xchan_retain(null_mut()).is_null());
    mj_xchan_release(null_mut());
    assert_eq!(mj_mutex_destroy(null_mut()), -EINVAL);
    assert_eq!(mj_cond_destroy(null_mut()), -EINVAL);
    assert_eq!(mj_sem_destroy(null_mut()), -EINVAL);
    assert_eq!(mj_waitgroup_destroy(null_mut()), -EINVAL);
    assert_eq!(mj_select(null_mut(), 1, 0), -EINVAL);
    assert_eq!(mj_try_select(null_mut(), 1), -EINVAL);
}

/// Destroys the objects of a finished program. Elements in a channel's buffer can still be
/// received.
pub fn destroy_all(which: impl Fn(usize) -> bool) {
    for it in (0..COUNT).filter(|it| which(*it)).map(Some) {
        if !at::<c_void>(it).is_null() && it >= Some(CHANNELS.start) {
            act(SyncCall::TryRecv(it, Element::Here));
        }
        destroy(it);
        assert!(at::<c_void>(it).is_null(), "object {it:?} is left");
    }
}
