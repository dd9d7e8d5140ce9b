//! How a cluster ends, and who waits for that.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use majjen::cluster::{Builder, Cluster, Core};
use majjen::{Error, JoinError, Scheduler, blocking, task};

use super::support::{self, HOUR, OnDrop};
use super::{Drops, MS, cluster, named, no_thread_is_left_of, threads_of, wait_until};

/// Gives each core a task that waits for an hour, and waits until both do.
fn started_with_sleepers(name: &str) -> (Cluster, Drops) {
    let (cluster, drops) = (named(name), Drops::default());
    let (sender, begun) = mpsc::channel();
    for core in 0..2 {
        let (guard, sender) = (drops.guard(), sender.clone());
        let waits = move || {
            let _guard = guard;
            sender.send(()).unwrap();
            task::sleep(HOUR).unwrap();
        };
        cluster.spawn(core, waits).unwrap();
    }
    cluster.start().unwrap();
    (0..2).for_each(|_| begun.recv().unwrap());
    (cluster, drops)
}

// ---- stopping

#[test]
fn tasks_have_their_grace_and_are_unwound_then() {
    let (cluster, drops) = started_with_sleepers("grace");
    let ended = Arc::new(AtomicBool::new(false));
    let by_itself = ended.clone();
    let ends = move || {
        task::sleep(10 * MS).unwrap();
        by_itself.store(true, SeqCst);
    };
    cluster.spawn(1, ends).unwrap();
    cluster.stop(20 * MS);
    assert_eq!(drops.count(), 0);
    cluster.join().unwrap();
    assert!(ended.load(SeqCst) && drops.count() == 2);
    no_thread_is_left_of("grace");
}

