//! Handles to a cluster, and what they share.

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Relaxed},
};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use crate::engine::cluster as engine;
use crate::engine::log;
use crate::engine::pool;
use crate::engine::scheduler::{current, running_task};
use crate::engine::sys::{Error, Result};
use crate::engine::threads::Lock;
use crate::safe::join::JoinError;
use crate::safe::panics::Panic;
use crate::safe::record::Record;
use crate::safe::remote::{Remote, Target};
use crate::safe::{builder, scheduler};

/// A handle to a cluster, which any thread may use. The last one that is dropped [ends](super#how-it-ends) it.
///
/// ```
/// use majjen::cluster::{Builder, Cluster};
/// use std::time::Duration;
///
/// fn share(_: impl Clone + Send + Sync) {}
///
/// let cluster: Cluster = Builder::new().cores(2).build()?;
/// share(cluster.clone());
/// cluster.spawn(1, || println!("on the second core"))?;
/// cluster.run(Duration::ZERO)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Work that it is given is sent to another thread, so what that captures has to be `Send`:
///
/// ```compile_fail,E0277
/// let cluster = majjen::cluster::Builder::new().cores(1).build().unwrap();
/// let shared = std::rc::Rc::new(1);
/// let _ = cluster.spawn(0, move || println!("{shared}"));
/// ```
///
/// And a handler is called on all cores, so what it captures has to be `Sync` as well:
///
/// ```compile_fail,E0277
/// let cluster = majjen::cluster::Builder::new().cores(1).build().unwrap();
/// let count = std::cell::Cell::new(0);
/// let _ = cluster.listen("127.0.0.1:0", move |_| count.set(count.get() + 1));
/// ```
pub struct Cluster {
    pub(super) inner: Arc<Inner>,
}

/// One of the schedulers of a cluster, for who is on it: it does not keep the cluster from ending when the last
/// [`Cluster`] is dropped.
///
/// ```
/// use majjen::cluster::{Builder, Core};
/// use std::time::Duration;
///
/// let cluster = Builder::new().cores(2).build()?;
/// cluster.spawn(1, || {
///     let core = Core::current().unwrap();
///     assert_eq!(core.index(), 1);
///     core.cluster().spawn(0, || println!("on the first one")).unwrap();
/// })?;
/// cluster.run(Duration::ZERO)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Core {
    inner: Arc<Inner>,
    index: usize,
}

/// What the handles share.
pub struct Inner {
    cluster: NonNull<engine::Cluster>,
    pub data: Arc<Data>,
    /// How many [`Cluster`]s there are.
    handles: AtomicUsize,
    /// Whether there were none once: it is stopped then.
    is_let_go: AtomicBool,
    /// What is to be called when it has ended.
    at_end: Lock<Vec<Box<dyn FnOnce() + Send>>>,
}

// SAFETY: the engine's cluster may be used on any thread, and there as long as this.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// What sets a core up.
pub type SetUp = dyn Fn(&scheduler::Scheduler, &Core) -> Result<()> + Send + Sync;
/// What tears it down.
pub type TearDown = dyn Fn(&scheduler::Scheduler, &Core) + Send + Sync;
/// What makes the builder of its scheduler.
pub type Configure = dyn Fn(usize) -> builder::Builder + Send + Sync;

/// What the cores have of the program, and how they come to handles.
pub struct Data {
    pub configure: Option<Box<Configure>>,
    pub set_up: Option<Box<SetUp>>,
    pub tear_down: Option<Box<TearDown>>,
    /// For each core.
    pub targets: OnceLock<Box<[OnceLock<Target>]>>,
    /// Set before the cluster is started.
    inner: OnceLock<Weak<Inner>>,
    /// For the cores that have not begun their run, since all handles may be dropped before they do.
    kept: Lock<Vec<Arc<Inner>>>,
    failure: Lock<Failure>,
}

/// What has gone wrong first.
pub enum Failure {
    None,
    /// With the panic, until it is told.
    Panicked(Option<Panic>),
    Failed(Error),
}

