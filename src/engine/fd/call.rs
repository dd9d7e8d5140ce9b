//! A call on a descriptor: tries, and waits while it would block.

use std::ffi::c_int;

use crate::engine::scheduler::{
    Limit, Running, Scheduler, is_cancellation_due, is_past_deadline, running_task, wait_to_retry,
    yield_spent,
};
use crate::engine::sys::{ErrnoGuard, Error, Form, Result, poll_now};
use crate::engine::task::Wait;
use crate::engine::threads::{Generation, Ownership};
use crate::engine::time::Deadline;

/// How long it waits for what there is no event for.
pub const PAUSE_NS: u64 = 1_000_000;

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
    /// A call of the running task that has not begun.
    #[inline(always)]
    pub fn new(fd: c_int, events: u32, limit: Limit) -> Result<Call> {
        let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
        Ok(Call {
            scheduler,
            fd,
            events,
            limit,
            ownership: Ownership::of(fd),
            futile: 0,
            _errno: ErrnoGuard::save(),
        })
    }

    /// Begins it, which spends of the budget and so may suspend. [`Error::Busy`] if another scheduler
    /// has registered the descriptor.
    #[inline(always)]
    pub fn begin(&mut self) -> Result<()> {
        self.begin_shared()?;
        if self.ownership.is_of_another(self.scheduler.io.number()) {
            return Err(Error::Busy);
        }
        Ok(())
    }

    /// [`begin`](Self::begin) also for a descriptor that another scheduler has registered: it is like a raw
    /// one here.
    #[inline(always)]
    pub fn begin_shared(&mut self) -> Result<()> {
        let running = running_task().ok_or(Error::NotInTask)?;
        if self.scheduler.spend(running.1) { self.yield_unless_it_waits(running) } else { Ok(()) }
    }

    /// Spends for another part of the call. An error when the time is over: that of the peer that is
    /// always faster is limited too.
    pub fn go_on(&mut self) -> Result<()> {
        if let Deadline::In(_) = self.limit.deadline {
            self.limit.deadline.resolve(&self.scheduler.time.clock);
        }
        match running_task() {
            Some(running) if running.0.spend(running.1) => {
                self.yield_unless_it_waits(running)?;
                if self.is_over() { Err(Error::TimedOut) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Yields, since the budget is spent, unless it waits anyway. The descriptor may be closed meanwhile.
    #[cold]
    #[inline(never)]
    fn yield_unless_it_waits(&mut self, running: Running<'_>) -> Result<()> {
        if self.is_drained() && !running.1.is_canceled() {
            return Ok(());
        }
        let before = Generation::of(self.fd);
        let yielded = yield_spent(running, Wait::NONE);
        self.check_generation(before)?;
        yielded
    }

    /// Whether it is to wait before it tries.
    #[inline(always)]
    pub(super) fn is_drained(&self) -> bool {
        self.scheduler.io.reactor.borrow().is_drained(self.fd, self.ownership.word(), self.events)
    }

    /// Whether its limit, or that of the task, is over.
    fn is_over(&mut self) -> bool {
        self.left_ns() == 0 || running_task().is_some_and(is_past_deadline)
    }

    /// How much of the limit is left.
    pub(super) fn left_ns(&mut self) -> u64 {
        let clock = &self.scheduler.time.clock;
        let deadline_ns = self.limit.deadline.resolve(clock);
        deadline_ns.map_or(u64::MAX, |at_ns| at_ns.saturating_sub(clock.now_ns()))
    }

    /// Tries until it need not wait. `attempt` neither waits nor suspends.
    pub fn complete<T>(&mut self, mut attempt: impl FnMut(&Call) -> Result<T>) -> Result<T> {
        if !self.is_drained() {
            match attempt(self) {
                Err(Error::Os(libc::EAGAIN | libc::EINTR)) => {}
                result => return result,
            }
        }
        self.complete_later(&mut attempt)
    }

    /// [`complete`](Self::complete) after a first try, unless the call is to wait before it.
    #[inline(never)]
    pub(super) fn complete_later<T>(
        &mut self,
        attempt: &mut dyn FnMut(&Call) -> Result<T>,
    ) -> Result<T> {
        self.limit.deadline.resolve(&self.scheduler.time.clock); // For all waits of the call.
        let mut may_wait = true;
        loop {
            let waited = if may_wait { self.wait() } else { Ok(()) };
            // What is there now is taken, though the time is over, or the task is canceled: but of a peer that
            // never lets up not for ever.
            match waited {
                Ok(()) | Err(Error::TimedOut) => {}
                Err(Error::Canceled) if !running_task().is_some_and(is_cancellation_due) => {}
                Err(error) => return Err(error),
            }
            match attempt(self) {
                Err(Error::Os(libc::EINTR)) => may_wait = false,
                Err(Error::Os(libc::EAGAIN)) => {
                    waited?;
                    self.futile += 1;
                    // What wakes it for nothing may do so before each look at the timers.
                    if self.is_over() {
                        return Err(Error::TimedOut);
                    }
                    may_wait = true;
                }
                result => {
                    self.futile = 0;
                    return result;
                }
            }
        }
    }

    /// Waits until another try may find something.
    fn wait(&mut self) -> Result<()> {
        /// After so many wake-ups for nothing there may be no event to wait for: the queue of a datagram socket on
        /// this machine is full, and the sender, which is not connected to it, has room all the time; or
        /// an error stays that no read takes away. Unless what it was woken for was taken by others.
        const FEW: u32 = 8;
        if self.futile >= FEW {
            if poll_now(self.fd, self.events).is_ok_and(|happened| happened != 0) {
                return self.pause(PAUSE_NS);
            }
            self.futile = 1;
        }
        let before = Generation::of(self.fd);
        let (word, events) = (self.ownership.word(), self.events);
        if word != 0 {
            self.scheduler.io.reactor.borrow_mut().set_drained(self.fd, word, events);
        }
        let waited = wait_to_retry(self.fd, events, self.ownership, self.limit);
        self.check_generation(before)?;
        waited
    }

    /// After a suspension, however it has ended: an error if the descriptor was closed meanwhile.
    pub(super) fn check_generation(&mut self, before: Generation) -> Result<()> {
        before.check()?;
        self.ownership = Ownership::of(self.fd);
        Ok(())
    }

    /// Whether it has been woken for nothing: perhaps it never will be for something.
    pub fn is_futile(&self) -> bool {
        self.futile > 0
    }

    /// A read of a stream that asked for at most so many bytes has got some, or has come to the end.
    #[inline(always)]
    pub fn has_read(&self, count: usize, most: usize) {
        if self.ownership.keeps_no_rest() && count > 0 && count < most {
            let word = self.ownership.word();
            self.scheduler.io.reactor.borrow_mut().has_read_less(self.fd, word);
        }
    }

    /// A write has written less than it was given. Of a socket, which is a stream then, that is all there was room
    /// for.
    #[cold]
    #[inline(never)]
    pub fn has_written_a_part(&self) {
        let word = self.ownership.word();
        if self.form() == Form::Socket {
            self.scheduler.io.reactor.borrow_mut().set_drained(self.fd, word, self.events);
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