#[test]
fn a_third_stop_leaves_tasks_to_the_drop_of_their_scheduler() {
    let (cluster, drops) = (cluster(2), Drops::default());
    let (sender, begun) = mpsc::channel();
    let guard = drops.guard();
    let is_deaf = move || {
        let _guard = guard;
        sender.send(()).unwrap();
        while task::shield(|| task::sleep(MS)).is_ok() {} // Nothing ends it but that its scheduler is dropped.
        task::park(None).unwrap();
    };
    cluster.spawn(1, is_deaf).unwrap();
    cluster.start().unwrap();
    begun.recv().unwrap();
    cluster.stop(HOUR);
    cluster.stop(HOUR);
    thread::sleep(5 * MS);
    assert_eq!(drops.count(), 0);
    cluster.stop(HOUR);
    cluster.join().unwrap();
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_core_that_stops_stops_the_others() {
    let (cluster, drops) = started_with_sleepers("halting");
    cluster.remote(0).unwrap().stop().unwrap();
    cluster.join().unwrap();
    assert_eq!(drops.count(), 2);
}

#[test]
fn a_caller_hears_that_the_other_core_has_stopped() {
    let cluster = cluster(2);
    let (there, begun) = (cluster.clone(), Arc::new(AtomicBool::new(false)));
    let other = begun.clone();
    let (sender, heard) = mpsc::channel();
    let caller = move || {
        let sleeps = move || {
            begun.store(true, SeqCst);
            while task::shield(|| task::sleep(HOUR)).is_ok() {}
        };
        sender.send(task::shield(|| there.call(1, sleeps))).unwrap();
    };
    cluster.spawn(0, caller).unwrap();
    cluster.start().unwrap();
    wait_until("it has begun", || other.load(SeqCst));
    cluster.remote(1).unwrap().stop().unwrap();
    let answer = heard.recv_timeout(Duration::from_secs(20));
    if answer.is_err() {
        (0..3).for_each(|_| cluster.stop(Duration::ZERO)); // Without waiting for it.
    }
    cluster.join().unwrap();
    assert!(matches!(answer, Ok(Err(JoinError::Canceled))), "{answer:?}");
}

#[test]
fn the_first_error_of_a_core_is_told() {
    let cluster = Builder::new()
        .cores(2)
        .set_up(|scheduler, _| {
            scheduler.spawn(|| task::park(None)); // Nobody is left to wake it.
            Ok(())
        })
        .build()
        .unwrap();
    cluster.start().unwrap();
    assert!(matches!(cluster.join(), Err(JoinError::Failed(Error::Deadlock))));
}

// ---- waiting where that would be for ever

#[test]
fn its_own_tasks_and_threads_cannot_wait_for_it() {
    let (sender, refused) = mpsc::channel();
    let in_set_up = sender.clone();
    let all_are_refused = |cluster: &Cluster| {
        let is_busy = |error| matches!(error, Err(JoinError::Failed(Error::Busy)));
        is_busy(cluster.join()) && is_busy(cluster.run(MS))
    };
    let cluster = Builder::new()
        .cores(1)
        .set_up(move |_, core| {
            in_set_up.send(all_are_refused(&core.cluster())).unwrap();
            Ok(())
        })
        .build()
        .unwrap();
    let own = cluster.clone();
    cluster.spawn(0, move || sender.send(all_are_refused(&own)).unwrap()).unwrap();
    assert!(matches!(cluster.join(), Err(JoinError::Failed(Error::InvalidArgument))));
    cluster.start().unwrap();
    cluster.join().unwrap();
    assert_eq!(refused.try_iter().collect::<Vec<_>>(), [true, true]);
}

// ---- dropping handles

#[test]
fn the_last_handle_stops_it_and_waits() {
    let (cluster, drops) = started_with_sleepers("dropped");
    let other = cluster.clone();
    drop(cluster);
    assert_eq!((threads_of("dropped"), drops.count()), (2, 0));
    drop(other);
    assert_eq!(drops.count(), 2);
    no_thread_is_left_of("dropped");
}

#[test]
fn a_stop_and_a_drop_do_not_leave_tasks_behind() {
    let (cluster, drops) = started_with_sleepers("urged");
    let (sender, told) = mpsc::channel();
    let cleans_up = move || {
        sender.send("has begun").unwrap(); // One that has not would not begin.
        let _last = OnDrop(|| sender.send("has cleaned up").unwrap());
        let _ = task::no_unwind(|| task::sleep(HOUR));
        task::shield(|| task::sleep(5 * MS)).unwrap(); // It is let, since it is canceled only.
    };
    cluster.spawn(0, cleans_up).unwrap();
    assert_eq!(told.recv(), Ok("has begun"));
    cluster.stop(HOUR);
    cluster.stop(Duration::ZERO);
    drop(cluster);
    assert_eq!(drops.count(), 2);
    assert_eq!(told.try_recv(), Ok("has cleaned up"));
    no_thread_is_left_of("urged");
}

#[test]
fn a_core_keeps_nothing_alive() {
    let (cluster, drops) = started_with_sleepers("cored");
    let core = cluster.call(1, || Core::current().unwrap()).unwrap();
    drop(cluster);
    assert_eq!(drops.count(), 2);
    no_thread_is_left_of("cored");
    // It is of use until then.
    let refused = core.cluster().spawn(1, || ()).unwrap_err();
    assert_eq!(refused.error, Error::Disconnected);
    assert_eq!(core.remote().stop(), Err(Error::Disconnected));
    assert_eq!((core.index(), format!("{core:?}")), (1, "Core { index: 1, .. }".to_owned()));
}

#[test]
fn the_last_handle_may_be_dropped_in_a_task_of_it() {
    let (cluster, drops) = started_with_sleepers("own-task");
    let torn_down = drops.guard();
    let own = cluster.clone();
    let (sender, go) = mpsc::channel();
    let last = move || {
        let _torn_down = torn_down;
        go.recv().unwrap();
        drop(own); // Does not wait for this task.
        task::sleep(HOUR).unwrap();
    };
    cluster.spawn(0, last).unwrap();
    drop(cluster);
    sender.send(()).unwrap();
    wait_until("it does not end", || threads_of("own-task") == 0 && threads_of("cluster-end") == 0);
    assert_eq!(drops.count(), 3);
}

#[test]
fn a_cluster_is_torn_down_also_when_nobody_waits_for_it() {
    const TIMES: usize = 50; // In most of them the handle is gone before the core begins its run.
    let (drops, torn_down) = (Drops::default(), Drops::default());
    for _ in 0..TIMES {
        let (guards, hooks) = (torn_down.clone(), drops.guard());
        let cluster = Builder::new()
            .cores(1)
            .name("untended")
            .tear_down(move |_, core| {
                let _hooks = &hooks;
                assert_eq!(core.cluster().size(), 1);
                drop(guards.guard());
            })
            .build()
            .unwrap();
        support::in_a_task(move || {
            cluster.start().unwrap();
            drop(cluster); // In one of another scheduler.
        });
    }
    wait_until("it does not end", || drops.count() == TIMES && threads_of("untended") == 0);
    assert_eq!(torn_down.count(), TIMES);
}

#[test]
fn one_that_was_not_started_may_be_dropped_in_a_task() {
    let (cluster, drops) = (named("unused"), Drops::default());
    let guard = drops.guard();
    cluster.spawn(0, move || drop(guard)).unwrap();
    support::in_a_task(move || drop(cluster));
    wait_until("it does not end", || threads_of("unused") == 0 && drops.count() == 1);
}

#[test]
fn the_last_handle_may_be_dropped_by_a_job_that_a_task_of_it_waits_for() {
    let (cluster, drops) = started_with_sleepers("job");
    let own = cluster.clone();
    let (sender, go) = mpsc::channel();
    let last = move || {
        let job = move || {
            go.recv().unwrap();
            drop(own);
        };
        task::shield(|| blocking::run(job)).unwrap();
    };
    cluster.spawn(0, last).unwrap();
    drop(cluster);
    sender.send(()).unwrap();
    wait_until("it does not end", || threads_of("job") == 0);
    assert_eq!(drops.count(), 2);
}

#[test]
fn the_last_handle_may_be_dropped_with_a_thread_local_of_a_core() {
    thread_local! {
        static KEPT: RefCell<Option<Cluster>> = const { RefCell::new(None) };
    }
    let (cluster, drops) = (named("local"), Drops::default());
    let own = cluster.clone();
    let (sender, kept) = mpsc::channel();
    let guard = drops.guard();
    let keeps = move || {
        KEPT.set(Some(own));
        let _guard = guard;
        sender.send(()).unwrap();
    };
    cluster.spawn(1, keeps).unwrap();
    cluster.start().unwrap();
    kept.recv().unwrap();
    cluster.stop(Duration::ZERO);
    wait_until("it does not end", || cluster.load(1) == 0);
    drop(cluster);
    wait_until("it does not end", || threads_of("local") == 0);
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_handle_that_outlives_a_scheduler_is_of_use_to_another() {
    let (cluster, drops) = started_with_sleepers("outer");
    let scheduler = Scheduler::new().unwrap();
    let inner = cluster.clone();
    let sum = scheduler.spawn(move || inner.call(0, || 1).unwrap() + inner.call(1, || 2).unwrap());
    scheduler.run().unwrap();
    assert_eq!(sum.join().unwrap(), 3);
    drop(scheduler);
    drop(cluster);
    assert_eq!(drops.count(), 2);
}

// ---- fork()

#[test]
fn a_child_is_told_that_it_is_the_parents() {
    let (cluster, drops) = started_with_sleepers("parent");
    let remote = cluster.remote(0).unwrap();
    // SAFETY: the child calls what may be called there, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = cluster.spawn(0, || ()).map_err(|refused| refused.error);
        let is_told = refused == Err(Error::OwnerDied)
            && cluster.start() == Err(Error::OwnerDied)
            && matches!(cluster.join(), Err(JoinError::Failed(Error::OwnerDied)))
            && cluster.listen("127.0.0.1:0", |_| ()).is_err();
        drop(cluster); // Does not wait for threads that there are not.
        // SAFETY: no preconditions.
        unsafe { libc::_exit(if is_told && drops.count() == 0 { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the address is good.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(remote.metrics().is_ok(), "the child has ended it");
    drop(cluster);
    assert_eq!(drops.count(), 2);
}

#[test]
fn a_child_leaves_one_that_was_not_started_to_its_parent() {
    let (drops, ran) = (Drops::default(), Drops::default());
    let (kept, guard) = (drops.guard(), ran.guard());
    let cluster = Builder::new().cores(2).set_up(move |_, _| {
        let _kept = &kept;
        Ok(())
    });
    let cluster = cluster.build().unwrap();
    cluster.spawn(1, move || drop(guard)).unwrap();
    // SAFETY: the child calls what may be called there, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(cluster); // What its functions have captured is the parent's too.
        // SAFETY: no preconditions.
        unsafe { libc::_exit(if drops.count() + ran.count() == 0 { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the address is good.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    cluster.start().unwrap();
    cluster.join().unwrap();
    drop(cluster);
    assert_eq!((drops.count(), ran.count()), (1, 1));
}
