//! A case of a select: one of the things that it waits for.

use std::cell::Cell;
use std::ffi::{c_int, c_short, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{eq, from_ref, null};

use super::channel::Channel;
use super::remote_channel::{Port, RemoteChannel};
use super::select::SelectWait;
use crate::engine::io::{EVENTS, FAILURE};
use crate::engine::scheduler::{Running, Scheduler, current, node_outcome};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::{Links, Outcome, Place, Task, WaitNode, Waiter};
use crate::engine::threads::End;

/// The operation of a case with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    Send = 0,
    Receive = 1,
}

/// The operation of a case that waits for events of a descriptor.
pub const DESCRIPTOR: u32 = 2;
/// For the end of a task.
pub const TASK: u32 = 3;
/// For a time of the scheduler's clock.
pub const DEADLINE: u32 = 4;
/// Of a case with a channel between threads.
pub const REMOTE_SEND: u32 = 5;
/// As above.
pub const REMOTE_RECEIVE: u32 = 6;

/// One case of a select. C has the same struct, in this order.
#[repr(C)]
pub struct Case {
    /// Null: never ready.
    pub channel: *const Channel,
    /// An [`Operation`], [`DESCRIPTOR`] or another of these; C may have written another number.
    pub operation: u32,
    /// The result, once the case was chosen.
    pub result: Cell<c_int>,
    pub element: *mut c_void,
    /// What follows is initialized only where the operation has it, since each send and receive that
    /// waits has a case.
    pub fd: MaybeUninit<c_int>,
    pub events: MaybeUninit<c_short>,
    pub happened: Cell<MaybeUninit<c_short>>,
    pub task: MaybeUninit<u64>,
    pub deadline_ns: MaybeUninit<u64>,
    /// Null: never ready.
    pub remote: MaybeUninit<*const RemoteChannel>,
    pub reserved: MaybeUninit<[u64; 1]>,
    /// The wait that it belongs to.
    pub waiting: Cell<*const SelectWait>,
    place: InQueue,
}

/// Its place in a wait queue: in that of a channel as a case, in others as a node. All begin with links,
/// and have no drop.
#[repr(C)]
union InQueue {
    links: ManuallyDrop<Links<Case>>,
    remote: ManuallyDrop<InPort>,
    node: ManuallyDrop<WaitNode>,
}

/// In the queue of a port of a channel between threads.
#[repr(C)]
struct InPort {
    links: Links<Case>,
    port: Cell<*const Port>,
}

impl Waiter for Case {
    fn links(&self) -> &Links<Case> {
        // SAFETY: initialized as the one or the other, which are addresses here.
        unsafe { &self.place.links }
    }
}

