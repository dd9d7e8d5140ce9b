//! Waiting for the first of several channels.

use std::fmt;
use std::time::Duration;

use super::channel::{Receiver, SendError, Sender, into_received, into_sent};
use super::slot::Slot;
use crate::engine::sync::{Case, Operation, select, try_select};
#[cfg(doc)] // for links
use crate::engine::sys::Error;
use crate::engine::sys::Result;
use crate::safe::time::limit;
use crate::safe::unwind::suspending_or;

/// Several things to do with channels, of which the first that is possible is done; if several are
/// at once, one by chance. Each comes with a function that makes something of its result.
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

struct Receive<'a, T, F> {
    receiver: &'a Receiver<T>,
    slot: Slot<T>,
    then: F,
}

impl<T, R, F: FnOnce(Result<T>) -> R> Arm<R> for Receive<'_, T, F> {
    fn case(&self) -> Case {
        Case::new(self.receiver.core(), Operation::Receive, self.slot.address())
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

struct Send<'a, T, F> {
    sender: &'a Sender<T>,
    slot: Slot<T>,
    then: F,
}

impl<T, R, F: FnOnce(std::result::Result<(), SendError<T>>) -> R> Arm<R> for Send<'_, T, F> {
    fn case(&self) -> Case {
        Case::new(self.sender.core(), Operation::Send, self.slot.address())
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
    pub fn receive<T: 'a>(
        mut self,
        receiver: &'a Receiver<T>,
        then: impl FnOnce(Result<T>) -> R + 'a,
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
    pub fn send<T: 'a>(
        mut self,
        sender: &'a Sender<T>,
        value: T,
        then: impl FnOnce(std::result::Result<(), SendError<T>>) -> R + 'a,
    ) -> Select<'a, R> {
        self.arms.push(Box::new(Send { sender, slot: Slot::holding(value), then }));
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
