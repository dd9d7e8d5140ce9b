//! The reactor's entry for one descriptor: its waiters, and the stage of their wait.

use std::ffi::c_int;

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_MOD};

use crate::engine::sys::{self, Error, Result, Table};
use crate::engine::task::{WaitNode, WaitQueue};

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
const EDGES: u32 = libc::EPOLLET as u32;

/// [`WaitNode::mark`]: its wait is in the epoll set, for the file that the number had then.
const ARMED: u8 = 1;
/// [`WaitNode::mark`]: the waiter tries again when it is woken, so it may be woken for nothing.
const RETRIES: u8 = 2;

/// [`WaitNode::result`]: the descriptor was closed.
pub const CLOSED: c_int = c_int::MIN;

/// The nodes of waits that have ended.
pub type Fired = WaitQueue<WaitNode>;

/// The state of one descriptor.
#[derive(Default)]
pub struct Entry {
    pub waiters: WaitQueue<WaitNode>,
    /// The ownership that it is registered for, edge-triggered, until it is closed; 0 if it is armed
    /// for one event at a time.
    pub ownership: u64,
    /// The generation of the latest arming.
    pub generation: u32,
    /// Whether the descriptor is probably in the epoll set.
    pub registered: bool,
    pub stage: Stage,
    /// How it was read or written last.
    pub form: sys::Form,
    /// With an ownership, see [`owned`](super::owned).
    pub owned: super::owned::State,
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

/// The entry of a descriptor, for those that need other fields of the reactor, too.
pub fn entry_of(table: &mut Table<Entry>, fd: c_int) -> Option<&mut Entry> {
    usize::try_from(fd).ok().and_then(|index| table.get_mut(index))
}

/// Whether the wait is known to be in the epoll set.
pub fn is_armed(node: &WaitNode) -> bool {
    node.mark.get() & ARMED != 0
}

pub fn mark_as_armed(node: &WaitNode) {
    node.mark.set(node.mark.get() | ARMED);
}

/// Says that the waiter may be woken for nothing.
pub fn mark_as_retrying(node: &WaitNode) {
    node.mark.set(node.mark.get() | RETRIES);
}

fn may_be_woken(node: &WaitNode) -> bool {
    node.mark.get() != 0
}

fn wants(node: &WaitNode, happened: u32) -> bool {
    happened & (node.events() | FAILURE) != 0
}

impl Entry {
    /// A task begins to wait: adds the descriptor to the pending list.
    pub fn mark_pending(&mut self, fd: c_int, pending: &mut Table<c_int>) {
        if self.stage == Stage::Idle {
            pending.push(fd); // There is room, see `grow`.
        }
        self.stage = Stage::Pending;
    }

    /// Whether poll(2) would hardly find it ready: it was not a moment ago, or its events come by the epoll set.
    pub fn is_rarely_ready(&self) -> bool {
        self.registered || self.stage == Stage::Polled
    }

    /// Applies poll(2)'s result: fires waits, and arms the descriptor for the others, if `arm_now`
    /// or at the second poll. Returns the number of waits that have ended.
    pub fn apply_poll(
        &mut self,
        epoll_fd: c_int,
        poll: &sys::pollfd,
        arm_now: bool,
        fired: &Fired,
    ) -> usize {
        let happened = u32::from(poll.revents as u16);
        let mut ended = 0;
        if happened & sys::NOT_OPEN != 0 {
            ended = self.fail_all(Error::Os(libc::EBADF), fired);
        } else if happened != 0 {
            if self.waiters.iter().any(|node| is_armed(node) && wants(node, happened))
                && self.is_replaced(epoll_fd, poll.fd)
            {
                ended = self.fail_left_behind(fired);
            }
            ended += self.fire_for(happened, fired);
        } else if self.stage == Stage::Pending && !arm_now {
            self.stage = Stage::Polled;
            return 0;
        }
        ended + self.arm(epoll_fd, poll.fd, fired)
    }

    /// Arms the descriptor in the epoll set, if there are waiters. On failure all waits end with the
    /// error. Returns the number that have ended.
    pub fn arm(&mut self, epoll_fd: c_int, fd: c_int, fired: &Fired) -> usize {
        self.stage = Stage::Idle;
        if self.waiters.is_empty() {
            return 0;
        }
        let (ended, result) = self.register(epoll_fd, fd, fired);
        match result {
            Ok(()) => ended,
            Err(error) => ended + self.arm_failed(fd, error, fired),
        }
    }

