//! A call on a descriptor: tries, and waits while it would block.

use std::ffi::c_int;

use crate::engine::scheduler::{
    Limit, Running, Scheduler, running_task, wait_to_retry, yield_spent,
};
use crate::engine::sys::{ErrnoGuard, Error, Form, Result};
use crate::engine::task::Wait;
use crate::engine::threads::Ownership;
use crate::engine::time::Deadline;

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
    _errno: ErrnoGuard,
}

impl Call {
    /// Begins a call, which spends of the budget and so may suspend. [`Error::Busy`] if another
    /// scheduler has registered the descriptor.
    #[inline(always)]
    pub fn begin(fd: c_int, events: u32, limit: Limit) -> Result<Call> {
        let call = Call::begin_shared(fd, events, limit)?;
        if call.ownership.is_of_another(call.scheduler.io.number()) {
            return Err(Error::Busy);
        }
        Ok(call)
    }

    /// [`begin`](Self::begin) also for a descriptor that another scheduler has registered: it is like a raw
    /// one here.
    #[inline(always)]
    pub fn begin_shared(fd: c_int, events: u32, limit: Limit) -> Result<Call> {
        let running @ (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
        let _errno = ErrnoGuard::save();
        let ownership = Ownership::of(fd);
        let mut call = Call { scheduler, fd, events, limit, ownership, futile: 0, _errno };
        if scheduler.spend(task) {
            call.yield_first(running)?;
        }
        Ok(call)
    }

    /// Spends for another part of the call. An error when the time is over: that of the peer that is
    /// always faster is limited too.
    pub fn go_on(&mut self) -> Result<()> {
        if let Deadline::In(_) = self.limit.deadline {
            self.scheduler.resolve_deadline(&mut self.limit.deadline);
        }
        match running_task() {
            Some(running) if running.0.spend(running.1) => {
                self.yield_first(running)?;
                if self.left_ns() == 0 { Err(Error::TimedOut) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Yields, since the budget is spent. The descriptor may be closed meanwhile.
    #[cold]
    #[inline(never)]
    fn yield_first(&mut self, running: Running<'_>) -> Result<()> {
        let before = self.identity();
        let yielded = yield_spent(running, Wait::NONE);
        self.check_identity(before)?;
        yielded
    }

    /// How much of the limit is left.
    pub(super) fn left_ns(&mut self) -> u64 {
        self.scheduler
            .resolve_deadline(&mut self.limit.deadline)
            .map_or(u64::MAX, |at_ns| at_ns.saturating_sub(self.scheduler.time.clock.now_ns()))
    }

    /// Tries until it need not wait. `attempt` neither waits nor suspends.
    #[inline(always)]
    pub fn complete<T>(&mut self, mut attempt: impl FnMut(&Call) -> Result<T>) -> Result<T> {
        if !self.scheduler.io.reactor.borrow().is_drained(
            self.fd,
            self.ownership.word(),
            self.events,
        ) {
            match attempt(self) {
                Err(Error::Os(libc::EAGAIN | libc::EINTR)) => {}
                result => return result,
            }
        }
        self.complete_later(&mut attempt)
    }

    #[inline(never)]
    fn complete_later<T>(&mut self, attempt: &mut dyn FnMut(&Call) -> Result<T>) -> Result<T> {
        self.scheduler.resolve_deadline(&mut self.limit.deadline);
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
        let waited = wait_to_retry(self.fd, self.events, self.ownership, self.limit);
        self.check_identity(before)?;
        waited
    }

    /// What changes when the library closes the descriptor.
    pub(super) fn identity(&self) -> u32 {
        Ownership::closes(self.fd)
    }

    /// After a suspension, however it has ended: an error if the descriptor was closed meanwhile, since
    /// its number may be another file's.
    pub(super) fn check_identity(&mut self, before: u32) -> Result<()> {
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
