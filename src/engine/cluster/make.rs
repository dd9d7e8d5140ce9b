//! Making a cluster, letting it run, and waiting for its end.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{NonNull, drop_in_place, from_ref, null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use super::end::{let_go, urged};
use super::holds::Holds;
use super::lost;
use super::messages::End;
use super::object::{CLOSED, Cluster, Core, Kind, OPEN, SHUT, Service, Stage};
use super::thread;
use super::urge::Urge;
use crate::engine::context::sanitizer;
use crate::engine::scheduler::current;
use crate::engine::sys::{self, Error, Result, Thread};
use crate::engine::task::Name;
use crate::engine::threads::{Futex, Lock, this_process};

pub struct Options {
    pub kind: &'static Kind,
    /// The API's own, which is released with the cluster, and if that cannot be made.
    pub data: *mut c_void,
    /// How many cores; `None` for as many processors as this process may use.
    pub cores: Option<usize>,
    /// What the threads and schedulers are called, with a number behind.
    pub name: Name,
    /// Whether each thread is bound to a processor.
    pub pins: bool,
}

/// More threads than any machine has processors that one process uses.
pub const MOST_CORES: usize = 1024;

impl Cluster {
    /// Makes a cluster: its threads wait at the gate, each with a scheduler. With an error none of it is left.
    pub fn create(options: &Options) -> Result<NonNull<Cluster>> {
        // SAFETY: the data is for this function, and nobody has it.
        let release = |_: &Error| unsafe { (options.kind.release)(options.data) };
        let memory = Cluster::allocate(options).inspect_err(release)?;
        // SAFETY: made just now; freed where nobody refers to it.
        unsafe {
            memory.as_ref().cores.iter().for_each(|core| core.end.settle(from_ref(core).cast()));
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
            None => sys::processors_by_quota().min(MOST_CORES),
        };
        if count == 0 || count > MOST_CORES {
            return Err(Error::InvalidArgument);
        }
        sys::keep_loaded();
        lost::prepare();
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
            urge: Urge::new(),
            grace_ns: AtomicU64::new(u64::MAX),
            signal: AtomicI32::new(0),
            error: AtomicI32::new(0),
            next: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
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

    /// Releases a cluster that has ended, or has not begun. [`Error::Busy`] on a thread where a scheduler runs or that
    /// is a core's, and if it has not ended.
    ///
    /// # Safety
    /// From [`create`](Self::create), and not used again if this succeeds.
    pub unsafe fn destroy(cluster: NonNull<Cluster>) -> Result<()> {
        // SAFETY: as this function's contract says.
        let this = unsafe { cluster.as_ref() };
        // Also in a child of fork(), where it may be a core.
        if current().is_some() {
            return Err(Error::Busy);
        }
        if this.is_of_this_process() {
            if this.has_this_thread() {
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
        let _ = self.join_threads(); // Who makes it has the error; who releases it unstarted has none.
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
    /// error of any core. [`Error::Busy`] on a thread where a scheduler runs or that is a core's.
    pub fn join(&self) -> Result<()> {
        self.check_process()?;
        if current().is_some() || self.has_this_thread() {
            return Err(Error::Busy);
        }
        if self.gate.load(Acquire) == CLOSED {
            return Err(Error::InvalidArgument);
        }
        self.give_up_makers_hold();
        self.join_threads()
    }

    /// Returns the first error of any core.
    fn join_threads(&self) -> Result<()> {
        // Locked meanwhile: who joins it too waits for the end of all, and who destroys it for this look.
        let mut threads = self.threads.lock();
        threads.drain(..).for_each(Thread::join);
        self.error()
    }

    pub(super) fn give_up_makers_hold(&self) {
        if self.is_held_by_maker.swap(false, Relaxed) {
            self.give_up_hold();
        }
    }
}

impl Core {
    fn new(cluster: *const Cluster, index: usize) -> Core {
        Core {
            load: AtomicUsize::new(0),
            cluster,
            index,
            remote: OnceLock::new(),
            thread: AtomicI32::new(0),
            own: Cell::new(null_mut()),
            scheduler: Cell::new(null()),
            stage: Cell::new(Stage::Runs),
            guard: Cell::new(None),
            end: End::new(let_go, urged),
            is_over: AtomicBool::new(false),
            last: OnceLock::new(),
        }
    }
}
