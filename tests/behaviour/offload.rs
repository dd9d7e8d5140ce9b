//! Functions on threads of the library, for tasks that wait for them: `mj_offload` and `blocking::run`.

use std::cell::Cell;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use majjen::blocking::{self, Class};
use majjen::{Error, task};

use super::c_abi::{CAbi, ns, result};
use super::majjen_h::*;
use super::rust_api::RustApi;
use super::{Api, End, HOUR, MS, in_task};

behaviours!(
    a_result_comes_back_from_another_thread,
    other_tasks_run_while_a_function_does,
    outside_a_task_no_function_runs,
    what_has_not_begun_in_time_does_not_run,
    a_task_is_canceled_before_its_function_begins,
    a_task_is_canceled_while_its_function_runs,
    a_time_out_leaves_a_function_running,
    a_deadline_of_the_task_limits_its_function,
    a_task_that_is_canceled_runs_no_function,
    a_wake_up_does_not_end_the_wait_for_a_function,
    no_more_functions_run_than_the_class_may,
    a_scheduler_is_destroyed_while_a_function_runs,
    a_scheduler_is_destroyed_before_a_function_begins,
);

/// One API of the pool. Functions and what they return are released once: by who gets the result, and if nobody
/// does, by the library.
trait Offload: Api {
    fn offload<T: Send + 'static>(
        class: Class,
        timeout: Option<Duration>,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, i32>;
    fn is_canceled() -> bool;
    fn set_limit(class: Class, threads: usize) -> Result<(), i32>;
    /// How many functions of a class wait for a thread, and how many run.
    fn counts(class: Class) -> (usize, usize);
}

impl Offload for RustApi {
    fn offload<T: Send + 'static>(
        class: Class,
        timeout: Option<Duration>,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, i32> {
        let call = || task::no_unwind(|| blocking::run_in(class, function)).map_err(Error::errno);
        let Some(timeout) = timeout else { return call() };
        let before = task::set_deadline(Some(majjen::Instant::now() + timeout)).unwrap();
        let result = call();
        task::set_deadline(before).unwrap();
        result
    }

    fn is_canceled() -> bool {
        blocking::is_canceled()
    }

    fn set_limit(class: Class, threads: usize) -> Result<(), i32> {
        blocking::set_limit(class, threads).map_err(Error::errno)
    }

    fn counts(class: Class) -> (usize, usize) {
        let counts = blocking::counts(class);
        (counts.queued, counts.running)
    }
}

/// A function, and then what it has returned.
struct Call<F, T> {
    function: Option<F>,
    output: Option<T>,
}

extern "C" fn run<F: FnOnce() -> T, T>(call: *mut c_void) {
    // SAFETY: from `offload`, and nobody else uses it now.
    let call = unsafe { &mut *call.cast::<Call<F, T>>() };
    call.output = call.function.take().map(|function| function());
}

extern "C" fn abandon<F, T>(call: *mut c_void) {
    // SAFETY: from `offload`, whose caller does not get it any more.
    drop(unsafe { Box::from_raw(call.cast::<Call<F, T>>()) });
}

/// [`Offload::offload`] of the C ABI, with the type of the function.
fn offload<F, T>(class: Class, timeout: Option<Duration>, function: F) -> Result<T, i32>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let call = Box::into_raw(Box::new(Call { function: Some(function), output: None }));
    let (class, abandon) = (class as u32, abandon::<F, T> as mj_abandon_fn);
    let ran = mj_offload_in(class, Some(run::<F, T>), call.cast(), Some(abandon), ns(timeout));
    let ran = result(ran);
    if let Err(libc::ETIMEDOUT | libc::ECANCELED) = ran {
        return Err(ran.unwrap_err());
    }
    // SAFETY: from above, and the library has not abandoned it.
    let call = unsafe { Box::from_raw(call) };
    ran.map(|()| call.output.unwrap())
}

impl Offload for CAbi {
    fn offload<T: Send + 'static>(
        class: Class,
        timeout: Option<Duration>,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, i32> {
        offload(class, timeout, function)
    }

    fn is_canceled() -> bool {
        mj_offload_canceled()
    }