impl Default for Data {
    fn default() -> Data {
        Data {
            configure: None,
            set_up: None,
            tear_down: None,
            targets: OnceLock::new(),
            inner: OnceLock::new(),
            kept: Lock::new(Vec::new()),
            failure: Lock::new(Failure::None),
        }
    }
}

impl Data {
    /// Notes what has gone wrong. What was before stays, and the other one comes back.
    pub fn fail(&self, failure: Failure) -> std::result::Result<(), Failure> {
        let mut first = self.failure.lock();
        match *first {
            Failure::None => {
                *first = failure;
                Ok(())
            }
            _ => Err(failure),
        }
    }

    /// What has gone wrong. A panic is told once.
    pub fn take_failure(&self) -> Option<JoinError> {
        match &mut *self.failure.lock() {
            Failure::None => None,
            Failure::Panicked(panic) => Some(match panic.take() {
                Some(panic) => JoinError::Panicked(panic),
                None => JoinError::Failed(Error::Panicked),
            }),
            Failure::Failed(error) => Some(JoinError::Failed(*error)),
        }
    }

    /// A core, for its own thread, at the beginning of its run.
    pub fn begin(&self, index: usize) -> Option<Core> {
        let kept = self.kept.lock().pop();
        let inner = kept.or_else(|| self.inner.get()?.upgrade())?;
        Some(Core { inner, index })
    }
}

impl Inner {
    pub fn engine(&self) -> &engine::Cluster {
        // SAFETY: from `create`, and destroyed when this is dropped.
        unsafe { self.cluster.as_ref() }
    }

    pub fn target(&self, index: usize) -> Result<&Target> {
        let target = self.data.targets.get().and_then(|targets| targets.get(index)?.get());
        target.ok_or(Error::InvalidArgument)
    }

    /// Calls something when the cluster has ended, and is not needed any more. It may be dropped instead.
    pub fn call_at_end(&self, function: impl FnOnce() + Send + 'static) {
        self.at_end.lock().push(Box::new(function));
    }

    /// To be called when it may have ended.
    pub fn end_if_over(&self) {
        if self.engine().has_ended() {
            let functions = std::mem::take(&mut *self.at_end.lock());
            functions.into_iter().for_each(|function| function());
        }
    }

    /// The last handle was dropped.
    fn let_go(&self) {
        let cluster = self.engine();
        if self.is_let_go.swap(true, Relaxed) || !cluster.is_started() || cluster.has_ended() {
            return;
        }
        if cluster.is_of_this_process() {
            cluster.stop_at_once();
            if may_wait_for(cluster) {
                let _ = cluster.join(); // Nobody is left who would be told.
                self.end_if_over();
            }
        }
    }
}

/// Whether this thread may wait for the end: nothing of the cluster waits for it.
fn may_wait_for(cluster: &engine::Cluster) -> bool {
    current().is_none() && !cluster.has_this_thread() && !pool::is_thread_of_it()
}

impl Drop for Inner {
    fn drop(&mut self) {
        /// A cluster that nobody else has.
        struct Last(NonNull<engine::Cluster>);
        // SAFETY: it may be used on any thread.
        unsafe impl Send for Last {}
        impl Last {
            fn end(self) {
                // SAFETY: from `create`, and nobody else has it.
                unsafe {
                    if self.0.as_ref().is_started() {
                        self.0.as_ref().stop_at_once(); // It was asked for before: see `let_go`.
                        let _ = self.0.as_ref().join();
                    }
                    let _ = engine::Cluster::destroy(self.0);
                }
            }
        }

        let last = Last(self.cluster);
        if !self.engine().is_of_this_process() {
            return; // The parent's: of its cores one may run on here, and refers to it.
        }
        if may_wait_for(self.engine()) {
            return last.end();
        }
        let waits = thread::Builder::new().name("cluster-end".into()).spawn(move || last.end());
        if let Err(error) = waits {
            log::error(format_args!(
                "a cluster was dropped in a task, and no thread can be made that would wait for \
                 its end: {error}; its memory is lost"
            ));
        }
    }
}

