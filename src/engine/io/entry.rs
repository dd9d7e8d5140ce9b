//! The reactor's entry for one descriptor: its waiters, and the stage of their wait.

use std::ffi::c_int;

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_MOD};

use crate::engine::sys::{self, Error, Result, Table};
use crate::engine::task::{Outcome, Task, Wait, WaitQueue};

/// Data can be read, a connection accepted, or the end was reached.
pub const READABLE: u32 = libc::EPOLLIN as u32;
/// Data can be written, or a connection attempt has ended.
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
/// All events that a task may ask for; poll(2) has the same bits for them.
pub const EVENTS: u32 = READABLE
    | WRITABLE
    | (libc::EPOLLPRI
        | libc::EPOLLRDHUP
        | libc::EPOLLRDNORM
        | libc::EPOLLRDBAND
        | libc::EPOLLWRNORM
        | libc::EPOLLWRBAND) as u32;
/// poll(2)'s answer for a file that is always ready, such as a regular file.
const ALWAYS: u32 = READABLE | WRITABLE;
/// Wakes every waiter, whatever events it waits for.
pub const FAILURE: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
const ONE_SHOT: u32 = libc::EPOLLONESHOT as u32;
/// In a task's interest: its wait is in the epoll set. No event has this bit.
const ARMED: u32 = libc::EPOLLET as u32;

/// Readies a task that has been taken out of its wait queue. A `dyn`, since the generic callers
/// would be large copies.
pub type Wake<'w> = &'w dyn Fn(&Task, Outcome);

/// The state of one descriptor.
#[derive(Default)]
pub struct Entry {
    pub waiters: WaitQueue<Task>,
    /// The generation of the latest arming.
    pub generation: u32,
    /// Whether the descriptor is probably in the epoll set.
    pub registered: bool,
    pub stage: Stage,
}

/// The stage of a descriptor's latest wait.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing to do: no task waits, or the descriptor is armed in the epoll set.
    #[default]
    Idle,
    /// A task waits, and poll(2) has not been called yet.
    Pending,
    /// poll(2) reported no event; not armed yet.
    Polled,
}

/// Whether the task's wait is in the epoll set.
pub fn is_armed(task: &Task) -> bool {
    task.interest.get() & ARMED != 0
}

fn wants(task: &Task, happened: u32) -> bool {
    happened & (task.interest.get() | FAILURE) != 0
}

impl Entry {
    /// A task begins to wait: adds the descriptor to the pending list.
    pub fn mark_pending(&mut self, fd: c_int, pending: &mut Table<c_int>) {
        if self.stage == Stage::Idle {
            pending.push(fd); // There is room, see `grow`.
        }
        self.stage = Stage::Pending;
    }

    /// Applies poll(2)'s result: wakes tasks, and arms the descriptor for the others, if `arm_now`
    /// or at the second poll. Returns the number of tasks woken.
    pub fn apply_poll(
        &mut self,
        epoll_fd: c_int,
        poll: &sys::pollfd,
        arm_now: bool,
        wake: Wake<'_>,
    ) -> usize {
        let happened = u32::from(poll.revents as u16);
        let mut woken = 0;
        if happened & sys::NOT_OPEN != 0 {
            woken = self.wake_all(Outcome::Failed(Error::Os(libc::EBADF)), wake);
        } else if happened != 0 {
            if self.waiters.iter().any(|task| is_armed(task) && wants(task, happened))
                && self.is_replaced(epoll_fd, poll.fd)
            {
                woken = self.wake_left_behind(wake);
            }
            woken += self.wake_for(happened, wake);
        } else if self.stage == Stage::Pending && !arm_now {
            self.stage = Stage::Polled;
            return 0;
        }
        woken + self.arm(epoll_fd, poll.fd, wake)
    }

