//! A child process, until it has been waited for.
//!
//! # States
//!
//! | state | goes to | by whom |
//! |---|---|---|
//! | runs | ended, with a status | a look of this library, which takes it out of the system's list of processes |
//! | | lost | a look that does not find it: others have waited for it, or this is a child of fork() |
//!
//! Signals are sent only while it runs. So none reaches another process, although the system gives the number
//! away again: as long as nobody has looked, the number is the child's. Where the program itself waits for
//! children that are this library's, the descriptor of the child is what keeps signals from others. One that leads
//! a group stays in the system's list until it is released, so that the number is the group's until then.
//!
//! It is one scheduler's, as mutexes are; [`Error::WrongThread`] is for the caller to report. Tasks that wait for it
//! use it; it stays until the last one has left it, and is then what the program has said meanwhile: kept, released,
//! or let go.
//!
//! | the program has | it is in the list | until |
//! |---|---|---|
//! | the handle | of nobody | it is ended or let go, which is over when that call returns |
//! | given it up, and tasks use it | `PARTING` | the last task has left it; or its scheduler has gone, and the tasks with it |
//! | let it go, and nobody uses it | `LET_GO` | it has ended |

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::swap;
use std::ops::Deref;
use std::ptr::null_mut;

use super::list::{Linked, List};
use super::pauses::{FIRST_PAUSE_NS, Pauses, longer};
use super::pipes::{HEARING, Pipes};
use crate::engine::scheduler::{
    Limit, READABLE, close_private_fd, regardless, spend_in_task, wait_fd_later,
};
use crate::engine::sync::Home;
use crate::engine::sys::{self, ErrnoGuard, Error, Look, Pid, Result};
use crate::engine::threads::{Lock, this_process};
use crate::engine::time::Deadline;

impl Linked for Child {
    fn next(&self) -> &Cell<*mut Child> {
        &self.next
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    Ended(c_int),
    Lost,
}

/// What becomes of it when nobody uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Kept,
    Released,
    LetGo,
}

pub struct Child {
    pub(super) home: Home,
    pid: Pid,
    /// Can be read once it has ended. Nothing where the system has none.
    fd: Option<c_int>,
    leads_group: bool,
    /// Whose child it is.
    parent: u32,
    state: Cell<State>,
    /// How many calls use it that may suspend.
    users: Cell<usize>,
    pub(super) after: Cell<After>,
    pub(super) pipes: Pipes,
    pub(super) is_parting: Cell<bool>,
    /// In one of the lists.
    next: Cell<*mut Child>,
}

impl Child {
    /// Memory for one, before there is a process that could be lost for want of it.
    pub(super) fn allocate() -> Result<*mut Child> {
        let memory = sys::allocate::<Child>(1);
        if memory.is_null() { Err(Error::OutOfMemory) } else { Ok(memory) }
    }

    /// A child that runs, for [`Child::end`] or [`Child::let_go`].
    ///
    /// # Safety
    /// The memory is from [`allocate`](Self::allocate), and becomes the child's.
    pub(super) unsafe fn place(
        memory: *mut Child,
        pid: Pid,
        fd: Option<c_int>,
        leads_group: bool,
        pipes: Pipes,
    ) {
        let child = Child {
            home: Home::none(),
            pid,
            fd,
            leads_group,
            parent: this_process(),
            state: Cell::new(State::Runs),
            users: Cell::new(0),
            after: Cell::new(After::Kept),
            pipes,
            is_parting: Cell::new(false),
            next: Cell::new(null_mut()),
        };
        // SAFETY: as this function's contract says.
        unsafe { memory.write(child) };
    }

