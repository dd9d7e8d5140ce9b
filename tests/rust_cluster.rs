//! Clusters in Rust: what they are given, how they end, and what becomes of closures, tasks and handles.

mod support;

#[path = "rust_cluster/ending.rs"]
mod ending;
#[path = "rust_cluster/listening.rs"]
mod listening;
#[path = "rust_cluster/shortages.rs"]
mod shortages;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use majjen::cluster::{Builder, Cluster, Core};
use majjen::logger::{self, Level};
use majjen::{Error, JoinError, blocking, run_on_all_cores, signal, task};
use support::HOUR;

const MS: Duration = Duration::from_millis(1);

fn cluster(cores: usize) -> Cluster {
    logger::set_level(Level::Warn);
    Builder::new().cores(cores).build().unwrap()
}

/// A cluster whose threads can be told from those of other tests.
fn named(name: &str) -> Cluster {
    logger::set_level(Level::Warn);
    Builder::new().cores(2).name(name).build().unwrap()
}

/// How many threads there are whose names begin so.
fn threads_of(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    // A thread may end meanwhile.
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|thread| thread.starts_with(name)).count()
}

/// Waits until the kernel has forgotten the threads with such names, which it has not yet when they have been joined.
#[track_caller]
fn no_thread_is_left_of(name: &str) {
    wait_until("threads are left", || threads_of(name) == 0);
}

/// Waits for what takes little time, however slow the machine is.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(MS);
    }
}

/// Counts drops, on any thread.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

struct Dropped(Arc<AtomicUsize>);

impl Drops {
    fn guard(&self) -> Dropped {
        Dropped(self.0.clone())
    }

    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A signal comes to all that wait for it in this process: tests that do, wait for each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends SIGTERM to this process, once somebody waits for it.
fn send_sigterm() {
    let is_caught = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap() & 1 << (libc::SIGTERM - 1) != 0
    };
    wait_until("nobody waits for the signal", is_caught);
    // SAFETY: it is caught.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
}

// ---- making

#[test]
fn wrong_numbers_of_cores_are_refused() {
    for cores in [0, 1025] {
        assert_eq!(Builder::new().cores(cores).build().unwrap_err(), Error::InvalidArgument);
    }
    let cluster = cluster(2);
    assert_eq!(format!("{cluster:?}"), "Cluster { size: 2, .. }");
    assert_eq!(cluster.spawn(2, || ()).unwrap_err().error, Error::InvalidArgument);
    assert_eq!(cluster.remote(2).unwrap_err(), Error::InvalidArgument);
    assert_eq!((cluster.load(2), cluster.signal()), (0, None));
}

#[test]
fn a_builder_is_printed_with_what_was_set() {
    let builder = Builder::new().cores(2).name("web").pin(true);
    assert_eq!(format!("{builder:?}"), "Builder { cores: Some(2), name: Some(\"web\"), .. }");
    assert_eq!(format!("{:?}", Builder::new()), "Builder { cores: None, name: None, .. }");
}

#[test]
fn a_scheduler_that_cannot_be_made_leaves_no_thread() {
    let drops = Drops::default();
    let with = |guard: Dropped, fails: fn() -> majjen::Builder| {
        let configure = move |core| {
            let _guard = &guard;
            if core == 1 { fails() } else { majjen::Builder::new() }
        };
        Builder::new().cores(3).name("unmade").scheduler(configure).build().unwrap_err()
    };
    let error = with(drops.guard(), || majjen::Builder::new().stack_size(1));
    assert_eq!((error, drops.count()), (Error::InvalidArgument, 1));
    let error = with(drops.guard(), || panic!("on purpose"));
    assert_eq!((error, drops.count()), (Error::Panicked, 2));
    no_thread_is_left_of("unmade");
}

