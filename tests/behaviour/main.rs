//! Behaviours of Majjen, written once and tested through both APIs: the Rust API and the C ABI.

/// Runs each behaviour through both APIs.
macro_rules! behaviours {
    ($($name:ident),+ $(,)?) => {
        mod rust {
            $(#[test] fn $name() { super::$name::<crate::rust_api::RustApi>(); })+
        }
        mod c {
            $(#[test] fn $name() { super::$name::<crate::c_abi::CAbi>(); })+
        }
    };
}

mod c_abi;
mod cancel;
mod circles;
mod cluster;
mod daemons;
mod descriptors;
mod files;
mod groups;
mod io;
#[path = "../support/majjen_h.rs"]
mod majjen_h;
mod offload;
mod remote;
mod remote_channel;
mod runs;
mod rust_api;
mod signals;
mod stacks;
mod sync;
mod trace;

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io::Write;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed,
    Stopped,
    Signal(i32),
    Failed(i32),
}

/// One API of the runtime. Errors are errno values. A call of a canceled task returns ECANCELED.
trait Api: Clone + 'static {
    /// A task, which may have ended already.
    type Task: Clone + 'static;
    /// Stops a scheduler, from any thread.
    type Stop: Send + 'static;
    /// Whether a wake-up of a task that is not parked ends its next park.
    const KEEPS_WAKE_UPS: bool;

    /// A scheduler.
    fn new() -> Self;
    /// A scheduler with the test's clock.
    fn with_clock(clock: fn() -> Duration) -> Self;
    /// A scheduler that handles signals.
    fn with_signals() -> Self;
    /// One with guards of that size.
    fn with_guards(bytes: usize) -> Result<Self, i32>;
    fn run(&self) -> End;
    fn spawn(&self, body: impl FnOnce() + 'static) -> Self::Task;
    fn stop(&self) -> Self::Stop;
    fn raise(stop: &Self::Stop);
    /// How many tasks were added, and how many have ended.
    fn tasks(&self) -> (u64, u64);
    /// How many turns tasks have had.
    fn turns(&self) -> u64;
    /// Where the stack of a task is, if it has one.
    fn stack_bounds(task: &Self::Task) -> Option<Range<usize>>;

    fn yield_now() -> Result<(), i32>;
    fn sleep(duration: Duration) -> Result<(), i32>;
    fn park(timeout: Option<Duration>) -> Result<(), i32>;
    fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32>;
    fn wait_writable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32>;
    fn join(task: &Self::Task, timeout: Option<Duration>) -> Result<(), i32>;
    fn cancel(task: &Self::Task);
    fn wake(task: &Self::Task);
    /// The same by the scheduler, which need not run.
    fn cancel_in(&self, task: &Self::Task) -> Result<(), i32>;
    fn wake_in(&self, task: &Self::Task) -> Result<(), i32>;
    /// Sets the deadline of the running task: so long from now, or none. Returns how long it was until the
    /// one before, if there was one.
    fn set_deadline(after: Option<Duration>) -> Result<Option<Duration>, i32>;
    /// A scheduler that waits so long for daemons to end.
    fn with_daemon_limit(limit: Duration) -> Self;
    /// Sets whether the running task is a daemon.
    fn set_daemon(daemon: bool);
    /// Calls a function, in which a cancellation of the running task is held.
    fn shield<R>(body: impl FnOnce() -> R) -> R;
}

/// Runs a test in a task.
fn in_task<D: Api>(body: impl FnOnce() + 'static) {
    let api = D::new();
    let has_ended = Rc::new(Cell::new(false));
    let ended = has_ended.clone();
    api.spawn(move || {
        body();
        ended.set(true);
    });
    assert_eq!(api.run(), End::Completed);
    assert!(has_ended.get());
}

behaviours!(
    ready_tasks_take_turns_in_order,
    a_new_task_waits_for_its_turn,
    sleeps_end_in_order_and_never_early,
    equal_deadlines_are_served_in_order,
    a_join_lasts_until_the_task_has_ended,
    a_join_has_a_time_limit,
    nobody_joins_oneself,
    all_joiners_of_a_task_return,
    a_canceled_task_is_told_by_every_call,
    a_wake_ends_a_park,
    a_park_has_a_time_limit,
    a_pipe_wakes_its_reader_and_its_writer,
    a_closed_pipe_is_readable,
    a_wait_for_a_descriptor_has_a_timeout,
    two_tasks_wait_for_one_descriptor,
    a_regular_file_is_always_ready,
    a_stop_leaves_tasks_for_the_next_run,
    a_stop_before_the_run_counts,
    another_thread_stops_an_idle_scheduler,
    a_run_with_nothing_that_could_wake_a_task_ends,
    calls_outside_a_task_are_refused,
    a_nested_run_is_refused,
    tasks_are_counted,
);

/// A log of the tasks' events, in order.
struct Events<T>(Rc<RefCell<Vec<T>>>);

impl<T: Debug + PartialEq> Events<T> {
    fn new() -> Events<T> {
        Events(Rc::default())
    }

    fn push(&self, event: T) {
        self.0.borrow_mut().push(event);
    }

    #[track_caller]
    fn are(&self, expected: &[T]) {
        assert_eq!(*self.0.borrow(), expected);
    }
}

impl<T> Clone for Events<T> {
    fn clone(&self) -> Events<T> {
        Events(self.0.clone())
    }
}

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn ready_tasks_take_turns_in_order<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    for name in ["a", "b", "c"] {
        let events = events.clone();
        api.spawn(move || {
            for turn in 1..=3 {
                events.push((name, turn));
                D::yield_now().unwrap();
            }
        });
    }
    api.run();
    let expected: Vec<_> =
        (1..=3).flat_map(|turn| ["a", "b", "c"].map(|name| (name, turn))).collect();
    events.are(&expected);
}

