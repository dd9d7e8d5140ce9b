//! How a cluster is made.

use std::sync::Arc;

use super::handle::{Cluster, Core, Data};
use super::kind::KIND;
use crate::engine::cluster as engine;
use crate::engine::log;
use crate::engine::sys::Result;
use crate::engine::task::to_name;
use crate::safe::scheduler::Scheduler;
use crate::safe::{builder, join::JoinError};

/// What a new cluster is to have.
///
/// ```
/// use majjen::cluster::Builder;
///
/// let cluster = Builder::new().cores(2).name("web").build()?;
/// assert_eq!(cluster.size(), 2);
/// # Ok::<(), majjen::Error>(())
/// ```
#[derive(Default)]
pub struct Builder {
    cores: Option<usize>,
    name: Option<String>,
    pins: bool,
    data: Data,
}

impl Builder {
    /// A cluster on as many cores as there are processors that this process may use, by its affinity and the quota of
    /// its control group.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().build()?;
    /// assert_eq!(cluster.size(), std::thread::available_parallelism().unwrap().get().min(1024));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// How many cores: schedulers, each with a thread. 1 to 1,024.
    ///
    /// ```
    /// use majjen::{Error, cluster::Builder};
    ///
    /// assert_eq!(Builder::new().cores(3).build()?.size(), 3);
    /// assert_eq!(Builder::new().cores(0).build().unwrap_err(), Error::InvalidArgument);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn cores(self, cores: usize) -> Builder {
        Builder { cores: Some(cores), ..self }
    }

    /// What threads and schedulers are called, with a dash and the index behind: the first 12 bytes or so of it.
    /// "core" unless set.
    ///
    /// ```
    /// use majjen::cluster::Builder;
    ///
    /// let cluster = Builder::new().cores(2).name("web").build()?;
    /// assert!(cluster.metrics_prometheus()?.contains("scheduler=\"web-1\""));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn name(self, name: impl Into<String>) -> Builder {
        Builder { name: Some(name.into()), ..self }
    }

    /// Whether each thread is bound to one processor, of those that the caller may run on, in turn.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().pin(true).build()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn pin(self, pin: bool) -> Builder {
        Builder { pins: pin, ..self }
    }

    /// Sets how the scheduler of each core is made: it is given the index, and returns a
    /// [builder](crate::Builder), on the core's thread. The [name](Self::name) is the cluster's.
    ///
    /// ```
    /// use majjen::cluster::Builder;
    ///
    /// let cluster =
    ///     Builder::new().scheduler(|_core| majjen::Builder::new().stack_size(64 * 1024)).build()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn scheduler(
        mut self,
        configure: impl Fn(usize) -> builder::Builder + Send + Sync + 'static,
    ) -> Builder {
        self.data.configure = Some(Box::new(configure));
        self
    }

    /// Sets what is called on the thread of each core before its run, outside any task. It may make tasks, which hold
    /// that run, and set thread-local variables. If it fails or panics, that core does not run, the others are
    /// stopped, and [`Cluster::join`] says why.
    ///
    /// ```
    /// use majjen::cluster::Builder;
    /// use std::cell::Cell;
    /// use std::time::Duration;
    ///
    /// thread_local! {
    ///     static GREETING: Cell<&str> = const { Cell::new("") };
    /// }
    ///
    /// let cluster = Builder::new()
    ///     .cores(2)
    ///     .set_up(|scheduler, core| {
    ///         GREETING.set(if core.index() == 0 { "hello" } else { "good day" });
    ///         scheduler.spawn(|| assert_ne!(GREETING.get(), ""));
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// cluster.run(Duration::ZERO)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_up(
        mut self,
        set_up: impl Fn(&Scheduler, &Core) -> Result<()> + Send + Sync + 'static,
    ) -> Builder {
        self.data.set_up = Some(Box::new(set_up));
        self
    }

    /// Sets what is called on the thread of each core when no core runs any more, before its scheduler is dropped,
    /// and with it the tasks that are left; also if its set-up has failed.
    ///
    /// ```
    /// use majjen::cluster::Builder;
    /// use std::time::Duration;
    ///
    /// let cluster = Builder::new()
    ///     .tear_down(|scheduler, core| {
    ///         println!("core {}: {}", core.index(), scheduler.metrics().tasks_exited);
    ///     })
    ///     .build()?;
    /// cluster.run(Duration::ZERO)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tear_down(
        mut self,
        tear_down: impl Fn(&Scheduler, &Core) + Send + Sync + 'static,
    ) -> Builder {
        self.data.tear_down = Some(Box::new(tear_down));
        self
    }

    /// Makes the cluster. Its threads are there then, with the caller's signal mask, and wait for [`Cluster::start`]
    /// or [`Cluster::run`]; what the cores are given before waits with them.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().build()?;
    /// cluster.spawn(0, || println!("never, as it is dropped before it is started"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// With which no thread is left: [`Error::InvalidArgument`](crate::Error::InvalidArgument) for no core or more
    /// than 1,024; `Os(EAGAIN)` if a thread cannot be started; [`Error::OutOfMemory`](crate::Error::OutOfMemory);
    /// those of [`crate::Builder::build`], and of sched_setaffinity(2) with [`pin`](Self::pin);
    /// [`Error::Panicked`](crate::Error::Panicked).
    pub fn build(self) -> Result<Cluster> {
        log::begin_for_rust();
        let data = Arc::new(self.data);
        let options = engine::Options {
            kind: &KIND,
            data: Arc::into_raw(data.clone()).cast_mut().cast(),
            cores: self.cores,
            name: to_name(self.name.as_deref().unwrap_or("core").as_bytes()),
            pins: self.pins,
        };
        match engine::Cluster::create(&options) {
            // SAFETY: created just now with this data, which the kind is for.
            Ok(cluster) => Ok(unsafe { Cluster::own(cluster, data) }),
            Err(error) => Err(match data.take_failure() {
                Some(JoinError::Panicked(_)) => crate::Error::Panicked,
                Some(JoinError::Failed(error)) => error,
                _ => error,
            }),
        }
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Builder")
            .field("cores", &self.cores)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
