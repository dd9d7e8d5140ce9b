//! Scopes: tasks that borrow from the task that has spawned them.
//!
//! # Why it is sound
//!
//! A child's closure, its frames and its result may refer to what outlives `'scope`: to what the
//! owner of the scope has on its stack, and to the scope itself. So none of them may be used when
//! the frame of [`scope`] is left, however that happens. Like any frame it is left by returning and
//! by unwinding only, and both lead through [`Scope::end`], which returns when the group has no
//! members. A child is a member from before its first turn until its closure, its frames and, if
//! nobody takes it, its result are gone: [`Record`](crate::safe::record::Record) has the membership
//! as its last field. A child whose frames are never left, since it is given up, never leaves, and
//! `Scope::end` never returns. It remains to see that this holds wherever tasks end.
//!
//! - *In a run.* `Scope::end` suspends the owner until the last child has left, whatever happens to
//!   the owner. It can: unwinding ends before it, in `catch_unwind`, so the panic count is that of
//!   the moment when the scope began. If a panic unwound the owner then, no child has been spawned,
//!   as [`Scope::spawn`] refuses; the same holds outside of tasks and in a task of C's.
//! - *The scheduler is dropped, or its thread ends.* `teardown` ends the tasks one after the other,
//!   in the order of their [depths](crate::safe::record::Record::depth), so children before the
//!   owners of their scopes; those that have not begun too, though at a thread's end others that
//!   have not begun are left alone. The owner, unwound after that, finds no child, unless one was
//!   given up. Then it suspends each time that it has a turn, and is given up as well: its stack,
//!   and what was borrowed from it, stays as it is for ever. No child comes meanwhile, since nothing
//!   is spawned on a scheduler that is closing.
//! - *The scheduler is forgotten*, or stopped and never run again: nothing of its tasks runs until
//!   the thread ends.
//! - *A task calls `exit()`*: no frame is left, and no stack unmapped.
//! - *A handle is forgotten.* Nothing depends on handles: the scope counts tasks. A
//!   [`ScopedJoinHandle`] cannot outlive `'scope`, so a result that it keeps is dropped before, or
//!   never.
//! - *`panic = "abort"`.* Nothing is unwound; a task that is canceled goes on to the end of its scope
//!   by errors, and one whose scheduler is dropped is given up.
//! - *Lifetimes* are those of [`std::thread::scope`], which has been proven: `'scope` and `'env` are
//!   invariant, and `'scope` is each closure's own, shorter than any borrow from outside and longer
//!   than any from within.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::builder::Builder;
use super::handle::Task;
use super::spawn::Options;
use crate::engine::scheduler::running_task;
use crate::engine::sync::{Group, Home, Object};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;
use crate::safe::group::{Membership, SharedGroup};
use crate::safe::join::{JoinError, JoinHandle, Pair};
use crate::safe::record::{Job, Place, Record};
use crate::safe::sync::Owned;
use crate::safe::time::limit;
use crate::safe::unwind::suspending_or;