    /// Arms the descriptor in the epoll set for one event, if there are waiters. On failure wakes
    /// all waiters with the error. Returns the number woken.
    pub fn arm(&mut self, epoll_fd: c_int, fd: c_int, wake: Wake<'_>) -> usize {
        self.stage = Stage::Idle;
        if self.waiters.is_empty() {
            return 0;
        }
        // Skips u32::MAX, which would make WAKE_UP possible. Also if the call fails: what was armed
        // before is of an earlier wait.
        self.generation = (self.generation + 1) % u32::MAX;
        let mut woken = 0;
        let result = if self.registered {
            match self.control(epoll_fd, EPOLL_CTL_MOD, fd) {
                Err(Error::Os(libc::ENOENT)) => {
                    woken = self.wake_left_behind(wake);
                    if self.waiters.is_empty() {
                        self.registered = false;
                        return woken;
                    }
                    self.control(epoll_fd, EPOLL_CTL_ADD, fd)
                }
                result => result,
            }
        } else {
            match self.control(epoll_fd, EPOLL_CTL_ADD, fd) {
                Err(Error::Os(libc::EEXIST)) => self.control(epoll_fd, EPOLL_CTL_MOD, fd),
                result => result,
            }
        };
        self.registered = result.is_ok();
        match result {
            Ok(()) => {
                for task in self.waiters.iter() {
                    task.interest.set(task.interest.get() | ARMED);
                }
                woken
            }
            Err(error) => woken + self.arm_failed(fd, error, wake),
        }
    }

    fn control(&self, epoll_fd: c_int, operation: c_int, fd: c_int) -> Result<()> {
        let data = u64::from(self.generation) << 32 | fd as u64;
        sys::epoll_ctl(epoll_fd, operation, fd, self.wanted() | ONE_SHOT, data)
    }

    /// Whether the number is another file's than the one that was armed last, since it was closed
    /// behind the reactor's back. Arms the file if it is the same one.
    #[cold]
    pub fn is_replaced(&mut self, epoll_fd: c_int, fd: c_int) -> bool {
        let known = std::mem::take(&mut self.registered);
        let replaced =
            known && self.control(epoll_fd, EPOLL_CTL_MOD, fd) == Err(Error::Os(libc::ENOENT));
        self.registered = known && !replaced;
        replaced
    }

    /// Wakes the tasks whose waits were armed for a file that no longer has the number.
    #[cold]
    fn wake_left_behind(&self, wake: Wake<'_>) -> usize {
        self.wake_those(|task| is_armed(task), Outcome::Failed(Error::Os(libc::EBADF)), wake)
    }

    /// epoll_ctl(2) has failed.
    #[cold]
    fn arm_failed(&self, fd: c_int, error: Error, wake: Wake<'_>) -> usize {
        // EPERM is right for a file that epoll does not support: poll(2) says that it is always
        // readable and writable, and waiters for other events keep waiting. For any other file
        // EPERM is an error.
        if error == Error::Os(libc::EPERM)
            && let Ok(happened) = sys::poll_now(fd, self.wanted() | ALWAYS)
            && happened & ALWAYS == ALWAYS
        {
            return self.wake_for(happened, wake);
        }
        self.wake_all(Outcome::Failed(error), wake)
    }

    /// Wakes the waiters whose events are among those that `happened`. Returns how many.
    fn wake_for(&self, happened: u32, wake: Wake<'_>) -> usize {
        self.wake_those(|task| wants(task, happened), Outcome::Ready(happened), wake)
    }

    /// The same by an event of the epoll set: only the waits that were armed are for its file.
    pub fn wake_armed_for(&self, happened: u32, wake: Wake<'_>) -> usize {
        let which = |task: &&Task| is_armed(task) && wants(task, happened);
        self.wake_those(which, Outcome::Ready(happened), wake)
    }

    #[cold]
    fn wake_all(&self, outcome: Outcome, wake: Wake<'_>) -> usize {
        self.wake_those(|_| true, outcome, wake)
    }

    fn wake_those(
        &self,
        which: impl Fn(&&Task) -> bool,
        outcome: Outcome,
        wake: Wake<'_>,
    ) -> usize {
        let mut woken = 0;
        for task in self.waiters.iter().filter(which) {
            self.waiters.remove(task);
            task.wait.set(Wait::NONE);
            wake(task, outcome);
            woken += 1;
        }
        woken
    }

    /// The union of the waiters' events.
    pub fn wanted(&self) -> u32 {
        self.waiters.iter().fold(0, |events, task| events | task.interest.get()) & !ARMED
    }
}
