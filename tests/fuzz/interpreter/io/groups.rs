//! Groups: how many members there are, who waits for a place, and how a group ends.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libc::{EAGAIN, EBUSY, EDEADLK, EINVAL, EPERM, EPIPE};

use super::super::majjen_h::*;
use super::calls::make;
use super::program::GroupCall;
use super::verdict::{For, Use};
use super::{MOST_TASKS, World, take_instructions, with};

pub struct Group {
    /// NULL when there is none.
    pub at: *mut mj_group,
    /// Which one it is, of those that were made here.
    pub made: u64,
    pub limit: usize,
    pub members: usize,
    pub is_closed: bool,
    /// A call that ends it has begun, and has perhaps yielded first.
    pub may_be_closed: bool,
    pub error: c_int,
    pub fails_fast: bool,
    /// From when on its members are canceled by a call that ends it.
    pub cancels_ns: u64,
    /// How often it has become empty.
    pub empties: u64,
}

impl Default for Group {
    fn default() -> Group {
        Group {
            at: null_mut(),
            made: 0,
            limit: 0,
            members: 0,
            is_closed: false,
            may_be_closed: false,
            error: 0,
            fails_fast: false,
            cancels_ns: u64::MAX,
            empties: 0,
        }
    }
}

pub fn act(which: usize, call: GroupCall, span: u64) {
    let at = with(|world| world.groups[which].at);
    let in_task = with(|world| world.current()).is_some();
    match call {
        GroupCall::Create(limit, fails_fast) => create(which, limit, fails_fast),
        _ if at.is_null() => {}
        GroupCall::Go if in_task => add(which, Some(span)),
        GroupCall::TryGo => add(which, None),
        GroupCall::Wait if in_task => wait(which, span),
        GroupCall::Cancel => {
            assert_eq!(mj_group_cancel(at), 0);
            with(|world| world.cancel_group(which));
        }
        GroupCall::End if in_task => end(which, span),
        GroupCall::Destroy => destroy(which),
        _ => with(|world| world.look_at_group(which)),
    }
}

fn create(which: usize, limit: usize, fails_fast: bool) {
    let (scheduler, is_there) = with(|world| (world.at, !world.groups[which].at.is_null()));
    if is_there {
        return;
    }
    let at = mj_group_create(scheduler, limit);
    assert!(!at.is_null());
    assert_eq!(mj_group_set_fail_fast(at, fails_fast), 0);
    with(|world| {
        let (made, empties) = (world.groups[which].made + 1, world.groups[which].empties);
        world.groups[which] = Group { at, made, limit, fails_fast, empties, ..Group::default() };
    });
}

impl World {
    /// Calls of tasks with a group that is still the same.
    fn callers(&self, which: usize, what: fn(usize, u64) -> For) -> usize {
        let wanted = what(which, self.groups[which].made);
        let ops = self.tasks.iter().filter(|task| task.alive).filter_map(|task| task.op.as_ref());
        ops.filter(|op| op.what == wanted).count()
    }

    /// Whether whoever waits for a place in a group, or the first of them, need not.
    pub fn has_place(&self, which: usize, made: u64) -> bool {
        let Group { members, limit, is_closed, made: current, .. } = self.groups[which];
        made != current || is_closed || limit == 0 || members < limit
    }

    /// The members of a group are canceled, and there will be no others.
    fn cancel_group(&mut self, which: usize) {
        let group = &mut self.groups[which];
        (group.is_closed, group.may_be_closed) = (true, true);
        for task in self.tasks.iter_mut().filter(|task| task.alive && task.group == Some(which)) {
            task.canceled = true;
        }
    }

    fn look_at_group(&self, which: usize) {
        let Group { at, members, error, .. } = self.groups[which];
        let (count, adding) = (mj_group_count(at), self.callers(which, For::Place));
        assert!((members..=members + adding).contains(&count), "{members} members, {count} told");
        assert_eq!(mj_group_error(at), error);
    }
}

/// The function of a member.
unsafe extern "C" fn member(task: *mut c_void) -> c_int {
    let task = task as usize;
    let result = take_instructions(task);
    with(|world| {
        let which = world.tasks[task].group.expect("a member");
        let group = &mut world.groups[which];
        group.members -= 1;
        group.empties += u64::from(group.members == 0);
        if result != 0 && group.error == 0 {
            group.error = result;
            if group.fails_fast {
                world.cancel_group(which);
            }
        }
        world.tasks[task].alive = false;
    });
    result
}