/// Runs a closure that can spawn tasks which borrow: from what is outside of the closure, and from
/// each other's scope. All of them have ended when `scope` returns. Those that nobody has waited for
/// are **canceled when the closure returns**, unlike the threads of [`std::thread::scope`]:
/// [`Scope::wait`] waits for all. They are canceled as well when the closure panics, and when the
/// running task is canceled; `scope` goes on to unwind when they have ended.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let total = scheduler.spawn(|| {
///     let (numbers, mut sum, mut product) = ([1, 2, 3, 4], 0, 1);
///     task::scope(|scope| {
///         scope.spawn(|| sum = numbers.iter().sum());
///         scope.spawn(|| product = numbers.iter().product());
///         scope.wait()
///     })
///     .unwrap();
///     (sum, product)
/// });
/// scheduler.run()?;
/// assert_eq!(total.join()?, (10, 24));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The wait for the children is not cut short, whatever happens to the running task: a child that
/// goes on in [`shield`](super::shield) is waited for. A panic of a child ends that child only, and
/// is told by [`ScopedJoinHandle::join`].
///
/// What a child borrows has to be outside of the closure:
///
/// ```compile_fail,E0373
/// majjen::task::scope(|scope| {
///     let within = 1;
///     scope.spawn(|| within + 1);
/// });
/// ```
///
/// And it does not come out:
///
/// ```compile_fail,E0521
/// let mut handle = None;
/// majjen::task::scope(|scope| handle = Some(scope.spawn(|| 1)));
/// ```
pub fn scope<'env, F, T>(body: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope::begin();
    // What the closure has left in any state is seen by its caller only once this has resumed.
    let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
    scope.end();
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// What [`scope`] gives its closure, to spawn tasks with.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// fn spawn_both<'scope>(scope: &'scope task::Scope<'scope, '_>, text: &'scope str) {
///     scope.spawn(move || println!("{text}"));
///     scope.spawn(move || println!("{}", text.len()));
/// }
///
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(|| {
///     let text = String::from("text");
///     task::scope(|scope| {
///         spawn_both(scope, &text);
///         scope.wait()
///     })
/// });
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    group: SharedGroup,
    /// The children's.
    depth: u32,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    fn begin() -> Scope<'scope, 'env> {
        let (home, depth) = match running_task() {
            Some((scheduler, task)) => {
                (Home::of(scheduler), Record::of(task).map_or(0, |record| record.depth))
            }
            None => (Home::none(), 0),
        };
        Scope {
            group: Rc::new(Owned(Group::new(home, 0))),
            depth: depth + 1,
            scope: PhantomData,
            env: PhantomData,
        }
    }

    /// Cancels the children, and returns when there are none.
    fn end(&self) {
        // In the task that is to wait for them, it fails only where the scheduler is dropped, and
        // has suspended the task then.
        while self.group.end(Deadline::In(0)).is_err() && self.group.count() > 0 {}
    }

    /// Adds a task to the scheduler of the running one, which may be the scope's or a child.
    ///
    /// Never fails by itself: when the task cannot be started, [`ScopedJoinHandle::join`] says why.
    /// Once the children are canceled, no other one starts.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let text = String::from("borrowed");
    ///     let length = task::scope(|scope| {
    ///         let child = scope.spawn(|| scope.spawn(|| text.len()).join().unwrap());
    ///         child.join().unwrap()
    ///     });
    ///     assert_eq!(length, text.len());
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn spawn<T: 'scope>(
        &'scope self,
        body: impl FnOnce() -> T + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        self.add(Options::default(), body).unwrap_or_else(|error| ScopedJoinHandle {
            handle: JoinHandle::refused(JoinError::of_refusal(error)),
            scope: PhantomData,
        })
    }

    fn add<T: 'scope>(
        &'scope self,
        options: Options<'_>,
        body: impl FnOnce() -> T + 'scope,
    ) -> Result<ScopedJoinHandle<'scope, T>> {
        if thread::panicking() {
            return Err(Error::Unwinding);
        }
        let (_, task) = self.group.home().current_task()?;
        let shared = Record::of(task).ok_or(Error::NotInTask)?.shared.clone();
        self.group.try_take_place()?;
        let membership = Some(Membership::new(self.group.clone()));
        let (pair, job) = Pair::new(body);
        // SAFETY: the same type but for the lifetime. The job is dropped, or has run, before
        // `'scope` ends: see the head of this file.
        let job = unsafe { std::mem::transmute::<Job<'scope>, Job<'static>>(job) };
        let task = options.start(&shared, job, Place { depth: self.depth, membership })?;
        Ok(ScopedJoinHandle { handle: pair.into_handle(task), scope: PhantomData })
    }

    /// Waits until all children have ended, those that are spawned meanwhile too.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         let child = scope.spawn(task::yield_now);
    ///         scope.wait().unwrap();
    ///         assert!(child.is_finished());
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [Those of the module `sync`](crate::sync#errors), and [`Error::Deadlock`] in a child.
    pub fn wait(&self) -> Result<()> {
        self.wait_within(None)
    }

    /// [`wait`](Self::wait), no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         scope.spawn(|| task::sleep(Duration::from_secs(3600)));
    ///         assert_eq!(scope.wait_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    ///     }); // Cancels it.
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], and those of [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_within(Some(timeout))
    }

    fn wait_within(&self, timeout: Option<Duration>) -> Result<()> {
        let attempt = || if self.group.count() == 0 { Ok(()) } else { Err(Error::WouldBlock) };
        suspending_or(attempt, || self.group.wait(limit(timeout)))
    }

    /// Cancels all children, and lets no other one start.
    ///
    /// ```
    /// use majjen::{JoinError, Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         let children = [scope.spawn(|| task::park(None)), scope.spawn(|| task::park(None))];
    ///         scope.cancel_all();
    ///         for child in children {
    ///             assert!(matches!(child.join(), Err(JoinError::Canceled)));
    ///         }
    ///         assert!(matches!(scope.spawn(|| ()).join(), Err(JoinError::Canceled)));
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn cancel_all(&self) {
        self.group.abandon();
    }
}

