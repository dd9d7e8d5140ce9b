//! The record of a Rust task: what the safe API knows of it beyond the core.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{fn_addr_eq, null_mut};
use std::rc::Rc;

use super::group::Membership;
use super::panics::drop_quietly;
use super::shared::Shared;
use crate::engine::scheduler::{Scheduler, running_task};
use crate::engine::task::{Body, State, Task};

/// Runs the task's closure and leaves the result where its handle finds it, or, when told that the
/// task is canceled, only drops the closure. Does not unwind.
pub type Job<'a> = Box<dyn FnOnce(bool) + 'a>;

/// What belongs to one Rust task. The task's `user_state` owns it.
pub struct Record {
    /// Until the first turn.
    job: Cell<Option<Job<'static>>>,
    pub shared: Rc<Shared>,
    /// How many calls of `task::no_unwind` it is in.
    pub frames: Cell<u32>,
    /// The moment from which on a wait that times out unwinds the task to a call of `task::timeout`; `u64::MAX`
    /// for never.
    pub unwinds_at_ns: Cell<u64>,
    /// How many suspensions were refused because it was unwinding.
    pub refusals: Cell<u32>,
    /// Whether it is in `task::park`, and whether it has been woken for that.
    pub parked: Cell<bool>,
    pub woken: Cell<bool>,
    /// How many scopes it is in: it borrows from a task that is in one less. 0 if it borrows nothing.
    pub depth: u32,
    /// The last field: the task leaves its group when all else is dropped.
    membership: Option<Membership>,
}

/// Where a task belongs.
#[derive(Default)]
pub struct Place {
    /// As [`Record::depth`].
    pub depth: u32,
    pub membership: Option<Membership>,
}

impl Record {
    pub fn new(shared: Rc<Shared>, job: Job<'static>, place: Place) -> Record {
        Record {
            job: Cell::new(Some(job)),
            shared,
            frames: Cell::new(0),
            unwinds_at_ns: Cell::new(u64::MAX),
            refusals: Cell::new(0),
            parked: Cell::new(false),
            woken: Cell::new(false),
            depth: place.depth,
            membership: place.membership,
        }
    }

    /// What the core is to be given as a task's `user_state`.
    pub fn into_user_state(self) -> *mut c_void {
        Box::into_raw(Box::new(self)).cast()
    }

    /// The task has been handed to the core.
    pub fn enter_group(&self, task: &Task) {
        if let Some(membership) = &self.membership {
            membership.enter(task);
        }
    }

    /// The record of a task, if it is a Rust task that has not ended. The reference is good until
    /// the task ends or is given up.
    pub fn of(task: &Task) -> Option<&Record> {
        if !is_rust(task) {
            return None;
        }
        // SAFETY: the `user_state` of a task with this body is null, or a record from
        // `into_user_state`: only `take` changes it.
        unsafe { task.user_state.get().cast::<Record>().as_ref() }
    }

    /// Takes the record away from a task that does not run any more. What `of` has returned must
    /// not be used again.
    pub fn take(task: &Task) -> Option<Box<Record>> {
        if !is_rust(task) {
            return None;
        }
        let state = task.user_state.replace(null_mut()).cast::<Record>();
        // SAFETY: from `into_user_state`, and nobody takes it twice, since the field is null now.
        (!state.is_null()).then(|| unsafe { Box::from_raw(state) })
    }

    /// Drops the closure, if the task has not begun. The closure's destructor may panic.
    pub fn discard_job(&self) {
        if let Some(job) = self.job.take() {
            job(true);
        }
    }
}

/// Ends a task's call of `task::park`, or makes its next one return at once. Does nothing to a task of C.
pub fn wake(core: &Scheduler, task: &Task) {
    let Some(record) = Record::of(task) else { return };
    record.woken.set(true);
    if record.parked.get() {
        // It may not have suspended yet: its clock, which it asks before, can come here. Fails
        // for a task that has ended, which has no record.
        let _ = core.enqueue(task);
    }
}

/// Whether a task was spawned by the safe API.
pub fn is_rust(task: &Task) -> bool {
    let body: Body = run;
    task.body.get().is_some_and(|other| fn_addr_eq(other, body))
}

/// The body of every Rust task. No panic leaves it: jobs do not unwind.
///
/// # Safety
/// Called by the core, with the record of the running task.
pub unsafe extern "C-unwind" fn run(_scheduler: *mut c_void, _record: *mut c_void) {
    let Some((core, task)) = running_task() else {
        return; // Unreachable: the core calls bodies only in turns.
    };
    if let Some(job) = Record::of(task).and_then(|record| record.job.take()) {
        job(task.canceled.get());
    }
    core.finish(task); // While the task has a record: that is unwound if it suspends, and is destroyed.
    drop_quietly(Record::take(task));
    task.set_state(State::Exited);
}
