//! What a call may return. A call tries after it was woken and returns with what it has found, without a
//! suspension in between: so what it returns is compared with the state at its return.

use std::ffi::c_int;

use libc::{EBADF, ECANCELED, EINTR, ETIMEDOUT};
use libc::{POLLERR, POLLHUP, POLLNVAL};

use super::super::uninterrupted;
use super::World;
use super::program::Kind;

/// What a call does with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It waits for it.
    Waits,
    Reads,
    /// In several parts.
    ReadsOn,
    Writes,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    Nothing,
    Fd(c_int, i16),
    AnyFd([(c_int, i16); 2]),
    /// A descriptor, or the end of a task.
    Either((c_int, i16), usize),
    End(usize),
    /// A place in a group, and the end of one.
    Place(usize, u64),
    Empty(usize, u64),
    /// The same, whatever happens to the task.
    Undisturbed,
}

/// A call that may suspend.
#[derive(Clone, Debug)]
pub struct Op {
    pub what: For,
    pub uses: Use,
    pub limit_ns: u64,
    pub serial: u64,
    /// The library has closed a descriptor of it.
    pub is_closed: bool,
    /// It was not open when the call began, or close(2) has closed it since.
    pub is_gone: bool,
    /// Somebody has woken the task.
    pub is_told: bool,
    /// How often a group had become empty when it began.
    pub empties: u64,
}

impl Op {
    pub fn new(what: For, uses: Use) -> Op {
        Op {
            what,
            uses,
            limit_ns: u64::MAX,
            serial: 0,
            is_closed: false,
            is_gone: false,
            is_told: false,
            empties: 0,
        }
    }

    pub fn descriptors(&self) -> impl Iterator<Item = (c_int, i16)> + use<> {
        let (first, second) = match self.what {
            For::Fd(fd, events) | For::Either((fd, events), _) => (Some((fd, events)), None),
            For::AnyFd([first, second]) => (Some(first), Some(second)),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }

    pub fn has(&self, number: c_int) -> bool {
        self.descriptors().any(|(fd, _)| fd == number)
    }
}

/// The events of a descriptor among those that end a wait; `None` if it is not open.
pub fn poll(fd: c_int, events: i16) -> Option<i16> {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    let place = &raw mut poll;
    // SAFETY: one pollfd.
    let result = uninterrupted(|| unsafe { libc::poll(place, 1, 0) });
    assert!(result >= 0);
    let found = poll.revents;
    (fd >= 0 && found & POLLNVAL == 0).then_some(found & (events | POLLERR | POLLHUP))
}

impl World {
    /// Whether a task may be told that it is canceled.
    pub fn may_be_canceled(&self, task: usize) -> bool {
        let it = &self.tasks[task];
        it.canceled || it.group.is_some_and(|group| self.groups[group].cancels_ns <= self.now_ns())
    }

    /// When a call is over.
    pub fn limit_of(&self, task: usize, op: &Op) -> u64 {
        op.limit_ns.min(self.tasks[task].deadline_ns)
    }

    fn is_over(&self, task: usize, op: &Op) -> bool {
        self.limit_of(task, op) <= self.now_ns()
    }

    /// Whether it is certain that a task has not yielded because its budget was spent.
    pub fn has_budget(&self, task: usize) -> bool {
        self.is_simulated && self.tasks[task].spent < 50
    }

    /// Whether a descriptor is ready for certain: in a TCP connection data may be on its way.
    fn is_ready(&self, (fd, events): (c_int, i16)) -> bool {
        let is_certain = self.file(fd).is_some_and(|file| self.files[file].kind != Kind::Tcp);
        is_certain && poll(fd, events).is_some_and(|found| found != 0)
    }

    /// Whether a call that has done nothing, or not all, may return this error.
    pub fn may_fail(&self, task: usize, op: &Op, error: c_int) -> Result<(), String> {
        let was_ready = || {
            op.what != For::Nothing
                && !op.is_closed
                && !op.is_gone
                && self.has_budget(task)
                && op.descriptors().any(|it| self.is_ready(it))
        };
        let is_closed = || {
            op.is_closed || op.is_gone || op.descriptors().any(|(fd, _)| self.file(fd).is_none())
        };
        let it = &self.tasks[task];
        match -error {
            ETIMEDOUT if !self.is_over(task, op) => Err("it is not over".to_owned()),
            ECANCELED if !self.may_be_canceled(task) => Err("nobody has canceled it".to_owned()),
            ETIMEDOUT | ECANCELED if was_ready() => Err("it need not have waited".to_owned()),
            ETIMEDOUT | ECANCELED => Ok(()),
            EBADF if is_closed() => Ok(()),
            EBADF => Err("the descriptor is open".to_owned()),
            EINTR if op.is_told && op.uses == Use::Waits => Ok(()),
            _ => Err(format!("of task {:?}", it.id)),
        }
    }

    /// Notes that a descriptor is closed, for the calls that use it.
    pub fn close_for_calls(&mut self, number: c_int, by_library: bool) {
        for op in self.tasks.iter_mut().filter_map(|task| task.op.as_mut()) {
            if op.has(number) {
                op.is_closed |= by_library;
                op.is_gone |= !by_library;
            }
        }
    }

    /// Whether a call uses a descriptor so.
    pub fn is_used(&self, number: c_int, how: &[Use]) -> bool {
        let ops = self.tasks.iter().filter(|task| task.alive).filter_map(|task| task.op.as_ref());
        ops.into_iter().any(|op| op.has(number) && how.contains(&op.uses))
    }
}
