//! Having another core do something, and waiting for what comes of it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::handle::Cluster;
use super::kind;
use crate::engine::scheduler::running_task;
use crate::engine::sys::{Error, Result};
use crate::safe::join::{JoinError, Outcome};
use crate::safe::panics::Panic;
use crate::safe::remote::Remote;
use crate::safe::sync::remote::channel;
use crate::safe::task;
use crate::safe::unwind::resume_if_canceled;

/// How long a caller waits for room, for which there is no event.
const PAUSE: Duration = Duration::from_millis(1);

impl Cluster {
    /// Runs a closure in a task of its own on a core, as [`spawn`](Self::spawn) does, and waits for what it returns:
    /// in a task, which may be of the same core, or on a thread that runs no scheduler, which it blocks. Where as
    /// many wait as may, it waits for room too.
    ///
    /// If the caller is canceled meanwhile, or its time is over, the closure's task is canceled, and not waited for.
    ///
    /// ```
    /// use majjen::{cluster::Builder, task};
    /// use std::time::Duration;
    ///
    /// let cluster = Builder::new().cores(2).build()?;
    /// cluster.start()?;
    /// let there = cluster.clone();
    /// let core = cluster.call(1, move || {
    ///     task::sleep(Duration::from_millis(1)).unwrap();
    ///     there.here()
    /// })?;
    /// assert_eq!(core, Some(1));
    /// cluster.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Several cores do parts of something when each is called by a task of its own:
    ///
    /// ```
    /// use majjen::{cluster::Core, task};
    ///
    /// majjen::run_on_all_cores(|core| {
    ///     let all = core.cluster();
    ///     let parts = (0..all.size()).map(|part| {
    ///         let all = all.clone();
    ///         task::spawn(move || all.call(part, move || part + 1).unwrap())
    ///     });
    ///     let parts: Vec<_> = parts.collect();
    ///     let sum: usize = parts.into_iter().map(|part| part.join().unwrap()).sum();
    ///     assert_eq!(sum, all.size() * (all.size() + 1) / 2);
    /// })?;
    /// # Ok::<(), majjen::JoinError>(())
    /// ```
    ///
    /// # Errors
    /// [`JoinError::Panicked`] and [`JoinError::Canceled`] with what has become of the closure's task; it is canceled
    /// too if it ends with its scheduler, or its core is over. [`JoinError::Failed`] with the errors of
    /// [`spawn`](Self::spawn), but for a want of room, and with [`Error::TimedOut`], [`Error::NotInTask`] and
    /// [`Error::Unwinding`] of the wait.
    pub fn call<T, F>(&self, core: usize, closure: F) -> std::result::Result<T, JoinError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, receiver) = channel::<Outcome<T>>(1);
        let call = Arc::new(Call::default());
        let begun = call.clone();
        let body = move || {
            if !begun.begin() {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(closure))
                .map_err(|payload| JoinError::Panicked(Panic::new(resume_if_canceled(payload))));
            let _ = sender.try_send(outcome); // There is room, unless nobody waits.
        };
        let remote = self.remote(core).map_err(JoinError::Failed)?;
        self.spawn_when_there_is_room(core, body).map_err(JoinError::Failed)?;
        let leave = Leave { call, remote, is_answered: Cell::new(false) };
        let other = receiver.clone();
        let _pending = kind::expect_answer(self.inner.engine(), core, move || other.close());
        let received = receiver.recv();
        leave.is_answered.set(received.is_ok());
        drop(leave);
        match received {
            Ok(outcome) => outcome,
            Err(Error::Disconnected) => Err(JoinError::Canceled), // Nothing was sent.
            Err(error) => Err(JoinError::Failed(error)),
        }
    }

    fn spawn_when_there_is_room(
        &self,
        core: usize,
        mut closure: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        loop {
            match self.spawn(core, closure) {
                Err(refused) if refused.error == Error::WouldBlock => {
                    closure = refused.value;
                    match running_task() {
                        Some(_) => task::sleep(PAUSE)?,
                        None => std::thread::sleep(PAUSE),
                    }
                }
                spawned => return spawned.map_err(|refused| refused.error),
            }
        }
    }
}

/// What both sides of a call know.
#[derive(Default)]
struct Call {
    /// The closure's task; 0 until it has begun.
    task: AtomicU64,
    /// Whether nobody waits for it any more.
    is_left: AtomicBool,
}

impl Call {
    /// In the closure's task. Returns whether anybody waits.
    fn begin(&self) -> bool {
        // Who leaves looks for the task after it has said so: one of them sees the other.
        self.task.store(running_task().map_or(0, |(_, task)| task.id.get()), SeqCst);
        !self.is_left.load(SeqCst)
    }
}

/// The caller goes on, also if it is unwound: then the other one's task is not needed.
struct Leave {
    call: Arc<Call>,
    remote: Remote,
    is_answered: Cell<bool>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.is_answered.get() {
            return; // It is about to end by itself.
        }
        self.call.is_left.store(true, SeqCst);
        let task = self.call.task.load(SeqCst);
        if task != 0 {
            let _ = self.remote.cancel(task); // It may have ended.
        }
    }
}
