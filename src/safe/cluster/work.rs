//! Running a cluster, giving it work, and looking into it.

use std::ptr::from_ref;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::handle::Cluster;
use crate::engine::cluster as engine;
use crate::engine::inspect::{self, Format};
use crate::engine::sys::{Error, Result};
use crate::ffi::HOOK_CALLS;
use crate::safe::join::JoinError;
use crate::safe::remote::Remote;
use crate::safe::sync::SendError;
use crate::safe::time::to_ns;

/// Something that a core has to do: it holds the cluster, and counts in the load of the core, until it is dropped.
pub struct Work(*const engine::Core);

// SAFETY: what it calls may be called on any thread.
unsafe impl Send for Work {}

impl Work {
    fn take(core: &engine::Core) -> Result<Work> {
        core.take_work()?;
        Ok(Work(from_ref(core)))
    }

    /// What the core was given already.
    pub fn of(core: &engine::Core) -> Work {
        Work(from_ref(core))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: a core is there while its cluster has a thread or a handle. This is dropped on the core's thread,
        // by a task or with the scheduler, or else by who has a handle and could not hand it over.
        unsafe { &*self.0 }.end_work();
    }
}

// ---- running

impl Cluster {
    /// Lets the cores run.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().build()?;
    /// cluster.start()?;
    /// cluster.spawn(0, || println!("in a task"))?;
    /// cluster.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Busy`] if it was started before, [`Error::OwnerDied`] in a child of fork(), which has none of the
    /// threads.
    pub fn start(&self) -> Result<()> {
        self.start_cores()
    }

    /// Waits until a cluster that was started has ended, and all its threads are gone. Who has made it does not hold
    /// it from now on: without more to do it [ends](super#how-it-ends). Handlers of its listeners are dropped by
    /// then. Blocks the thread.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().build()?;
    /// cluster.start()?;
    /// cluster.join()?;
    /// assert_eq!(cluster.spawn(0, || ()).unwrap_err().error, majjen::Error::Disconnected);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What has gone wrong first in any core: [`JoinError::Panicked`] with a panic of a function that sets a core up
    /// or tears it down, or of [`run_on_all_cores`](crate::run_on_all_cores), which is told once, and then is
    /// [`Error::Panicked`]; [`JoinError::Failed`] with the error of such a function, or with one of
    /// [`Scheduler::run`](crate::Scheduler::run). And those of the call, with which nothing has changed:
    /// `JoinError::Failed` with [`Error::Busy`] where a scheduler runs on this thread, or it is one of the cluster's,
    /// [`Error::InvalidArgument`] if it was not started, and [`Error::OwnerDied`] as [`start`](Self::start).
    pub fn join(&self) -> std::result::Result<(), JoinError> {
        self.after_the_end(self.engine().join())
    }

    /// [`start`](Self::start) and [`join`](Self::join) in one, with signals: SIGINT and SIGTERM stop the cluster, as
    /// [`stop`](Self::stop) with this grace, the second one at once and the third without waiting for tasks. They
    /// come to a scheduler of this thread, which no core keeps from answering: also where they were ignored, as a shell
    /// has SIGINT ignored by what it starts in the background.
    ///
    /// ```
    /// use majjen::{cluster::Builder, signal, task};
    /// use std::time::Duration;
    ///
    /// let cluster = Builder::new().cores(2).build()?;
    /// cluster.spawn(0, || task::park(None).unwrap())?; // It is canceled.
    /// # cluster.spawn(1, || {
    /// #     let itself = std::process::id().to_string();
    /// #     std::process::Command::new("kill").arg(itself).status().unwrap();
    /// # })?;
    /// cluster.run(Duration::from_millis(1))?;
    /// assert_eq!(cluster.signal(), Some(signal::SIGTERM));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`start`](Self::start), [`join`](Self::join) and
    /// [`Scheduler::new`](crate::Scheduler::new).
    pub fn run(&self, grace: Duration) -> std::result::Result<(), JoinError> {
        self.after_the_end(self.engine().run(HOOK_CALLS, to_ns(grace)))
    }

    /// What a call that waits for the end returns.
    fn after_the_end(&self, ended: Result<()>) -> std::result::Result<(), JoinError> {
        // Of the call: those of a core are others, or `Error::Os`.
        if let Err(error @ (Error::Busy | Error::InvalidArgument | Error::OwnerDied)) = ended {
            return Err(JoinError::Failed(error));
        }
        self.inner.end_if_over();
        match self.inner.data.take_failure() {
            Some(failure) => Err(failure),
            None => ended.map_err(JoinError::Failed),
        }
    }

    /// Stops it in order: its listeners take what waits in their queues, and are closed; connections and all other
    /// tasks have this grace to end ([`Duration::MAX`]: any time), and are canceled then. With [`Duration::ZERO`]
    /// they are canceled at once. The second call cancels them at once too, whatever its grace, and the third ends
    /// all runs with the tasks that are left, which are dropped with their schedulers. A core whose run ends before
    /// the others, because something has stopped its scheduler, stops them as well.
    ///
    /// ```
    /// use majjen::{cluster::Builder, task};
    /// use std::time::Duration;
    ///
    /// let cluster = Builder::new().build()?;
    /// cluster.spawn(0, || task::park(None).unwrap())?;
    /// cluster.start()?;
    /// cluster.stop(Duration::from_millis(10));
    /// cluster.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop(&self, grace: Duration) {
        self.engine().stop(to_ns(grace));
    }

    /// The signal by which [`run`](Self::run) was stopped.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().build()?;
    /// cluster.run(std::time::Duration::ZERO)?;
    /// assert_eq!(cluster.signal(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn signal(&self) -> Option<i32> {
        Some(self.engine().signal()).filter(|signal| *signal != 0)
    }
}