    fn set_limit(class: Class, threads: usize) -> Result<(), i32> {
        result(mj_offload_set_limit(class as u32, threads))
    }

    fn counts(class: Class) -> (usize, usize) {
        let mut counts = mj_offload_counts::default();
        let bytes = size_of::<mj_offload_counts>();
        assert_eq!(mj_offload_get_counts(class as u32, &raw mut counts, bytes), 0);
        (counts.queued as usize, counts.running as usize)
    }
}

/// The threads are the process's: these tests run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A limit of [`Class::Cpu`], while it is alive.
struct Threads {
    _alone: MutexGuard<'static, ()>,
}

impl Threads {
    fn at_most<D: Offload>(threads: usize) -> Threads {
        let alone = Threads { _alone: alone() };
        D::set_limit(Class::Cpu, threads).unwrap();
        alone
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        blocking::set_limit(Class::Cpu, 4).unwrap();
    }
}

/// What a function returns. Tells the thread that releases it.
struct Held(Arc<Mutex<Vec<ThreadId>>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

/// What a task tells of its call.
type Told = Rc<Cell<Option<Result<(), i32>>>>;

/// A function that runs until it is told to end.
#[derive(Clone, Default)]
struct Job {
    has_begun: Arc<AtomicBool>,
    may_end: Arc<AtomicBool>,
    /// Whether it was canceled, as it knew at its end.
    was_canceled: Arc<AtomicBool>,
    released: Arc<Mutex<Vec<ThreadId>>>,
}

impl Job {
    /// To be called once.
    fn function<D: Offload>(&self) -> impl FnOnce() -> Held + Send + 'static + use<D> {
        let (job, held) = (self.clone(), Held(self.released.clone()));
        move || {
            job.has_begun.store(true, SeqCst);
            while !job.may_end.load(SeqCst) {
                thread::sleep(MS / 10);
            }
            job.was_canceled.store(D::is_canceled(), SeqCst);
            held
        }
    }

    fn has_begun(&self) -> bool {
        self.has_begun.load(SeqCst)
    }

    fn end(&self) {
        self.may_end.store(true, SeqCst);
    }

    /// A task that has it run, and tells what comes of it.
    fn spawn<D: Offload>(&self, api: &D) -> (D::Task, Told) {
        let (function, told) = (self.function::<D>(), Rc::new(Cell::new(None)));
        let place = told.clone();
        let task = api.spawn(move || {
            place.set(Some(D::offload(Class::Cpu, None, function).map(drop)));
        });
        (task, told)
    }

    #[track_caller]
    fn was_never_run(&self) {
        assert!(!self.has_begun());
        self.was_released_here();
    }

    #[track_caller]
    fn was_released_here(&self) {
        assert_eq!(*self.released.lock().unwrap(), [thread::current().id()]);
    }

    /// Ends it. It was abandoned, so its own thread releases what is left.
    #[track_caller]
    fn ends_abandoned(&self) {
        assert!(self.released.lock().unwrap().is_empty());
        self.end();
        let began = Instant::now();
        while self.released.lock().unwrap().is_empty() {
            assert!(began.elapsed() < HOUR);
            thread::sleep(MS / 10);
        }
        assert_ne!(*self.released.lock().unwrap(), [thread::current().id()]);
        assert_eq!(self.released.lock().unwrap().len(), 1);
        assert!(self.was_canceled.load(SeqCst));
    }
}

/// Waits in a task.
#[track_caller]
fn until<D: Api>(done: impl Fn() -> bool) {
    while !done() {
        D::sleep(MS / 10).unwrap();
    }
}

fn a_result_comes_back_from_another_thread<D: Offload>() {
    let _alone = alone();
    in_task::<D>(|| {
        let here = thread::current().id();
        for class in [Class::Cpu, Class::File, Class::Dns] {
            for timeout in [None, Some(HOUR)] {
                let told = || (thread::current().id(), D::is_canceled());
                let (there, is_canceled) = D::offload(class, timeout, told).unwrap();
                assert_ne!(there, here);
                assert!(!is_canceled);
            }
        }
        let job = Job::default();
        job.end();
        drop(D::offload(Class::Cpu, None, job.function::<D>()).unwrap());
        assert!(job.has_begun());
        job.was_released_here();
        assert!(!D::is_canceled());
    });
}

