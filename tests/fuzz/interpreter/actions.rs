//! Calls that do not suspend: each is made, and its result and effect are compared with the model.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{null, null_mut};

use libc::{EBADF, EBUSY, EINVAL, EPERM, ESRCH, POLLIN};

use super::calls::{Call, End, Which, Who};
use super::majjen_h::*;
use super::model::{self, Task};
use super::reach;
use super::schedulers::{create, destroy, run, run_until_parked, stop};
use super::waits::{get_errno, set_errno, suspend};
use super::{Callbacks, World, body, is_open, tell, with};

/// The maximum number of tasks of a program.
const MOST_TASKS: usize = 48;

/// Makes a call from the running code.
pub fn act(call: Call) {
    tell(|world| format!("{}: {call:?}", world.caller()));
    match call {
        Call::Yield | Call::YieldNow | Call::SleepNs(_) | Call::SleepFor(_) | Call::Park(_) => {
            suspend(call);
        }
        Call::SleepUntil { .. } | Call::WaitFd(..) | Call::WaitReadable(_) => suspend(call),
        Call::WaitWritable(_) | Call::Join(..) => suspend(call),
        Call::Return | Call::ExitAndReturn => {} // Only a body can.
        Call::Exit => exit(),
        Call::SetState(state) => set_state(state),
        Call::Spawn(which) => spawn(which),
        Call::SpawnNothing => spawn_nothing(),
        Call::Wake(who) => wake(who),
        Call::Cancel(who) => cancel(who),
        Call::SetCancelable(cancelable) => reach::set_cancelable(cancelable),
        Call::WakeIn(which, who) => reach::wake(which, who),
        Call::CancelIn(which, who) => reach::cancel(which, who),
        Call::Enqueue(which, who) => enqueue(which, who),
        Call::Dequeue(which) => dequeue(which),
        Call::Stop(which) => stop(which),
        Call::Run(which) => run(which),
        Call::RunUntilParked(which) => run_until_parked(which),
        Call::Create(which, for_application) => create(which, for_application),
        Call::Destroy(which) => destroy(which),
        Call::Open(pipe) => open(pipe),
        Call::Close(end) => {
            let home = with(|world| world.model.running);
            close(end, Some(&|fd| mj_fd_close(fd)), home);
        }
        Call::CloseIn(which, end) => reach::close(which, end),
        Call::PlainClose(end) => close(end, None, None),
        Call::Write(pipe) => with(|world| {
            // SAFETY: one byte. The write may fail; that is part of the program.
            unsafe { libc::write(world.pipes[pipe][1], c"x".as_ptr().cast(), 1) };
        }),
        Call::Read(pipe) => with(|world| {
            let mut bytes = [0_u8; 16];
            // SAFETY: as many bytes as said.
            unsafe { libc::read(world.pipes[pipe][0], bytes.as_mut_ptr().cast(), bytes.len()) };
        }),
        Call::Renumber { pipe, writes, waits: false } => super::processes::renumber(pipe, writes),
        Call::Renumber { pipe, writes, .. } => {
            act(Call::Open(pipe));
            act(Call::Read(pipe));
            act(Call::WaitFd(End::Reading(pipe), POLLIN, 1000));
            act(Call::Renumber { pipe, writes, waits: false });
            act(Call::WaitFd(End::Reading(pipe), POLLIN, 5000));
        }
        Call::Fork { first, instructions } => super::processes::fork(first, instructions),
        Call::Pass(span) => with(|world| world.model.now_ns += span.min(1_000_000)),
        Call::Tick(span) => with(|world| world.tick_ns = span),
        Call::Callbacks { log, clock, stream } => {
            with(|world| world.callbacks = Callbacks { log, clock, stream });
        }
        Call::Sync(call) => super::sync::act(call),
        _ => super::inspect::act(call),
    }
    with(World::look);
}

/// Makes a misused call, which must log a line, or two. After a burst, lines of one kind are left out.
pub fn logs<R>(call: impl FnOnce() -> R) -> R {
    const BURST: u64 = 20;
    let (lines, expected) = with(|world| {
        world.misuses += 1;
        let is_logged = world.threshold <= MJ_LOG_WARN && !world.context().in_log;
        (world.lines, is_logged && 2 * world.misuses <= BURST)
    });
    let result = call();
    let logged = with(|world| world.lines > lines);
    assert!(logged || !expected, "misuse is not in the log");
    result
}

