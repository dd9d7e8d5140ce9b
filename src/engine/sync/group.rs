//! The group: tasks that belong together, and end together.
//!
//! A group has a number of places. Who wants to add a member takes a place first, and waits for one
//! in FIFO order if all are taken; a member that leaves hands its place to the first who waits. So
//! the group is empty only when nobody is about to add a member either. A member leaves when its
//! work is done, in its last turn: who waits for the end of the group runs after that, when the task
//! has ended.
//!
//! A group that is *closed* takes no members any more, for good: nobody can come in between the
//! cancellation of the members and the end of the last one.
//!
//! When its scheduler is destroyed, so are the members, which run nothing any more: without a
//! scheduler a group is empty.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr::{eq, from_ref, null};

use super::home::Home;
use super::object::Object;
use crate::engine::scheduler::{Limit, Running, Scheduler, running_task, set_cancelable, wait};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{
    Holders, Links, Outcome, SchedulerRef, State, Task, Wait, WaitKind, WaitQueue, Waiter,
};
use crate::engine::time::Deadline;

/// The task waits for a place in the group.
static PLACE: WaitKind = WaitKind {
    holders: Some(&Holders { words: "taken by", one_suffices: true, next: next_member }),
    ..WaitKind::new(c"place in group", unlink_adding)
};

/// The task waits for the end of the group.
static GROUP: WaitKind = WaitKind {
    holders: Some(&Holders { words: "with member", one_suffices: false, next: next_member }),
    ..WaitKind::new(c"group", unlink_waiting)
};

