//! A member of an object's wait queue, for objects that a task may wait for together with others, and
//! for those that tell it more than that the wait has ended.
//!
//! A node is in the memory of the waiting task, mostly on its stack. It is in one queue at most: that
//! of the object, and once the object has fired, that of the fired ones, from which the scheduler
//! wakes the tasks. `Task::wait` names what all nodes of the task belong to; its `unlink` takes each
//! node out of the queue in which it is.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr::null;

use super::object::Task;
use super::wait_queue::{Links, WaitQueue, Waiter};
use crate::engine::context::switch;

/// See the module. C has it as five words of its select cases.
#[repr(C)]
pub struct WaitNode {
    links: Links<WaitNode>,
    task: Cell<*const Task>,
    /// Of a wait for a descriptor.
    pub fd: Cell<c_int>,
    /// The events that it waits for.
    events: Cell<u16>,
    place: Cell<Place>,
    /// Of a wait for a descriptor: what the object's files know of it.
    pub mark: Cell<u8>,
    /// Once it has fired: the events that happened, or a negative errno value.
    result: Cell<c_int>,
}

/// The number in the outcome of a wait that a node has ended: which one, the nodes say.
pub const FIRED: u32 = u32::MAX;

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    Nowhere = 0,
    /// In the object's queue.
    Waiting = 1,
    /// In the queue of those that have fired.
    Fired = 2,
}

impl Waiter for WaitNode {
    fn links(&self) -> &Links<WaitNode> {
        &self.links
    }
}

impl Default for WaitNode {
    fn default() -> WaitNode {
        WaitNode {
            links: Links::default(),
            task: Cell::new(null()),
            fd: Cell::new(-1),
            events: Cell::new(0),
            place: Cell::new(Place::Nowhere),
            mark: Cell::new(0),
            result: Cell::new(0),
        }
    }
}

impl WaitNode {
    /// Where a debugger finds the descriptor.
    pub const FD_OFFSET: usize = offset_of!(WaitNode, fd);
    /// And the events.
    pub const EVENTS_OFFSET: usize = offset_of!(WaitNode, events);

    /// Appends it to an object's queue, for a task that waits for `events` of the object.
    pub fn begin(&self, task: &Task, queue: &WaitQueue<WaitNode>, events: u32) {
        self.task.set(task);
        self.events.set(events as u16);
        self.mark.set(0);
        self.result.set(0);
        self.place.set(Place::Waiting);
        queue.push(self);
    }

    /// Prefetches it.
    pub fn prefetch(&self) {
        switch::prefetch(self);
    }

    /// Prefetches what waking its task needs of the task.
    pub fn prefetch_task(&self) {
        switch::prefetch(self.task.get());
    }

    /// Moves it from the object's queue to that of the fired ones.
    pub fn fire(&self, queue: &WaitQueue<WaitNode>, fired: &WaitQueue<WaitNode>, result: c_int) {
        queue.remove(self);
        self.result.set(result);
        self.place.set(Place::Fired);
        fired.push(self);
    }

    /// Takes it out of the object's queue, since what it waits for has happened.
    pub fn finish(&self, queue: &WaitQueue<WaitNode>, result: c_int) {
        self.leave(queue);
        self.result.set(result);
    }

    /// Takes it out of the queue that its `place` says.
    pub fn leave(&self, queue: &WaitQueue<WaitNode>) {
        queue.remove(self);
        self.place.set(Place::Nowhere);
    }

    pub fn place(&self) -> Place {
        self.place.get()
    }

    /// The task that waits, which is alive while the node is in a queue.
    pub fn task(&self) -> &Task {
        // SAFETY: set by `begin`, and a task's slot is never unmapped while its scheduler lives.
        unsafe { &*self.task.get() }
    }

    /// The events that it waits for.
    pub fn events(&self) -> u32 {
        u32::from(self.events.get())
    }

    /// What has happened: 0 while nothing has.
    pub fn result(&self) -> c_int {
        self.result.get()
    }
}

impl WaitQueue<WaitNode> {
    /// Takes the first node out.
    pub fn take_first<'w>(&self) -> Option<&'w WaitNode> {
        let first = self.first()?;
        first.leave(self);
        Some(first)
    }
}

const _: () = assert!(size_of::<WaitNode>() == 40);
