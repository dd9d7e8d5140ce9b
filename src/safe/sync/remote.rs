//! The channel between threads. Its ends may be used in tasks of any scheduler, and on threads that run
//! none: a call that has to wait suspends the task there, and blocks the thread here.
//!
//! ```
//! use majjen::{Scheduler, sync::remote};
//! use std::thread;
//!
//! let (sender, receiver) = remote::channel(16);
//! for worker in 0..2 {
//!     let sender = sender.clone();
//!     thread::spawn(move || (0..50).try_for_each(|number| sender.send(2 * number + worker)));
//! }
//! drop(sender); // The workers have the others: the channel is closed when they have ended.
//! let scheduler = Scheduler::new()?;
//! let sum = scheduler.spawn(move || receiver.iter().sum::<i32>());
//! scheduler.run()?;
//! assert_eq!(sum.join()?, 4950);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! No element is lost or doubled, and those of one sender arrive in their order, if one receiver gets them. When
//! there is no room a sender waits. A task that waits here keeps its run going, even if nothing else could wake it:
//! another thread may. For tasks of one scheduler, the [`channel`](super::channel()) of the module above costs
//! less.
//!
//! What the calls return where they cannot do it: [those of the module above](super#errors). A call on a thread
//! that runs no scheduler waits even while it panics; one that is called by the loop itself, as in a wait function,
//! is [`Error::NotInTask`].
//!
//! In a child of `fork()` a channel that other threads were using is to be left alone.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Relaxed},
};
use std::time::Duration;

use super::channel::{Sent, into_received, into_sent};
use super::iter::receive_one_after_the_other;
use super::slot::Slot;
use crate::engine::scheduler::running_task;
use crate::engine::sync::{Handle, Later, RemoteChannel};
#[cfg(doc)] // for links
use crate::engine::sys::Error;
use crate::engine::sys::Result;
use crate::engine::threads::End;
use crate::safe::time::limit;
use crate::safe::unwind::suspending_or;

/// A queue between threads, with room for `capacity` elements.
///
/// Both ends may be cloned, and sent to other threads. When one side is gone altogether, or one end is
/// [closed](Sender::close), nothing can be sent any more, and what is in the queue can still be
/// received. What is in it when the last receiver goes is dropped.
///
/// ```
/// use majjen::sync::remote;
/// use std::thread;
///
/// let (sender, receiver) = remote::channel(1);
/// let other = thread::spawn(move || receiver.iter().collect::<Vec<_>>());
/// for word in ["from", "thread", "to", "thread"] {
///     sender.send(word)?;
/// }
/// drop(sender);
/// assert_eq!(other.join().unwrap(), ["from", "thread", "to", "thread"]);
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Panics
/// When the capacity is 0, or there is no memory for so many elements.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let core = match Handle::new(size_of::<T>(), capacity) {
        Ok(core) => core,
        Err(error) => panic!("cannot create a channel of capacity {capacity}: {error}"),
    };
    let (senders, receivers) = (AtomicUsize::new(1), AtomicUsize::new(1));
    let inner = Arc::new(Inner { core, senders, receivers, elements: PhantomData });
    (Sender { inner: inner.clone() }, Receiver { inner })
}

/// What the ends share.
struct Inner<T> {
    core: Handle,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// They go in as `T` and come out as `T`, so neither end may become that of another type.
    elements: PhantomData<std::cell::Cell<T>>,
}

// SAFETY: elements go from one thread to another, each as a whole; nobody has a reference to one that is in the
// channel. The rest is atomics.
unsafe impl<T: Send> Send for Inner<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Inner<T> {}

impl<T> Inner<T> {
    /// Sends or receives, by way of a slot. `timeout` is for the wait, if there is one at all.
    #[inline]
    fn transfer(
        &self,
        end: End,
        slot: &Slot<T>,
        may_wait: bool,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let moved = if may_wait {
            // SAFETY: the slot has an element to send, or is a place for one, and nobody else uses it.
            match unsafe { self.core.at_once(end, slot.address()) } {
                Ok(result) => result,
                Err(later) => self.wait(end, slot, timeout, later),
            }
        } else {
            // SAFETY: as above.
            unsafe { self.core.try_transfer(end, slot.address()) }
        };
        if moved.is_ok() {
            // SAFETY: the core has moved an element from there, or to it.
            unsafe { slot.set_full(end == End::Receive) };
        }
        moved
    }

