//! Models of the pool for loom, which tries all executions that the memory model allows: `make loom`.
//!
//! Threads do not linger here, which would only look at the queue once more.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed as ForStd;
use std::sync::atomic::{AtomicBool as StdBool, AtomicUsize as StdUsize};
use std::sync::{Arc, Mutex, OnceLock};

use loom::thread::{self, JoinHandle};

use super::super::job::{ABANDONED, DONE, RUNNING, Work};
use super::*;
use crate::engine::sys::Error;

/// A class, whose threads count the jobs that they run.
struct World {
    workers: &'static Workers,
    ran: Arc<StdUsize>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    refuses: Arc<StdBool>,
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

unsafe extern "C" fn counts(counter: *mut c_void) {
    unsafe { &*counter.cast::<StdUsize>() }.fetch_add(1, ForStd);
}

impl World {
    fn new(limit: usize, idle_ns: u64) -> World {
        let place = Arc::new(OnceLock::<&'static Workers>::new());
        let ran = Arc::new(StdUsize::new(0));
        let threads = Arc::new(Mutex::new(Vec::new()));
        let refuses = Arc::new(StdBool::new(false));
        let (its, counter, handles, no) =
            (place.clone(), ran.clone(), threads.clone(), refuses.clone());
        let make = move |_: &'static Workers| {
            if no.load(ForStd) {
                return Err(Error::OutOfMemory);
            }
            let (workers, counter) = (*its.get().unwrap(), counter.clone());
            let works = move || {
                let me = Sleeper::new();
                let mut next = workers.next(&me, true);
                while let Some(job) = next {
                    assert_eq!(unsafe { job.as_ref() }.state.load(Relaxed), RUNNING);
                    counter.fetch_add(1, ForStd);
                    next = workers.take().or_else(|| workers.next(&me, false));
                }
            };
            handles.lock().unwrap().push(thread::spawn(works));
            Ok(())
        };
        let workers: &'static Workers =
            Box::leak(Box::new(Workers::new(Class::Cpu, Box::new(make))));
        workers.idle_ns.store(idle_ns, ForStd);
        workers.state.lock().limit = limit;
        let _ = place.set(workers);
        World { workers, ran, threads, refuses }
    }

    fn add(&self) -> &'static Job {
        add_to(self.workers)
    }

    /// Ends the threads that sleep, and waits for all.
    fn end(&self) {
        while self.workers.counts().threads > 0 {
            if self.workers.dismiss().is_err() {
                thread::yield_now();
            }
        }
        loop {
            let Some(handle) = self.threads.lock().unwrap().pop() else { break };
            handle.join().unwrap();
        }
        let state = self.workers.state.lock();
        assert_eq!((state.queued, state.threads, state.coming, state.called), (0, 0, 0, 0));
        assert_eq!(state.asleep, 0);
        assert!(state.first.is_null() && state.sleepers.is_null());
    }

    fn ran(&self) -> usize {
        self.ran.load(ForStd)
    }
}

fn add_to(workers: &'static Workers) -> &'static Job {
    let job = Box::leak(Box::new(Job::new(
        Class::Cpu,
        Work { function: nothing, argument: std::ptr::null_mut(), abandon: None },
    )));
    unsafe { workers.add(NonNull::from(&*job)) };
    job
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

const AT_ONCE: u64 = 0;
const NEVER: u64 = u64::MAX;

/// The last thread may end while a job is added.
#[test]
fn a_job_is_not_left_by_threads_that_end() {
    model(|| {
        let world = World::new(1, AT_ONCE);
        world.add();
        world.add();
        world.end();
        assert_eq!(world.ran(), 2);
    });
}

/// It may be about to fall asleep.
#[test]
fn a_job_is_not_left_by_threads_that_fall_asleep() {
    model(|| {
        let world = World::new(2, NEVER);
        world.add();
        world.add();
        world.end();
        assert_eq!(world.ran(), 2);
    });
}

#[test]
fn two_tasks_add_jobs() {
    model(|| {
        let world = World::new(1, AT_ONCE);
        let workers = world.workers;
        let other = thread::spawn(move || {
            add_to(workers);
        });
        world.add();
        other.join().unwrap();
        world.end();
        assert_eq!(world.ran(), 2);
    });
}

/// The process ends, or the limit is lowered, while there is work.
#[test]
fn threads_are_dismissed_with_work_queued() {
    model(|| {
        let world = World::new(1, NEVER);
        world.add();
        let workers = world.workers;
        let other = thread::spawn(move || {
            let _ = workers.dismiss();
        });
        world.add();
        other.join().unwrap();
        world.end();
        assert_eq!(world.ran(), 2);
    });
}

#[test]
fn the_limit_is_lowered_with_work_queued() {
    model(|| {
        let world = World::new(2, NEVER);
        world.add();
        let workers = world.workers;
        let other = thread::spawn(move || workers.set_limit(1));
        world.add();
        other.join().unwrap();
        world.end();
        assert_eq!(world.ran(), 2);
    });
}

/// Two find at the same time that no thread can be made: no job is left to threads that there are not.
#[test]
fn jobs_run_inline_without_threads() {
    model(|| {
        let world = World::new(1, NEVER);
        world.refuses.store(true, ForStd);
        let workers = world.workers;
        let other = thread::spawn(move || add_to(workers) as *const Job as usize);
        let jobs = [world.add() as *const Job as usize, other.join().unwrap()];
        for job in jobs {
            let job = unsafe { &*(job as *const Job) };
            assert_eq!(job.state.load(Relaxed), INLINE);
        }
        world.end();
    });
}

#[test]
fn a_job_is_withdrawn_or_run() {
    model(|| {
        let world = World::new(1, AT_ONCE);
        let job = world.add();
        let withdrawn = usize::from(world.workers.withdraw(job).is_some());
        world.end();
        assert_eq!(world.ran() + withdrawn, 1);
    });
}

/// A job whose function has ended while its task gives up: `abandon` is called once, or the message is sent.
#[test]
fn a_job_is_abandoned_or_done() {
    model(|| {
        let counter = Box::leak(Box::new(StdUsize::new(0)));
        let memory = NonNull::new(sys::allocate::<Job>(1)).unwrap();
        let argument = std::ptr::from_mut(counter).cast();
        unsafe {
            memory.write(Job::new(
                Class::Cpu,
                Work { function: nothing, argument, abandon: Some(counts) },
            ))
        };
        unsafe { memory.as_ref() }.state.store(RUNNING, Relaxed);
        let address = memory.as_ptr() as usize;
        let ends = move || unsafe { Job::end(NonNull::new(address as *mut Job).unwrap()) };
        let worker = thread::spawn(ends);
        let has_left = unsafe { memory.as_ref() }.try_abandon();
        let is_told = worker.join().unwrap();
        assert_ne!(has_left, is_told);
        assert_eq!(counter.load(ForStd), usize::from(has_left));
        if is_told {
            let state = unsafe { memory.as_ref() }.state.load(Relaxed);
            assert!(state == DONE && state != ABANDONED);
            unsafe { Job::free(memory) };
        }
    });
}