// ---- work

impl Cluster {
    /// Runs a closure in a task of its own on a core, as [`Remote::spawn`] does, and holds the cluster until it has
    /// ended, however it does. What a thread gives to one core begins in order. If the cluster ends before, it drops
    /// the closure there.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().cores(2).build()?;
    /// for number in 0..10 {
    ///     cluster.spawn(cluster.next(), move || println!("{number}"))?;
    /// }
    /// cluster.run(std::time::Duration::ZERO)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// With the closure: [`Error::WouldBlock`] if as many wait there as may ([`Remote::set_limit`]): wait for some of
    /// yours, or give it to another core; [`Error::Disconnected`] if the cluster has ended, or does so at once;
    /// [`Error::OwnerDied`] as [`start`](Self::start); [`Error::InvalidArgument`] if no core has this index.
    pub fn spawn<F>(&self, core: usize, closure: F) -> std::result::Result<(), SendError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let taken =
            self.engine().core(core).and_then(|it| Ok((self.inner.target(core)?, Work::take(it)?)));
        match taken {
            Ok((target, work)) => target.spawn(closure, work),
            Err(error) => Err(SendError { value: closure, error }),
        }
    }

    /// The index of the next core, in turn, for all callers together.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().cores(3).build()?;
    /// assert_eq!([cluster.next(), cluster.next(), cluster.next(), cluster.next()], [0, 1, 2, 0]);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn next(&self) -> usize {
        self.engine().in_turn().index
    }

    /// The index of the core with the smallest [`load`](Self::load): the caller's own if no other has less. Of more
    /// than 8 cores it looks at 8, others at each call.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().cores(2).build()?;
    /// cluster.spawn(0, || ())?;
    /// assert_eq!(cluster.least_loaded(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn least_loaded(&self) -> usize {
        self.engine().least_loaded().index
    }

    /// The index of the core that belongs to a number: the same one in each cluster of this size. So what is given to
    /// it by this is done on one thread, in order, and needs no lock. Keys that are close to each other are spread.
    /// For what is no number, a hash of it:
    ///
    /// ```
    /// use std::hash::{BuildHasher, RandomState};
    ///
    /// let cluster = majjen::cluster::Builder::new().cores(4).build()?;
    /// assert!(cluster.of_key(7) < 4);
    /// let hashes = RandomState::new(); // One for all.
    /// assert_eq!(cluster.of_key(hashes.hash_one("a")), cluster.of_key(hashes.hash_one("a")));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn of_key(&self, key: u64) -> usize {
        self.engine().of_key(key).index
    }
}

// ---- looking in

impl Cluster {
    /// How many cores it has.
    ///
    /// ```
    /// assert_eq!(majjen::cluster::Builder::new().cores(2).build()?.size(), 2);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn size(&self) -> usize {
        self.engine().cores().len()
    }

    /// The index of the core that runs on this thread; `None` where none of this cluster does.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().cores(2).build()?;
    /// assert_eq!(cluster.here(), None);
    /// let there = cluster.clone();
    /// cluster.spawn(1, move || assert_eq!(there.here(), Some(1)))?;
    /// cluster.run(std::time::Duration::ZERO)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn here(&self) -> Option<usize> {
        self.engine().here().map(|core| core.index)
    }

    /// A handle to a core's scheduler, as by [`Scheduler::remote`](crate::Scheduler::remote). It does not hold the
    /// cluster, nor do closures that are handed over by it.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().cores(2).build()?;
    /// let remote = cluster.remote(1)?;
    /// assert_eq!(remote.metrics()?.tasks_created, 0);
    /// assert_eq!(cluster.remote(2).unwrap_err(), majjen::Error::InvalidArgument);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if no core has this index.
    pub fn remote(&self, core: usize) -> Result<Remote> {
        Ok(self.inner.target(core)?.to_handle())
    }

    /// How much a core has to do: the connections that it serves, and the closures of [`spawn`](Self::spawn) whose
    /// tasks have not ended; also those that are on their way to it. 0 if no core has this index.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().cores(2).build()?;
    /// cluster.spawn(1, || ())?;
    /// assert_eq!((cluster.load(0), cluster.load(1)), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(&self, core: usize) -> usize {
        self.engine().core(core).map_or(0, |core| core.load.load(Relaxed))
    }

    /// The counters of all cores, each under the name of its scheduler, and summed, as
    /// [`Remote::metrics_text`] has those of one. After the end they are as they were then.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().build()?;
    /// assert!(cluster.metrics_text()?.contains("core-0"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Disconnected`] if a core has ended before it ran, [`Error::OutOfMemory`].
    pub fn metrics_text(&self) -> Result<String> {
        self.report(Format::Text)
    }

    /// [`metrics_text`](Self::metrics_text) in Prometheus' text format: the sums are metrics of their own,
    /// `majjen_cluster_...`.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().build()?;
    /// assert!(cluster.metrics_prometheus()?.contains("\nmajjen_cluster_tasks_created_total 0\n"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`metrics_text`](Self::metrics_text).
    pub fn metrics_prometheus(&self) -> Result<String> {
        self.report(Format::Prometheus)
    }

    /// [`metrics_text`](Self::metrics_text) as one JSON object: `{"all":{..},"schedulers":[{..},..]}`.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().build()?;
    /// assert!(cluster.metrics_json()?.starts_with("{\"all\":{"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`metrics_text`](Self::metrics_text).
    pub fn metrics_json(&self) -> Result<String> {
        self.report(Format::Json)
    }

    fn report(&self, format: Format) -> Result<String> {
        let all = self.engine().counters()?;
        let mut text = String::new();
        let _ = inspect::write_counters_of_all(&all, format, &mut text); // A String takes all.
        Ok(text)
    }
}