/// Makes a call with a scheduler, or NULL, which stays alive meanwhile.
pub fn using<R>(which: Which, call: impl FnOnce(*mut mj_scheduler) -> R) -> R {
    let (home, at) = with(|world| (world.home(which), world.scheduler(which)));
    let Some(home) = home else { return call(at) };
    let caller = with(|world| world.model.current());
    with(|world| world.context_of(caller).uses.push(home));
    let result = call(at);
    // Not the current task's: after a run, the model does not know yet whether there is one.
    with(|world| world.context_of(caller).uses.pop());
    result
}

fn exit() {
    if with(|world| world.model.current()).is_some() {
        mj_task_exit();
    } else {
        logs(|| mj_task_exit());
    }
}

/// The running task writes its own state, which only its body may.
fn set_state(state: u32) {
    with(|world| {
        if let Some(task) = world.model.current()
            && world.context().depth == 0
        {
            // SAFETY: the running task.
            unsafe { (*world.model.tasks[task].at).state = state };
        }
    });
}

fn spawn(which: Which) {
    if with(|world| world.model.tasks.len()) >= MOST_TASKS {
        return;
    }
    // SAFETY: no preconditions.
    let state = unsafe { libc::malloc(size_of::<usize>()) };
    // SAFETY: large enough.
    unsafe { *state.cast::<usize>() = with(|world| world.model.tasks.len()) };
    let Some(home) = with(|world| world.home(which)) else {
        let task = logs(|| mj_create_task(null_mut(), Some(body), state));
        assert!(task.is_null());
        // SAFETY: still the caller's.
        return unsafe { libc::free(state) };
    };
    let task = using(which, |at| mj_create_task(at, Some(body), state));
    assert!(!task.is_null());
    let id = mj_task_get_id(task);
    with(|world| {
        assert!(world.model.tasks.iter().all(|other| other.id != id), "an id is used again");
        assert_eq!(world.model.at(home, task), None);
        let index = world.model.tasks.len();
        world.model.tasks.push(Task::new(task, id, home));
        let scheduler = &mut world.model.schedulers[home];
        scheduler.queue.push(index);
        scheduler.created += 1;
    });
}

fn spawn_nothing() {
    set_errno(0);
    let task = using(Which::First, |at| logs(|| mj_create_task(at, None, null_mut::<c_void>())));
    assert!(task.is_null());
    assert_eq!(get_errno(), EINVAL);
}

/// The task at the address that is passed to mj_task_wake() and similar calls.
fn addressed(world: &World, home: usize, who: Who) -> Option<usize> {
    let task = world.model.at(home, world.address(who))?;
    (world.model.tasks[task].state() != MJ_TASK_EXITED).then_some(task)
}

/// The common part of mj_task_wake() and mj_task_cancel(): the task, if the call is to succeed.
fn tell_task(who: Who, call: extern "C" fn(*mut mj_task) -> c_int) -> Option<(usize, bool, c_int)> {
    let (address, running) = with(|world| (world.address(who), world.model.running));
    let task = running.and_then(|home| with(|world| addressed(world, home, who)));
    let Some(task) = task else {
        let result = logs(|| call(address));
        assert_eq!(result, if running.is_none() { -EPERM } else { -EINVAL });
        return None;
    };
    let was_parked = with(|world| world.model.is_parked(task));
    Some((task, was_parked, call(address)))
}

fn wake(who: Who) {
    extern "C" fn call(task: *mut mj_task) -> c_int {
        mj_task_wake(task)
    }
    if let Some((task, was_parked, result)) = tell_task(who, call) {
        assert_eq!(result, c_int::from(was_parked));
        if was_parked {
            with(|world| world.model.ready(task, model::TOLD));
        }
    }
}

fn cancel(who: Who) {
    extern "C" fn call(task: *mut mj_task) -> c_int {
        mj_task_cancel(task)
    }
    if let Some((task, was_parked, result)) = tell_task(who, call) {
        assert_eq!(result, 0);
        with(|world| {
            world.model.tasks[task].canceled = true;
            if was_parked && !world.model.tasks[task].shielded {
                world.model.ready(task, model::CANCELED);
            }
        });
    }
}

fn enqueue(which: Which, who: Who) {
    let (home, address) = with(|world| (world.home(which), world.address(who)));
    let task = home.and_then(|home| with(|world| addressed(world, home, who)));
    let Some(task) = task else {
        let result = using(which, |at| logs(|| mj_scheduler_enqueue(at, address)));
        return assert_eq!(result, -EINVAL);
    };
    assert_eq!(using(which, |at| mj_scheduler_enqueue(at, address)), 0);
    with(|world| world.model.enqueue(task));
}

