//! Waiting for the first of several things: channels, descriptors, tasks, a time.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use super::channel::{Receiver, SendError, Sender, into_received, into_sent};
use super::remote;
use super::slot::Slot;
use crate::engine::scheduler::{READABLE, WRITABLE};
use crate::engine::sync::{Case, Operation, select, try_select};
#[cfg(doc)] // for links
use crate::engine::sys::Error;
use crate::engine::sys::Result;
use crate::engine::threads::End;
use crate::safe::task::Task;
use crate::safe::time::{Instant, limit};
use crate::safe::unwind::suspending_or;

/// Several things to do, of which the first that is possible is done; if several are at once, one by
/// chance: sends, receives, also [between threads](remote), events of descriptors, the end of a task, a time. Each
/// comes with a function that makes something of its result.
///
/// ```
/// use majjen::sync::{Select, channel};
/// use majjen::{Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let (numbers, words) = (channel(1), channel(1));
/// let got = scheduler.spawn(move || {
///     Select::new()
///         .receive(&numbers.1, |number: majjen::Result<i32>| format!("number {number:?}"))
///         .receive(&words.1, |word: majjen::Result<&str>| format!("word {word:?}"))
///         .wait_timeout(Duration::from_secs(10))
/// });
/// scheduler.spawn(move || words.0.send("hello"));
/// scheduler.run()?;
/// assert_eq!(got.join()??, "word Ok(\"hello\")");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Select<'a, R> {
    arms: Vec<Box<dyn Arm<R> + 'a>>,
}

/// One of the things.
trait Arm<R> {
    /// The same for the core. The address in it is good while the arm stays in its box.
    fn case(&self) -> Case;

    /// It was done, or the channel is closed.
    fn finish(self: Box<Self>, result: Result<()>) -> R;
}

/// An end of a channel that a [`Select`] receives by: a [`Receiver`] or a [`remote::Receiver`].
///
/// ```
/// use majjen::sync::{ReceiveEnd, Select, channel, remote};
///
/// fn attempt<E: ReceiveEnd>(end: &E) -> Option<E::Element> {
///     Select::new().receive(end, |element| element.ok()).attempt().ok()?
/// }
/// let (sender, receiver) = remote::channel(1);
/// sender.send(3)?;
/// assert_eq!((attempt(&receiver), attempt(&channel::<i32>(1).1)), (Some(3), None));
/// # Ok::<(), majjen::Error>(())
/// ```
pub trait ReceiveEnd: sealed::End {
    /// What is received.
    type Element;
}

/// An end of a channel that a [`Select`] sends by: a [`Sender`] or a [`remote::Sender`].
///
/// ```
/// use majjen::sync::{Select, SendEnd, remote};
///
/// fn attempt<E: SendEnd>(end: &E, element: E::Element) -> bool {
///     Select::new().send(end, element, |sent| sent.is_ok()).attempt() == Ok(true)
/// }
/// let (sender, receiver) = remote::channel(1);
/// assert!(attempt(&sender, 3));
/// assert!(!attempt(&sender, 4));
/// assert_eq!(receiver.recv(), Ok(3));
/// ```
pub trait SendEnd: sealed::End {
    /// What is sent.
    type Element;
}

mod sealed {
    use std::ffi::c_void;

    use super::Case;

    /// An end of a channel.
    pub trait End {
        /// The case of it that has its element at an address.
        fn case(&self, element: *mut c_void) -> Case;
    }
}

impl<T> sealed::End for Receiver<T> {
    fn case(&self, element: *mut c_void) -> Case {
        Case::new(self.core(), Operation::Receive, element)
    }
}

impl<T> sealed::End for Sender<T> {
    fn case(&self, element: *mut c_void) -> Case {
        Case::new(self.core(), Operation::Send, element)
    }
}

impl<T> sealed::End for remote::Receiver<T> {
    fn case(&self, element: *mut c_void) -> Case {
        Case::remote(self.core(), End::Receive, element)
    }
}

impl<T> sealed::End for remote::Sender<T> {
    fn case(&self, element: *mut c_void) -> Case {
        Case::remote(self.core(), End::Send, element)
    }
}

impl<T> ReceiveEnd for Receiver<T> {
    type Element = T;
}

impl<T> SendEnd for Sender<T> {
    type Element = T;
}

impl<T> ReceiveEnd for remote::Receiver<T> {
    type Element = T;
}

impl<T> SendEnd for remote::Sender<T> {
    type Element = T;
}

struct Receive<'a, E, T, F> {
    receiver: &'a E,
    slot: Slot<T>,
    then: F,
}

impl<E: sealed::End, T, R, F: FnOnce(Result<T>) -> R> Arm<R> for Receive<'_, E, T, F> {
    fn case(&self) -> Case {
        self.receiver.case(self.slot.address())
    }

    fn finish(self: Box<Self>, result: Result<()>) -> R {
        if result.is_ok() {
            // SAFETY: the core has put an element there.
            unsafe { self.slot.set_full(true) };
        }
        let Receive { slot, then, .. } = *self;
        then(into_received(result, &slot))
    }
}

