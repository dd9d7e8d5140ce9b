//! A new waitable object in a file of its own, which the engine does not know: it proves that a
//! `WaitKind` is all that a new kind of wait needs.
//!
//! A latch is closed, and opens once. One that is *slow to leave* is like a buffer that the kernel
//! still writes to: a task that gives up keeps waiting until the latch releases it.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::from_ref;
use std::time::{Duration, Instant};

use crate::engine::inspect;
use crate::engine::scheduler::{
    HookCalls, Limit, Running, Scheduler, exit, park_until_woken, run, running_task, wait,
    yield_now,
};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Left, Outcome, SchedulerRef, Task, Wait, WaitKind, WaitQueue, Words};
use crate::engine::time::Deadline;

#[derive(Default)]
struct Latch {
    open: Cell<bool>,
    slow_to_leave: Cell<bool>,
    waiters: WaitQueue<Task>,
    left: Cell<u32>,
}

static WORDS: Words = Words { set_stack_size: "", exit: "", abandon: None };

static LATCH: WaitKind = WaitKind { leave: Some(leave), ..WaitKind::new(c"latch", unlink) };

/// The task has given up, and only the latch releases it.
static LEAVING: WaitKind = WaitKind { interruptible: false, ..WaitKind::new(c"latch", unlink) };

unsafe fn unlink(_: SchedulerRef, latch: usize, task: &Task) {
    // SAFETY: latches are alive while a task waits for them.
    unsafe { (*(latch as *const Latch)).waiters.remove(task) };
}

unsafe fn leave(_: SchedulerRef, latch: usize, task: &Task) -> Left {
    // SAFETY: as above.
    let latch = unsafe { &*(latch as *const Latch) };
    if latch.slow_to_leave.get() {
        task.wait.set(Wait::on(&LEAVING, latch));
        return Left::Later;
    }
    latch.waiters.remove(task);
    latch.left.set(latch.left.get() + 1);
    Left::Now
}

impl Latch {
    fn wait(&self, limit: Limit) -> Result<()> {
        let look = |_: Running<'_>| Ok(self.open.get().then_some(0));
        let list = |(_, task): Running<'_>| {
            self.waiters.push(task);
            Ok(Wait::on(&LATCH, self))
        };
        wait(limit, look, list).map(drop)
    }

    fn open(&self, scheduler: &Scheduler) {
        self.open.set(true);
        while scheduler.wake_first(&self.waiters, Outcome::Ready(0)) {}
    }

    /// Releases the tasks that have given up.
    fn release(&self, scheduler: &Scheduler) {
        while let Some(task) = self.waiters.first() {
            let outcome = task.outcome.get();
            scheduler.wake_first(&self.waiters, outcome);
        }
    }
}

/// Shared by the tasks of a test.
#[derive(Default)]
struct World {
    latch: Latch,
    limit_ns: Cell<u64>,
    result: Cell<Option<Result<()>>>,
    task: Cell<u64>,
}

unsafe extern "C-unwind" fn waits(_: *mut c_void, world: *mut c_void) {
    // SAFETY: from `run_with`.
    let world = unsafe { &**world.cast::<*const World>() };
    world.task.set(running_task().unwrap().1.id.get());
    world.result.set(Some(world.latch.wait(Limit::after_ns(world.limit_ns.get()))));
    exit().unwrap();
}

type Other = fn(&World, &Scheduler, &Task);

unsafe extern "C-unwind" fn acts(_: *mut c_void, state: *mut c_void) {
    // SAFETY: from `run_with`.
    let (world, act) = unsafe { state.cast::<(*const World, Other)>().read() };
    // SAFETY: as above.
    let world = unsafe { &*world };
    let (scheduler, _) = running_task().unwrap();
    act(world, scheduler, scheduler.tasks.find_id(world.task.get()).unwrap());
    exit().unwrap();
}

/// Allocates the state of a task by malloc(); the task frees it.
fn owned<T>(value: T) -> *mut c_void {
    let memory = crate::engine::sys::allocate::<T>(1);
    // SAFETY: fresh memory for one.
    unsafe { memory.write(value) };
    memory.cast()
}

