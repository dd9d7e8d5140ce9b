//! The reactor's table grows with the largest descriptor that is waited for, and shrinks when the largest
//! ones are not waited for any more.

use std::ffi::c_int;

use super::entry::{Entry, Stage};
use super::reactor::Reactor;
use crate::engine::sys::{self, Result};

/// Up to here the table does not shrink.
const KEPT: usize = 1024;

impl Reactor {
    /// Grows the table for an open descriptor: an invalid number must not cost memory.
    #[cold]
    pub(super) fn grow(&mut self, fd: c_int, index: usize) -> Result<()> {
        sys::check_open(fd)?;
        let more = index + 1 - self.table.len();
        self.table.reserve(more)?;
        self.pending.reserve(index + 1 - self.pending.len())?;
        self.checks.reserve(index + 1)?;
        let generation = self.first_generation;
        (0..more).for_each(|_| self.table.push(Entry { generation, ..Entry::default() }));
        Ok(())
    }

    /// Shrinks the table to twice of what is in use, if that is a quarter of it at most.
    pub fn shrink(&mut self) {
        self.waiters_at_shrink = self.waiters;
        if !self.has_few_waiters() {
            return;
        }
        let in_use = |entry: &Entry| {
            !entry.waiters.is_empty() || entry.stage != Stage::Idle || entry.owned.is_listed()
        };
        let used = self.table.iter().rposition(in_use).map_or(0, |last| last + 1);
        let kept = (2 * used).max(KEPT);
        if used > self.table.len() / 4 || kept >= self.table.len() {
            return;
        }
        // What is dropped may be armed still: an event of now must not be one of a later arming.
        let generations = self.table[kept..].iter().map(|entry| entry.generation);
        self.first_generation = generations.max().unwrap_or(0).max(self.first_generation);
        self.table.truncate(kept);
        self.table.shrink(kept);
        self.pending.shrink(kept);
        self.checks.shrink(kept);
    }

    /// Whether [`shrink`](Self::shrink) may have something to do that it had not the last time.
    pub fn may_shrink(&self) -> bool {
        self.has_few_waiters() && self.waiters != self.waiters_at_shrink
    }

    /// So few that most of the table may be unused.
    fn has_few_waiters(&self) -> bool {
        self.table.len() > KEPT && self.waiters <= self.table.len() / 4
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::KEPT;
    use crate::engine::io::{READABLE, Reactor};
    use crate::engine::sys;
    use crate::engine::task::{Task, WaitNode};

    #[test]
    fn large_descriptors_that_are_gone_leave_no_room() {
        let wake_up_fd = sys::eventfd(sys::Mark::of_process(1)).unwrap();
        let mut reactor = Reactor::create(wake_up_fd).unwrap();
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let task: &'static Task = Box::leak(Box::default());
        let (low, high) = (WaitNode::default(), WaitNode::default());
        reactor.wait(task, &low, reader.as_raw_fd(), READABLE).unwrap();
        let large = (5 * KEPT) as i32;
        sys::dup_onto(sys::eventfd(sys::Mark::of_process(1)).unwrap(), large).unwrap();
        for _ in 0..2 {
            reactor.wait(task, &high, large, READABLE).unwrap();
            reactor.arm_all();
            let bytes = reactor.bytes();
            reactor.shrink();
            assert_eq!(reactor.bytes(), bytes, "in use");
            reactor.remove_waiter(&high);
            assert!(reactor.may_shrink());
            reactor.shrink();
            assert!(!reactor.may_shrink());
            // How much less depends on the number of `reader`, which other tests may make a large one.
            assert!(reactor.bytes() < bytes / 2, "{} of {bytes}", reactor.bytes());
            // The event of what is armed still wakes nobody.
            sys::eventfd_raise(large);
            assert_eq!(reactor.poll(0), Ok(0));
            sys::eventfd_clear(large);
            let generation = reactor.first_generation;
            assert!(generation > 0);
            reactor.wait(task, &high, large, READABLE).unwrap();
            assert_eq!(reactor.table[large as usize].generation, generation);
            reactor.remove_waiter(&high);
        }
        writer.write_all(b"x").unwrap();
        assert_eq!(reactor.poll(0), Ok(1));
        assert!(reactor.take_fired().is_some_and(|fired| std::ptr::eq(fired, &low)));
        sys::close(large);
        drop(reactor);
        sys::close(wake_up_fd);
    }
}