    #[cold]
    fn wait(
        &self,
        end: End,
        slot: &Slot<T>,
        timeout: Option<Duration>,
        later: Later,
    ) -> Result<()> {
        let limit = limit(timeout);
        // SAFETY: as in `transfer`; the slot stays where it is until the wait is over.
        let wait = || unsafe { self.core.transfer_later(end, slot.address(), limit, later) };
        if running_task().is_none() {
            return wait();
        }
        // SAFETY: as above.
        let attempt = || unsafe { self.core.try_transfer(end, slot.address()) };
        suspending_or(attempt, wait)
    }

    fn disconnect(&self) {
        let _ = self.core.close(); // It may be closed already.
    }

    /// Drops what is in the queue.
    fn clear(&self) {
        loop {
            let slot = Slot::<T>::empty();
            // SAFETY: a place for an element.
            match unsafe { self.core.attempt(End::Receive, slot.address()) } {
                // SAFETY: one was put there.
                Some(Ok(())) => unsafe { slot.set_full(true) },
                _ => return,
            }
        }
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.clear(); // What was being sent while the last receiver went.
    }
}

/// An end of a [`channel`], to send by.
///
/// ```
/// let (sender, receiver) = majjen::sync::remote::channel(1);
/// std::thread::spawn(move || sender.send("hello")).join().unwrap()?;
/// assert_eq!(receiver.recv()?, "hello");
/// assert_eq!(receiver.recv(), Err(majjen::Error::Disconnected));
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// It may go to another thread if the elements may:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::sync::remote::channel::<std::rc::Rc<i32>>(1).0);
/// ```
pub struct Sender<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Sender<T> {
    /// Sends an element, when there is room. If the task is canceled meanwhile, it is dropped.
    ///
    /// ```
    /// let (sender, receiver) = majjen::sync::remote::channel(1);
    /// sender.send(1)?;
    /// let other = std::thread::spawn(move || sender.send(2)); // It waits for room.
    /// assert_eq!((receiver.recv()?, receiver.recv()?), (1, 2));
    /// assert!(other.join().unwrap().is_ok());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// With the element: [`Error::Disconnected`] when the channel is closed, or becomes so
    /// meanwhile, and [those of the module](self).
    pub fn send(&self, value: T) -> Sent<T> {
        self.transfer(value, true, None)
    }

    /// [`send`](Self::send), and waits no longer than the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = majjen::sync::remote::channel(1);
    /// sender.send('x')?;
    /// let failed = sender.send_timeout('y', Duration::from_millis(1)).unwrap_err();
    /// assert_eq!((failed.value, failed.error), ('y', majjen::Error::TimedOut));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], and those of [`send`](Self::send).
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Sent<T> {
        self.transfer(value, true, Some(timeout))
    }

    /// Sends an element, if there is room. Does not suspend, nor block.
    ///
    /// ```
    /// let (sender, _receiver) = majjen::sync::remote::channel(1);
    /// sender.try_send(1)?;
    /// assert_eq!(sender.try_send(2).unwrap_err().error, majjen::Error::WouldBlock);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldBlock`], also when a thread is in the middle of making room, and
    /// [`Error::Disconnected`].
    pub fn try_send(&self, value: T) -> Sent<T> {
        self.transfer(value, false, None)
    }

    fn transfer(&self, value: T, may_wait: bool, timeout: Option<Duration>) -> Sent<T> {
        let slot = Slot::holding(value);
        let sent = self.inner.transfer(End::Send, &slot, may_wait, timeout);
        into_sent(sent, &slot)
    }

    /// Where a [`Select`](super::Select) waits.
    pub(super) fn core(&self) -> &RemoteChannel {
        &self.inner.core
    }
}