struct Send<'a, E, T, F> {
    sender: &'a E,
    slot: Slot<T>,
    then: F,
}

impl<E: sealed::End, T, R, F> Arm<R> for Send<'_, E, T, F>
where
    F: FnOnce(std::result::Result<(), SendError<T>>) -> R,
{
    fn case(&self) -> Case {
        self.sender.case(self.slot.address())
    }

    fn finish(self: Box<Self>, result: Result<()>) -> R {
        if result.is_ok() {
            // SAFETY: the core has taken the element.
            unsafe { self.slot.set_full(false) };
        }
        let Send { slot, then, .. } = *self;
        then(into_sent(result, &slot))
    }
}

/// Something other than a channel.
struct Happens<'a, F> {
    case: fn(u64, u32) -> Case,
    /// The descriptor, the id, or the time.
    of: u64,
    events: u32,
    then: F,
    borrows: PhantomData<&'a ()>,
}

impl<R, F: FnOnce(Result<()>) -> R> Arm<R> for Happens<'_, F> {
    fn case(&self) -> Case {
        (self.case)(self.of, self.events)
    }

    fn finish(self: Box<Self>, result: Result<()>) -> R {
        (self.then)(result)
    }
}

impl<'a, R> Select<'a, R> {
    /// Nothing to do yet.
    ///
    /// ```
    /// use majjen::{Error, sync::Select};
    ///
    /// assert_eq!(Select::<()>::new().attempt(), Err(Error::WouldBlock));
    /// ```
    pub fn new() -> Select<'a, R> {
        Select { arms: Vec::new() }
    }

    /// Or receives an element. The function is told [`Error::Disconnected`](crate::Error::Disconnected) when the channel is
    /// closed and empty.
    ///
    /// ```
    /// use majjen::sync::{Select, channel};
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.send(3)?;
    /// let tripled = Select::new().receive(&receiver, |number| number.map(|number| 3 * number));
    /// assert_eq!(tripled.attempt()??, 9);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn receive<E: ReceiveEnd<Element: 'a>>(
        mut self,
        receiver: &'a E,
        then: impl FnOnce(Result<E::Element>) -> R + 'a,
    ) -> Select<'a, R> {
        self.arms.push(Box::new(Receive { receiver, slot: Slot::empty(), then }));
        self
    }

    /// Or sends an element. The function is given it back when the channel is closed; when something
    /// else is done, it is dropped.
    ///
    /// ```
    /// use majjen::sync::{Select, channel};
    ///
    /// let (sender, receiver) = channel(1);
    /// let sent = Select::new().send(&sender, "element", |sent| sent.is_ok()).attempt()?;
    /// assert!(sent && receiver.len() == 1);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn send<E: SendEnd<Element: 'a>>(
        mut self,
        sender: &'a E,
        value: E::Element,
        then: impl FnOnce(std::result::Result<(), SendError<E::Element>>) -> R + 'a,
    ) -> Select<'a, R> {
        self.arms.push(Box::new(Send { sender, slot: Slot::holding(value), then }));
        self
    }

    /// Or waits until a descriptor is readable, as [`wait_readable`](crate::task::wait_readable) does. The
    /// function is told an error when the descriptor is not open.
    ///
    /// ```
    /// use majjen::sync::Select;
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// let read = || Select::new().readable(&reader, |ready| ready.is_ok());
    /// assert!(read().attempt().is_err());
    /// drop(writer);
    /// assert!(read().attempt().is_ok()); // The end.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn readable(
        self,
        fd: &'a impl AsFd,
        then: impl FnOnce(Result<()>) -> R + 'a,
    ) -> Select<'a, R> {
        self.descriptor(fd, READABLE, then)
    }

    /// Or waits until a descriptor is writable, as [`wait_writable`](crate::task::wait_writable) does.
    ///
    /// ```
    /// use majjen::sync::Select;
    ///
    /// let (_reader, writer) = std::io::pipe()?;
    /// assert_eq!(Select::new().writable(&writer, |ready| ready.is_ok()).attempt(), Ok(true));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn writable(
        self,
        fd: &'a impl AsFd,
        then: impl FnOnce(Result<()>) -> R + 'a,
    ) -> Select<'a, R> {
        self.descriptor(fd, WRITABLE, then)
    }

    fn descriptor(
        self,
        fd: &'a impl AsFd,
        events: u32,
        then: impl FnOnce(Result<()>) -> R + 'a,
    ) -> Select<'a, R> {
        let case = |fd, events| Case::descriptor(fd as i32, events);
        self.happens(case, fd.as_fd().as_raw_fd() as u64, events, then)
    }

    /// Or waits until a task has ended, which it may have already. Its result is the [`JoinHandle`]'s.
    ///
    /// [`JoinHandle`]: crate::JoinHandle
    ///
    /// ```
    /// use majjen::{Scheduler, sync::Select, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let first = scheduler.spawn(|| {
    ///     let work = task::spawn(|| 6 * 7);
    ///     Select::new()
    ///         .ended(work.task(), || "done")
    ///         .after(Duration::from_secs(10), || "late")
    ///         .wait()
    /// });
    /// scheduler.run()?;
    /// assert_eq!(first.join()?, Ok("done"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ended(self, task: &Task, then: impl FnOnce() -> R + 'a) -> Select<'a, R> {
        self.happens(|id, _| Case::task(id), task.id(), 0, |_| then())
    }

    /// Or waits until so much time has passed, from now on.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::Select};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let waited = scheduler.spawn(|| Select::new().after(Duration::from_millis(1), || true).wait());
    /// scheduler.run()?;
    /// assert_eq!(waited.join()?, Ok(true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn after(self, duration: Duration, then: impl FnOnce() -> R + 'a) -> Select<'a, R> {
        self.at(Instant::now() + duration, then)
    }

    /// Or waits until a moment has come, one of [`std::time::Instant`] too.
    ///
    /// ```
    /// use majjen::{Instant, Scheduler, sync::Select};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let waited = scheduler.spawn(|| Select::new().at(Instant::now(), || true).wait());
    /// scheduler.run()?;
    /// assert_eq!(waited.join()?, Ok(true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn at(self, moment: impl Into<Instant>, then: impl FnOnce() -> R + 'a) -> Select<'a, R> {
        self.happens(|at_ns, _| Case::deadline(at_ns), moment.into().as_ns(), 0, |_| then())
    }

    fn happens(
        mut self,
        case: fn(u64, u32) -> Case,
        of: u64,
        events: u32,
        then: impl FnOnce(Result<()>) -> R + 'a,
    ) -> Select<'a, R> {
        self.arms.push(Box::new(Happens { case, of, events, then, borrows: PhantomData }));
        self
    }

    /// Does one of them, waiting until one is possible. Returns what its function makes of it.
    ///
    /// ```
    /// use majjen::Scheduler;
    /// use majjen::sync::{Select, channel};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let (sender, receiver) = channel(1);
    /// let got = scheduler.spawn(move || Select::new().receive(&receiver, |number| number).wait());
    /// scheduler.spawn(move || sender.send(5));
    /// scheduler.run()?;
    /// assert_eq!(got.join()?, Ok(Ok(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Nothing is done then. [Those of the module](super#errors).
    pub fn wait(self) -> Result<R> {
        self.wait_within(None)
    }

    /// [`wait`](Self::wait), no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler};
    /// use majjen::sync::{Select, channel};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let (_sender, receiver) = channel::<i32>(1);
    /// scheduler.spawn(move || {
    ///     let select = Select::new().receive(&receiver, |number| number.is_ok());
    ///     assert_eq!(select.wait_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// Nothing is done then. [`Error::TimedOut`](crate::Error::TimedOut), and [those of the module](super#errors).
    pub fn wait_timeout(self, timeout: Duration) -> Result<R> {
        self.wait_within(Some(timeout))
    }

    fn wait_within(self, timeout: Option<Duration>) -> Result<R> {
        self.done(|cases| {
            // SAFETY: the channels are borrowed, and the arms have slots for the elements.
            let attempt = || unsafe { try_select(cases) };
            // SAFETY: as above. Cases and slots stay where they are until the wait is over.
            suspending_or(attempt, || unsafe { select(cases, limit(timeout)) })
        })
    }

    /// Does one of them, if one is possible. Does not suspend.
    ///
    /// ```
    /// use majjen::{Error, sync::{Select, channel}};
    ///
    /// let (_sender, receiver) = channel::<i32>(1);
    /// let select = Select::new().receive(&receiver, |_| ());
    /// assert_eq!(select.attempt(), Err(Error::WouldBlock));
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldBlock`](crate::Error::WouldBlock), and [`Error::WrongScheduler`](crate::Error::WrongScheduler) in a task of another scheduler.
    pub fn attempt(self) -> Result<R> {
        // SAFETY: the channels are borrowed, and the arms have slots for the elements.
        self.done(|cases| unsafe { try_select(cases) })
    }

    fn done(mut self, choose: impl FnOnce(&[Case]) -> Result<usize>) -> Result<R> {
        let cases: Vec<Case> = self.arms.iter().map(|arm| arm.case()).collect();
        let chosen = choose(&cases)?;
        let result = cases[chosen].result();
        Ok(self.arms.swap_remove(chosen).finish(result))
    }
}

impl<R> Default for Select<'_, R> {
    fn default() -> Self {
        Select::new()
    }
}

impl<R> fmt::Debug for Select<'_, R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Select").field("arms", &self.arms.len()).finish()
    }
}