fn dequeue(which: Which) {
    let Some(home) = with(|world| world.home(which)) else {
        return assert!(logs(|| mj_scheduler_dequeue(null_mut())).is_null());
    };
    let taken = using(which, |at| mj_scheduler_dequeue(at));
    with(|world| {
        let queue = &mut world.model.schedulers[home].queue;
        let first = (!queue.is_empty()).then(|| queue.remove(0));
        assert_eq!(taken, first.map_or(null_mut(), |task| world.model.tasks[task].at));
        if let Some(task) = first {
            world.model.time_out(task);
            // Dequeuing the running task only undoes its enqueue.
            world.model.tasks[task].taken_out = world.model.schedulers[home].current != first;
        }
    });
}

fn open(pipe: usize) {
    with(|world| {
        if world.pipes[pipe] != [-1, -1] || world.context().depth > 0 {
            return;
        }
        let mut ends = [0; 2];
        // SAFETY: room for two.
        let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) };
        assert_eq!(result, 0);
        (world.pipes[pipe], world.earlier[pipe]) = (ends, ends);
    });
}

/// Closes a descriptor, by a call of the library that tells the tasks of `home`, or without.
pub fn close(end: End, call: Option<&dyn Fn(c_int) -> c_int>, home: Option<usize>) {
    if end == End::File {
        return;
    }
    let fd = with(|world| {
        let fd = world.fd(end);
        if let End::Reading(pipe) | End::Writing(pipe) = end {
            world.pipes[pipe][usize::from(end == End::Writing(pipe))] = -1;
        }
        fd
    });
    let was_open = is_open(fd);
    if let Some(call) = call {
        assert_eq!(call(fd), if was_open { 0 } else { -EBADF });
    } else {
        // SAFETY: opened by the program, or not open.
        unsafe { libc::close(fd) };
    }
    with(|world| {
        if let Some(home) = home {
            for task in world.model.waiting_for(home, fd) {
                world.model.ready(task, model::CLOSED);
            }
        }
        world.model.stop_watching(fd);
    });
}

/// Checks a call that finds a task.
pub fn find(which: Which, id: u64) {
    let Some(home) = with(|world| world.home(which)) else {
        return assert!(logs(|| mj_task_find(null_mut(), id)).is_null());
    };
    let expected = with(|world| {
        let found = world.model.living(home).find(|(_, task)| task.id == id);
        found.map_or(null_mut(), |(_, task)| task.at)
    });
    set_errno(0);
    assert_eq!(using(which, |at| mj_task_find(at, id)), expected);
    assert_eq!(get_errno(), if expected.is_null() { ESRCH } else { 0 });
}

/// Checks the calls for one living task, or NULL.
pub fn name(who: Who, length: u8) {
    let address = with(|world| world.living(who).map(|task| world.model.tasks[task].at));
    let name = CString::new("name".repeat(usize::from(length) % 12)).expect("no NUL");
    let Some(address) = address else {
        assert_eq!(mj_task_set_name(null_mut(), name.as_ptr()), -EINVAL);
        assert_eq!(mj_task_get_id(null()), 0);
        // SAFETY: a string.
        return assert!(unsafe { CStr::from_ptr(mj_task_get_name(null())) }.is_empty());
    };
    assert_eq!(mj_task_set_name(address, null()), -EINVAL);
    assert_eq!(mj_task_set_name(address, name.as_ptr()), 0);
    // SAFETY: a string.
    let stored = unsafe { CStr::from_ptr(mj_task_get_name(address)) };
    assert_eq!(stored.to_bytes(), &name.to_bytes()[..name.as_bytes().len().min(23)]);
}

/// Checks that a stack's size can be set before the first turn only.
pub fn task_stack_size(who: Who, bytes: usize) {
    let task = with(|world| world.living(who));
    let Some(task) = task else {
        return assert_eq!(mj_task_set_stack_size(null_mut(), bytes), -EINVAL);
    };
    let (address, has_run) = with(|world| {
        let model = &world.model;
        let it = &model.tasks[task];
        (it.at, it.turns > 0 || model.schedulers[it.home].current == Some(task))
    });
    let result = mj_task_set_stack_size(address, bytes);
    let is_valid = (16 << 10..=1 << 30).contains(&bytes);
    assert_eq!(
        result,
        if !is_valid {
            -EINVAL
        } else if has_run {
            -EBUSY
        } else {
            0
        }
    );
}