/// # Safety
/// As [`Holders::next`].
unsafe fn next_member(_: SchedulerRef, group: usize, latest: &mut usize) -> *const Task {
    // SAFETY: a group that a task waits for is alive, and so is a member until anything runs.
    let (group, latest_member) =
        unsafe { (&*(group as *const Group), (*latest as *const Member).as_ref()) };
    let next = match latest_member {
        Some(member) => group.members.behind(member),
        None => group.members.first(),
    };
    match next {
        Some(member) => {
            *latest = from_ref(member) as usize;
            member.task.get()
        }
        None => null(),
    }
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink_adding(_: SchedulerRef, group: usize, task: &Task) {
    // SAFETY: a group that a task waits for is alive.
    unsafe { (*(group as *const Group)).adding.remove(task) };
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink_waiting(_: SchedulerRef, group: usize, task: &Task) {
    // SAFETY: as above.
    unsafe { (*(group as *const Group)).waiting.remove(task) };
}

/// A group.
#[repr(C)]
pub struct Group {
    home: Home,
    /// How many places there are, and how many are taken: by members, and by tasks that are about
    /// to add one.
    places: usize,
    taken: Cell<usize>,
    members: WaitQueue<Member>,
    /// The tasks that wait for a place; none unless all are taken, and none once it is closed.
    adding: WaitQueue<Task>,
    /// The tasks that wait until it is empty.
    waiting: WaitQueue<Task>,
    closed: Cell<bool>,
    /// The first failure of a member, which is not 0, and whether that cancels the others.
    failure: Cell<c_int>,
    fails_fast: Cell<bool>,
}

/// What makes a task a member. It stays where it is from [`Group::enter`] to [`Group::leave`].
pub struct Member {
    links: Links<Member>,
    task: Cell<*const Task>,
}

impl Waiter for Member {
    fn links(&self) -> &Links<Member> {
        &self.links
    }
}

impl Default for Member {
    fn default() -> Member {
        Member { links: Links::default(), task: Cell::new(null()) }
    }
}

impl Object for Group {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_in_use(&self) -> bool {
        self.count() > 0 || !self.waiting.is_empty()
    }
}

/// What a wait for a place ends with.
const REFUSED: u32 = 0;
const GIVEN: u32 = 1;

// ---- members

impl Group {
    /// For debuggers.
    pub const TAKEN_OFFSET: usize = offset_of!(Group, taken);

    /// A group of at most `limit` members at a time; 0 for any number.
    pub const fn new(home: Home, limit: usize) -> Group {
        Group {
            home,
            places: if limit == 0 { usize::MAX } else { limit },
            taken: Cell::new(0),
            members: WaitQueue::new(),
            adding: WaitQueue::new(),
            waiting: WaitQueue::new(),
            closed: Cell::new(false),
            failure: Cell::new(0),
            fails_fast: Cell::new(false),
        }
    }

    /// How many members there are, and tasks that are about to add one.
    pub fn count(&self) -> usize {
        if self.home.scheduler().is_none() {
            self.members.forget_all();
            self.taken.set(0);
        }
        self.taken.get()
    }

    /// The running task, for a call that may wait. The members of a scheduler that is gone are
    /// forgotten before the running one becomes the home.
    fn begin<'t>(&self) -> Result<Running<'t>> {
        self.count();
        self.begin_call()
    }

    /// Takes a place for the running task to add a member, once there is one. It is either given to
    /// a member, by [`enter`](Self::enter), or [given back](Self::give_place_back).
    pub fn take_place(&self, limit: Limit) -> Result<()> {
        let (scheduler, _) = self.begin()?;
        let look = |_: Running<'_>| match self.try_take_place() {
            Ok(()) => Ok(Some(GIVEN)),
            Err(Error::WouldBlock) => Ok(None),
            Err(error) => Err(error),
        };
        let list = |(_, task): Running<'_>| {
            self.adding.push(task);
            Ok(Wait::on(&PLACE, self))
        };
        if wait(limit, look, list)? == REFUSED {
            return Err(Error::Disconnected);
        }
        if self.closed.get() {
            // Since it was given the place.
            self.give_place_back(scheduler);
            return Err(Error::Disconnected);
        }
        Ok(())
    }

    /// [`take_place`](Self::take_place) without waiting.
    pub fn try_take_place(&self) -> Result<()> {
        let taken = self.count();
        if self.closed.get() {
            return Err(Error::Disconnected);
        }
        if taken == self.places || !self.adding.is_empty() {
            return Err(Error::WouldBlock);
        }
        self.taken.set(taken + 1);
        Ok(())
    }

    /// Makes a task a member, which has been added for a place that was taken. It has not run yet.
    /// It inherits the running task's deadline.
    pub fn enter(&self, member: &Member, task: &Task) {
        if let Some((_, parent)) = running_task() {
            task.deadline_ns.set(parent.deadline_ns.get());
        }
        member.task.set(task);
        task.group.set(from_ref(self).cast());
        self.members.push(member);
    }

    /// The member leaves: its task ends in this turn. The group may not be there afterwards.
    pub fn leave(&self, member: &Member) {
        // SAFETY: the task of a member is alive.
        unsafe { (*member.task.get()).group.set(null()) };
        self.members.remove(member);
        if let Some(scheduler) = self.home.scheduler() {
            self.give_place_back(scheduler);
        }
    }

    /// Hands a place on to the first task that waits for one. Without members wakes all who wait
    /// for that.
    pub fn give_place_back(&self, scheduler: &Scheduler) {
        if scheduler.wake_first(&self.adding, Outcome::Ready(GIVEN)) {
            return;
        }
        self.taken.set(self.taken.get() - 1);
        if self.taken.get() == 0 {
            while scheduler.wake_first(&self.waiting, Outcome::Ready(0)) {}
        }
    }

    /// Sets whether the first failure cancels the other members.
    pub fn set_fails_fast(&self, fast: bool) {
        self.fails_fast.set(fast);
    }

    /// A member has failed.
    pub fn fail(&self, failure: c_int) {
        if self.failure.get() != 0 {
            return;
        }
        self.failure.set(failure);
        if self.fails_fast.get()
            && let Some(scheduler) = self.home.scheduler()
        {
            self.cancel_members(scheduler);
        }
    }

    /// The first failure of a member; 0 for none.
    pub fn failure(&self) -> c_int {
        self.failure.get()
    }

    fn is_of(&self, task: &Task) -> bool {
        eq(task.group.get(), from_ref(self).cast())
    }
}

// ---- the end

impl Group {
    /// Waits until there are no members.
    pub fn wait(&self, limit: Limit) -> Result<()> {
        self.begin()?;
        self.wait_until_empty(limit)
    }