/// An end of a [`channel`], to receive by. Each element is received once.
///
/// ```
/// use majjen::{Scheduler, sync::remote};
///
/// let (sender, receiver) = remote::channel(4);
/// let other = receiver.clone();
/// let receives = std::thread::spawn(move || other.iter().count());
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(move || (0..100).try_for_each(|number| sender.send(number)));
/// let count = scheduler.spawn(move || receiver.iter().count());
/// scheduler.run()?;
/// assert_eq!(count.join()? + receives.join().unwrap(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Receiver<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Receiver<T> {
    /// Receives the oldest element, when there is one.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::remote};
    ///
    /// let (sender, receiver) = remote::channel(1);
    /// let scheduler = Scheduler::new()?;
    /// let got = scheduler.spawn(move || receiver.recv());
    /// std::thread::spawn(move || sender.send(5));
    /// scheduler.run()?;
    /// assert_eq!(got.join()?, Ok(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Disconnected`] when there is none and the channel is closed, or becomes so
    /// meanwhile, and [those of the module](self).
    pub fn recv(&self) -> Result<T> {
        self.transfer(true, None)
    }

    /// [`recv`](Self::recv), and waits no longer than the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (_sender, receiver) = majjen::sync::remote::channel::<i32>(1);
    /// assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(majjen::Error::TimedOut));
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], and those of [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.transfer(true, Some(timeout))
    }

    /// Receives the oldest element, if there is one. Does not suspend, nor block.
    ///
    /// ```
    /// let (_sender, receiver) = majjen::sync::remote::channel::<i32>(1);
    /// assert_eq!(receiver.try_recv(), Err(majjen::Error::WouldBlock));
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldBlock`], also when a thread is in the middle of sending the oldest, and
    /// [`Error::Disconnected`].
    pub fn try_recv(&self) -> Result<T> {
        self.transfer(false, None)
    }

    fn transfer(&self, may_wait: bool, timeout: Option<Duration>) -> Result<T> {
        let slot = Slot::empty();
        let received = self.inner.transfer(End::Receive, &slot, may_wait, timeout);
        into_received(received, &slot)
    }

    /// Receives until the channel is closed and empty, or receiving fails.
    ///
    /// ```
    /// let (sender, receiver) = majjen::sync::remote::channel(2);
    /// std::thread::spawn(move || (1..=10).try_for_each(|number| sender.send(number)));
    /// assert_eq!(receiver.iter().sum::<i32>(), 55);
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Where a [`Select`](super::Select) waits.
    pub(super) fn core(&self) -> &RemoteChannel {
        &self.inner.core
    }
}

receive_one_after_the_other! {
    /// What a channel has and gets, until it is closed and empty, or receiving fails: [`Receiver::iter`]
    /// returns it.
    ///
    /// ```
    /// let (sender, receiver) = majjen::sync::remote::channel(2);
    /// sender.send("one")?;
    /// drop(sender);
    /// for word in &receiver {
    ///     assert_eq!(word, "one");
    /// }
    /// # Ok::<(), majjen::Error>(())
    /// ```
    Iter,
    /// [`Iter`], which has the receiver: what a loop over that makes.
    ///
    /// ```
    /// let (sender, receiver) = majjen::sync::remote::channel(1);
    /// let sum = std::thread::spawn(move || receiver.into_iter().sum::<i32>());
    /// (1..=10).try_for_each(|number| sender.send(number))?;
    /// drop(sender);
    /// assert_eq!(sum.join().unwrap(), 55);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    IntoIter
}

/// What both ends have.
macro_rules! end {
    ($name:ident, $count:ident, $last:expr) => {
        impl<T> $name<T> {
            /// Closes the channel: nothing can be sent any more, and when what is in it has been
            /// received, nothing can be received either. Who waits is told.
            ///
            /// ```
            /// let (sender, receiver) = majjen::sync::remote::channel(1);
            /// receiver.close();
            /// assert_eq!(sender.send(1).unwrap_err().error, majjen::Error::Disconnected);
            /// ```
            pub fn close(&self) {
                self.inner.disconnect();
            }

            /// How many elements are in the queue, or were a moment ago.
            ///
            /// ```
            /// let (sender, receiver) = majjen::sync::remote::channel(3);
            /// sender.send('a')?;
            /// assert_eq!((sender.len(), receiver.len()), (1, 1));
            /// # Ok::<(), majjen::Error>(())
            /// ```
            pub fn len(&self) -> usize {
                self.inner.core.len()
            }

            /// Whether none is, or was.
            ///
            /// ```
            /// assert!(majjen::sync::remote::channel::<i32>(3).0.is_empty());
            /// ```
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        /// Another end of the same channel.
        impl<T> Clone for $name<T> {
            fn clone(&self) -> $name<T> {
                self.inner.$count.fetch_add(1, Relaxed);
                $name { inner: self.inner.clone() }
            }
        }

        impl<T> Drop for $name<T> {
            fn drop(&mut self) {
                if self.inner.$count.fetch_sub(1, AcqRel) == 1 {
                    self.inner.disconnect();
                    $last(&self.inner);
                }
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.debug_struct(stringify!($name)).field("len", &self.len()).finish()
            }
        }
    };
}

end!(Sender, senders, |_: &Inner<T>| ());
end!(Receiver, receivers, Inner::clear);
