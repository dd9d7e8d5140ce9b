//! The shortest way to all cores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::builder::Builder;
use super::handle::{Core, Failure};
use crate::engine::scheduler::current;
use crate::engine::sys::Error;
use crate::safe::join::JoinError;
use crate::safe::panics::Panic;
use crate::safe::unwind::resume_if_canceled;

/// How long tasks have to end after a signal.
const GRACE: Duration = Duration::from_secs(5);

/// Calls a function in a task on each core, of as many as there are processors, and returns when that has ended, and
/// all that it has begun: other tasks, and work and connections that the [cluster](crate::cluster) was given.
///
/// SIGINT and SIGTERM stop it in order: what is left after five seconds is canceled. A second signal does so at
/// once, and a third one does not wait for tasks. [`cluster::Builder`] has all that can be set.
///
/// ```
/// use majjen::task;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
///
/// let sum = Arc::new(AtomicUsize::new(0));
/// let parts = sum.clone();
/// majjen::run_on_all_cores(move |core| {
///     let step = core.cluster().size();
///     for number in (core.index()..1000).step_by(step) {
///         parts.fetch_add(number, Relaxed);
///     }
/// })?;
/// assert_eq!(sum.load(Relaxed), 499_500);
/// # Ok::<(), majjen::JoinError>(())
/// ```
///
/// # Errors
/// [`JoinError::Panicked`] if the function has panicked: the first panic. The other cores are stopped then.
/// [`JoinError::Failed`] with the errors of [`cluster::Builder::build`], with [`Error::Busy`] where a scheduler runs
/// on this thread, and as [`cluster::Cluster::join`].
///
/// [`cluster::Builder`]: crate::cluster::Builder
/// [`cluster::Builder::build`]: crate::cluster::Builder::build
/// [`cluster::Cluster::join`]: crate::cluster::Cluster::join
pub fn run_on_all_cores(function: impl Fn(Core) + Send + Sync + 'static) -> Result<(), JoinError> {
    if current().is_some() {
        return Err(JoinError::Failed(Error::Busy));
    }
    let cluster = Builder::new().build().map_err(JoinError::Failed)?;
    let function = Arc::new(function);
    for core in 0..cluster.size() {
        let function = function.clone();
        let spawned = cluster.spawn(core, move || run_here(&*function));
        spawned.map_err(|refused| JoinError::Failed(refused.error))?;
    }
    drop(function);
    cluster.run(GRACE)
}

fn run_here(function: &impl Fn(Core)) {
    let Some(core) = Core::current() else { return }; // It is one of the cluster's tasks.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| function(core.clone()))) {
        let panic = Panic::new(resume_if_canceled(payload));
        core.engine().stop_at_once();
        if let Err(Failure::Panicked(Some(panic))) =
            core.data().fail(Failure::Panicked(Some(panic)))
        {
            panic.resume(); // It is not the first one: a line in the log tells of it.
        }
    }
}