    /// Takes over a child that others have made. Without memory it is killed, with the group that it leads.
    pub fn adopt(pid: Pid, leads_group: bool) -> Result<*mut Child> {
        wait_for_those_let_go();
        let memory = Child::allocate().inspect_err(|_| {
            let _ = sys::signal_child(pid, None, leads_group, libc::SIGKILL);
        })?;
        // SAFETY: fresh memory.
        unsafe { Child::place(memory, pid, sys::open_child(pid), leads_group, Pipes::none()) };
        Ok(memory)
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its descriptor, if it has one, and the program has not closed that: the number may be another file's by now.
    pub(super) fn fd(&self) -> Option<c_int> {
        self.fd.filter(|fd| sys::stands_for_child(*fd, self.pid))
    }

    /// The library's end of a pipe, which is the caller's from now on.
    pub fn take_pipe(&self, number: usize) -> Result<c_int> {
        if number == HEARING { Err(Error::InvalidArgument) } else { self.pipes.take(number) }
    }

    /// Looks whether it has ended.
    fn look(&self) -> State {
        if !self.is_of_this_process() {
            self.state.set(State::Lost);
        }
        if self.state.get() == State::Runs {
            self.state.set(match sys::look_at_child(self.pid, !self.leads_group) {
                Look::Runs => State::Runs,
                Look::Ended(status) => State::Ended(status),
                Look::Unknown => State::Lost,
            });
        }
        self.state.get()
    }

    /// How it has ended, if it has.
    pub(super) fn status(&self) -> Option<Result<c_int>> {
        match self.look() {
            State::Runs => None,
            State::Ended(status) => Some(Ok(status)),
            State::Lost => Some(Err(Error::Os(libc::ECHILD))),
        }
    }

    /// Waits until it has ended. Returns its status, in the form of waitpid(2).
    ///
    /// # Safety
    /// From [`allocate`](Self::allocate), and neither ended nor let go before.
    pub unsafe fn wait(child: *mut Child, mut limit: Limit) -> Result<c_int> {
        let _errno = ErrnoGuard::save();
        // SAFETY: as this function's contract says.
        let this = unsafe { User::begin(child)? };
        spend_in_task()?; // It may have ended, and the task ask again and again.
        if let Some(status) = this.status() {
            return status;
        }
        let (scheduler, _) = this.home.current_task()?;
        limit.deadline.resolve(&scheduler.time.clock);
        let mut pauses = Pauses::new();
        loop {
            let waited = this.wait_once(limit, &mut pauses);
            // What has happened by now counts, though the time is over, or the task is canceled.
            if let Some(status) = this.status() {
                return status;
            }
            waited?;
        }
    }

    /// Waits until it may have ended.
    fn wait_once(&self, limit: Limit, pauses: &mut Pauses) -> Result<()> {
        if let Some(fd) = self.fd().filter(|_| !pauses.have_begun()) {
            // It has ended now, or cannot be waited for by this, as where there are too many such waits. One that
            // is traced has ended for its tracer first.
            match wait_fd_later(fd, READABLE, limit) {
                Ok(_) | Err(Error::OutOfMemory | Error::Os(_)) => pauses.begin(),
                Err(error) => return Err(error),
            }
            return Ok(());
        }
        pauses.wait(limit)
    }

    /// [`wait`](Self::wait) where nothing can wait: [`Error::WouldBlock`] while it runs.
    pub fn try_wait(&self) -> Result<c_int> {
        let _errno = ErrnoGuard::save();
        self.home.look_for_caller()?;
        self.status().unwrap_or(Err(Error::WouldBlock))
    }

    /// Sends a signal, to the group if it leads one. [`Error::NoSuchTask`] once it has been waited for.
    pub fn signal(&self, signal: c_int) -> Result<()> {
        let _errno = ErrnoGuard::save();
        self.home.look_for_caller()?;
        let is_there = match self.state.get() {
            State::Runs => true,
            State::Ended(_) => self.leads_group,
            State::Lost => false,
        };
        if is_there && self.is_known() {
            return sys::signal_child(self.pid, self.fd(), self.leads_group, signal);
        }
        if self.state.get() == State::Runs {
            self.state.set(State::Lost);
        }
        Err(Error::NoSuchTask)
    }

    /// False in a child of fork(), whose parent's it is.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.parent == this_process()
    }

    /// Whether it is in the system's list of processes, and this process's.
    fn is_known(&self) -> bool {
        self.is_of_this_process() && sys::look_at_child(self.pid, false) != Look::Unknown
    }

