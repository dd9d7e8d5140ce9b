//! The channel, and its two ends.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use super::Owned;
use super::slot::Slot;
use crate::engine::sync::{self, Home, Object, Operation};
use crate::engine::sys::{Error, Result};
use crate::safe::time::limit;
use crate::safe::unwind::suspending_or;

/// A queue between tasks, with room for `capacity` elements. With 0 there is none: a sender waits
/// until its element has been received.
///
/// Both ends may be cloned. When one side is gone altogether, or one end is
/// [closed](Sender::close), nothing can be sent any more, and what is in the queue can still be
/// received. What is in it when the last receiver goes is dropped.
///
/// ```
/// use majjen::{Scheduler, sync::channel};
///
/// let scheduler = Scheduler::new()?;
/// let (sender, receiver) = channel(8);
/// scheduler.spawn(move || (1..=100).try_for_each(|number| sender.send(number)));
/// let sum = scheduler.spawn(move || receiver.iter().sum::<i32>());
/// scheduler.run()?;
/// assert_eq!(sum.join()?, 5050);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
/// When there is no memory for so many elements.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let core = match sync::Channel::new(Home::none(), size_of::<T>(), capacity) {
        Ok(core) => Owned(core),
        Err(error) => panic!("cannot create a channel of capacity {capacity}: {error}"),
    };
    let (senders, receivers) = (Cell::new(1), Cell::new(1));
    let inner = Rc::new(Inner { core, senders, receivers, elements: PhantomData });
    (Sender { inner: inner.clone() }, Receiver { inner })
}

/// What the ends share.
struct Inner<T> {
    core: Owned<sync::Channel>,
    senders: Cell<usize>,
    receivers: Cell<usize>,
    /// They go in as `T` and come out as `T`, so neither end may become that of another type.
    elements: PhantomData<Cell<T>>,
}

impl<T> Inner<T> {
    /// Sends or receives, by way of a slot. `timeout` is for the wait, if there is one at all.
    fn transfer(
        &self,
        operation: Operation,
        slot: &Slot<T>,
        may_wait: bool,
        timeout: Option<Duration>,
    ) -> Result<()> {
        // SAFETY: the slot has an element to send, or is a place for one, and nobody else uses it.
        let attempt = || unsafe { self.core.try_transfer(operation, slot.address()) };
        let moved = if may_wait {
            let limit = limit(timeout);
            // SAFETY: as above; the slot stays where it is until the wait is over.
            suspending_or(attempt, || unsafe {
                match operation {
                    Operation::Send => self.core.send(slot.address(), limit),
                    Operation::Receive => self.core.receive(slot.address(), limit),
                }
            })
        } else {
            attempt()
        };
        if moved.is_ok() {
            // SAFETY: the core has moved an element from there, or to it.
            unsafe { slot.set_full(operation == Operation::Receive) };
        }
        moved
    }

    /// Closes the channel, from wherever a destructor runs.
    fn disconnect(&self) {
        if self.core.home().for_drop().is_ok() {
            self.core.disconnect();
        }
    }

    /// Drops what is in the queue.
    fn clear(&self) {
        loop {
            let slot = Slot::<T>::empty();
            // SAFETY: a place for an element.
            match unsafe { self.core.attempt(Operation::Receive, slot.address()) } {
                // SAFETY: one was put there.
                Some(Ok(())) => unsafe { slot.set_full(true) },
                _ => return,
            }
        }
    }
}

/// An end of a [`channel`], to send by.
///
/// ```
/// let (sender, receiver) = majjen::sync::channel(1);
/// sender.send("need not wait")?;
/// drop(sender);
/// assert_eq!(receiver.recv()?, "need not wait");
/// assert_eq!(receiver.recv(), Err(majjen::Error::Disconnected));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::sync::channel::<i32>(1).0);
/// ```
pub struct Sender<T> {
    inner: Rc<Inner<T>>,
}

impl<T> Sender<T> {
    /// Sends an element, when there is room. If the task is canceled meanwhile, it is dropped.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::channel};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let (sender, receiver) = channel(0);
    /// scheduler.spawn(move || sender.send("hand to hand").unwrap());
    /// scheduler.spawn(move || assert_eq!(receiver.recv().unwrap(), "hand to hand"));
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// With the element: [`Error::Disconnected`] when the channel is closed, or becomes so
    /// meanwhile, and [those of the module](super#errors).
    pub fn send(&self, value: T) -> Sent<T> {
        self.transfer(value, true, None)
    }

