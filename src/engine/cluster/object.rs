//! The cluster and its cores.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, drop_in_place, from_ref, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::thread::available_parallelism;

use super::connection::Service;
use super::control::Control;
use super::end::{End, NOT};
use super::holds::Holds;
use super::options::{Kind, MOST_CORES, Options};
use super::thread;
use crate::engine::context::sanitizer;
use crate::engine::measure::Metrics;
use crate::engine::scheduler::current;
use crate::engine::sys::{self, Error, Result, Thread};
use crate::engine::task::Name;
use crate::engine::threads::{COUNTERS, Futex, Lock, Remote, this_process};

/// A cluster.
pub struct Cluster {
    pub kind: &'static Kind,
    pub data: *mut c_void,
    pub(super) name: Name,
    pub(super) pins: bool,
    /// The process whose threads these are.
    process: u32,
    cores: Vec<Core>,
    /// [`CLOSED`], then [`OPEN`] or [`SHUT`].
    gate: Futex,
    /// How many cores have reported.
    reported: Futex,
    /// How many cores have not come to the barrier.
    pub(super) running: Futex,
    /// How many threads have not come to their end.
    pub(super) living: AtomicUsize,
    pub(super) holds: Holds,
    /// Whether who has made it still holds it.
    is_held_by_maker: AtomicBool,
    pub(super) urge: AtomicU8,
    /// The grace of the end, in nanoseconds: the shortest one that was asked for.
    pub(super) grace_ns: AtomicU64,
    /// The signal that has ended it; 0 for none.
    pub(super) signal: AtomicI32,
    error: AtomicI32,
    /// The core whose turn it is next to be given something.
    pub(super) next: AtomicUsize,
    /// The newest of its services, each of which names the one before.
    pub(super) services: AtomicPtr<Service>,
    /// Who is to be told when the last core has ended.
    pub(super) control: Lock<Option<Control>>,
    threads: Lock<Vec<Thread>>,
}

// SAFETY: what is not atomic or locked is set before there is another thread; `data` is the API's own, which says so.
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

const CLOSED: u32 = 0;
const OPEN: u32 = 1;
const SHUT: u32 = 2;

/// A scheduler with its thread. In cache lines of its own, since others count in it.
#[repr(align(128))]
pub struct Core {
    /// How much it has to do: connections, and tasks that it was given. Up by who gives them, on any core, and down at
    /// the end of each: so who looks next knows, and nobody sends messages about it.
    pub load: AtomicUsize,
    cluster: *const Cluster,
    pub index: usize,
    /// Set when its scheduler is there.
    remote: OnceLock<Remote>,
    /// The API's own, of its thread.
    pub own: Cell<*mut c_void>,
    pub(super) end: End,
    /// Whether its run has ended.
    is_over: AtomicBool,
    /// The counters at that time.
    last: OnceLock<[u64; COUNTERS]>,
}

// SAFETY: `own` is the thread's, and the rest is atomic, or set once.
unsafe impl Sync for Core {}

// ---- making and releasing

impl Cluster {
    /// Makes a cluster: its threads wait at the gate, each with a scheduler. With an error none of it is left.
    pub fn create(options: &Options) -> Result<NonNull<Cluster>> {
        // SAFETY: the data is for this function, and nobody has it.
        let release = |_: &Error| unsafe { (options.kind.release)(options.data) };
        let memory = Cluster::allocate(options).inspect_err(release)?;
        // SAFETY: made just now; freed where nobody refers to it.
        unsafe {
            memory.as_ref().cores.iter().for_each(Core::settle);
            let started = memory.as_ref().start_threads();
            if started.is_err() {
                memory.as_ref().shut();
                Cluster::free(memory);
            }
            started.map(|()| memory)
        }
    }

    fn allocate(options: &Options) -> Result<NonNull<Cluster>> {
        let count = match options.cores {
            Some(count) => count,
            // It knows of affinity and of the quotas of control groups, as the kernel's own calls do not.
            None => available_parallelism().map_or(1, usize::from).min(MOST_CORES),
        };
        if count == 0 || count > MOST_CORES {
            return Err(Error::InvalidArgument);
        }
        sys::keep_loaded();
        let memory = NonNull::new(sys::allocate::<Cluster>(1)).ok_or(Error::OutOfMemory)?;
        match Cluster::new(memory.as_ptr(), options, count) {
            // SAFETY: fresh memory for one.
            Ok(cluster) => unsafe { memory.write(cluster) },
            Err(error) => {
                // SAFETY: as above.
                unsafe { sys::free(memory.as_ptr().cast()) };
                return Err(error);
            }
        }
        Ok(memory)
    }

