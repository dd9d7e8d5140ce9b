//! Makes calls.

use std::ffi::c_int;

use super::super::majjen_h::*;
use super::super::waits::{get_errno, set_errno};
use super::program::{Act, From, GroupCall};
use super::verdict::{For, Op, Use};
use super::{descriptors, groups, posts, spawn, streams, tell, transfers, waits, with};

/// Makes the calls of an instruction. Outside a task, those that may suspend are left out.
pub fn perform(act: Act) {
    match act {
        Act::Open { kind, slot, blocks, owned } => descriptors::open(kind, slot, blocks, owned),
        Act::Close { slot, how } => descriptors::close(slot, how),
        Act::Shutdown { slot, how } => descriptors::shutdown(slot, how),
        Act::Adopt(slot) => descriptors::adopt(slot),
        Act::Release(slot) => descriptors::release(slot),
        Act::Listen => descriptors::listen(),
        Act::Cancel(task) => cancel(task, None),
        Act::RemoteCancel(task, from) => cancel(task, Some(from)),
        Act::Wake(task) => wake(task, None),
        Act::RemoteWake(task, from) => wake(task, Some(from)),
        Act::Spawn => spawn(),
        Act::Post { from, has_node, count } => posts::post(from, has_node, count),
        Act::Pass(span) => with(|world| world.clock_ns += span),
        Act::Stop => stop(),
        Act::Stream { which, slot, call, span } => streams::act(which, slot, call, span),
        Act::Group { which, call, span } => groups::act(which, call, span),
        Act::Return(_) => {} // Only a body can.
        _ if with(|world| world.current()).is_none() => {}
        Act::Connect { slot, span } => descriptors::connect(slot, span),
        Act::Accept { slot, span } => descriptors::accept(slot, span),
        Act::Read { slot, how, bytes, span } => transfers::read(slot, how, bytes, span),
        Act::Write { slot, how, bytes, span } => transfers::write(slot, how, bytes, span),
        Act::Spend { slot, times } => transfers::spend(slot, times),
        Act::WaitFd { slot, events, span } => waits::wait_fd(slot, events, span),
        Act::Poll { slots, events, span } => waits::poll_any(slots, events, span),
        Act::Select { slot, task, span, at_ns } => waits::select(slot, task, span, at_ns),
        Act::Sleep(span) => waits::sleep(span),
        Act::Yield => waits::pass_on(),
        Act::Join { task, span } => waits::join(task, span),
        Act::Deadline(span) => waits::set_deadline(span),
    }
    with(|world| world.check_conserved());
}

/// Whether the wait function may make the calls of an instruction: they do something outside a task.
pub fn needs_no_task(act: Act) -> bool {
    match act {
        Act::Open { .. } | Act::Close { .. } | Act::Shutdown { .. } | Act::Listen => true,
        Act::Adopt(_) | Act::Release(_) | Act::Spawn | Act::Cancel(_) | Act::Wake(_) => true,
        Act::Post { .. } | Act::RemoteCancel(..) | Act::RemoteWake(..) => true,
        Act::Group { call, .. } => {
            !matches!(call, GroupCall::Go | GroupCall::Wait | GroupCall::End)
        }
        _ => false,
    }
}

/// Makes a call of the running task that may suspend. Returns its number, what it has returned, and what has
/// happened to it meanwhile.
pub fn make<R: std::fmt::Debug>(
    what: For,
    uses: Use,
    span: u64,
    call: impl FnOnce() -> R,
) -> (usize, R, Op) {
    const ERRNO: c_int = 1234;
    let task = with(|world| {
        let task = world.current().expect("a task is running");
        world.serial += 1;
        let limit_ns = world.now_ns().saturating_add(span);
        let empties = match what {
            For::Place(group, _) | For::Empty(group, _) => world.groups[group].empties,
            _ => 0,
        };
        let mut op = Op { limit_ns, empties, serial: world.serial, ..Op::new(what, uses) };
        op.is_gone = op.descriptors().any(|(fd, _)| world.file(fd).is_none());
        let it = &mut world.tasks[task];
        it.spent += 1;
        assert!(it.op.replace(op).is_none(), "task {task} is in a call");
        task
    });
    tell(|_| format!("    task {task}: for {what:?}"));
    set_errno(ERRNO);
    let result = call();
    assert_eq!(get_errno(), ERRNO, "errno");
    tell(|_| format!("    task {task}: it returned {result:?}"));
    let op = with(|world| {
        assert_eq!(world.current(), Some(task));
        let it = &mut world.tasks[task];
        let mut op = it.op.take().expect("it was in a call");
        op.is_told |= it.will_be_told;
        op
    });
    (task, result, op)
}

fn cancel(task: usize, remotely: Option<From>) {
    let found = with(|world| {
        let count = world.tasks.len();
        let task = task % count.max(1);
        world.tasks.get(task).map(|it| (task, world.at, it.id, it.alive && it.id != 0))
    });
    let Some((task, at, id, true)) = found else { return };
    let result = match remotely {
        Some(from) => posts::call_for(at, from, move |remote| mj_remote_cancel(remote, id)),
        None => mj_scheduler_cancel(at, id),
    };
    assert_eq!(result, 0);
    with(|world| world.tasks[task].canceled = true);
}

fn wake(task: usize, remotely: Option<From>) {
    let found = with(|world| {
        let count = world.tasks.len();
        let task = task % count.max(1);
        world.tasks.get(task).map(|it| (task, world.at, it.id, it.alive && it.id != 0))
    });
    let Some((task, at, id, true)) = found else { return };
    match remotely {
        Some(from) => {
            let result = posts::call_for(at, from, move |remote| mj_remote_wake(remote, id));
            assert_eq!(result, 0);
        }
        None => assert!(mj_scheduler_wake(at, id) >= 0),
    }
    with(|world| {
        world.tasks[task].will_be_told |= remotely == Some(From::Elsewhere);
        if let Some(op) = &mut world.tasks[task].op {
            op.is_told = true;
        }
    });
}

fn stop() {
    let at = with(|world| {
        world.stopped = true;
        world.at
    });
    assert_eq!(mj_scheduler_stop(at), 0);
}