impl Cluster {
    /// # Safety
    /// A cluster that was created with this data, and that nobody else has.
    pub(super) unsafe fn own(cluster: NonNull<engine::Cluster>, data: Arc<Data>) -> Cluster {
        let inner = Arc::new(Inner {
            cluster,
            data,
            handles: AtomicUsize::new(1),
            is_let_go: AtomicBool::new(false),
            at_end: Lock::new(Vec::new()),
        });
        let _ = inner.data.inner.set(Arc::downgrade(&inner)); // Once.
        Cluster { inner }
    }

    pub(super) fn engine(&self) -> &engine::Cluster {
        self.inner.engine()
    }

    pub(super) fn start_cores(&self) -> Result<()> {
        let mut kept = self.inner.data.kept.lock(); // The cores wait for it.
        self.engine().start()?;
        kept.extend(self.engine().cores().iter().map(|_| self.inner.clone()));
        Ok(())
    }
}

impl Clone for Cluster {
    fn clone(&self) -> Cluster {
        self.inner.handles.fetch_add(1, Relaxed);
        Cluster { inner: self.inner.clone() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.inner.handles.fetch_sub(1, AcqRel) == 1 {
            self.inner.let_go();
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cluster")
            .field("size", &self.engine().cores().len())
            .finish_non_exhaustive()
    }
}

impl Core {
    /// The core whose task this is; `None` elsewhere. In a function that sets a core up it is an argument.
    ///
    /// ```
    /// use majjen::cluster::Core;
    ///
    /// assert!(Core::current().is_none());
    /// majjen::run_on_all_cores(|core| assert_eq!(Core::current().unwrap().index(), core.index()))?;
    /// # Ok::<(), majjen::JoinError>(())
    /// ```
    pub fn current() -> Option<Core> {
        let (_, task) = running_task()?;
        let (inner, index) = Record::of(task)?.shared.core_of.get()?;
        let inner: Arc<dyn Any + Send + Sync> = inner.upgrade()?;
        Some(Core { inner: inner.downcast().ok()?, index: *index })
    }

    /// Which one it is, from 0 on.
    ///
    /// ```
    /// use std::collections::BTreeSet;
    /// use std::sync::{Arc, Mutex};
    ///
    /// let all = Arc::new(Mutex::new(BTreeSet::new()));
    /// let seen = all.clone();
    /// majjen::run_on_all_cores(move |core| assert!(seen.lock().unwrap().insert(core.index())))?;
    /// assert_eq!(all.lock().unwrap().first(), Some(&0));
    /// # Ok::<(), majjen::JoinError>(())
    /// ```
    pub fn index(&self) -> usize {
        self.index
    }

    /// Another handle to its cluster, which [keeps](super#how-it-ends) it while it lives.
    ///
    /// ```
    /// majjen::run_on_all_cores(|core| {
    ///     let next = (core.index() + 1) % core.cluster().size();
    ///     core.cluster().spawn(next, move || println!("from core {}", core.index())).unwrap();
    /// })?;
    /// # Ok::<(), majjen::JoinError>(())
    /// ```
    pub fn cluster(&self) -> Cluster {
        self.inner.handles.fetch_add(1, Relaxed);
        Cluster { inner: self.inner.clone() }
    }

    /// A handle to its scheduler, as by [`Cluster::remote`].
    ///
    /// ```
    /// majjen::run_on_all_cores(|core| core.remote().spawn(|| println!("in a task")).unwrap())?;
    /// # Ok::<(), majjen::JoinError>(())
    /// ```
    pub fn remote(&self) -> Remote {
        match self.inner.target(self.index) {
            Ok(target) => target.to_handle(),
            Err(_) => unreachable!("a core has a scheduler before there is a handle"),
        }
    }

    pub(super) fn engine(&self) -> &engine::Cluster {
        self.inner.engine()
    }

    pub(super) fn data(&self) -> &Data {
        &self.inner.data
    }

    /// For what its scheduler shares with its tasks.
    pub(super) fn to_home(&self) -> (Weak<dyn Any + Send + Sync>, usize) {
        let weak: Weak<Inner> = Arc::downgrade(&self.inner);
        (weak, self.index)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Core").field("index", &self.index).finish_non_exhaustive()
    }
}