    fn new(address: *const Cluster, options: &Options, count: usize) -> Result<Cluster> {
        let (mut cores, mut threads) = (Vec::new(), Vec::new());
        cores.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        threads.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        cores.extend((0..count).map(|index| Core::new(address, index)));
        Ok(Cluster {
            kind: options.kind,
            data: options.data,
            name: options.name,
            pins: options.pins,
            process: this_process(),
            cores,
            gate: Futex::new(CLOSED),
            reported: Futex::new(0),
            running: Futex::new(count as u32),
            living: AtomicUsize::new(count),
            holds: Holds::new(),
            is_held_by_maker: AtomicBool::new(true),
            urge: AtomicU8::new(NOT),
            grace_ns: AtomicU64::new(u64::MAX),
            signal: AtomicI32::new(0),
            error: AtomicI32::new(0),
            next: AtomicUsize::new(0),
            services: AtomicPtr::new(null_mut()),
            control: Lock::new(None),
            threads: Lock::new(threads),
        })
    }

    /// Makes the threads, and waits until each has its scheduler.
    fn start_threads(&self) -> Result<()> {
        let mut started = 0;
        let mut result = Ok(());
        for core in &self.cores {
            match Thread::start(thread::main, from_ref(core).cast_mut().cast()) {
                // There is room: no allocation.
                Ok(thread) => self.threads.lock().push(thread),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            started += 1;
        }
        loop {
            let reported = self.reported.load(Acquire);
            if reported == started {
                break;
            }
            self.reported.wait_while(reported, None);
        }
        sanitizer::acquire(&self.reported);
        result.and(self.error())
    }

    /// Releases a cluster that has ended, or has not begun. [`Error::Busy`] on a thread where a scheduler runs, and if
    /// it has not ended.
    ///
    /// # Safety
    /// From [`create`](Self::create), and not used again if this succeeds.
    pub unsafe fn destroy(cluster: NonNull<Cluster>) -> Result<()> {
        // SAFETY: as this function's contract says.
        let this = unsafe { cluster.as_ref() };
        if this.is_of_this_process() {
            if current().is_some() {
                return Err(Error::Busy);
            }
            match this.gate.load(Acquire) {
                CLOSED => this.shut(),
                _ if !this.threads.lock().is_empty() => return Err(Error::Busy),
                _ => {}
            }
        }
        // SAFETY: as above, and no thread of this process is left.
        unsafe { Cluster::free(cluster) };
        Ok(())
    }

    /// Ends threads that wait at the gate.
    fn shut(&self) {
        self.set_gate(SHUT);
        self.join_threads();
    }

    /// # Safety
    /// Nobody uses it any more.
    unsafe fn free(cluster: NonNull<Cluster>) {
        // SAFETY: as this function's contract says; in memory from `create`.
        unsafe {
            let mut next = cluster.as_ref().services.load(Acquire);
            while let Some(service) = NonNull::new(next) {
                next = service.as_ref().before;
                Service::free(service);
            }
            (cluster.as_ref().kind.release)(cluster.as_ref().data);
            drop_in_place(cluster.as_ptr());
            sys::free(cluster.as_ptr().cast());
        }
    }
}

// ---- running

impl Cluster {
    /// Lets the cores run. [`Error::Busy`] if they were let already.
    pub fn start(&self) -> Result<()> {
        self.check_process()?;
        sanitizer::release(&self.gate);
        self.gate.compare_exchange(CLOSED, OPEN, Release, Relaxed).map_err(|_| Error::Busy)?;
        self.wake_all(&self.gate);
        Ok(())
    }

    fn set_gate(&self, to: u32) {
        sanitizer::release(&self.gate);
        self.gate.store(to, Release);
        self.wake_all(&self.gate);
    }