impl Builder {
    /// Adds the task to a [`scope`], as [`Scope::spawn`].
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let name = String::from("worker");
    ///     task::scope(|scope| {
    ///         let named = task::Builder::new().name(&*name);
    ///         let child = named.spawn_scoped(scope, || task::current().unwrap().name()).unwrap();
    ///         assert_eq!(child.join().unwrap().as_ref(), Some(&name));
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn), [`Error::Unwinding`] in a destructor that a panic runs, and
    /// [`Error::Disconnected`] when the scope's children are canceled.
    pub fn spawn_scoped<'scope, T: 'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        body: impl FnOnce() -> T + 'scope,
    ) -> Result<ScopedJoinHandle<'scope, T>> {
        scope.add(self.options(), body)
    }
}

/// The right to the result of a task that was spawned by [`Scope::spawn`]. Dropping it lets the task
/// go on, until its scope ends.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(|| {
///     let numbers = [1, 2, 3];
///     let largest = task::scope(|scope| scope.spawn(|| numbers.iter().max()).join().unwrap());
///     assert_eq!(largest, Some(&3));
/// });
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// As [`JoinHandle::join`].
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         assert_eq!(scope.spawn(|| 1).join().unwrap(), 1);
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there; [`JoinError::Canceled`] also when the scope took no children any more.
    pub fn join(self) -> std::result::Result<T, JoinError> {
        self.handle.join()
    }

    /// As [`JoinHandle::wait`].
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         let child = scope.spawn(|| 1);
    ///         child.wait().unwrap();
    ///         assert!(child.is_finished());
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self) -> Result<()> {
        self.handle.wait()
    }

    /// As [`JoinHandle::wait_timeout`].
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         let child = scope.spawn(|| task::park(None));
    ///         assert!(child.wait_timeout(Duration::from_millis(1)).is_err());
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.handle.wait_timeout(timeout)
    }

    /// As [`JoinHandle::is_finished`].
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         assert!(!scope.spawn(|| ()).is_finished());
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// As [`JoinHandle::cancel`].
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         let child = scope.spawn(|| task::park(None));
    ///         child.cancel();
    ///         assert!(child.join().is_err());
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// The task itself.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     task::scope(|scope| {
    ///         let child = scope.spawn(|| task::current().unwrap().id());
    ///         let id = child.task().id();
    ///         assert_eq!(child.join().unwrap(), id);
    ///     });
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn task(&self) -> &Task {
        self.handle.task()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("ScopedJoinHandle").field(&self.handle).finish()
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scope").field("children", &self.group.count()).finish()
    }
}