    fn wait_until_empty(&self, limit: Limit) -> Result<()> {
        let look = |(_, task): Running<'_>| match self.count() {
            0 => Ok(Some(0)),
            _ if self.is_of(task) => Err(Error::Deadlock),
            _ => Ok(None),
        };
        let list = |(_, task): Running<'_>| {
            self.waiting.push(task);
            Ok(Wait::on(&GROUP, self))
        };
        wait(limit, look, list).map(drop)
    }

    /// Closes it, and cancels the members.
    pub fn cancel(&self) -> Result<()> {
        self.cancel_by(self.home.for_caller()?);
        Ok(())
    }

    /// [`cancel`](Self::cancel) for a destructor.
    pub fn abandon(&self) {
        if let Ok(scheduler) = self.home.for_drop() {
            self.cancel_by(scheduler);
        }
    }

    fn cancel_by(&self, scheduler: Option<&Scheduler>) {
        match scheduler {
            Some(scheduler) => self.cancel_members(scheduler),
            None => self.closed.set(true),
        }
    }

    fn cancel_members(&self, scheduler: &Scheduler) {
        self.close(scheduler);
        // No task runs meanwhile, so no member leaves.
        for member in self.members.iter() {
            // SAFETY: the task of a member is alive.
            scheduler.cancel(unsafe { &*member.task.get() });
        }
    }

    fn close(&self, scheduler: &Scheduler) {
        self.closed.set(true);
        while scheduler.wake_first(&self.adding, Outcome::Ready(REFUSED)) {}
    }

    /// Closes it, cancels the members that have not ended within the grace, and waits until all
    /// have, whatever happens to the running task meanwhile. Afterwards there are no members.
    /// [`Error::Canceled`] only where the scheduler ends its tasks.
    pub fn end(&self, grace: Deadline) -> Result<()> {
        let Some((scheduler, task)) = running_task() else {
            self.home.for_caller()?;
            return self.end_without_waiting();
        };
        if self.is_of(task) {
            return Err(Error::Deadlock);
        }
        self.count();
        self.home.current_task()?;
        let undisturbed = Undisturbed::begin(task); // Before the budget, which tells a canceled task.
        self.begin_call()?;
        self.close(scheduler);
        if grace != Deadline::In(0) {
            // For the grace, or until it turns out that there is no memory for the timer.
            let _ = self.wait_until_empty(Limit::uninterrupted(grace));
        }
        self.cancel_members(scheduler);
        while self.count() > 0 {
            undisturbed.check()?;
            let _ = self.wait_until_empty(Limit::uninterrupted(Deadline::Never));
        }
        Ok(())
    }

    fn end_without_waiting(&self) -> Result<()> {
        if self.count() > 0 {
            return Err(Error::NotInTask);
        }
        self.closed.set(true);
        Ok(())
    }
}

/// While it lives, the running task's waits are as long as they have to be: it is not told that it is
/// canceled, nor refused to wait because it is marked as ended, nor limited by its deadline.
struct Undisturbed<'t> {
    task: &'t Task,
    was_cancelable: bool,
    has_exited: bool,
    deadline_ns: u64,
}

impl Undisturbed<'_> {
    fn begin(task: &Task) -> Undisturbed<'_> {
        let has_exited = task.is(State::Exited);
        if has_exited {
            task.set_state(State::Runnable);
        }
        Undisturbed {
            task,
            was_cancelable: !task.shielded.replace(true),
            has_exited,
            deadline_ns: task.deadline_ns.replace(u64::MAX),
        }
    }

    /// An error if the scheduler is ending the task: [`Drain`](crate::engine::scheduler::Drain).
    fn check(&self) -> Result<()> {
        if self.task.shielded.get() { Ok(()) } else { Err(Error::Canceled) }
    }
}

impl Drop for Undisturbed<'_> {
    fn drop(&mut self) {
        let _ = set_cancelable(self.was_cancelable);
        self.task.deadline_ns.set(self.deadline_ns);
        if self.has_exited {
            self.task.set_state(State::Exited);
        }
    }
}
