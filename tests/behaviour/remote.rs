//! Handles for other threads, tested through both APIs: `mj_remote` and `Remote`.

mod c_abi;
mod rust_api;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Instant;

use super::{Api, End, Events, HOUR, MS};

/// One API of the handles. A handle that is dropped is released.
trait Handles: Api {
    type Remote: Clone + Send + Sync + 'static;

    fn remote(&self) -> Self::Remote;
    /// The closure is dropped when it is refused, and when the scheduler is destroyed first.
    fn post(remote: &Self::Remote, body: impl FnOnce() + Send + 'static) -> Result<(), i32>;
    fn set_limit(remote: &Self::Remote, posts: usize) -> Result<(), i32>;
    fn wake_by(remote: &Self::Remote, id: u64) -> Result<(), i32>;
    fn cancel_by(remote: &Self::Remote, id: u64) -> Result<(), i32>;
    fn stop_by(remote: &Self::Remote) -> Result<(), i32>;
    /// How many tasks were added, and how many have ended.
    fn tasks_by(remote: &Self::Remote) -> Result<(u64, u64), i32>;
    /// The counters as Prometheus reads them.
    fn text_by(remote: &Self::Remote) -> Result<String, i32>;
    fn id(task: &Self::Task) -> u64;
}

behaviours!(
    posts_of_a_thread_begin_in_order,
    a_post_that_suspends_does_not_hold_up_the_next,
    as_many_posts_wait_as_may,
    nobody_is_refused_below_the_limit,
    a_post_that_has_not_begun_is_dropped_by_the_destroyer,
    after_the_end_every_call_says_so,
    posts_beside_the_end_run_or_are_dropped_once,
    another_thread_wakes_and_cancels_a_task,
    on_its_own_thread_a_handle_tells_of_missing_tasks,
    a_run_waits_while_there_is_a_handle,
    what_is_left_before_the_last_handle_goes_is_done,
    a_run_whose_tasks_have_ended_is_over,
    another_thread_stops_a_run_by_a_handle,
    another_thread_reads_counters,
);

/// Records the thread that drops it.
struct Droppable(Arc<Mutex<Vec<ThreadId>>>);

impl Drop for Droppable {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

fn posts_of_a_thread_begin_in_order<D: Handles>() {
    const EACH: usize = 2000;
    let (api, begun) = (D::new(), Arc::new(Mutex::new(Vec::new())));
    let threads = [0, 1].map(|which| {
        let (remote, begun) = (api.remote(), begun.clone());
        thread::spawn(move || {
            for number in 0..EACH {
                let begun = begun.clone();
                let body = move || {
                    begun.lock().unwrap().push((which, number));
                    if number % 5 == 0 {
                        let _ = D::yield_now();
                    }
                };
                D::post(&remote, body).unwrap();
            }
        })
    });
    // Without a task of its own a run would end between two posts.
    let all = begun.clone();
    api.spawn(move || {
        while all.lock().unwrap().len() < 2 * EACH {
            D::sleep(MS / 10).unwrap();
        }
    });
    assert_eq!(api.run(), End::Completed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let begun = begun.lock().unwrap();
    for which in [0, 1] {
        let numbers = begun.iter().filter(|of| of.0 == which).map(|of| of.1);
        assert!(numbers.eq(0..EACH));
    }
}

fn a_post_that_suspends_does_not_hold_up_the_next<D: Handles>() {
    let (api, order) = (D::new(), Arc::new(Mutex::new(Vec::new())));
    let remote = api.remote();
    for number in 0..3 {
        let order = order.clone();
        let body = move || {
            if number == 0 {
                let _ = D::sleep(10 * MS);
            }
            order.lock().unwrap().push(number);
        };
        D::post(&remote, body).unwrap();
    }
    assert!(order.lock().unwrap().is_empty());
    assert_eq!(api.run(), End::Completed);
    assert_eq!(*order.lock().unwrap(), [1, 2, 0]);
    assert_eq!(api.tasks(), (3, 3));
}

fn as_many_posts_wait_as_may<D: Handles>() {
    let (api, run) = (D::new(), Arc::new(AtomicUsize::new(0)));
    let remote = api.remote();
    let post = || {
        let run = run.clone();
        D::post(&remote, move || _ = run.fetch_add(1, Relaxed))
    };
    assert_eq!(D::set_limit(&remote, 0), Err(libc::EINVAL));
    D::set_limit(&remote, 2).unwrap();
    for round in 1..=3 {
        assert_eq!([post(), post(), post()], [Ok(()), Ok(()), Err(libc::EAGAIN)]);
        assert_eq!(D::wake_by(&remote, 1), Err(libc::EAGAIN));
        assert_eq!(D::cancel_by(&remote, 1), Err(libc::EAGAIN));
        assert_eq!(api.run(), End::Completed);
        assert_eq!(run.load(Relaxed), 2 * round);
    }
    // Those that wait already are left alone.
    post().unwrap();
    post().unwrap();
    D::set_limit(&remote, 1).unwrap();
    assert_eq!(post(), Err(libc::EAGAIN));
    assert_eq!(api.run(), End::Completed);
    assert_eq!([post(), post()], [Ok(()), Err(libc::EAGAIN)]);
    D::set_limit(&remote, usize::MAX).unwrap();
    post().unwrap();
    assert_eq!(api.run(), End::Completed);
    assert_eq!(run.load(Relaxed), 10);
}

/// Each thread has one post on its way, so that there is room for all of them at any moment.
fn nobody_is_refused_below_the_limit<D: Handles>() {
    const THREADS: usize = 4;
    let (api, left) = (D::new(), Arc::new(AtomicUsize::new(THREADS)));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (remote, left) = (api.remote(), left.clone());
            D::set_limit(&remote, THREADS).unwrap();
            thread::spawn(move || {
                let (begun, has_begun) = mpsc::channel();
                for _ in 0..2000 {
                    let begun = begun.clone();
                    D::post(&remote, move || begun.send(()).unwrap()).unwrap();
                    has_begun.recv().unwrap();
                }
                left.fetch_sub(1, Relaxed);
            })
        })
        .collect();
    api.spawn(move || {
        while left.load(Relaxed) > 0 {
            D::yield_now().unwrap();
        }
    });
    assert_eq!(api.run(), End::Completed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn a_post_that_has_not_begun_is_dropped_by_the_destroyer<D: Handles>() {
    let (run, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let api = D::new();
    let remote = api.remote();
    let post = || {
        let (run, droppable) = (run.clone(), Droppable(Arc::clone(&dropped)));
        let body = move || {
            run.fetch_add(1, Relaxed);
            drop(droppable);
        };
        D::post(&remote, body)
    };
    let counts = || (run.load(Relaxed), dropped.lock().unwrap().len());
    post().unwrap();
    assert_eq!(api.run(), End::Completed);
    assert_eq!(counts(), (1, 1));
    // A run that is stopped before it has begun all of them: of those that it has taken, too.
    let stop = api.stop();
    api.spawn(move || D::raise(&stop));
    (0..1000).for_each(|_| post().unwrap());
    assert!(matches!(api.run(), End::Stopped | End::Completed));
    let (begun, _) = counts();
    assert!(begun < 1001);
    let poster = thread::scope(|scope| {
        let posts = scope.spawn(|| {
            post().unwrap();
            thread::current().id()
        });
        posts.join().unwrap()
    });
    drop(api);
    assert_eq!(counts(), (begun, 1002));
    assert!(!dropped.lock().unwrap().contains(&poster));
    // One that is refused is not kept.
    assert_eq!(post(), Err(libc::EPIPE));
    assert_eq!(counts(), (begun, 1003));
}

fn after_the_end_every_call_says_so<D: Handles>() {
    let remote = D::new().remote();
    let other = remote.clone();
    let asks = move || {
        assert_eq!(D::post(&other, || ()), Err(libc::EPIPE));
        assert_eq!(D::wake_by(&other, 1), Err(libc::EPIPE));
        assert_eq!(D::cancel_by(&other, 1), Err(libc::EPIPE));
        assert_eq!(D::stop_by(&other), Err(libc::EPIPE));
        assert_eq!(D::tasks_by(&other), Err(libc::EPIPE));
        assert_eq!(D::text_by(&other), Err(libc::EPIPE));
    };
    thread::spawn(asks).join().unwrap();
    // In a task of another scheduler.
    let api = D::new();
    api.spawn(move || assert_eq!(D::post(&remote, || ()), Err(libc::EPIPE)));
    assert_eq!(api.run(), End::Completed);
}

fn posts_beside_the_end_run_or_are_dropped_once<D: Handles>() {
    for _ in 0..30 {
        let (run, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<_>>::default());
        let api = D::new();
        let threads = [0, 1].map(|_| {
            let (remote, run, dropped) = (api.remote(), run.clone(), Arc::clone(&dropped));
            thread::spawn(move || {
                let mut accepted = 0;
                loop {
                    let (run, droppable) = (run.clone(), Droppable(dropped.clone()));
                    let body = move || {
                        let _droppable = droppable;
                        run.fetch_add(1, Relaxed);
                    };
                    match D::post(&remote, body) {
                        Ok(()) => accepted += 1,
                        Err(libc::EAGAIN) => thread::yield_now(),
                        Err(error) => return (accepted, error),
                    }
                }
            })
        });
        api.spawn(|| D::sleep(MS).unwrap());
        let stop = api.stop();
        api.spawn(move || {
            D::sleep(MS).unwrap();
            D::raise(&stop);
        });
        assert!(matches!(api.run(), End::Stopped | End::Completed));
        drop(api);
        let ended = threads.map(|thread| thread.join().unwrap());
        assert_eq!([ended[0].1, ended[1].1], [libc::EPIPE; 2]);
        let accepted = ended[0].0 + ended[1].0;
        let own = thread::current().id();
        // Those that ran were dropped there, and the others here, which is the same thread.
        let here = dropped.lock().unwrap().iter().filter(|thread| **thread == own).count();
        assert_eq!(here, accepted);
        assert!(run.load(Relaxed) <= accepted);
    }
}

fn another_thread_wakes_and_cancels_a_task<D: Handles>() {
    for cancels in [false, true] {
        let (api, events) = (D::new(), Events::new());
        let log = events.clone();
        let (parked, is_parked) = mpsc::channel();
        let task = api.spawn(move || {
            parked.send(()).unwrap();
            log.push(D::park(Some(HOUR)));
        });
        let (remote, id) = (api.remote(), D::id(&task));
        let other = thread::spawn(move || {
            is_parked.recv().unwrap();
            // Of one that is not there nothing is told.
            D::wake_by(&remote, id + 1000).unwrap();
            D::cancel_by(&remote, id + 1000).unwrap();
            let act = if cancels { D::cancel_by } else { D::wake_by };
            act(&remote, id).unwrap();
        });
        assert_eq!(api.run(), End::Completed);
        other.join().unwrap();
        let expected = if cancels { Err(libc::ECANCELED) } else { Ok(()) };
        // A wake-up is a success in Rust, and an interruption in C.
        let woken = events.0.borrow()[0];
        assert!(woken == expected || !cancels && woken == Err(libc::EINTR), "{woken:?}");
    }
}

fn on_its_own_thread_a_handle_tells_of_missing_tasks<D: Handles>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    let waiting = api.spawn(move || log.push(D::park(None)));
    let (remote, id) = (api.remote(), D::id(&waiting));
    assert_eq!(D::wake_by(&remote, 0), Err(libc::EINVAL));
    assert_eq!(D::cancel_by(&remote, 0), Err(libc::EINVAL));
    api.spawn(move || {
        assert_eq!(D::wake_by(&remote, id + 1000), Err(libc::ESRCH));
        assert_eq!(D::cancel_by(&remote, id + 1000), Err(libc::ESRCH));
        D::cancel_by(&remote, id).unwrap();
    });
    assert_eq!(api.run(), End::Completed);
    events.are(&[Err(libc::ECANCELED)]);
}

fn a_run_waits_while_there_is_a_handle<D: Handles>() {
    let api = D::new();
    let task = api.spawn(|| {
        let _ = D::park(None);
    });
    // What stops a run does not count.
    let stop = api.stop();
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    drop(stop);
    let remote = api.remote();
    let threads = [remote.clone(), remote].map(|remote| {
        thread::spawn(move || {
            thread::sleep(10 * MS);
            drop(remote);
        })
    });
    let began = Instant::now();
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    assert!(began.elapsed() >= 5 * MS);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    api.cancel_in(&task).unwrap();
    assert_eq!(api.run(), End::Completed);
}

/// Also if the loop has found nothing to do just before.
fn what_is_left_before_the_last_handle_goes_is_done<D: Handles>() {
    for round in 0..300 {
        let (api, run) = (D::new(), Arc::new(AtomicUsize::new(0)));
        let task = api.spawn(|| {
            let _ = D::park(None);
        });
        let (remote, id, count) = (api.remote(), D::id(&task), run.clone());
        let cancels = round % 2 == 0;
        let other = thread::spawn(move || {
            if cancels {
                D::cancel_by(&remote, id).unwrap();
            } else {
                D::post(&remote, move || _ = count.fetch_add(1, Relaxed)).unwrap();
            }
        });
        let end = if cancels { End::Completed } else { End::Failed(libc::EDEADLK) };
        assert_eq!((api.run(), run.load(Relaxed)), (end, usize::from(!cancels)));
        other.join().unwrap();
        if !cancels {
            api.cancel_in(&task).unwrap();
            assert_eq!(api.run(), End::Completed);
        }
    }
}

fn a_run_whose_tasks_have_ended_is_over<D: Handles>() {
    let api = D::new();
    let remote = api.remote();
    assert_eq!(api.run(), End::Completed);
    // A post alone is a reason to run.
    let (ran, has_run) = mpsc::channel();
    D::post(&remote, move || ran.send(()).unwrap()).unwrap();
    assert_eq!(api.run(), End::Completed);
    has_run.try_recv().unwrap();
}

fn another_thread_stops_a_run_by_a_handle<D: Handles>() {
    let api = D::new();
    let task = api.spawn(|| {
        let _ = D::park(None);
    });
    let remote = api.remote();
    let other = thread::spawn(move || {
        thread::sleep(5 * MS);
        D::stop_by(&remote)
    });
    assert_eq!(api.run(), End::Stopped);
    assert_eq!(other.join().unwrap(), Ok(()));
    api.cancel_in(&task).unwrap();
    assert_eq!(api.run(), End::Completed);
}

fn another_thread_reads_counters<D: Handles>() {
    let api = D::new();
    let remote = api.remote();
    api.spawn(|| while D::yield_now().is_ok() {});
    let inner = api.clone();
    api.spawn(move || {
        for _ in 0..100 {
            inner.spawn(|| ());
            D::yield_now().unwrap();
        }
    });
    let other = thread::spawn(move || {
        let mut before = (0, 0);
        while before.1 < 101 {
            let now = D::tasks_by(&remote).unwrap();
            assert!(now.0 >= before.0 && now.1 >= before.1, "{before:?} {now:?}");
            before = now;
            thread::yield_now();
        }
        let text = D::text_by(&remote).unwrap();
        assert!(text.contains("\nmajjen_tasks_created_total 102\n"), "{text}");
        D::stop_by(&remote).unwrap();
        before
    });
    assert_eq!(api.run(), End::Stopped);
    assert_eq!((other.join().unwrap(), api.tasks()), ((102, 101), (102, 101)));
}
