//! The channel between threads: a bounded queue whose ends may be on any threads, in tasks or not.
//!
//! The elements are in a lock-free ring (`threads/ring.rs`), which is all that a send or a receive touches that
//! need not wait, besides a look whether anybody waits for the opposite. How that one is told, and why no
//! wake-up is lost: `threads/parties.rs`.
//!
//! # Who waits
//!
//! A thread that runs no scheduler waits for itself. A task waits in a queue of its scheduler's thread, that of
//! a *port*: each scheduler has one for each end of the channel, made at its first wait there. No other thread
//! touches the tasks, their cases or the queue. A port is a party, which is told by a message to the scheduler's
//! inbox; the loop then hands to the tasks, in FIFO order, what there is: it sends or receives for
//! them. So a task that is woken has its result, as with a local channel, and timeouts, cancellation and select
//! are the same. A task that comes meanwhile, and finds an element, takes it before those that wait.
//!
//! A task that gives up looks once more, in the moment in which it leaves the queue: an element may be there whose
//! message the loop has not read.
//!
//! # Who keeps what alive
//!
//! The channel is reference-counted. References are the program's handles, one for each case in a port's queue,
//! and one for a port's message on its way. Ports belong to the channel. One whose scheduler is gone is used for
//! the next, so there are no more than schedulers at one time.
//!
//! While a task waits here, another thread may wake it: its scheduler's run does not end by deadlock.
//!
//! # A scheduler that is destroyed
//!
//! takes its tasks out of the queues; a message in its inbox is abandoned, which tells another party if there
//! is something for it.
//!
//! # A child of fork()
//!
//! has a copy of the channel. What other threads were doing there stays undone: a slot that one had claimed is
//! never filled or freed, and behind it nothing is received or sent. Calls that do not wait do not hang, and new
//! waits work, but tasks that have waited since before the fork are not told.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ops::Deref;
use std::ptr::{NonNull, eq, null_mut};
use std::result::Result as StdResult;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Relaxed},
};

use super::case::Case;
use super::select::wait_for_remote;
use crate::engine::context::sanitizer;
use crate::engine::scheduler::{Limit, Scheduler, current, running_task, yield_spent};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::{Wait, WaitQueue};
use crate::engine::threads::{
    End, Lock, Message, Parties, Party, PartyKind, Rank, Remote, Ring, WeakRemote, this_process,
};
use crate::engine::time::Deadline;

/// A channel, which its references share.
pub struct RemoteChannel {
    references: AtomicUsize,
    element_bytes: usize,
    ring: Ring,
    /// Those that wait for room, and those that wait for elements.
    senders: Side,
    receivers: Side,
}

/// Those that wait for one thing.
struct Side {
    parties: Parties,
    /// A list of all, which grows at its head. A port that is in it stays.
    ports: Lock<Ports>,
}

struct Ports(*mut Port);

/// Why a transfer was not done at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// The task's budget is spent.
    Yields,
    /// There is no room, or no element.
    Waits,
}

// SAFETY: what other threads may do with a port is said there.
unsafe impl Send for Ports {}
// SAFETY: atomics, a ring and locks; ports as above.
unsafe impl Send for RemoteChannel {}
// SAFETY: as above.
unsafe impl Sync for RemoteChannel {}

/// The tasks of one scheduler that wait at one end. Its thread has it for itself, but for the party and the
/// message: other threads have them while the party is told.
#[repr(C)]
pub struct Port {
    message: Message,
    party: Party,
    channel: NonNull<RemoteChannel>,
    end: End,
    /// The scheduler. It changes, under the lock of the list, only when that is destroyed and the party outside.
    remote: Cell<WeakRemote>,
    /// Of which process: in a child of fork() the message may be lost, so the child makes a new one.
    process: u32,
    waiters: WaitQueue<Case>,
    next: *mut Port,
}

static PORT: PartyKind = PartyKind { rank, claim: |_| (), deliver };

/// # Safety
/// The party of a [`Port`].
unsafe fn port_of<'p>(party: NonNull<Party>) -> &'p Port {
    // SAFETY: as this function's contract says.
    unsafe { party.byte_sub(offset_of!(Port, party)).cast().as_ref() }
}