    /// Wakes the threads of all cores that sleep on a word.
    pub(super) fn wake_all(&self, word: &Futex) {
        self.cores.iter().for_each(|_| Futex::wake(word));
    }

    /// A core has its scheduler, or an error.
    pub(super) fn report(&self) {
        sanitizer::release(&self.reported);
        self.reported.fetch_add(1, Release);
        Futex::wake(&self.reported);
    }

    /// Waits at the gate. Returns whether it is open.
    pub(super) fn pass_gate(&self) -> bool {
        self.gate.wait_while(CLOSED, None);
        sanitizer::acquire(&self.gate);
        self.gate.load(Acquire) == OPEN
    }

    /// A core's run has ended: waits for those of the others.
    pub(super) fn wait_at_barrier(&self) {
        sanitizer::release(&self.running);
        if self.running.fetch_sub(1, Release) == 1 {
            self.wake_all(&self.running);
        }
        loop {
            let running = self.running.load(Acquire);
            if running == 0 {
                break;
            }
            self.running.wait_while(running, None);
        }
        sanitizer::acquire(&self.running);
    }

    /// Waits for the end of a cluster that was started, to which its maker gives nothing any more. Returns the first
    /// error of any core. [`Error::Busy`] on a thread where a scheduler runs.
    pub fn join(&self) -> Result<()> {
        self.check_process()?;
        if current().is_some() {
            return Err(Error::Busy);
        }
        if self.gate.load(Acquire) == CLOSED {
            return Err(Error::InvalidArgument);
        }
        self.give_up_makers_hold();
        self.join_threads();
        self.error()
    }

    fn join_threads(&self) {
        // Locked meanwhile: who joins or destroys it too waits for the end of all.
        self.threads.lock().drain(..).for_each(Thread::join);
    }

    pub(super) fn give_up_makers_hold(&self) {
        if self.is_held_by_maker.swap(false, Relaxed) {
            self.give_up_hold();
        }
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
}

// ---- looking in

impl Cluster {
    pub fn cores(&self) -> &[Core] {
        &self.cores
    }

    /// The core with this index.
    pub fn core(&self, index: usize) -> Result<&Core> {
        self.cores.get(index).ok_or(Error::InvalidArgument)
    }

    /// The core that runs on this thread.
    pub fn here(&self) -> Option<&Core> {
        let scheduler = current()?;
        self.cores.iter().find(|core| core.remote().is_ok_and(|it| it.is(&scheduler.remote)))
    }

    /// The signal that has ended it; 0 for none.
    pub fn signal(&self) -> c_int {
        self.signal.load(Relaxed)
    }

    fn is_of_this_process(&self) -> bool {
        self.process == this_process()
    }

    /// An error in a child of fork(), which has none of its threads.
    pub(super) fn check_process(&self) -> Result<()> {
        if self.is_of_this_process() { Ok(()) } else { Err(Error::OwnerDied) }
    }
}

impl Core {
    fn new(cluster: *const Cluster, index: usize) -> Core {
        Core {
            load: AtomicUsize::new(0),
            cluster,
            index,
            remote: OnceLock::new(),
            own: Cell::new(null_mut()),
            end: End::new(),
            is_over: AtomicBool::new(false),
            last: OnceLock::new(),
        }
    }

    pub fn cluster(&self) -> &Cluster {
        // SAFETY: the core is a part of it.
        unsafe { &*self.cluster }
    }

    /// The handle to its scheduler. There, from [`Cluster::create`] on.
    pub fn remote(&self) -> Result<&Remote> {
        self.remote.get().ok_or(Error::Disconnected)
    }

    /// Its scheduler is there.
    pub(super) fn set_remote(&self, remote: Remote) {
        let _ = self.remote.set(remote); // Once.
    }

    /// Whether its run has ended.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Its run has ended.
    pub(super) fn is_over_now(&self) {
        self.is_over.store(true, Relaxed);
        if let Ok(counters) = self.remote().and_then(Remote::counters) {
            let _ = self.last.set(counters); // Once.
        }
    }

    /// Its scheduler's counters: after its end, as they were then.
    pub fn counters(&self) -> Result<Metrics> {
        match self.last.get() {
            Some(last) => Ok(Metrics::of(last)),
            None => self.remote()?.counters().map(|now| Metrics::of(&now)),
        }
    }
}
