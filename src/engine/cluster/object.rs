//! The cluster, its cores, and what they serve: the data. What is done with it is in the other files.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use super::holds::Holds;
use super::messages::{Control, End};
use super::urge::Urge;
use crate::engine::context::sanitizer;
use crate::engine::measure::Metrics;
use crate::engine::process::signals::Guard;
use crate::engine::scheduler::{Scheduler, current};
use crate::engine::sys::{self, Error, Result, Thread};
use crate::engine::task::Name;
use crate::engine::threads::{COUNTERS, Futex, Lock, Remote, this_process};

/// How an API makes and runs the schedulers of its cores. All are called on the thread of the core, in this order, but
/// for `leave_lost`, which is for the time between `create` and `finish`.
pub struct Kind {
    pub create: unsafe fn(&Core) -> Result<*const Scheduler>,
    /// Sets the core up, and runs it. Whoever is asked for something by the program that fails says so in the log.
    pub run: unsafe fn(&Core) -> Result<()>,
    /// After the run, while others may run: calls what C's tasks have deferred that are left, which may refer to what
    /// is on the stacks of their callers.
    pub finish: unsafe fn(&Core),
    /// In the core's loop: ends its tasks' waits for cores that are over, which answer nothing any more.
    pub leave_lost: unsafe fn(&Core, &Scheduler),
    /// After the runs of all cores.
    pub tear_down: unsafe fn(&Core),
    pub destroy: unsafe fn(&Core),
    /// Releases the API's own of the cluster, on any thread.
    pub release: unsafe fn(*mut c_void),
}

/// A cluster.
pub struct Cluster {
    pub kind: &'static Kind,
    pub data: *mut c_void,
    pub(super) name: Name,
    pub(super) pins: bool,
    /// The process whose threads these are.
    pub(super) process: u32,
    pub(super) cores: Vec<Core>,
    /// [`CLOSED`], then [`OPEN`] or [`SHUT`].
    pub(super) gate: Futex,
    /// How many cores have reported.
    pub(super) reported: Futex,
    /// How many cores have not come to the barrier.
    pub(super) running: Futex,
    /// How many threads have not come to their end.
    pub(super) living: AtomicUsize,
    pub(super) holds: Holds,
    /// Whether who has made it still holds it.
    pub(super) is_held_by_maker: AtomicBool,
    pub(super) urge: Urge,
    /// The grace of the end, in nanoseconds: the shortest one that was asked for.
    pub(super) grace_ns: AtomicU64,
    /// The signal that has ended it; 0 for none.
    pub(super) signal: AtomicI32,
    pub(super) error: AtomicI32,
    /// The core whose turn it is next to be given something.
    pub(super) next: AtomicUsize,
    /// Where the next look for the core with the least to do begins.
    pub(super) looks: AtomicUsize,
    /// The newest of its services, each of which names the one before.
    pub(super) services: AtomicPtr<Service>,
    /// Who is to be told when the last core has ended.
    pub(super) control: Lock<Option<Control>>,
    pub(super) threads: Lock<Vec<Thread>>,
}

// SAFETY: what is not atomic or locked is set before there is another thread; `data` is the API's own, which says so.
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

/// What the gate is.
pub const CLOSED: u32 = 0;
pub const OPEN: u32 = 1;
pub const SHUT: u32 = 2;

/// A scheduler with its thread. In cache lines of its own, since others count in it.
#[repr(align(128))]
pub struct Core {
    /// How much it has to do: connections, and tasks that it was given. Up by who gives them, on any core, and down at
    /// the end of each: so who looks next knows, and nobody sends messages about it.
    pub load: AtomicUsize,
    pub(super) cluster: *const Cluster,
    pub index: usize,
    /// Set when its scheduler is there.
    pub(super) remote: OnceLock<Remote>,
    /// The number of its thread; 0 until that has begun.
    pub(super) thread: AtomicI32,
    /// The API's own, of its thread.
    pub own: Cell<*mut c_void>,
    /// Its scheduler, and how far its thread has come: of the thread.
    pub(super) scheduler: Cell<*const Scheduler>,
    pub(super) stage: Cell<Stage>,
    /// What keeps SIGPIPE away while it runs, of the thread as well.
    pub(super) guard: Cell<Option<Guard>>,
    pub(super) end: End,
    /// Whether its run has ended.
    pub(super) is_over: AtomicBool,
    /// The counters at that time.
    pub(super) last: OnceLock<[u64; COUNTERS]>,
}

// SAFETY: the cells are the thread's, and the rest is atomic, or set once.
unsafe impl Sync for Core {}

/// What a core's thread is about to do, or does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Sets its scheduler up, and runs it.
    Runs,
    /// Waits for the others, and tears it down.
    TearsDown,
    /// Destroys it, and ends.
    Ends,
}

// ---- services

/// What connections are for: of an API, which brings the functions.
pub struct Service {
    /// Makes the task of a connection, which is the task's then: that calls [`Core::end_work`] when it ends. On an
    /// error it stays the caller's.
    pub begin: unsafe fn(&Scheduler, Connection) -> Result<()>,
    /// Releases `own`.
    pub release: unsafe fn(*mut c_void),
    /// The API's own.
    pub own: *mut c_void,
    /// What the tasks that accept are called.
    pub name: Name,
    /// Its sockets: one for each core, in their order, and those behind again from the first core on.
    pub listeners: Vec<Listener>,
    /// The one that was added before it.
    pub(super) before: *mut Service,
}