#[test]
fn schedulers_are_made_as_is_asked() {
    const BYTES: usize = 1 << 20;
    let cluster = Builder::new()
        .cores(2)
        .name("large")
        .scheduler(|_| majjen::Builder::new().stack_size(BYTES).name("another"))
        .set_up(|scheduler, core| {
            assert_eq!(scheduler.name().unwrap().as_ref(), format!("large-{}", core.index()));
            Ok(())
        })
        .build()
        .unwrap();
    for core in 0..2 {
        let check = || {
            let bounds = task::current().unwrap().stack_bounds().unwrap();
            assert!(bounds.len() >= BYTES);
        };
        cluster.spawn(core, check).unwrap();
    }
    cluster.start().unwrap();
    cluster.join().unwrap();
    assert!(cluster.metrics_json().unwrap().contains("\"scheduler\":\"large-1\""));
}

#[test]
fn cores_are_set_up_and_torn_down_on_their_threads() {
    thread_local! {
        static INDEX: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let torn_down = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = torn_down.clone();
    let (sender, ran) = mpsc::channel();
    let cluster = Builder::new()
        .cores(3)
        .set_up(move |scheduler, core| {
            assert!(Core::current().is_none() && core.cluster().here().is_none());
            INDEX.set(Some(core.index()));
            let sender = sender.clone();
            scheduler.spawn(move || sender.send(INDEX.get().unwrap()));
            Ok(())
        })
        .tear_down(move |scheduler, core| {
            assert_eq!(INDEX.get(), Some(core.index()));
            assert_eq!(scheduler.metrics().current_tasks, 0);
            seen.lock().unwrap().insert(core.index());
        })
        .build()
        .unwrap();
    for core in 0..3 {
        cluster.spawn(core, move || assert_eq!(INDEX.get(), Some(core))).unwrap();
    }
    cluster.start().unwrap();
    assert_eq!(cluster.start(), Err(Error::Busy));
    cluster.join().unwrap();
    assert_eq!(*torn_down.lock().unwrap(), BTreeSet::from([0, 1, 2]));
    drop(cluster); // And with it the sender.
    assert_eq!(ran.iter().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2]));
}

/// A cluster of three, whose core 1 fails to be set up, and a task of core 0 that waits.
fn with_a_failing_core(
    fails: impl Fn() -> majjen::Result<()> + Send + Sync + 'static,
) -> (Cluster, Drops, Arc<AtomicUsize>) {
    let torn_down = Arc::new(AtomicUsize::new(0));
    let count = torn_down.clone();
    let cluster = Builder::new()
        .cores(3)
        .set_up(move |_, core| if core.index() == 1 { fails() } else { Ok(()) })
        .tear_down(move |_, _| _ = count.fetch_add(1, SeqCst))
        .build()
        .unwrap();
    let drops = Drops::default();
    for core in 0..3 {
        let guard = drops.guard();
        let waits = move || {
            let _guard = guard;
            task::sleep(HOUR).unwrap();
        };
        cluster.spawn(core, waits).unwrap();
    }
    cluster.start().unwrap();
    (cluster, drops, torn_down)
}

#[test]
fn a_set_up_that_fails_stops_the_others() {
    // An error that could be one of the call.
    let (cluster, drops, torn_down) = with_a_failing_core(|| Err(Error::Busy));
    for _ in 0..2 {
        assert!(matches!(cluster.join(), Err(JoinError::Failed(Error::Busy))));
    }
    assert_eq!((drops.count(), torn_down.load(SeqCst)), (3, 3));
    let (cluster, ..) = with_a_failing_core(|| Err(std::io::Error::from_raw_os_error(18).into()));
    assert!(matches!(cluster.join(), Err(JoinError::Failed(Error::Os(18)))));
}