/// A task waits for the latch, with a timeout, while another one acts. Returns the wait's result.
fn run_with(world: &World, limit_ns: u64, act: Other) -> Result<()> {
    world.limit_ns.set(limit_ns);
    let scheduler = Scheduler::create(false).unwrap();
    // SAFETY: made just now.
    let it = unsafe { &*scheduler };
    it.spawn(waits, owned(from_ref(world)), &WORDS).unwrap();
    it.spawn(acts, owned((from_ref(world), act)), &WORDS).unwrap();
    run(it, HookCalls::NONE, None).unwrap();
    // SAFETY: as above, and it does not run.
    unsafe { Scheduler::destroy(scheduler) }.unwrap();
    world.result.take().unwrap()
}

const HOUR_NS: u64 = 3_600_000_000_000;
const MS_NS: u64 = 1_000_000;

#[test]
fn a_latch_is_waited_for_dumped_and_left() {
    let world = World::default();
    let opens: Other = |world, scheduler, _| {
        let mut text = String::new();
        inspect::dump(scheduler, &mut text).unwrap();
        let name = format!("waiting for latch {:#x}", from_ref(&world.latch) as usize);
        assert!(text.contains(&name), "{text}");
        world.latch.open(scheduler);
    };
    assert_eq!(run_with(&world, u64::MAX, opens), Ok(()));
    assert_eq!(world.latch.left.get(), 0);

    let world = World::default();
    assert_eq!(run_with(&world, MS_NS, |_, _, _| ()), Err(Error::TimedOut));
    assert_eq!(run_with(&world, HOUR_NS, |_, it, task| it.cancel(task)), Err(Error::Canceled));
    let wakes: Other = |_, it, task| assert!(it.wake(task));
    assert_eq!(run_with(&world, u64::MAX, wakes), Err(Error::Interrupted));
    assert_eq!(world.latch.left.get(), 3);
}

#[test]
fn a_latch_may_open_between_the_deadline_and_the_turn() {
    let world = World::default();
    let opens_late: Other = |world, scheduler, task| {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(5) {} // The other tasks do not run.
        yield_now().unwrap();
        // The deadline has passed, and this task is queued before the waiting one.
        assert!(task.queued.get() && task.outcome.get() == Outcome::TimedOut);
        world.latch.open(scheduler);
    };
    assert_eq!(run_with(&world, MS_NS, opens_late), Ok(()));
}

#[test]
fn a_latch_that_is_slow_to_leave_is_waited_for() {
    for (limit_ns, expected) in [(HOUR_NS, Error::Canceled), (MS_NS, Error::TimedOut)] {
        let world = World::default();
        world.latch.slow_to_leave.set(true);
        let lets_go: Other = |world, scheduler, task| {
            if world.limit_ns.get() == HOUR_NS {
                scheduler.cancel(task);
            }
            assert_eq!(park_until_woken(Deadline::In(5 * MS_NS)), Err(Error::TimedOut));
            // It has given up, and still waits.
            assert!(task.wait.get().is(&LEAVING) && world.result.get().is_none());
            scheduler.cancel(task);
            assert!(!scheduler.wake(task) && world.result.get().is_none());
            world.latch.release(scheduler);
        };
        assert_eq!(run_with(&world, limit_ns, lets_go), Err(expected));
    }
}

#[test]
fn a_scheduler_that_is_destroyed_takes_its_tasks_out() {
    let world = World::default();
    world.limit_ns.set(u64::MAX);
    let scheduler = Scheduler::create(false).unwrap();
    // SAFETY: made just now.
    let it = unsafe { &*scheduler };
    it.spawn(waits, owned(from_ref(&world)), &WORDS).unwrap();
    assert_eq!(run(it, HookCalls::NONE, None), Err(Error::Deadlock));
    assert!(!world.latch.waiters.is_empty());
    // SAFETY: as above, and it does not run.
    unsafe { Scheduler::destroy(scheduler) }.unwrap();
    assert!(world.latch.waiters.is_empty());
}