/// # Safety
/// As [`PartyKind::rank`].
unsafe fn rank(party: &Party) -> Rank {
    // SAFETY: a port's; nobody changes what a listed one refers to.
    unsafe { (*port_of(NonNull::from(party)).remote.as_ptr()).rank() }
}

/// # Safety
/// As [`PartyKind::deliver`]. Whoever tells the party has a reference to the channel.
unsafe fn deliver(party: NonNull<Party>) -> bool {
    // SAFETY: a port's, which the channel has.
    let port = unsafe { port_of(party) };
    // SAFETY: nobody changes what one refers to that is told.
    let Some(remote) = (unsafe { (*port.remote.as_ptr()).upgrade() }) else {
        port.party.take_note();
        return false;
    };
    // SAFETY: as above.
    let reference = unsafe { port.channel.as_ref() }.another();
    // SAFETY: the message is in no inbox, since the party was listed; and stays where it is, since it has a
    // reference to the channel.
    if unsafe { remote.post(NonNull::from(&port.message)) }.is_err() {
        port.party.take_note();
        return false;
    }
    std::mem::forget(reference);
    remote.rank() != Rank::Away
}

/// The port's scheduler has got the message.
///
/// # Safety
/// The message of a [`Port`], on the thread that runs its scheduler.
unsafe fn run(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    let port: &Port = unsafe { message.cast().as_ref() };
    let channel = Handle(port.channel); // The message's reference.
    let serve = || {
        while let Some(case) = port.waiters.first() {
            // SAFETY: the element of a task that waits.
            let Some(result) = (unsafe { channel.attempt(port.end, case.element().cast()) }) else {
                return true;
            };
            if let Some(scheduler) = current() {
                case.finish(scheduler, result.map_or_else(Error::status, |()| 0));
            }
        }
        false
    };
    let is_ready = || channel.is_ready(port.end);
    // SAFETY: the port is the channel's.
    unsafe { channel.side(port.end).parties.serve(&port.party, serve, is_ready) };
}

/// The port's scheduler is being destroyed, and has no tasks any more.
///
/// # Safety
/// The message of a [`Port`].
unsafe fn abandon(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    let port: &Port = unsafe { message.cast().as_ref() };
    let channel = Handle(port.channel); // The message's reference.
    channel.side(port.end).parties.hand_on(|| channel.is_ready(port.end));
    port.party.take_note();
}

impl RemoteChannel {
    /// Sends the element at an address, or receives one into the place there, waiting for room or for an
    /// element. In a task it suspends; a thread that runs no scheduler waits for itself.
    ///
    /// # Safety
    /// The address is that of an element, or of a place for one, which stays there during the call.
    #[inline(always)]
    pub unsafe fn transfer(&self, end: End, element: *mut c_void, limit: Limit) -> Result<()> {
        // SAFETY: as this function's contract says.
        match unsafe { self.at_once(end, element) } {
            Ok(result) => result,
            // SAFETY: as above.
            Err(later) => unsafe { self.transfer_later(end, element, limit, later) },
        }
    }