// SAFETY: `own` is what the API's functions take on any thread, and the rest is set before it is shared, or atomic.
unsafe impl Sync for Service {}

/// A socket that listens.
pub struct Listener {
    /// The descriptor; -1 once it is closed.
    pub fd: AtomicI32,
    /// The task that accepts; 0 for none.
    pub(super) task: AtomicU64,
}

/// A connection and where it belongs.
#[derive(Clone, Copy)]
pub struct Connection {
    /// A socket that the library owns, and does not block.
    pub fd: c_int,
    pub(super) service: *const Service,
    pub(super) core: *const Core,
}

// ---- looking in

impl Cluster {
    pub fn cores(&self) -> &[Core] {
        &self.cores
    }

    /// Its services, from the newest on.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        let mut next = self.services.load(Acquire);
        std::iter::from_fn(move || {
            // SAFETY: services are there as long as the cluster.
            let service = unsafe { next.as_ref() }?;
            next = service.before;
            Some(service)
        })
    }

    /// The core with this index.
    pub fn core(&self, index: usize) -> Result<&Core> {
        self.cores.get(index).ok_or(Error::InvalidArgument)
    }

    /// The core that runs on this thread.
    pub fn here(&self) -> Option<&Core> {
        let holder = current()?.holder().cast::<Core>();
        let is_ours = self.cores.as_ptr_range().contains(&holder);
        // SAFETY: the address of a core is among those of its cluster, and of no other.
        is_ours.then(|| unsafe { &*holder })
    }

    /// The counters of all cores, each with the name of its scheduler. After its end those of a core are as they were
    /// then.
    pub fn counters(&self) -> Result<Vec<(Metrics, Name)>> {
        let mut all = Vec::new();
        all.try_reserve_exact(self.cores.len()).map_err(|_| Error::OutOfMemory)?;
        for core in &self.cores {
            all.push((core.counters()?, core.remote()?.name()));
        }
        Ok(all)
    }

    /// Notes an error of a core: the first one is kept.
    pub(super) fn fail(&self, error: Error) {
        let _ = self.error.compare_exchange(0, error.errno(), Relaxed, Relaxed);
    }

    /// The first error of any core.
    pub fn error(&self) -> Result<()> {
        match self.error.load(Acquire) {
            0 => Ok(()),
            libc::ENOMEM => Err(Error::OutOfMemory),
            libc::EDEADLK => Err(Error::Deadlock),
            errno => Err(Error::Os(errno)),
        }
    }

    /// Whether it was started, and all its threads have been joined.
    pub fn has_ended(&self) -> bool {
        self.is_of_this_process() && self.is_started() && self.threads.lock().is_empty()
    }

    /// Whether it was started.
    pub fn is_started(&self) -> bool {
        self.gate.load(Acquire) == OPEN
    }

    /// Whether this is the thread of a core, which would wait for itself.
    pub fn has_this_thread(&self) -> bool {
        let thread = sys::thread_id();
        self.cores.iter().any(|core| core.thread.load(Relaxed) == thread)
    }

    /// The signal that has ended it; 0 for none.
    pub fn signal(&self) -> c_int {
        self.signal.load(Relaxed)
    }

    pub fn is_of_this_process(&self) -> bool {
        self.process == this_process()
    }

    /// An error in a child of fork(), which has none of its threads.
    pub(super) fn check_process(&self) -> Result<()> {
        if self.is_of_this_process() { Ok(()) } else { Err(Error::OwnerDied) }
    }
}

impl Core {
    pub fn cluster(&self) -> &Cluster {
        // SAFETY: the core is a part of it.
        unsafe { &*self.cluster }
    }

    /// The handle to its scheduler. There, from [`Cluster::create`] on.
    pub fn remote(&self) -> Result<&Remote> {
        self.remote.get().ok_or(Error::Disconnected)
    }

    pub(super) fn is_on_this_thread_now(&self) {
        self.thread.store(sys::thread_id(), Relaxed);
    }

    /// Its thread ends, whose number another one may get.
    pub(super) fn is_on_no_thread_now(&self) {
        self.thread.store(0, Relaxed);
    }

    /// Its scheduler is there.
    pub(super) fn set_remote(&self, remote: Remote) {
        let _ = self.remote.set(remote); // Once.
    }

    /// Whether its run has ended. If so, what was done there is seen.
    pub fn is_over(&self) -> bool {
        let is_over = self.is_over.load(Acquire);
        if is_over {
            sanitizer::acquire(&self.is_over);
        }
        is_over
    }

    /// Its run has ended.
    pub(super) fn is_over_now(&self) {
        sanitizer::release(&self.is_over);
        self.is_over.store(true, Release);
        if let Ok(counters) = self.remote().and_then(Remote::counters) {
            let _ = self.last.set(counters); // Once.
        }
    }

    /// Its scheduler's counters: after its end, as they were then.
    fn counters(&self) -> Result<Metrics> {
        match self.last.get() {
            Some(last) => Ok(Metrics::of(last)),
            None => self.remote()?.counters().map(|now| Metrics::of(&now)),
        }
    }
}
