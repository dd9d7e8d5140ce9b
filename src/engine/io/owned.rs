//! Descriptors that the library owns: registered once, edge-triggered, until they are closed.
//!
//! A raw descriptor is armed anew for each wait, since its number may be another file's by then. One
//! that the library has accepted, connected or adopted, and that is closed through the library, is
//! registered at its first wait for everything that may happen to it, and stays so: the next waits
//! need no system call of their own. Its entry remembers in which directions it may be ready: what
//! an event has told and no call has found wrong since. A call that finds its direction drained waits
//! without a try.
//!
//! # When a number is closed behind the library's back
//!
//! Then the registration is gone, or is that of another file, and the wait for the file that has the
//! number now would never end. So a wait is *checked* unless it has just been registered:
//!
//! - Poll: between one and two [`PERIOD_NS`] after it began, poll(2) is called once for all such waits
//!   together. What is ready is verified at once.
//! - Verify: EPOLL_CTL_MOD renews the registration, and tells of everything that has happened, or says
//!   that the file is another one, which is then registered. Those that were not ready are verified too, the
//!   longest first, a 64th of them in a period or 16, so that it costs nothing to speak of where waits
//!   are many and short.
//!
//! A wait that is verified is not checked again. An event of the old file may reach a wait for the new one
//! before it is checked: the calls that wait here try again when they are woken, so that wakes nobody
//! wrongly. Waits that end without a try, as that of `mj_task_wait_fd`, are registered at once, as for a raw
//! descriptor.

use std::ffi::c_int;

use super::entry::{FAILURE, READABLE, Stage, WRITABLE, mark_as_armed, mark_as_retrying};
use super::reactor::{BATCH, Reactor};
use crate::engine::sys::{self, Error, Result, Table};
use crate::engine::task::{Task, WaitNode};

/// How often waits are checked.
const PERIOD_NS: u64 = 5_000_000;

const ENDED: u32 = FAILURE | libc::EPOLLRDHUP as u32;
const URGENT: u32 = libc::EPOLLPRI as u32;

/// What is known of an owned descriptor.
#[derive(Clone, Copy)]
pub struct State {
    /// The directions in which it may be ready: [`READABLE`], [`WRITABLE`].
    ready: u8,
    /// Whether a read that gets less than it asks for may leave something behind, of which no further
    /// event tells: at the end of a stream, and with urgent data.
    may_keep_rest: bool,
    check: Check,
    /// The period in which the wait began.
    began: u32,
}

/// How far the check of a descriptor's waits is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// It is not in the list.
    None,
    /// It has not been polled.
    Listed,
    /// It was not ready, and is to be verified.
    Polled,
}

impl Default for State {
    fn default() -> State {
        State {
            ready: (READABLE | WRITABLE) as u8,
            may_keep_rest: false,
            check: Check::None,
            began: 0,
        }
    }
}

impl State {
    /// An event has told of this.
    pub fn happened(&mut self, happened: u32) {
        let mut ready = happened & (READABLE | WRITABLE);
        if happened & ENDED != 0 {
            ready |= READABLE;
        }
        if happened & FAILURE != 0 {
            ready |= WRITABLE;
        }
        self.ready |= ready as u8;
        self.may_keep_rest |= happened & (ENDED | URGENT) != 0;
    }

    /// The number is another file's.
    pub fn is_another_file(&mut self) {
        self.ready = (READABLE | WRITABLE) as u8;
        self.may_keep_rest = true;
    }

    /// Whether it is in the list of those to be checked.
    pub fn is_listed(&self) -> bool {
        self.check != Check::None
    }
}

/// The descriptors whose waits are to be checked.
pub struct Checks {
    list: Table<c_int>,
    /// The number of the period.
    period: u32,
    ends_ns: u64,
}

impl Checks {
    pub fn new() -> Checks {
        Checks { list: Table::new(), period: 0, ends_ns: 0 }
    }

    /// Makes room for `count` descriptors.
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        self.list.reserve(count.saturating_sub(self.list.len()))
    }

    pub fn shrink(&mut self, capacity: usize) {
        self.list.shrink(capacity);
    }

    pub fn bytes(&self) -> usize {
        self.list.bytes()
    }
}

impl Reactor {
    /// Whether a call in this direction would find nothing, so that it is to wait before it tries.
    #[inline]
    pub fn is_drained(&self, fd: c_int, ownership: u64, direction: u32) -> bool {
        ownership != 0
            && direction & (READABLE | WRITABLE) != 0
            && self.is_known(fd, ownership, |ready| ready & direction == 0)
    }

    /// Whether an event has told since that a call in this direction may find something.
    pub fn is_ready(&self, fd: c_int, ownership: u64, direction: u32) -> bool {
        ownership != 0 && self.is_known(fd, ownership, |ready| ready & direction != 0)
    }

    #[inline(always)]
    fn is_known(&self, fd: c_int, ownership: u64, is_so: impl Fn(u32) -> bool) -> bool {
        self.table.get(fd as usize).is_some_and(|entry| {
            entry.ownership == ownership && entry.registered && is_so(entry.owned.ready.into())
        })
    }

    /// A call has found nothing in this direction.
    #[inline]
    pub fn set_drained(&mut self, fd: c_int, ownership: u64, direction: u32) {
        if let Some(entry) = self.entry(fd)
            && entry.ownership == ownership
            && ownership != 0
        {
            entry.owned.ready &= !(direction as u8);
        }
    }