    /// Ends it: SIGTERM, and after the grace SIGKILL. Then it has been waited for, and is released. Of what may
    /// happen to a task only the want of memory cuts the grace short. Outside a task it blocks the thread.
    /// With [`Error::Busy`], another task is about it.
    ///
    /// # Safety
    /// As [`wait`](Self::wait).
    pub unsafe fn end(child: *mut Child, grace_ns: u64) -> Result<c_int> {
        let _errno = ErrnoGuard::save();
        // SAFETY: as this function's contract says.
        let this = unsafe { User::begin(child)? };
        if this.after.get() != After::Kept {
            return Err(Error::Busy);
        }
        this.after.set(After::Released);
        this.pipes.close();
        let _ = this.signal(libc::SIGTERM); // It may have ended.
        let is_over = this.has_ended_within(grace_ns, 0);
        if !is_over || this.leads_group {
            let _ = this.signal(libc::SIGKILL); // Also of the group's others.
        }
        this.has_ended_within(u64::MAX, u64::MAX);
        this.part();
        this.status().unwrap_or(Err(Error::Os(libc::ECHILD)))
    }

    /// Waits until it has ended, and is still in the system's list of processes. Where the task cannot wait, since
    /// its scheduler is being destroyed or there is no memory, it blocks the thread for `blocking_ns`.
    fn has_ended_within(&self, ns: u64, blocking_ns: u64) -> bool {
        let mut deadline = Deadline::after_ns(ns);
        let mut pauses = Pauses::new();
        while self.runs() {
            let Ok((scheduler, _)) = self.home.current_task() else {
                return self.blocks_until_ended(ns);
            };
            deadline.resolve(&scheduler.time.clock);
            let limit = Limit::until(deadline);
            match regardless(|| self.wait_once(limit, &mut pauses)).flatten() {
                Ok(()) | Err(Error::Interrupted) => {}
                Err(Error::TimedOut) => return false,
                Err(_) => return self.blocks_until_ended(blocking_ns),
            }
        }
        true
    }

    /// Whether it is still to end. It stays in the system's list of processes.
    fn runs(&self) -> bool {
        self.state.get() == State::Runs
            && self.is_of_this_process()
            && sys::look_at_child(self.pid, false) == Look::Runs
    }

    /// The same, outside a task.
    fn blocks_until_ended(&self, ns: u64) -> bool {
        let mut left_ns = ns;
        let mut pause_ns = FIRST_PAUSE_NS;
        let mut fd = self.fd();
        while self.runs() {
            if left_ns == 0 {
                return false;
            }
            let now_ns = sys::monotonic_ns();
            match fd.take() {
                // One that is traced has ended for its tracer first.
                Some(fd) => drop(sys::poll_one(fd, READABLE, left_ns)),
                None => sys::sleep_ns(pause_ns.min(left_ns)),
            }
            pause_ns = longer(pause_ns);
            if left_ns != u64::MAX {
                left_ns = left_ns.saturating_sub(sys::monotonic_ns().saturating_sub(now_ns));
            }
        }
        true
    }

    /// Lets it go: it runs on, and is waited for by later calls of this library, once it has ended. Anywhere on the
    /// thread of its scheduler.
    ///
    /// # Safety
    /// As [`wait`](Self::wait).
    pub unsafe fn let_go(child: *mut Child) -> Result<()> {
        let _errno = ErrnoGuard::save();
        // SAFETY: as this function's contract says.
        let this = unsafe {
            (*child).home.look_for_drop()?;
            User::add(child)
        };
        if this.after.get() != After::Kept {
            return Err(Error::Busy);
        }
        this.pipes.close();
        this.after.set(After::LetGo);
        this.part();
        Ok(())
    }

    /// Whether it has ended, or is nobody's: for what nobody waits for.
    fn is_over(&self) -> bool {
        self.look() != State::Runs
    }

    /// # Safety
    /// Nobody uses it any more.
    unsafe fn release(child: *mut Child) {
        // SAFETY: as this function's contract says; the memory is from `allocate`.
        unsafe {
            if (*child).leads_group && matches!((*child).state.get(), State::Ended(_)) {
                sys::look_at_child((*child).pid, true);
            }
            if let Some(fd) = (*child).fd() {
                let _ = close_private_fd(fd);
            }
            child.drop_in_place();
            sys::free(child.cast());
        }
    }
}