/// What a case waits for.
pub enum Source<'c> {
    Channel(&'c Channel, Operation),
    Remote(&'c RemoteChannel, End),
    Descriptor(c_int, u32),
    Task(u64),
    Deadline(u64),
    /// It is never ready.
    Nothing,
}

impl Case {
    pub fn new(channel: &Channel, operation: Operation, element: *mut c_void) -> Case {
        Case { channel, element, ..Case::of(operation as u32) }
    }

    /// With a channel between threads.
    pub fn remote(channel: &RemoteChannel, end: End, element: *mut c_void) -> Case {
        let operation = match end {
            End::Send => REMOTE_SEND,
            End::Receive => REMOTE_RECEIVE,
        };
        Case { remote: MaybeUninit::new(channel), element, ..Case::of(operation) }
    }

    /// For the events of a descriptor.
    pub fn descriptor(fd: c_int, events: u32) -> Case {
        Case {
            fd: MaybeUninit::new(fd),
            events: MaybeUninit::new(events as c_short),
            ..Case::of(DESCRIPTOR)
        }
    }

    /// For the end of a task.
    pub fn task(id: u64) -> Case {
        Case { task: MaybeUninit::new(id), ..Case::of(TASK) }
    }

    /// For a time of the scheduler's clock.
    pub fn deadline(at_ns: u64) -> Case {
        Case { deadline_ns: MaybeUninit::new(at_ns), ..Case::of(DEADLINE) }
    }

    fn of(operation: u32) -> Case {
        Case {
            channel: null(),
            operation,
            result: Cell::new(0),
            element: std::ptr::null_mut(),
            fd: MaybeUninit::uninit(),
            events: MaybeUninit::uninit(),
            happened: Cell::new(MaybeUninit::uninit()),
            task: MaybeUninit::uninit(),
            deadline_ns: MaybeUninit::uninit(),
            remote: MaybeUninit::uninit(),
            reserved: MaybeUninit::uninit(),
            waiting: Cell::new(null()),
            place: InQueue { node: ManuallyDrop::new(WaitNode::default()) },
        }
    }

    /// What it waits for. An operation that is none counts as a receive: `check` has refused it.
    #[inline]
    pub fn source(&self) -> Source<'_> {
        // SAFETY: the operation has the field, whoever has filled in the case.
        unsafe {
            match self.operation {
                DESCRIPTOR => Source::Descriptor(
                    self.fd.assume_init(),
                    u32::from(self.events.assume_init().cast_unsigned()) & !FAILURE,
                ),
                TASK => Source::Task(self.task.assume_init()),
                DEADLINE => Source::Deadline(self.deadline_ns.assume_init()),
                REMOTE_SEND | REMOTE_RECEIVE => match self.remote.assume_init().as_ref() {
                    Some(channel) if self.operation == REMOTE_SEND => {
                        Source::Remote(channel, End::Send)
                    }
                    Some(channel) => Source::Remote(channel, End::Receive),
                    None => Source::Nothing,
                },
                operation => match self.channel.as_ref() {
                    Some(channel) if operation == Operation::Send as u32 => {
                        Source::Channel(channel, Operation::Send)
                    }
                    Some(channel) => Source::Channel(channel, Operation::Receive),
                    None => Source::Nothing,
                },
            }
        }
    }

    /// The channel and the operation, if it has a channel.
    pub fn channel(&self) -> Option<(&Channel, Operation)> {
        match self.source() {
            Source::Channel(channel, operation) => Some((channel, operation)),
            _ => None,
        }
    }

    /// An error for a case that C has filled in wrongly.
    pub fn check(&self) -> Result<()> {
        if self.operation > REMOTE_RECEIVE {
            return Err(Error::InvalidArgument);
        }
        match self.source() {
            Source::Channel(channel, _) => channel.check(self.element),
            Source::Remote(channel, _) => channel.check(self.element),
            Source::Descriptor(_, events) if events & !EVENTS != 0 => Err(Error::InvalidArgument),
            _ => Ok(()),
        }
    }

    /// The node of a case that is in no channel's queue.
    fn node(&self) -> &WaitNode {
        // SAFETY: initialized by `of`, or by C or an earlier use, as `renew` overwrites.
        unsafe { &self.place.node }
    }

    /// Makes the node one that is in no queue, whatever C has left there.
    fn renew(&self) {
        let node = from_ref(self.node()).cast_mut();
        // SAFETY: all of a node are cells, and nobody has a reference to what is in them.
        unsafe { node.write(WaitNode::default()) };
    }

    /// Whether the case is in a wait queue already: two tasks that share their cases, in a static
    /// array for example, would link them twice. C may have left garbage in it, so search the queue.
    pub fn is_in_list(&self) -> bool {
        if self.waiting.get().is_null() {
            return false;
        }
        match self.source() {
            Source::Channel(channel, operation) => {
                channel.waiters(operation).iter().any(|case| eq(case, self))
            }
            Source::Remote(channel, end) => {
                current().is_some_and(|scheduler| channel.has_waiter(end, self, scheduler))
            }
            Source::Descriptor(fd, _) => current()
                .is_some_and(|scheduler| scheduler.io.reactor.borrow().has_node(fd, self.node())),
            Source::Task(id) => current()
                .and_then(|scheduler| scheduler.tasks.find_id(id))
                .is_some_and(|task| task.joiners.iter().any(|node| eq(node, self.node()))),
            Source::Deadline(_) | Source::Nothing => false,
        }
    }

    /// Links it into the queue of what it waits for.
    pub fn link(&self, (scheduler, task): Running<'_>, waiting: &SelectWait) -> Result<()> {
        match self.source() {
            Source::Channel(channel, operation) => channel.waiters(operation).push(self),
            Source::Remote(channel, end) => channel.begin_wait(end, self, scheduler)?,
            Source::Descriptor(fd, _) if fd < 0 => return Ok(()), // As poll(2) has it.
            Source::Descriptor(fd, events) => {
                self.renew();
                scheduler.begin_wait(task, self.node(), fd, events)?;
            }
            Source::Task(id) => {
                self.renew();
                let target = scheduler.tasks.find_id(id).ok_or(Error::NoSuchTask)?;
                self.node().begin(task, &target.joiners, 0);
            }
            Source::Deadline(_) | Source::Nothing => {}
        }
        self.waiting.set(waiting);
        Ok(())
    }

    /// Takes it out of the queue, if it is in one.
    pub fn unlink(&self, scheduler: &Scheduler) {
        if self.waiting.replace(null()).is_null() {
            return;
        }
        match self.source() {
            Source::Channel(channel, operation) => channel.waiters(operation).remove(self),
            Source::Remote(channel, _) => channel.end_wait(self, scheduler),
            Source::Descriptor(..) => scheduler.io.reactor.borrow_mut().remove_waiter(self.node()),
            Source::Task(id) if self.node().place() == Place::Waiting => {
                if let Some(target) = scheduler.tasks.find_id(id) {
                    self.node().leave(&target.joiners);
                }
            }
            _ => {}
        }
    }

    /// Whether what it waits for, and what is no channel, has happened while it was in the queue.
    pub fn has_fired(&self) -> bool {
        match self.source() {
            Source::Descriptor(fd, _) => fd >= 0 && self.node().result() != 0,
            Source::Task(_) => self.node().result() != 0,
            _ => false,
        }
    }

    /// Sets the result of a case that has fired.
    pub fn take_fired(&self) {
        match self.source() {
            Source::Descriptor(_, events) => match node_outcome(self.node()) {
                // The node is told of all, also what others wait for.
                Ok(happened) => self.set_happened(happened & (events | FAILURE)),
                Err(error) => self.result.set(error.status()),
            },
            _ => self.result.set(0),
        }
    }

    fn set_happened(&self, happened: u32) {
        self.happened.set(MaybeUninit::new(happened as c_short));
        self.result.set(0);
    }

    /// What poll(2) says of its descriptor, if it has one.
    pub fn poll(&self) -> u32 {
        match self.source() {
            Source::Descriptor(fd, _) if fd < 0 => 0,
            Source::Descriptor(fd, events) => match sys::poll_now(fd, events) {
                Ok(happened) => happened,
                Err(Error::Os(libc::EBADF)) => sys::NOT_OPEN,
                Err(_) => 0, // The wait says so.
            },
            _ => 0,
        }
    }

    /// Whether it can complete without waiting. For a descriptor `happened` is what poll(2) has said.
    pub fn is_ready(&self, scheduler: Option<&Scheduler>, happened: u32) -> bool {
        match self.source() {
            Source::Channel(channel, operation) => channel.is_ready(operation),
            Source::Remote(channel, end) => channel.is_ready(end),
            Source::Descriptor(..) => happened != 0,
            Source::Task(id) => {
                scheduler.is_none_or(|scheduler| scheduler.tasks.find_id(id).is_none())
            }
            Source::Deadline(u64::MAX) | Source::Nothing => false,
            Source::Deadline(at_ns) => {
                scheduler.is_some_and(|scheduler| scheduler.time.clock.now_ns() >= at_ns)
            }
        }
    }

    /// Completes a case that is ready; returns whether it still was, as another thread may have been faster. For
    /// a descriptor `happened` is what poll(2) has said.
    ///
    /// # Safety
    /// An element as in [`Channel::send`] and [`Channel::receive`].
    pub unsafe fn complete(&self, happened: u32) -> bool {
        let transferred = match self.source() {
            // SAFETY: as this function's contract says.
            Source::Channel(channel, operation) => unsafe {
                channel.attempt(operation, self.element)
            },
            // SAFETY: as above.
            Source::Remote(channel, end) => unsafe { channel.attempt(end, self.element) },
            _ => {
                self.take(happened);
                return true;
            }
        };
        if let Some(result) = transferred {
            self.result.set(result.map_or_else(Error::status, |()| 0));
        }
        transferred.is_some()
    }

    /// Sets the result of a case without a channel that is ready.
    fn take(&self, happened: u32) {
        match self.source() {
            Source::Descriptor(..) if happened & sys::NOT_OPEN != 0 => {
                self.result.set(-libc::EBADF);
            }
            Source::Descriptor(..) => self.set_happened(happened),
            _ => self.result.set(0),
        }
    }

    /// Where it is, if it is in the queue of a port.
    pub fn port(&self) -> &Cell<*const Port> {
        // SAFETY: an address, which is set while it is in such a queue.
        unsafe { &self.place.remote.port }
    }

    /// Whether it is of a channel, local or not.
    pub fn has_channel(&self) -> bool {
        matches!(self.source(), Source::Channel(..) | Source::Remote(..))
    }

    /// The address of its element.
    pub fn element(&self) -> *mut u8 {
        self.element.cast()
    }

    /// The result of a chosen case.
    pub fn result(&self) -> Result<()> {
        match -self.result.get() {
            0 => Ok(()),
            libc::EPIPE => Err(Error::Disconnected),
            errno => Err(Error::Os(errno)),
        }
    }

    /// Ends the wait with this case, of a channel, as the chosen one.
    pub fn finish(&self, scheduler: &Scheduler, result: c_int) {
        self.result.set(result);
        // SAFETY: a case in a list is a part of a wait, and both are alive.
        let (waiting, task) = unsafe {
            let waiting = &*self.waiting.get();
            (waiting, &*waiting.task())
        };
        let task: &Task = task;
        scheduler.end_wait(task, Outcome::Ready(waiting.index_of(self)));
    }
}