fn other_tasks_run_while_a_function_does<D: Offload>() {
    let _alone = alone();
    let (api, ticks) = (D::new(), Arc::new(AtomicUsize::new(0)));
    let seen = ticks.clone();
    let function = move || {
        while seen.load(SeqCst) < 5 {
            thread::sleep(MS / 10);
        }
    };
    api.spawn(move || D::offload(Class::Cpu, None, function).unwrap());
    api.spawn(move || {
        for _ in 0..5 {
            D::sleep(MS / 10).unwrap();
            ticks.fetch_add(1, SeqCst);
        }
    });
    assert_eq!(api.run(), End::Completed);
}

fn outside_a_task_no_function_runs<D: Offload>() {
    let job = Job::default();
    let ran = D::offload(Class::Cpu, None, job.function::<D>()).map(drop);
    assert_eq!(ran, Err(libc::EPERM));
    job.was_never_run();
    assert!(!D::is_canceled());
}

fn what_has_not_begun_in_time_does_not_run<D: Offload>() {
    let _threads = Threads::at_most::<D>(1);
    let (api, busy) = (D::new(), Job::default());
    let (_, told) = busy.spawn(&api);
    api.spawn(move || {
        until::<D>(|| busy.has_begun());
        for timeout in [Duration::ZERO, 5 * MS] {
            let (job, began) = (Job::default(), Instant::now());
            let ran = D::offload(Class::Cpu, Some(timeout), job.function::<D>());
            assert_eq!(ran.map(drop), Err(libc::ETIMEDOUT));
            assert!(began.elapsed() >= timeout);
            job.was_never_run();
        }
        assert_eq!(D::counts(Class::Cpu), (0, 1));
        // Another class has threads of its own.
        assert_eq!(D::offload(Class::File, None, || 7), Ok(7));
        busy.end();
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(told.get(), Some(Ok(())));
}

fn a_task_is_canceled_before_its_function_begins<D: Offload>() {
    let _threads = Threads::at_most::<D>(1);
    let (api, busy, jobs) = (D::new(), Job::default(), [(); 3].map(|()| Job::default()));
    busy.spawn(&api);
    let runs = api.clone();
    api.spawn(move || {
        until::<D>(|| busy.has_begun());
        let tasks = jobs.each_ref().map(|job| job.spawn(&runs));
        until::<D>(|| D::counts(Class::Cpu) == (3, 1));
        for place in [1, 2, 0] {
            let (task, told) = &tasks[place];
            D::cancel(task);
            until::<D>(|| told.get().is_some());
            assert_eq!(told.get(), Some(Err(libc::ECANCELED)));
            jobs[place].was_never_run();
        }
        busy.end();
    });
    assert_eq!(api.run(), End::Completed);
}

fn a_task_is_canceled_while_its_function_runs<D: Offload>() {
    let _alone = alone();
    let (api, job) = (D::new(), Job::default());
    let (task, told) = job.spawn(&api);
    let seen = job.clone();
    api.spawn(move || {
        until::<D>(|| seen.has_begun());
        D::cancel(&task);
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(told.get(), Some(Err(libc::ECANCELED)));
    job.ends_abandoned();
}

fn a_time_out_leaves_a_function_running<D: Offload>() {
    let _alone = alone();
    in_task::<D>(|| {
        // On a busy machine it may not have begun so soon.
        loop {
            let (job, began) = (Job::default(), Instant::now());
            let ran = D::offload(Class::Cpu, Some(10 * MS), job.function::<D>());
            assert_eq!(ran.map(drop), Err(libc::ETIMEDOUT));
            assert!(began.elapsed() >= 10 * MS);
            if job.has_begun() {
                return job.ends_abandoned();
            }
            job.was_never_run();
        }
    });
}

fn a_deadline_of_the_task_limits_its_function<D: Offload>() {
    let _threads = Threads::at_most::<D>(1);
    let (api, busy) = (D::new(), Job::default());
    busy.spawn(&api);
    api.spawn(move || {
        until::<D>(|| busy.has_begun());
        for after in [5 * MS, Duration::ZERO] {
            let job = Job::default();
            D::set_deadline(Some(after)).unwrap();
            let ran = D::offload(Class::Cpu, None, job.function::<D>());
            D::set_deadline(None).unwrap();
            assert_eq!(ran.map(drop), Err(libc::ETIMEDOUT));
            job.was_never_run();
        }
        busy.end();
    });
    assert_eq!(api.run(), End::Completed);
}

fn a_task_that_is_canceled_runs_no_function<D: Offload>() {
    let _alone = alone();
    let (api, job) = (D::new(), Job::default());
    let function = job.function::<D>();
    let told = Rc::new(Cell::new(None));
    let place = told.clone();
    let task = api.spawn(move || {
        assert_eq!(D::sleep(HOUR), Err(libc::ECANCELED));
        place.set(Some(D::offload(Class::Cpu, None, function).map(drop)));
        // But while the cancellation is held.
        assert_eq!(D::shield(|| D::offload(Class::Cpu, None, || 7)), Ok(7));
    });
    api.spawn(move || {
        D::sleep(MS).unwrap();
        D::cancel(&task);
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(told.get(), Some(Err(libc::ECANCELED)));
    job.was_never_run();
}

fn a_wake_up_does_not_end_the_wait_for_a_function<D: Offload>() {
    let _alone = alone();
    let (api, job) = (D::new(), Job::default());
    let (task, told) = job.spawn(&api);
    let told_later = told.clone();
    api.spawn(move || {
        until::<D>(|| job.has_begun());
        D::wake(&task);
        D::sleep(2 * MS).unwrap();
        assert_eq!(told_later.get(), None);
        job.end();
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(told.get(), Some(Ok(())));
}

fn no_more_functions_run_than_the_class_may<D: Offload>() {
    let _threads = Threads::at_most::<D>(2);
    assert_eq!(D::set_limit(Class::Cpu, 0), Err(libc::EINVAL));
    let (api, jobs) = (D::new(), [(); 5].map(|()| Job::default()));
    let mut told = Vec::new();
    for job in &jobs {
        told.push(job.spawn(&api).1);
    }
    let of_task = jobs.clone();
    let left = move || of_task.iter().filter(|job| !job.has_begun()).count();
    let of_task = jobs.clone();
    api.spawn(move || {
        until::<D>(|| left() == 3);
        D::sleep(2 * MS).unwrap();
        assert_eq!((left(), D::counts(Class::Cpu)), (3, (3, 2)));
        // One more has a thread at once.
        D::set_limit(Class::Cpu, 3).unwrap();
        until::<D>(|| left() == 2);
        D::sleep(2 * MS).unwrap();
        assert_eq!((left(), D::counts(Class::Cpu)), (2, (2, 3)));
        of_task.iter().for_each(Job::end);
    });
    assert_eq!(api.run(), End::Completed);
    assert!(told.iter().all(|told| told.get() == Some(Ok(()))));
    jobs.iter().for_each(Job::was_released_here);
}

/// Has a scheduler run until some jobs have begun, and destroys it.
fn destroy_when_begun<D: Offload>(api: D, jobs: &[&Job], done: impl Fn() -> bool + 'static) {
    let (stop, jobs) = (api.stop(), jobs.iter().map(|&job| job.clone()).collect::<Vec<_>>());
    api.spawn(move || {
        until::<D>(|| jobs.iter().all(Job::has_begun) && done());
        D::raise(&stop);
        let _ = D::yield_now();
    });
    assert_eq!(api.run(), End::Stopped);
    drop(api);
}

fn a_scheduler_is_destroyed_while_a_function_runs<D: Offload>() {
    let _alone = alone();
    let (api, job) = (D::new(), Job::default());
    job.spawn(&api);
    destroy_when_begun(api, &[&job], || true);
    job.ends_abandoned();
}

fn a_scheduler_is_destroyed_before_a_function_begins<D: Offload>() {
    let _threads = Threads::at_most::<D>(1);
    let (api, busy, job) = (D::new(), Job::default(), Job::default());
    busy.spawn(&api);
    job.spawn(&api);
    destroy_when_begun(api, &[&busy], || D::counts(Class::Cpu) == (1, 1));
    job.was_never_run();
    busy.ends_abandoned();
    job.was_never_run();
}