    /// [`send`](Self::send), and waits no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, sync::channel};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let (sender, _receiver) = channel(0);
    /// scheduler.spawn(move || {
    ///     let failed = sender.send_timeout('x', Duration::from_millis(1)).unwrap_err();
    ///     assert_eq!((failed.value, failed.error), ('x', Error::TimedOut));
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], and those of [`send`](Self::send).
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Sent<T> {
        self.transfer(value, true, Some(timeout))
    }

    /// Sends an element, if there is room. Does not suspend.
    ///
    /// ```
    /// use majjen::{Error, sync::channel};
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.try_send(1).unwrap();
    /// let full = sender.try_send(2).unwrap_err();
    /// assert_eq!((full.value, full.error), (2, Error::WouldBlock));
    /// # drop(receiver);
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldBlock`], [`Error::Disconnected`], and [`Error::WrongScheduler`] in a task of
    /// another scheduler.
    pub fn try_send(&self, value: T) -> Sent<T> {
        self.transfer(value, false, None)
    }

    fn transfer(&self, value: T, may_wait: bool, timeout: Option<Duration>) -> Sent<T> {
        let slot = Slot::holding(value);
        let sent = self.inner.transfer(Operation::Send, &slot, may_wait, timeout);
        into_sent(sent, &slot)
    }

    /// Where a [`Select`](super::Select) waits.
    pub(super) fn core(&self) -> &sync::Channel {
        &self.inner.core
    }
}

/// What has become of an element that was to be sent.
pub(super) type Sent<T> = std::result::Result<(), SendError<T>>;

/// The slot of an element that was not sent still holds it.
pub(super) fn into_sent<T>(sent: Result<()>, slot: &Slot<T>) -> Sent<T> {
    match (sent, slot.take()) {
        (Err(error), Some(value)) => Err(SendError { value, error }),
        _ => Ok(()),
    }
}

/// An end of a [`channel`], to receive by. Each element is received once.
///
/// ```
/// let (sender, receiver) = majjen::sync::channel(4);
/// for word in ["one", "two"] {
///     sender.send(word)?;
/// }
/// drop(sender);
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), ["one", "two"]);
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::sync::channel::<i32>(1).1);
/// ```
pub struct Receiver<T> {
    inner: Rc<Inner<T>>,
}

impl<T> Receiver<T> {
    /// Receives the oldest element, when there is one.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::channel};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let (sender, receiver) = channel(1);
    /// let got = scheduler.spawn(move || receiver.recv());
    /// scheduler.spawn(move || sender.send(5));
    /// scheduler.run()?;
    /// assert_eq!(got.join()?, Ok(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Disconnected`] when there is none and the channel is closed, or becomes so
    /// meanwhile, and [those of the module](super#errors).
    pub fn recv(&self) -> Result<T> {
        self.transfer(true, None)
    }

    /// [`recv`](Self::recv), and waits no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, sync::channel};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let (_sender, receiver) = channel::<i32>(1);
    /// scheduler.spawn(move || {
    ///     assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], and those of [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.transfer(true, Some(timeout))
    }

    /// Receives the oldest element, if there is one. Does not suspend.
    ///
    /// ```
    /// let (_sender, receiver) = majjen::sync::channel::<i32>(1);
    /// assert_eq!(receiver.try_recv(), Err(majjen::Error::WouldBlock));
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldBlock`], [`Error::Disconnected`], and [`Error::WrongScheduler`] in a task of
    /// another scheduler.
    pub fn try_recv(&self) -> Result<T> {
        self.transfer(false, None)
    }

    fn transfer(&self, may_wait: bool, timeout: Option<Duration>) -> Result<T> {
        let slot = Slot::empty();
        let received = self.inner.transfer(Operation::Receive, &slot, may_wait, timeout);
        into_received(received, &slot)
    }

    /// Where a [`Select`](super::Select) waits.
    pub(super) fn core(&self) -> &sync::Channel {
        &self.inner.core
    }
}

/// The slot for an element that was received holds it.
pub(super) fn into_received<T>(received: Result<()>, slot: &Slot<T>) -> Result<T> {
    received.and_then(|()| slot.take().ok_or(Error::Disconnected))
}

/// What both ends have.
macro_rules! end {
    ($name:ident, $count:ident, $last:expr) => {
        impl<T> $name<T> {
            /// Closes the channel: nothing can be sent any more, and when what is in it has been
            /// received, nothing can be received either. Tasks that wait are told.
            ///
            /// ```
            /// let (sender, receiver) = majjen::sync::channel(1);
            /// receiver.close();
            /// assert_eq!(sender.send(1).unwrap_err().error, majjen::Error::Disconnected);
            /// ```
            pub fn close(&self) {
                self.inner.disconnect();
            }

            /// How many elements are in the queue.
            ///
            /// ```
            /// let (sender, receiver) = majjen::sync::channel(3);
            /// sender.send('a')?;
            /// assert_eq!((sender.len(), receiver.len()), (1, 1));
            /// # Ok::<(), majjen::Error>(())
            /// ```
            pub fn len(&self) -> usize {
                self.inner.core.len()
            }

            /// Whether none is.
            ///
            /// ```
            /// assert!(majjen::sync::channel::<i32>(3).0.is_empty());
            /// ```
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        /// Another end of the same channel.
        impl<T> Clone for $name<T> {
            fn clone(&self) -> $name<T> {
                self.inner.$count.set(self.inner.$count.get() + 1);
                $name { inner: self.inner.clone() }
            }
        }

        impl<T> Drop for $name<T> {
            fn drop(&mut self) {
                let left = self.inner.$count.get() - 1;
                self.inner.$count.set(left);
                if left == 0 {
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

/// An element that was not sent, and why.
///
/// ```
/// let (sender, receiver) = majjen::sync::channel(1);
/// drop(receiver);
/// let failed = sender.send(String::from("back")).unwrap_err();
/// assert_eq!(failed.error, majjen::Error::Disconnected);
/// assert_eq!(failed.value, "back");
/// ```
///
/// It may get further fields:
///
/// ```compile_fail,E0639
/// majjen::sync::SendError { value: 1, error: majjen::Error::Disconnected };
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendError<T> {
    /// The element.
    pub value: T,
    /// Why it was not sent.
    pub error: Error,
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SendError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, out)
    }
}

impl<T> std::error::Error for SendError<T> {}

/// Without the element.
impl<T> From<SendError<T>> for Error {
    fn from(failed: SendError<T>) -> Error {
        failed.error
    }
}

/// Without the element.
impl<T> From<SendError<T>> for std::io::Error {
    fn from(failed: SendError<T>) -> std::io::Error {
        failed.error.into()
    }
}
