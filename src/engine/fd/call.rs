//! A call on a descriptor: tries, and waits while it would block.

use std::ffi::c_int;

use crate::engine::scheduler::{Limit, Scheduler, running_task, wait_to_retry, yield_spent};
use crate::engine::sys::{ErrnoGuard, Error, Form, Result};
use crate::engine::task::{Task, Wait};
use crate::engine::threads::Ownership;

/// A call that may suspend: of the running task, for one direction of a descriptor.
pub struct Call {
    pub scheduler: &'static Scheduler,
    pub fd: c_int,
    /// The events that it waits for.
    pub events: u32,
    pub limit: Limit,
    ownership: Ownership,
    /// How often it has been woken, and found nothing.
    futile: u32,
}

impl Call {
    /// Begins a call, which spends of the budget and so may suspend. [`Error::Busy`] if another
    /// scheduler has registered the descriptor.
    #[inline]
    pub fn begin(fd: c_int, events: u32, limit: Limit) -> Result<Call> {
        let call = Call::begin_shared(fd, events, limit)?;
        if call.ownership.is_of_another(call.scheduler.io.number()) {
            return Err(Error::Busy);
        }
        Ok(call)
    }

    /// [`begin`](Self::begin) also for a descriptor that another scheduler has registered: it is like a raw
    /// one here.
    #[inline]
    pub fn begin_shared(fd: c_int, events: u32, limit: Limit) -> Result<Call> {
        let (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
        let ownership = Ownership::of(fd);
        let mut call = Call { scheduler, fd, events, limit, ownership, futile: 0 };
        if scheduler.spend(task) {
            call.yield_unless_it_waits(task)?;
        }
        Ok(call)
    }

    /// Spends for another part of the call.
    pub fn go_on(&mut self) -> Result<()> {
        match running_task() {
            Some((scheduler, task)) if scheduler.spend(task) => self.yield_unless_it_waits(task),
            _ => Ok(()),
        }
    }

    /// The budget is spent.
    #[cold]
    fn yield_unless_it_waits(&mut self, task: &Task) -> Result<()> {
        if self.is_drained() && !task.is_canceled() {
            return Ok(());
        }
        let before = self.identity();
        yield_spent((self.scheduler, task), Wait::NONE)?;
        self.check_identity(before)
    }

    /// Whether it is to wait before it tries.
    #[inline(always)]
    fn is_drained(&self) -> bool {
        self.scheduler.io.reactor.borrow().is_drained(self.fd, self.ownership.word(), self.events)
    }

    /// Tries until it need not wait. `attempt` neither waits nor suspends.
    #[inline]
    pub fn complete<T>(&mut self, mut attempt: impl FnMut(&Call) -> Result<T>) -> Result<T> {
        if !self.is_drained() {
            match attempt(self) {
                Err(Error::Os(libc::EAGAIN | libc::EINTR)) => {}
                result => return result,
            }
        }
        self.complete_later(&mut attempt)
    }

    #[inline(never)]
    fn complete_later<T>(&mut self, attempt: &mut dyn FnMut(&Call) -> Result<T>) -> Result<T> {
        let _errno = ErrnoGuard::save();
        self.limit.deadline.resolve(&self.scheduler.time.clock); // For all waits of the call.
        let mut may_wait = true;
        loop {
            let waited = if may_wait { self.wait() } else { Ok(()) };
            // What is there now is taken, though the time is over, or the task is canceled.
            if let Err(error) = waited
                && !matches!(error, Error::TimedOut | Error::Canceled)
            {
                return Err(error);
            }
            match attempt(self) {
                Err(Error::Os(libc::EINTR)) => may_wait = false,
                Err(Error::Os(libc::EAGAIN)) => {
                    waited?;
                    self.futile += 1;
                    may_wait = true;
                }
                result => return result,
            }
        }
    }

    /// Waits until another try may find something.
    fn wait(&mut self) -> Result<()> {
        let before = self.identity();
        self.scheduler.io.reactor.borrow_mut().set_drained(
            self.fd,
            self.ownership.word(),
            self.events,
        );
        wait_to_retry(self.fd, self.events, self.ownership, self.limit)?;
        self.check_identity(before)
    }

    /// What changes when the library closes the descriptor.
    pub(super) fn identity(&self) -> (Ownership, u32) {
        let closes = self.scheduler.io.reactor.borrow().closes(self.fd);
        (Ownership::of(self.fd).identity(), closes)
    }

    /// After a suspension: an error if the descriptor was closed meanwhile, since its number may be
    /// another file's.
    pub(super) fn check_identity(&mut self, before: (Ownership, u32)) -> Result<()> {
        if self.identity() != before {
            return Err(Error::Os(libc::EBADF));
        }
        self.ownership = Ownership::of(self.fd);
        Ok(())
    }

    /// Whether it has been woken for nothing more than once: perhaps it never will be for something.
    pub fn is_futile(&self) -> bool {
        self.futile > 0
    }

    /// A read has got less than it asked for.
    #[inline(always)]
    pub fn has_read_less(&self) {
        if self.ownership.keeps_no_rest() {
            let word = self.ownership.word();
            self.scheduler.io.reactor.borrow_mut().has_read_less(self.fd, word);
        }
    }

    /// The way in which the descriptor was read or written last.
    #[inline(always)]
    pub fn form(&self) -> Form {
        if self.ownership.keeps_no_rest() {
            Form::Socket
        } else {
            self.scheduler.io.reactor.borrow().form(self.fd)
        }
    }

    pub fn set_form(&self, form: Form) {
        self.scheduler.io.reactor.borrow_mut().set_form(self.fd, form);
    }

    /// Whether the library owns the descriptor.
    pub fn is_owned(&self) -> bool {
        self.ownership.is_owned()
    }

    /// Whether a short read has taken all there was: also of the connections that a listener accepts.
    pub fn keeps_no_rest(&self) -> bool {
        self.ownership.keeps_no_rest()
    }
}