    /// [`transfer`](Self::transfer), up to where it has to wait, or to let other tasks have their turn: then
    /// [`transfer_later`](Self::transfer_later) is the rest of it.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn at_once(&self, end: End, element: *mut c_void) -> StdResult<Result<()>, Later> {
        match running_task() {
            Some((scheduler, task)) if scheduler.spend(task) => return Err(Later::Yields),
            None if current().is_some() => return Ok(Err(Error::NotInTask)),
            _ => {}
        }
        // SAFETY: as this function's contract says.
        unsafe { self.attempt(end, element) }.ok_or(Later::Waits)
    }

    /// The rest of a [`transfer`](Self::transfer), for which the budget has been spent.
    ///
    /// # Safety
    /// As there, and `later` is from the same task, or thread.
    #[cold]
    #[inline(never)]
    pub unsafe fn transfer_later(
        &self,
        end: End,
        element: *mut c_void,
        limit: Limit,
        later: Later,
    ) -> Result<()> {
        if let Some(running) = running_task() {
            if later == Later::Yields {
                yield_spent(running, Wait::NONE)?;
            }
            // SAFETY: as this function's contract says.
            return unsafe { wait_for_remote(self, end, element, limit) };
        }
        if limit.deadline == Deadline::In(0) {
            return Err(Error::TimedOut);
        }
        let until_ns = limit.deadline.by_system_clock();
        // SAFETY: as above.
        let attempt = || unsafe { self.attempt(end, element) };
        let done = self.side(end).parties.wait(until_ns, attempt, || self.is_ready(end));
        done.unwrap_or(Err(Error::TimedOut))
    }

    /// [`transfer`](Self::transfer) without waiting; `None` if it would have to.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn attempt(&self, end: End, element: *mut c_void) -> Option<Result<()>> {
        let (done, others) = match end {
            // SAFETY: as this function's contract says.
            End::Send => (unsafe { self.ring.send(element.cast()) }, &self.receivers),
            // SAFETY: as above.
            End::Receive => (unsafe { self.ring.receive(element.cast()) }, &self.senders),
        };
        match done {
            Some(Ok(())) => others.parties.notify(),
            Some(Err(_)) => sanitizer::acquire(self),
            None => {}
        }
        done
    }

    /// [`attempt`](Self::attempt), with an error if it would have to wait.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn try_transfer(&self, end: End, element: *mut c_void) -> Result<()> {
        // SAFETY: as this function's contract says.
        unsafe { self.attempt(end, element) }.unwrap_or(Err(Error::WouldBlock))
    }

    /// Whether [`attempt`](Self::attempt) would complete, also with the error that the channel is closed.
    pub fn is_ready(&self, end: End) -> bool {
        self.ring.is_ready(end)
    }

    /// Closes it: sends fail from now on, and receives fail once it is empty. An error if it is closed already.
    pub fn close(&self) -> Result<()> {
        sanitizer::release(self);
        self.ring.close()?;
        self.receivers.parties.notify_all();
        self.senders.parties.notify_all();
        Ok(())
    }

    /// How many elements are in it.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// An error for an address that cannot be an element's.
    pub fn check(&self, element: *const c_void) -> Result<()> {
        if element.is_null() && self.element_bytes > 0 {
            return Err(Error::InvalidArgument);
        }
        Ok(())
    }

    /// Adds a reference, which is to be dropped as a [`Handle`].
    pub fn retain(&self) {
        self.references.fetch_add(1, Relaxed);
    }

    fn another(&self) -> Handle {
        self.retain();
        Handle(NonNull::from(self))
    }

    fn side(&self, end: End) -> &Side {
        match end {
            End::Send => &self.senders,
            End::Receive => &self.receivers,
        }
    }
}

// ---- for cases of tasks

impl RemoteChannel {
    /// Appends a case to the queue of its scheduler's port. It stays where it is until
    /// [`end_wait`](Self::end_wait).
    pub fn begin_wait(&self, end: End, case: &Case, scheduler: &Scheduler) -> Result<()> {
        let side = self.side(end);
        let port = side.find_or_make(self, end, &scheduler.remote)?;
        self.retain();
        if port.waiters.is_empty() {
            scheduler.remote.add_waker();
        }
        port.waiters.push(case);
        case.port().set(port);
        // SAFETY: the port is the channel's, to which the case has a reference.
        unsafe { side.parties.begin(&port.party, || self.is_ready(end)) };
        Ok(())
    }

    /// Takes a case out of the queue. The channel may not be there afterwards.
    pub fn end_wait(&self, case: &Case, scheduler: &Scheduler) {
        // SAFETY: set by `begin_wait`, and the port is the channel's.
        let port = unsafe { &*case.port().get() };
        port.waiters.remove(case);
        if port.waiters.is_empty() {
            scheduler.remote.remove_waker();
            self.side(port.end).parties.leave(&port.party);
        }
        drop(Handle(port.channel)); // The case's reference.
    }

    /// Whether a case is in the queue of a scheduler's port.
    pub fn has_waiter(&self, end: End, case: &Case, scheduler: &Scheduler) -> bool {
        let ports = self.side(end).ports.lock();
        ports
            .find(&scheduler.remote)
            .is_some_and(|port| port.waiters.iter().any(|other| eq(other, case)))
    }
}