fn a_new_task_waits_for_its_turn<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (inner, log) = (api.clone(), events.clone());
    api.spawn(move || {
        let child = log.clone();
        inner.spawn(move || child.push("child"));
        log.push("parent");
    });
    let log = events.clone();
    api.spawn(move || log.push("neighbour"));
    api.run();
    events.are(&["parent", "neighbour", "child"]);
}

fn sleeps_end_in_order_and_never_early<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    for ms in [30, 10, 20, 0] {
        let events = events.clone();
        api.spawn(move || {
            let began = Instant::now();
            D::sleep(ms * MS).unwrap();
            assert!(began.elapsed() >= ms * MS, "early: {:?}", began.elapsed());
            events.push(ms);
        });
    }
    api.run();
    events.are(&[0, 10, 20, 30]);
}

fn equal_deadlines_are_served_in_order<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    for number in 0..20 {
        let events = events.clone();
        api.spawn(move || {
            D::sleep(5 * MS).unwrap();
            events.push(number);
        });
    }
    api.run();
    events.are(&(0..20).collect::<Vec<_>>());
}

fn a_join_lasts_until_the_task_has_ended<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    let slow = api.spawn(move || {
        D::sleep(5 * MS).unwrap();
        log.push("slow ends");
    });
    let log = events.clone();
    api.spawn(move || {
        D::join(&slow, None).unwrap();
        log.push("joined");
        D::join(&slow, None).unwrap(); // It has ended: this returns at once.
    });
    api.run();
    events.are(&["slow ends", "joined"]);
}

fn a_join_has_a_time_limit<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let slow = api.spawn(|| {
        let _ = D::sleep(HOUR);
    });
    let log = events.clone();
    api.spawn(move || {
        let began = Instant::now();
        log.push(D::join(&slow, Some(3 * MS)));
        assert!(began.elapsed() >= 3 * MS);
        D::cancel(&slow);
        log.push(D::join(&slow, None));
    });
    api.run();
    events.are(&[Err(libc::ETIMEDOUT), Ok(())]);
}

fn nobody_joins_oneself<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let own: Rc<RefCell<Option<D::Task>>> = Rc::default();
    let (log, seen) = (events.clone(), own.clone());
    let task = api.spawn(move || log.push(D::join(seen.borrow().as_ref().unwrap(), None)));
    own.replace(Some(task));
    api.run();
    events.are(&[Err(libc::EDEADLK)]);
    own.take();
}

fn all_joiners_of_a_task_return<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let target = api.spawn(|| D::sleep(3 * MS).unwrap());
    for number in 0..5 {
        let (target, events) = (target.clone(), events.clone());
        api.spawn(move || {
            D::join(&target, None).unwrap();
            events.push(number);
        });
    }
    api.run();
    events.are(&[0, 1, 2, 3, 4]);
}

fn a_canceled_task_is_told_by_every_call<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (reader, _writer) = std::io::pipe().unwrap();
    let reader = Rc::new(reader);
    let target = api.spawn(|| {
        let _ = D::park(None);
    });
    let calls: [Rc<dyn Fn() -> Result<(), i32>>; 4] = [
        Rc::new(|| D::sleep(HOUR)),
        Rc::new(|| D::park(None)),
        Rc::new(move || D::wait_readable((*reader).as_fd(), None)),
        Rc::new({
            let target = target.clone();
            move || D::join(&target, None)
        }),
    ];
    for call in calls {
        let log = events.clone();
        let waiting = api.spawn(move || {
            log.push(call());
            log.push(call());
            log.push(D::yield_now());
        });
        api.spawn(move || D::cancel(&waiting));
    }
    api.spawn(move || {
        D::sleep(5 * MS).unwrap();
        D::cancel(&target);
    });
    api.run();
    events.are(&[Err(libc::ECANCELED); 12]);
}

fn a_wake_ends_a_park<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    let parked = api.spawn(move || log.push(D::park(Some(HOUR))));
    let log = events.clone();
    api.spawn(move || {
        D::yield_now().unwrap();
        log.push(Err(0)); // Nothing has woken it yet.
        D::wake(&parked);
    });
    api.run();
    events.are(&[Err(0), Ok(())]);
}