    /// Registers the descriptor, or renews its registration: for one event, or, if it is owned, for
    /// all that come. Waits for another file that had the number end. Returns how many did, and
    /// whether the others are in the epoll set.
    pub fn register(&mut self, epoll_fd: c_int, fd: c_int, fired: &Fired) -> (usize, Result<()>) {
        // Skips u32::MAX, which would make WAKE_UP possible. Also if the call fails: what was armed
        // before is of an earlier wait.
        self.generation = (self.generation + 1) % u32::MAX;
        let mut ended = 0;
        let result = if self.registered {
            match self.control(epoll_fd, EPOLL_CTL_MOD, fd) {
                Err(Error::Os(libc::ENOENT)) => {
                    ended = self.fail_left_behind(fired) + self.try_another_file(fired);
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
        if result.is_ok() {
            self.waiters.iter().for_each(mark_as_armed);
        }
        (ended, result)
    }

    fn control(&self, epoll_fd: c_int, operation: c_int, fd: c_int) -> Result<()> {
        let data = u64::from(self.generation) << 32 | fd as u64;
        let events = match self.ownership {
            0 => self.wanted() | ONE_SHOT,
            _ => EVENTS | EDGES,
        };
        sys::epoll_ctl(epoll_fd, operation, fd, events, data)
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

    /// Ends the waits that were armed for a file that no longer has the number.
    #[cold]
    fn fail_left_behind(&self, fired: &Fired) -> usize {
        self.fire_those(is_armed, -libc::EBADF, fired)
    }

    /// What is known is of an earlier file. Calls that wait since it was drained have not tried with this
    /// one, and there need not be an event for what they would find.
    #[cold]
    fn try_another_file(&mut self, fired: &Fired) -> usize {
        self.owned.is_another_file();
        let has_not_tried = |node: &WaitNode| !is_armed(node) && may_be_woken(node);
        self.fire_those(has_not_tried, (READABLE | WRITABLE) as c_int, fired)
    }

    /// epoll_ctl(2) has failed.
    #[cold]
    fn arm_failed(&self, fd: c_int, error: Error, fired: &Fired) -> usize {
        // EPERM is right for a file that epoll does not support: poll(2) says that it is always
        // readable and writable, and waiters for other events keep waiting. For any other file
        // EPERM is an error.
        if error == Error::Os(libc::EPERM)
            && let Ok(happened) = sys::poll_now(fd, self.wanted() | ALWAYS)
            && happened & ALWAYS == ALWAYS
        {
            return self.fire_for(happened, fired);
        }
        self.fail_all(error, fired)
    }

    /// Ends the waits for events that are among those that `happened`. Returns how many.
    fn fire_for(&self, happened: u32, fired: &Fired) -> usize {
        self.fire_those(|node| wants(node, happened), happened as c_int, fired)
    }

    /// The same by an event of the epoll set: only the waits that were armed are for its file.
    pub fn fire_armed_for(&self, happened: u32, fired: &Fired) -> usize {
        let which = |node: &WaitNode| may_be_woken(node) && wants(node, happened);
        self.fire_those(which, happened as c_int, fired)
    }

    /// Ends all waits with an error.
    #[cold]
    fn fail_all(&self, error: Error, fired: &Fired) -> usize {
        self.fire_those(|_| true, error.status(), fired)
    }

    /// Ends all waits, since the descriptor is closed.
    #[cold]
    pub fn close(&self, fired: &Fired) -> usize {
        self.fire_those(|_| true, CLOSED, fired)
    }

    fn fire_those(&self, which: impl Fn(&WaitNode) -> bool, result: c_int, fired: &Fired) -> usize {
        let mut count = 0;
        for node in self.waiters.iter().filter(|node| which(node)) {
            node.fire(&self.waiters, fired, result);
            count += 1;
        }
        count
    }

    /// The union of the waiters' events.
    pub fn wanted(&self) -> u32 {
        self.waiters.iter().fold(0, |events, node| events | node.events())
    }

    /// Whether a wait is not known to be in the epoll set.
    pub fn has_unarmed(&self) -> bool {
        self.waiters.iter().any(|node| !is_armed(node))
    }
}