#[test]
fn a_set_up_that_panics_is_told_by_join() {
    let (cluster, drops, torn_down) = with_a_failing_core(|| panic!("on purpose"));
    match cluster.join() {
        Err(JoinError::Panicked(panic)) => assert_eq!(panic.message(), "on purpose"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(cluster.join(), Err(JoinError::Failed(Error::Panicked))));
    assert_eq!((drops.count(), torn_down.load(SeqCst)), (3, 3));
}

#[test]
fn a_tear_down_that_panics_is_told_by_join() {
    let cluster = Builder::new().cores(2).tear_down(|_, _| panic!("on purpose")).build().unwrap();
    cluster.start().unwrap();
    assert!(matches!(cluster.join(), Err(JoinError::Panicked(_))));
}

// ---- work

#[test]
fn each_core_does_what_it_is_given() {
    let cluster = cluster(3);
    let threads: Arc<Mutex<BTreeSet<(usize, String)>>> = Arc::default();
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..300 {
        let core = cluster.next();
        let (here, threads, done) = (cluster.clone(), threads.clone(), done.clone());
        let work = move || {
            assert_eq!(here.here(), Some(core));
            assert_eq!(Core::current().unwrap().index(), core);
            assert!(here.load(core) >= 1);
            task::yield_now().unwrap();
            threads.lock().unwrap().insert((core, format!("{:?}", thread::current().id())));
            done.fetch_add(1, SeqCst);
        };
        cluster.spawn(core, work).unwrap();
    }
    assert_eq!([0, 1, 2].map(|core| cluster.load(core)), [100; 3]);
    cluster.start().unwrap();
    cluster.join().unwrap();
    assert_eq!((done.load(SeqCst), threads.lock().unwrap().len()), (300, 3));
    assert_eq!([0, 1, 2].map(|core| cluster.load(core)), [0; 3]);
    assert!(
        cluster.metrics_prometheus().unwrap().contains("majjen_cluster_tasks_exited_total 300\n")
    );
}

#[test]
fn it_goes_on_while_cores_give_each_other_work() {
    fn relay(left: usize, done: mpsc::Sender<ThreadId>) {
        let core = Core::current().unwrap();
        match left {
            0 => done.send(thread::current().id()).unwrap(),
            _ => {
                let next = 1 - core.index();
                core.cluster().spawn(next, move || relay(left - 1, done)).unwrap();
            }
        }
    }
    let cluster = cluster(2);
    let (sender, done) = mpsc::channel();
    cluster.spawn(0, move || relay(2001, sender)).unwrap();
    cluster.start().unwrap();
    cluster.join().unwrap();
    assert!(done.recv().is_ok());
}

#[test]
fn a_panic_ends_its_task_alone() {
    let cluster = cluster(2);
    let (sender, done) = mpsc::channel();
    cluster.spawn(0, || panic!("on purpose")).unwrap();
    cluster.start().unwrap();
    wait_until("a panic leaves its load", || cluster.load(0) == 0);
    cluster.spawn(0, move || sender.send(()).unwrap()).unwrap();
    cluster.join().unwrap();
    assert!(done.recv().is_ok());
}

#[test]
fn a_closure_that_is_not_run_comes_back_or_is_dropped_once() {
    let drops = Drops::default();
    let closure = |guard: Dropped| {
        move || {
            let _guard = guard;
            unreachable!("it runs");
        }
    };
    let cluster = cluster(2);
    cluster.remote(1).unwrap().set_limit(1).unwrap();
    cluster.spawn(1, || ()).unwrap();
    let refused = cluster.spawn(1, closure(drops.guard())).unwrap_err();
    assert_eq!((refused.error, cluster.load(1), drops.count()), (Error::WouldBlock, 1, 0));
    drop(refused);
    assert_eq!(drops.count(), 1);
    cluster.stop(Duration::ZERO);
    let refused = cluster.spawn(0, closure(drops.guard())).unwrap_err();
    assert_eq!((refused.error, cluster.load(0)), (Error::Disconnected, 0));
    cluster.start().unwrap();
    cluster.join().unwrap();
    let refused = cluster.spawn(0, refused.value).unwrap_err();
    assert_eq!((refused.error, drops.count()), (Error::Disconnected, 1));
    drop(refused);
    assert_eq!((drops.count(), cluster.load(0), cluster.load(1)), (2, 0, 0));
}

#[test]
fn what_a_core_was_given_that_does_not_run_is_dropped_once() {
    let (drops, count) = (Drops::default(), 10);
    let cluster = Builder::new()
        .cores(2)
        .set_up(|_, core| if core.index() == 1 { Err(Error::Overflow) } else { Ok(()) })
        .build()
        .unwrap();
    for _ in 0..count {
        let guard = drops.guard();
        let closure = move || {
            let _guard = guard;
            unreachable!("it runs");
        };
        cluster.spawn(1, closure).unwrap();
    }
    assert_eq!(cluster.load(1), count);
    cluster.start().unwrap();
    assert!(matches!(cluster.join(), Err(JoinError::Failed(Error::Overflow))));
    assert_eq!((drops.count(), cluster.load(1)), (count, 0));
}

#[test]
fn what_was_never_begun_is_dropped_with_the_cluster() {
    let drops = Drops::default();
    let cluster = named("unbegun");
    for number in 0..10 {
        let guard = drops.guard();
        cluster.spawn(number % 2, move || drop(guard)).unwrap();
    }
    assert_eq!((threads_of("unbegun"), drops.count()), (2, 0));
    drop(cluster);
    assert_eq!(drops.count(), 10);
    no_thread_is_left_of("unbegun");
}

#[test]
fn keys_stay_and_the_least_loaded_is_found() {
    let [one, other] = [cluster(4), cluster(4)];
    let mut counts = [0; 4];
    for key in 0..4000 {
        assert_eq!(one.of_key(key), other.of_key(key));
        counts[one.of_key(key)] += 1;
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    for core in [0, 1, 3] {
        one.spawn(core, || ()).unwrap();
    }
    assert!((0..20).all(|_| one.least_loaded() == 2));
}

// ---- calls

#[test]
fn a_call_returns_what_comes_of_it() {
    let cluster = cluster(2);
    cluster.start().unwrap();
    let there = cluster.clone();
    // From a thread, and from a task to another core and to its own.
    let cores = cluster.call(0, move || {
        let (one, other) = (there.clone(), there.clone());
        let other = there.call(1, move || (thread::current().id(), other.here())).unwrap();
        let own = there.call(0, move || (thread::current().id(), one.here())).unwrap();
        assert_eq!(own.0, thread::current().id());
        assert_ne!(other.0, own.0);
        (own.1, other.1)
    });
    assert_eq!(cores.unwrap(), (Some(0), Some(1)));
    match cluster.call(1, || {
        if true {
            panic!("on purpose")
        }
    }) {
        Err(JoinError::Panicked(panic)) => assert_eq!(panic.message(), "on purpose"),
        other => panic!("{other:?}"),
    }
    let failed = cluster.call(2, || ());
    assert!(matches!(failed, Err(JoinError::Failed(Error::InvalidArgument))));
    let canceled = cluster.call(1, || {
        task::current().unwrap().cancel();
        task::yield_now().unwrap();
    });
    assert!(matches!(canceled, Err(JoinError::Canceled)));
    cluster.join().unwrap();
    let failed = cluster.call(1, || ());
    assert!(matches!(failed, Err(JoinError::Failed(Error::Disconnected))));
}

#[test]
fn a_caller_that_leaves_takes_the_other_task_with_it() {
    let cluster = cluster(2);
    cluster.start().unwrap();
    let (drops, begun) = (Drops::default(), Arc::new(AtomicBool::new(false)));
    let (guard, other, there) = (drops.guard(), begun.clone(), cluster.clone());
    let left = cluster.call(0, move || {
        let other = begun.clone();
        let call = move || {
            let sleeps = move || {
                let _guard = guard;
                other.store(true, SeqCst);
                task::sleep(HOUR).unwrap();
            };
            there.call(1, sleeps)
        };
        let calls = task::spawn(call);
        while !begun.load(SeqCst) {
            task::sleep(MS).unwrap();
        }
        calls.cancel();
        assert!(matches!(calls.join(), Err(JoinError::Canceled)));
    });
    left.unwrap();
    assert!(other.load(SeqCst));
    cluster.join().unwrap(); // It would take an hour.
    assert_eq!(drops.count(), 1);
}

#[test]
fn what_was_left_before_it_has_begun_does_not_begin() {
    let cluster = cluster(2);
    cluster.start().unwrap();
    let (sender, go) = mpsc::channel::<()>();
    cluster.spawn(1, move || go.recv().unwrap()).unwrap(); // It keeps the core.
    let (there, drops) = (cluster.clone(), Drops::default());
    let (guard, ran) = (drops.guard(), Arc::new(AtomicBool::new(false)));
    let other = ran.clone();
    let left = cluster.call(0, move || {
        let closure = move || {
            let _guard = guard;
            other.store(true, SeqCst);
        };
        let limited = task::timeout(5 * MS, move || there.call(1, closure));
        assert!(limited.is_err());
    });
    left.unwrap();
    sender.send(()).unwrap();
    cluster.join().unwrap();
    assert_eq!((ran.load(SeqCst), drops.count()), (false, 1));
}

#[test]
fn a_call_waits_for_room() {
    let cluster = cluster(2);
    cluster.remote(1).unwrap().set_limit(1).unwrap();
    cluster.spawn(1, || ()).unwrap();
    let calls = cluster.clone();
    let other = thread::spawn(move || calls.call(1, || 7));
    thread::sleep(5 * MS);
    assert!(!other.is_finished());
    cluster.start().unwrap();
    assert_eq!(other.join().unwrap().unwrap(), 7);
    cluster.join().unwrap();
}

#[test]
fn a_call_of_a_task_waits_for_room_and_lets_others_run() {
    let cluster = cluster(2);
    cluster.remote(1).unwrap().set_limit(1).unwrap();
    let ((begins, begun), (frees, freed)) = (mpsc::channel(), mpsc::channel::<()>());
    let keeps = move || {
        begins.send(()).unwrap();
        freed.recv().unwrap(); // Blocks its core.
    };
    cluster.spawn(1, keeps).unwrap();
    cluster.start().unwrap();
    begun.recv().unwrap();
    cluster.spawn(1, || ()).unwrap(); // Which takes the room.
    let (there, (sender, answer)) = (cluster.clone(), mpsc::channel());
    cluster.spawn(0, move || sender.send(there.call(1, || 7)).unwrap()).unwrap();
    cluster.spawn(0, move || frees.send(()).unwrap()).unwrap(); // Behind the one that waits.
    assert!(matches!(answer.recv(), Ok(Ok(7))));
    cluster.join().unwrap();
}

#[test]
fn a_call_that_cannot_wait_says_so_and_leaves_nothing_behind() {
    let cluster = cluster(2);
    cluster.start().unwrap();
    let (drops, (sender, told)) = (Drops::default(), mpsc::channel());
    // In a destructor that unwinding calls, and in a task that is canceled or late, and not unwound.
    for which in 0..3 {
        let (there, guard, sender) = (cluster.clone(), drops.guard(), sender.clone());
        let call = move || {
            let sleeps = move || {
                let _guard = guard;
                task::sleep(HOUR).unwrap();
            };
            sender.send(there.call(1, sleeps)).unwrap();
        };
        let body = move || match which {
            0 => {
                let mut call = Some(call);
                let _calls = support::OnDrop(|| call.take().unwrap()());
                panic!("on purpose");
            }
            1 => {
                task::current().unwrap().cancel();
                task::no_unwind(call);
            }
            _ => task::timeout(5 * MS, || task::no_unwind(call)).unwrap(),
        };
        cluster.spawn(0, body).unwrap();
        let expected = [Error::Unwinding, Error::Canceled, Error::TimedOut][which];
        match told.recv().unwrap() {
            Err(JoinError::Failed(error)) => assert_eq!(error, expected),
            other => panic!("{other:?} for {expected:?}"),
        }
    }
    cluster.join().unwrap(); // It would take an hour.
    assert_eq!(drops.count(), 3);
}

// ---- all cores at once

#[test]
fn a_function_runs_on_all_cores() {
    let _alone = alone();
    let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
    let all = seen.clone();
    run_on_all_cores(move |core| {
        let index = core.index();
        let next = (index + 1) % core.cluster().size();
        let seen = seen.clone();
        core.cluster().spawn(next, move || seen.lock().unwrap().push(index)).unwrap();
    })
    .unwrap();
    let mut all = Arc::into_inner(all).expect("the function is dropped").into_inner().unwrap();
    all.sort_unstable();
    let cores = thread::available_parallelism().unwrap().get().min(1024);
    assert_eq!(all, (0..cores).collect::<Vec<_>>());
}

#[test]
fn a_panic_on_one_core_is_returned_and_stops_the_others() {
    let _alone = alone();
    let drops = Drops::default();
    let begun = Arc::new(AtomicUsize::new(0));
    let (guards, count) = (drops.clone(), begun.clone());
    let result = run_on_all_cores(move |core| {
        let _guard = guards.guard();
        count.fetch_add(1, SeqCst);
        let size = core.cluster().size();
        while core.index() == 0 && count.load(SeqCst) < size {
            task::sleep(MS).unwrap();
        }
        assert_ne!(core.index(), 0, "on purpose");
        task::sleep(HOUR).unwrap();
    });
    match result {
        Err(JoinError::Panicked(panic)) => assert!(panic.message().contains("on purpose")),
        other => panic!("{other:?}"),
    }
    assert_eq!(drops.count(), begun.load(SeqCst));
}

#[test]
fn a_signal_stops_a_function_on_all_cores() {
    let _alone = alone();
    let drops = Drops::default();
    let guards = drops.clone();
    let began = Instant::now();
    run_on_all_cores(move |core| {
        let _guard = guards.guard();
        if core.index() == 0 {
            send_sigterm();
            task::sleep(MS).unwrap();
            send_sigterm(); // Or else there were five seconds.
        }
        task::sleep(HOUR).unwrap();
    })
    .unwrap();
    assert!(drops.count() >= 1 && began.elapsed() < HOUR);
}

#[test]
fn it_is_refused_in_a_task() {
    let refused = support::in_a_task(|| run_on_all_cores(|_| unreachable!()));
    assert!(matches!(refused, Err(JoinError::Failed(Error::Busy))));
    support::in_a_task(|| assert!(Core::current().is_none()));
}

#[test]
fn one_signal_stops_all() {
    let _alone = alone();
    let (drops, cluster) = (Drops::default(), cluster(2));
    for core in 0..2 {
        let guard = drops.guard();
        let waits = move || {
            let _guard = guard;
            task::park(None).unwrap();
        };
        cluster.spawn(core, waits).unwrap();
    }
    cluster.spawn(1, send_sigterm).unwrap();
    cluster.run(5 * MS).unwrap();
    assert_eq!((cluster.signal(), drops.count()), (Some(signal::SIGTERM), 2));
    assert!(matches!(cluster.run(MS), Err(JoinError::Failed(Error::Busy))));
}

#[test]
fn jobs_of_the_pool_come_back_to_their_core() {
    let cluster = cluster(2);
    let (sender, done) = mpsc::channel();
    for core in 0..2 {
        let sender = sender.clone();
        let work = move || {
            let here = thread::current().id();
            let there = blocking::run(|| thread::current().id()).unwrap();
            assert_ne!(here, there);
            assert_eq!(thread::current().id(), here);
            sender.send(core).unwrap();
        };
        cluster.spawn(core, work).unwrap();
    }
    drop(sender);
    cluster.start().unwrap();
    cluster.join().unwrap();
    assert_eq!(done.iter().count(), 2);
}