    /// A read of a stream that keeps no rest has got less than it asked for.
    #[inline]
    pub fn has_read_less(&mut self, fd: c_int, ownership: u64) {
        if let Some(entry) = self.entry(fd)
            && entry.ownership == ownership
            && !entry.owned.may_keep_rest
        {
            entry.owned.ready &= !(READABLE as u8);
        }
    }

    /// Adds the wait of a call that tries again when it is woken, for an owned descriptor. With
    /// `verify` it is registered at once. On an error it is not added; waits of others may have fired.
    /// [`Error::WouldBlock`] when it is another file, with which the call is to try.
    pub fn wait_owned(
        &mut self,
        task: &Task,
        node: &WaitNode,
        fd: c_int,
        events: u32,
        ownership: u64,
        verify: bool,
    ) -> Result<()> {
        let index = self.index_of(fd)?;
        let entry = &mut self.table[index];
        let is_new = entry.ownership != ownership || !entry.registered;
        if is_new {
            entry.ownership = ownership;
            let check = entry.owned.check;
            entry.owned = State { check, ..Default::default() };
        }
        if is_new || verify {
            let (ended, result) = entry.register(self.epoll_fd, fd, &self.fired);
            self.waiters -= ended;
            result?;
            if !is_new && u32::from(entry.owned.ready) & events != 0 {
                return Err(Error::WouldBlock);
            }
        } else if entry.owned.check == Check::None {
            entry.owned.check = Check::Listed;
            entry.owned.began = self.checks.period;
            self.checks.list.push(fd); // There is room, see `grow`.
        } else if !entry.has_unarmed() {
            entry.owned.check = Check::Listed;
            entry.owned.began = self.checks.period;
        }
        node.fd.set(fd);
        node.begin(task, &entry.waiters, events);
        mark_as_retrying(node);
        if is_new || verify {
            mark_as_armed(node);
        }
        self.waiters += 1;
        Ok(())
    }

    /// When waits are to be checked next, if there are any to check.
    #[inline]
    pub fn next_check_ns(&self, now_ns: u64) -> Option<u64> {
        (!self.checks.list.is_empty())
            .then(|| self.checks.ends_ns.clamp(now_ns, now_ns.saturating_add(PERIOD_NS)))
    }

    /// Checks the waits that are due, if a period is over.
    #[inline]
    pub fn check_if_due(&mut self, now_ns: u64) {
        if self.next_check_ns(now_ns).is_some_and(|at_ns| at_ns <= now_ns) {
            self.check(now_ns);
        }
    }

    #[inline(never)]
    fn check(&mut self, now_ns: u64) {
        self.checks.ends_ns = now_ns + PERIOD_NS;
        let before = self.checks.period;
        self.checks.period = before.wrapping_add(1);
        self.poll_listed(before);
        self.verify_some();
    }

    /// Calls poll(2) for those that began before the period that has just ended, and verifies those
    /// that are ready. Drops those that nobody waits for any more.
    fn poll_listed(&mut self, ended: u32) {
        let mut kept = 0;
        let mut polls = [sys::pollfd { fd: -1, events: 0, revents: 0 }; BATCH];
        let mut count = 0;
        for place in 0..self.checks.list.len() {
            let fd = self.checks.list[place];
            let entry = &mut self.table[fd as usize];
            if !entry.has_unarmed() {
                entry.owned.check = Check::None;
                continue;
            }
            self.checks.list[kept] = fd;
            kept += 1;
            if entry.owned.check == Check::Listed && entry.owned.began != ended {
                entry.owned.check = Check::Polled;
                polls[count] = sys::pollfd { fd, events: entry.wanted() as i16, revents: 0 };
                count += 1;
                if count == BATCH {
                    self.verify_ready(&mut polls);
                    count = 0;
                }
            }
        }
        self.checks.list.truncate(kept);
        self.verify_ready(&mut polls[..count]);
    }

    fn verify_ready(&mut self, polls: &mut [sys::pollfd]) {
        if polls.is_empty() {
            return;
        }
        sys::poll_all(polls);
        if polls.iter().all(|poll| poll.revents == 0) {
            return;
        }
        // What has happened before poll(2) was called is in the epoll set by now, and is taken, unless
        // the file is not in it. On a busy server that is so for nearly all.
        self.take_all();
        for poll in polls.iter().filter(|poll| poll.revents != 0) {
            let entry = &mut self.table[poll.fd as usize];
            if entry.has_unarmed() {
                entry.owned.may_keep_rest = true;
                self.verify(poll.fd);
            }
        }
    }

    /// Verifies some of those that were not ready, the longest waits first.
    fn verify_some(&mut self) {
        let most = (self.checks.list.len() / 64).max(16);
        let (mut kept, mut verified) = (0, 0);
        for place in 0..self.checks.list.len() {
            let fd = self.checks.list[place];
            let entry = &mut self.table[fd as usize];
            if entry.owned.check == Check::Polled && (verified < most || !entry.has_unarmed()) {
                entry.owned.check = Check::None;
                verified += 1;
                self.verify(fd);
            } else {
                self.checks.list[kept] = fd;
                kept += 1;
            }
        }
        self.checks.list.truncate(kept);
    }

    /// Renews a registration, or registers the file that has the number now.
    fn verify(&mut self, fd: c_int) {
        let entry = &mut self.table[fd as usize];
        if entry.has_unarmed() && entry.stage == Stage::Idle {
            self.waiters -= entry.arm(self.epoll_fd, fd, &self.fired);
        }
    }
}