/// Adds a member; without a limit of time it does not wait.
fn add(which: usize, span: Option<u64>) {
    let made = with(|world| {
        let deadline_ns = world.current().map_or(u64::MAX, |task| world.tasks[task].deadline_ns);
        (world.tasks.len() < MOST_TASKS).then(|| {
            let task = world.new_task(Some(which), deadline_ns);
            world.tasks[task].alive = false; // Not yet.
            (task, world.groups[which].at, world.groups[which].made)
        })
    });
    let Some((task, at, made)) = made else { return };
    let argument = task as *mut c_void;
    let result = match span {
        Some(span) => {
            let (caller, result, op) = make(For::Place(which, made), Use::Waits, span, || {
                mj_group_go(at, Some(member), argument, span)
            });
            with(|world| {
                let Group { is_closed, may_be_closed, made: current, .. } = world.groups[which];
                let is_fine = match -result {
                    0 => made == current && !is_closed,
                    EPIPE => made != current || may_be_closed,
                    _ => world.may_fail(caller, &op, result).is_ok(),
                };
                assert!(is_fine, "mj_group_go returned {result}: {op:?}");
            });
            result
        }
        None => {
            let result = mj_group_try_go(at, Some(member), argument);
            with(|world| {
                let Group { is_closed, may_be_closed, limit, members, .. } = world.groups[which];
                let adding = world.callers(which, For::Place);
                let is_fine = match -result {
                    0 => !is_closed,
                    EPIPE => may_be_closed,
                    EAGAIN => !is_closed && limit > 0 && members + adding >= limit,
                    _ => false,
                };
                assert!(is_fine, "mj_group_try_go returned {result}");
            });
            result
        }
    };
    if result == 0 {
        with(|world| {
            let group = &mut world.groups[which];
            group.members += 1;
            assert!(group.limit == 0 || group.members <= group.limit, "too many members");
            world.tasks[task].alive = true;
        });
    }
}

fn is_member(world: &World, which: usize) -> bool {
    world.current().is_some_and(|task| world.tasks[task].group == Some(which))
        && world.groups[which].members > 0
}

fn wait(which: usize, span: u64) {
    let (at, made) = with(|world| (world.groups[which].at, world.groups[which].made));
    let what = For::Empty(which, made);
    let (task, result, op) = make(what, Use::Waits, span, || mj_group_wait(at, span));
    with(|world| {
        let group = &world.groups[which];
        let is_empty = group.made != made || group.members == 0 || group.empties != op.empties;
        let is_fine = match -result {
            0 => is_empty,
            EDEADLK => is_member(world, which),
            _ => world.may_fail(task, &op, result).is_ok(),
        };
        assert!(is_fine, "mj_group_wait returned {result}: {op:?}");
    });
}

/// Not by a member of the other group: the two could wait for each other.
fn end(which: usize, grace_ns: u64) {
    let group = with(|world| world.tasks[world.current()?].group);
    if group.is_some_and(|group| group != which) {
        return;
    }
    let (at, made, is_member) = with(|world| {
        let is_member = is_member(world, which);
        let cancels_ns = world.now_ns().saturating_add(grace_ns);
        let has_budget = world.current().is_some_and(|task| world.has_budget(task));
        let group = &mut world.groups[which];
        if !is_member {
            group.may_be_closed = true;
            group.is_closed |= has_budget;
            group.cancels_ns = group.cancels_ns.min(cancels_ns);
        }
        (group.at, group.made, is_member)
    });
    let what = if is_member { For::Nothing } else { For::Undisturbed };
    let (_, result, op) = make(what, Use::Waits, u64::MAX, || mj_group_end(at, grace_ns));
    with(|world| {
        let group = &mut world.groups[which];
        group.is_closed |= result == 0 && group.made == made;
        let is_empty = group.made != made || group.members == 0;
        let is_fine = match -result {
            0 => !is_member && is_empty,
            EDEADLK => is_member,
            _ => false,
        };
        assert!(is_fine, "mj_group_end returned {result}: {op:?}");
    });
}

fn destroy(which: usize) {
    let at = with(|world| world.groups[which].at);
    // A call that ends the group uses it until it returns.
    let ends = with(|world| {
        let mut ops = world.tasks.iter().filter_map(|task| task.op.as_ref());
        ops.any(|op| op.what == For::Undisturbed)
    });
    if ends {
        return;
    }
    let result = mj_group_destroy(at);
    with(|world| {
        let used = world.callers(which, For::Place) + world.callers(which, For::Empty);
        let members = world.groups[which].members;
        match result {
            0 => assert_eq!(members, 0),
            _ => assert!(result == -EBUSY && members + used > 0, "mj_group_destroy: {result}"),
        }
        if result == 0 {
            world.groups[which].at = null_mut();
            world.groups[which].made += 1;
        }
    });
}

/// After the scheduler was destroyed, and with it the members.
pub fn destroy_all() {
    for which in 0..2 {
        let at = with(|world| std::mem::replace(&mut world.groups[which].at, null_mut()));
        if at.is_null() {
            continue;
        }
        assert_eq!(mj_group_count(at), 0);
        let refused = mj_group_try_go(at, Some(member), null_mut());
        assert!([-EINVAL, -EPERM, -EPIPE].contains(&refused), "it has taken a member: {refused}");
        assert_eq!(mj_group_destroy(at), 0);
    }
}
