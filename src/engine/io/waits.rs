//! How tasks come to wait for descriptors, and leave; and what is done when one is closed.

use std::ffi::c_int;

use libc::EPOLL_CTL_DEL;

use super::entry::{Stage, entry_of, is_armed};
use super::reactor::Reactor;
use crate::engine::sys::{self, Result};
use crate::engine::task::{Place, Task, WaitNode};

impl Reactor {
    /// Adds a task's wait for the events of a descriptor. If arming fails later, it ends with the
    /// error. On an error here it is not added.
    pub fn wait(&mut self, task: &Task, node: &WaitNode, fd: c_int, events: u32) -> Result<()> {
        let index = self.index_of(fd)?;
        let entry = &mut self.table[index];
        entry.mark_pending(fd, &mut self.pending);
        node.fd.set(fd);
        node.begin(task, &entry.waiters, events);
        self.waiters += 1;
        Ok(())
    }

    /// The descriptor of a wait that has just begun is known not to be ready.
    pub fn is_not_ready(&mut self, fd: c_int) {
        if let Some(entry) = self.entry(fd)
            && entry.stage == Stage::Pending
        {
            entry.stage = Stage::Polled;
        }
    }

    /// How a descriptor was read or written last.
    #[inline(always)]
    pub fn form(&self, fd: c_int) -> sys::Form {
        self.table.get(fd as usize).map_or(sys::Form::Unknown, |entry| entry.form)
    }

    pub fn set_form(&mut self, fd: c_int, form: sys::Form) {
        if let Some(entry) = self.entry(fd) {
            entry.form = form;
        }
    }

    /// Ends a wait that has not fired, or whose task has not been woken yet. An armed descriptor stays
    /// armed; its event finds no waiter.
    pub fn remove_waiter(&mut self, node: &WaitNode) {
        match node.place() {
            Place::Nowhere => {}
            Place::Fired => node.leave(&self.fired),
            Place::Waiting => {
                if let Some(entry) = self.entry(node.fd.get()) {
                    node.leave(&entry.waiters);
                    self.waiters -= 1;
                }
            }
        }
    }

    /// Whether a node is among the waits for a descriptor, or those that have fired.
    pub fn has_node(&self, fd: c_int, node: &WaitNode) -> bool {
        let is_it = |other: &WaitNode| std::ptr::eq(other, node);
        self.table.get(fd as usize).is_some_and(|entry| entry.waiters.iter().any(is_it))
            || self.fired.iter().any(is_it)
    }

    /// Takes the next wait that has fired, whose task is to be woken.
    pub fn take_fired<'w>(&self) -> Option<&'w WaitNode> {
        self.fired.take_first()
    }

    /// Whether a wait that has ended without firing was for another file than the one that has the
    /// number now, as far as can be told.
    pub fn was_left_behind(&mut self, node: &WaitNode) -> bool {
        let (epoll_fd, fd) = (self.epoll_fd, node.fd.get());
        is_armed(node)
            && self.entry(fd).is_some_and(|entry| {
                let is_replaced = entry.is_replaced(epoll_fd, fd);
                // So that the other waiters are found as well.
                entry.registered |= is_replaced;
                is_replaced
            })
    }

    /// Deregisters a descriptor that is about to be closed, and ends the waits for it. Without `deregisters` its
    /// registration is left to the system: that of an epoll set that a child of fork() shares with its parent, or of
    /// a file that has no duplicates.
    pub fn close(&mut self, fd: c_int, deregisters: bool) {
        self.deregister(fd, deregisters);
        let Some(entry) = entry_of(&mut self.table, fd) else { return };
        entry.form = sys::Form::default();
        self.waiters -= entry.close(&self.fired);
    }

    /// Takes a descriptor out of the epoll set. Its waits become pending.
    pub fn deregister(&mut self, fd: c_int, deregisters: bool) {
        let epoll_fd = self.epoll_fd;
        let Some(entry) = entry_of(&mut self.table, fd) else { return };
        entry.ownership = 0;
        if std::mem::take(&mut entry.registered) && deregisters {
            // A duplicate of the descriptor would keep the registration. An error means that the
            // number was closed before, and with it the registration.
            let _ = sys::epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, 0, 0);
        }
        if !entry.waiters.is_empty() {
            entry.mark_pending(fd, &mut self.pending);
        }
    }
}