/// A call that uses a child, and may suspend. The last one does what is to be done then.
pub(super) struct User(*mut Child);

impl User {
    /// # Safety
    /// As [`Child::wait`].
    pub(super) unsafe fn begin(child: *mut Child) -> Result<User> {
        // SAFETY: as this function's contract says.
        unsafe {
            (*child).home.look_for_caller()?;
            Ok(User::add(child))
        }
    }

    /// [`begin`](Self::begin) of a caller who may use it.
    ///
    /// # Safety
    /// As [`Child::wait`].
    unsafe fn add(child: *mut Child) -> User {
        // SAFETY: as this function's contract says.
        let this = unsafe { &*child };
        // Tasks that were in a call are gone with their scheduler, and what they were about is not done.
        if this.home.scheduler().is_none_or(|home| home.is_over.get()) {
            this.users.set(0);
            this.after.set(After::Kept);
        }
        this.users.set(this.users.get() + 1);
        User(child)
    }

    /// The program has given the child up. Tasks may use it still.
    fn part(&self) {
        if self.users.get() > 1 {
            self.is_parting.set(true);
            // SAFETY: it is taken out before it is released.
            unsafe { PARTING.lock().add(self.0) };
        }
    }
}

impl Deref for User {
    type Target = Child;

    fn deref(&self) -> &Child {
        // SAFETY: it is released by the last user only.
        unsafe { &*self.0 }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let users = self.users.get().saturating_sub(1);
        self.users.set(users);
        if users > 0 {
            return;
        }
        if self.is_parting.replace(false) {
            _ = PARTING.lock().take_out(|child| child == self.0);
        }
        match self.after.get() {
            After::Kept => {}
            // SAFETY: this was the last user, and the program may not begin another call.
            After::Released => unsafe { Child::release(self.0) },
            After::LetGo => {
                // SAFETY: this was the last user.
                unsafe { LET_GO.lock().next.add(self.0) };
                wait_for_those_let_go();
            }
        }
    }
}

// ---- those that the program has given up
//
// Somebody has to wait for them, or they stay in the system's list of processes: each later call that makes or lets
// go a child looks at them, at some of many in turn.

// SAFETY: who has a list has what is in it; of one that is parting its tasks have their part, until they have left it.
unsafe impl Send for List<Child> {}

pub(super) static PARTING: Lock<List<Child>> = Lock::in_static(List::new());
static LET_GO: Lock<LetGo> = Lock::in_static(LetGo { next: List::new(), seen: List::new() });

/// How many are looked at a time.
const LOOKS: usize = 64;

struct LetGo {
    next: List<Child>,
    /// These again when all of the others have been looked at.
    seen: List<Child>,
}

impl LetGo {
    /// Takes some out that have ended.
    fn take_ended(&mut self) -> List<Child> {
        let (mut ended, mut looked_at) = (List::new(), List::new());
        for _ in 0..LOOKS {
            if self.next.is_empty() {
                swap(&mut self.next, &mut self.seen);
            }
            let Some(child) = self.next.next() else { break };
            // SAFETY: alive, and nobody else's; from one list to another one.
            unsafe { if (*child).is_over() { ended.add(child) } else { looked_at.add(child) } }
        }
        // SAFETY: as above.
        looked_at.for_each(|child| unsafe { self.seen.add(child) });
        ended
    }
}

/// Waits for those that were let go and have ended.
pub fn wait_for_those_let_go() {
    // SAFETY: alive, and its home stays what it is, since no call begins any more.
    let is_left = |child: *mut Child| unsafe { (*child).home.scheduler() }.is_none();
    let parted = PARTING.lock().take_out(is_left);
    for child in parted {
        // SAFETY: taken out of the list, and the tasks that have used it are gone.
        match unsafe { (*child).after.get() } {
            // SAFETY: as above.
            After::LetGo => unsafe { LET_GO.lock().next.add(child) },
            // SAFETY: as above.
            _ => unsafe { Child::release(child) },
        }
    }
    let ended = LET_GO.lock().take_ended();
    for child in ended {
        // SAFETY: taken out of the list, and nobody else's.
        unsafe { Child::release(child) };
    }
}