impl Side {
    fn new() -> Side {
        Side { parties: Parties::new(), ports: Lock::new(Ports(null_mut())) }
    }

    /// The port of a scheduler, which is the calling thread's.
    fn find_or_make(&self, channel: &RemoteChannel, end: End, of: &Remote) -> Result<&Port> {
        let mut ports = self.ports.lock();
        if let Some(port) = ports.find(of).or_else(|| ports.reuse(of)) {
            return Ok(port);
        }
        let memory = sys::allocate::<Port>(1);
        let port = Port {
            message: Message::new(run, abandon),
            party: Party::new(&PORT),
            channel: NonNull::from(channel),
            end,
            remote: Cell::new(of.downgrade()),
            process: this_process(),
            waiters: WaitQueue::new(),
            next: ports.0,
        };
        if memory.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory for one.
        unsafe { memory.write(port) };
        ports.0 = memory;
        // SAFETY: the channel's from now on.
        Ok(unsafe { &*memory })
    }
}

impl Ports {
    /// Those of this process.
    fn iter<'p>(&self) -> impl Iterator<Item = &'p Port> + use<'p> {
        let (mut next, process) = (self.0, this_process());
        let all = std::iter::from_fn(move || {
            // SAFETY: the channel has what is in its list.
            let port = unsafe { next.as_ref() }?;
            next = port.next;
            Some(port)
        });
        all.filter(move |port| port.process == process)
    }

    fn find<'p>(&self, of: &Remote) -> Option<&'p Port> {
        // SAFETY: nobody changes it while the list is locked.
        self.iter().find(|port| unsafe { (*port.remote.as_ptr()).is_of(of) })
    }

    /// Gives a scheduler the port of one that is gone.
    fn reuse<'p>(&self, of: &Remote) -> Option<&'p Port> {
        // SAFETY: as above.
        let is_free = |port: &&Port| unsafe {
            (*port.remote.as_ptr()).scheduler().is_null() && port.party.is_outside()
        };
        let port = self.iter().find(is_free)?;
        drop(port.remote.replace(of.downgrade()));
        Some(port)
    }
}

/// A reference to a channel.
pub struct Handle(NonNull<RemoteChannel>);

// SAFETY: it counts, and the channel may be used by all threads.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// A channel with room for `capacity` elements.
    pub fn new(element_bytes: usize, capacity: usize) -> Result<Handle> {
        if capacity == 0 {
            return Err(Error::InvalidArgument);
        }
        let ring = Ring::new(element_bytes, capacity)?;
        let memory = NonNull::new(sys::allocate::<RemoteChannel>(1)).ok_or(Error::OutOfMemory)?;
        let channel = RemoteChannel {
            references: AtomicUsize::new(1),
            element_bytes,
            ring,
            senders: Side::new(),
            receivers: Side::new(),
        };
        // SAFETY: fresh memory for one.
        unsafe { memory.write(channel) };
        Ok(Handle(memory))
    }

    /// Turns it into a pointer for C, which owns it.
    pub fn into_raw(self) -> *mut RemoteChannel {
        std::mem::ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes a reference back from C.
    ///
    /// # Safety
    /// From [`into_raw`](Self::into_raw), and not used again.
    pub unsafe fn from_raw(channel: NonNull<RemoteChannel>) -> Handle {
        Handle(channel)
    }
}

impl Deref for Handle {
    type Target = RemoteChannel;

    fn deref(&self) -> &RemoteChannel {
        // SAFETY: alive while there is a reference.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        sanitizer::release(&self.references);
        if self.references.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        sanitizer::acquire(&self.references);
        for side in [&self.senders, &self.receivers] {
            let mut next = std::mem::replace(&mut side.ports.lock().0, null_mut());
            while let Some(port) = NonNull::new(next) {
                // SAFETY: from `find_or_make`; no message is on its way, which would have a reference.
                unsafe {
                    next = port.as_ref().next;
                    port.drop_in_place();
                    sys::free(port.as_ptr().cast());
                }
            }
        }
        // SAFETY: from `new`, and nobody has a reference.
        unsafe {
            self.0.drop_in_place();
            sys::free(self.0.as_ptr().cast());
        }
    }
}