fn a_park_has_a_time_limit<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    api.spawn(move || {
        let began = Instant::now();
        log.push(D::park(Some(3 * MS)));
        assert!(began.elapsed() >= 3 * MS);
    });
    api.run();
    events.are(&[Err(libc::ETIMEDOUT)]);
}

fn a_pipe_wakes_its_reader_and_its_writer<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let log = events.clone();
    api.spawn(move || {
        D::wait_readable(reader.as_fd(), None).unwrap();
        log.push("readable");
    });
    let log = events.clone();
    api.spawn(move || {
        D::wait_writable(writer.as_fd(), None).unwrap();
        log.push("writable");
        writer.write_all(b"x").unwrap();
        D::sleep(5 * MS).unwrap();
        log.push("end");
    });
    api.run();
    events.are(&["writable", "readable", "end"]);
}

fn a_closed_pipe_is_readable<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (reader, writer) = std::io::pipe().unwrap();
    let log = events.clone();
    api.spawn(move || log.push(D::wait_readable(reader.as_fd(), None)));
    api.spawn(move || {
        D::sleep(MS).unwrap();
        drop(writer);
    });
    api.run();
    events.are(&[Ok(())]);
}

fn a_wait_for_a_descriptor_has_a_timeout<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (reader, _writer) = std::io::pipe().unwrap();
    let log = events.clone();
    api.spawn(move || {
        let began = Instant::now();
        log.push(D::wait_readable(reader.as_fd(), Some(Duration::ZERO)));
        log.push(D::wait_readable(reader.as_fd(), Some(3 * MS)));
        assert!(began.elapsed() >= 3 * MS);
    });
    api.run();
    events.are(&[Err(libc::ETIMEDOUT); 2]);
}

fn two_tasks_wait_for_one_descriptor<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = Rc::new(reader);
    for number in 0..2 {
        let (reader, log) = (reader.clone(), events.clone());
        api.spawn(move || {
            D::wait_readable((*reader).as_fd(), None).unwrap();
            log.push(number);
        });
    }
    api.spawn(move || {
        D::sleep(MS).unwrap();
        writer.write_all(b"x").unwrap();
    });
    api.run();
    events.are(&[0, 1]);
}

fn a_regular_file_is_always_ready<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let file = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let log = events.clone();
    api.spawn(move || log.push(D::wait_readable(file.as_fd(), None)));
    api.run();
    events.are(&[Ok(())]);
}

fn a_stop_leaves_tasks_for_the_next_run<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (log, stop) = (events.clone(), api.stop());
    api.spawn(move || {
        log.push("before");
        D::raise(&stop);
        D::yield_now().unwrap();
        log.push("after");
    });
    api.run();
    events.push("between");
    api.run();
    events.are(&["before", "between", "after"]);
}

fn a_stop_before_the_run_counts<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    api.spawn(move || log.push("ran"));
    D::raise(&api.stop());
    api.run();
    events.are(&[]);
    api.run();
    events.are(&["ran"]);
}

fn another_thread_stops_an_idle_scheduler<D: Api>() {
    let api = D::new();
    let task = api.spawn(|| {
        let _ = D::sleep(HOUR);
    });
    let stop = api.stop();
    let other = std::thread::spawn(move || {
        std::thread::sleep(5 * MS);
        D::raise(&stop);
    });
    let began = Instant::now();
    api.run();
    assert!(began.elapsed() < HOUR);
    other.join().unwrap();
    api.spawn(move || D::cancel(&task));
    api.run();
    assert_eq!(api.tasks(), (2, 2));
}

fn a_run_with_nothing_that_could_wake_a_task_ends<D: Api>() {
    let api = D::new();
    let parked = api.spawn(|| {
        let _ = D::park(None);
    });
    api.run();
    assert_eq!(api.tasks(), (1, 0));
    api.spawn(move || D::wake(&parked));
    api.run();
    assert_eq!(api.tasks(), (2, 2));
}

fn calls_outside_a_task_are_refused<D: Api>() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let api = D::new();
    let task = api.spawn(|| ());
    let began = Instant::now();
    assert_eq!(D::yield_now(), Err(libc::EPERM));
    assert_eq!(D::sleep(HOUR), Err(libc::EPERM));
    assert_eq!(D::park(None), Err(libc::EPERM));
    assert_eq!(D::wait_readable(reader.as_fd(), None), Err(libc::EPERM));
    assert_eq!(D::join(&task, None), Err(libc::EPERM));
    assert!(began.elapsed() < HOUR);
    api.run();
}

fn a_nested_run_is_refused<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (inner, log) = (api.clone(), events.clone());
    api.spawn(move || {
        let other = D::new();
        let child = log.clone();
        other.spawn(move || child.push("child of the other"));
        other.run();
        inner.run();
        log.push("end");
    });
    api.run();
    events.are(&["end"]);
}

fn tasks_are_counted<D: Api>() {
    let api = D::new();
    for _ in 0..100 {
        api.spawn(|| D::yield_now().unwrap());
    }
    assert_eq!(api.tasks(), (100, 0));
    api.run();
    assert_eq!(api.tasks(), (100, 100));
}
