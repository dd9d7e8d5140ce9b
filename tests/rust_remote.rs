//! Handles for other threads: closures, wakers, and futures in tasks.

mod support;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use majjen::{Ended, Error, JoinError, Scheduler, task};
use support::scheduler;

#[test]
fn closures_of_a_thread_begin_in_order() {
    const EACH: usize = 2000;
    let scheduler = scheduler();
    let begun = Arc::new(Mutex::new([0; 2]));
    let threads: Vec<_> = (0..2)
        .map(|which| {
            let (remote, begun) = (scheduler.remote(), begun.clone());
            thread::spawn(move || {
                for number in 0..EACH {
                    let begun = begun.clone();
                    remote
                        .spawn(move || {
                            let before =
                                std::mem::replace(&mut begun.lock().unwrap()[which], number + 1);
                            assert_eq!(before, number);
                            if number % 5 == 0 {
                                task::yield_now().unwrap();
                            }
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    let all = begun.clone();
    let waits = scheduler.spawn(move || {
        while *all.lock().unwrap() != [EACH; 2] {
            task::sleep(Duration::from_micros(100)).unwrap();
        }
    });
    assert_eq!(scheduler.run(), Ok(Ended::Completed));
    waits.join().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn what_has_not_begun_is_dropped_once_with_the_scheduler() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let (dropped, run) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let post = |remote: &majjen::Remote| {
        let (counted, run) = (Counted(dropped.clone()), run.clone());
        remote.spawn(move || {
            run.fetch_add(1, Relaxed);
            drop(counted);
        })
    };
    let scheduler = scheduler();
    let remote = scheduler.remote();
    post(&remote).unwrap();
    assert_eq!(scheduler.run(), Ok(Ended::Completed));
    post(&remote).unwrap();
    assert_eq!((dropped.load(Relaxed), run.load(Relaxed)), (1, 1));
    drop(scheduler);
    assert_eq!((dropped.load(Relaxed), run.load(Relaxed)), (2, 1));
    let refused = post(&remote).unwrap_err();
    assert_eq!((refused.error, dropped.load(Relaxed)), (Error::Disconnected, 2));
    drop(refused); // With the closure.
    assert_eq!((dropped.load(Relaxed), run.load(Relaxed)), (3, 1));
    assert_eq!(
        (remote.wake(1), remote.stop()),
        (Err(Error::Disconnected), Err(Error::Disconnected))
    );
    assert_eq!(remote.metrics().unwrap_err(), Error::Disconnected);
}

#[test]
fn more_than_the_limit_come_back() {
    let scheduler = scheduler();
    let remote = scheduler.remote();
    remote.set_limit(1).unwrap();
    remote.spawn(|| ()).unwrap();
    let refused = remote.spawn(|| ()).unwrap_err();
    assert_eq!(refused.error, Error::WouldBlock);
    scheduler.run().unwrap();
    remote.spawn(refused.value).unwrap();
    scheduler.run().unwrap();
    assert_eq!(scheduler.metrics().tasks_exited, 2);
}

#[test]
fn a_panic_of_a_closure_ends_its_task_alone() {
    let scheduler = scheduler();
    let remote = scheduler.remote();
    remote.spawn(|| panic!("on purpose")).unwrap();
    remote.spawn(|| task::yield_now().unwrap()).unwrap();
    assert_eq!(scheduler.run(), Ok(Ended::Completed));
    assert_eq!(scheduler.metrics().tasks_exited, 2);
}

#[test]
fn a_run_ends_by_deadlock_when_the_last_handle_is_gone() {
    let scheduler = scheduler();
    let parked = scheduler.spawn(|| task::park(None));
    assert_eq!(scheduler.run(), Err(Error::Deadlock));
    let remote = scheduler.remote();
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(10));
        drop(remote.clone());
        drop(remote);
    });
    assert_eq!(scheduler.run(), Err(Error::Deadlock));
    other.join().unwrap();
    parked.cancel();
    scheduler.run().unwrap();
}

#[test]
fn a_stop_handle_does_not_keep_a_run_going() {
    let scheduler = scheduler();
    let stop = scheduler.stop_handle();
    scheduler.spawn(|| task::park(None));
    assert_eq!(scheduler.run(), Err(Error::Deadlock));
    drop(stop);
}

#[test]
fn wakers_wake_from_any_thread_and_outlive_all() {
    let scheduler = scheduler();
    let remote = scheduler.remote();
    let woken = Rc::new(Cell::new(0));
    let counts = woken.clone();
    let parked = scheduler.spawn(move || {
        for _ in 0..100 {
            task::park(None).unwrap();
            counts.set(counts.get() + 1);
        }
    });
    let waker = parked.task().waker();
    let (finished, is_finished) = mpsc::channel::<()>();
    let of_thread = waker.clone();
    let other = thread::spawn(move || {
        // Until the task has ended, and some more.
        while is_finished.try_recv().is_err() {
            of_thread.wake_by_ref();
            thread::yield_now();
        }
        of_thread.wake();
    });
    scheduler.run().unwrap();
    assert_eq!(woken.get(), 100);
    drop(remote);
    drop(scheduler);
    finished.send(()).unwrap();
    other.join().unwrap();
    waker.wake();
}

/// A future of a value that another thread gives.
#[derive(Clone, Default)]
struct Given<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Given<T> {
    fn give(&self, value: T) {
        let mut state = self.0.lock().unwrap();
        state.0 = Some(value);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    async fn get(&self) -> T {
        poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            match state.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    state.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

#[test]
fn a_future_is_woken_by_another_thread() {
    let scheduler = scheduler();
    let (question, answer) = (Given::default(), Given::default());
    let other = {
        let (question, answer) = (question.clone(), answer.clone());
        thread::spawn(move || {
            // On a thread without a scheduler of its own.
            let scheduler = Scheduler::new().unwrap();
            scheduler.spawn(move || {
                for _ in 0..100 {
                    let asked: i32 = task::block_on(question.get()).unwrap();
                    answer.give(asked + 1);
                }
            });
            scheduler.run().unwrap();
        })
    };
    let asks = scheduler.spawn(move || {
        let mut number = 0;
        for _ in 0..100 {
            question.give(number);
            number = task::block_on(answer.get()).unwrap();
        }
        number
    });
    scheduler.run().unwrap();
    other.join().unwrap();
    assert_eq!(asks.join().unwrap(), 100);
}

#[test]
fn a_future_that_wakes_itself_lets_others_run() {
    let scheduler = scheduler();
    let turns = Rc::new(Cell::new(0));
    let counts = turns.clone();
    let wakes_itself = scheduler.spawn(move || {
        let mut left = 100;
        let future = poll_fn(move |context| {
            left -= 1;
            context.waker().wake_by_ref();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        task::block_on(future).unwrap();
        counts.get()
    });
    scheduler.spawn(move || {
        for _ in 0..1000 {
            turns.set(turns.get() + 1);
            task::yield_now().unwrap();
        }
    });
    scheduler.run().unwrap();
    assert!(wakes_itself.join().unwrap() > 0, "the budget ends");
}

#[test]
fn a_canceled_task_drops_its_future() {
    struct Notes(Rc<Cell<bool>>);
    impl Drop for Notes {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let scheduler = scheduler();
    for by_time in [false, true] {
        let dropped = Rc::new(Cell::new(false));
        let notes = Notes(dropped.clone());
        let waits = scheduler.spawn(move || {
            let never = || {
                let future = pin!(async move {
                    let _notes = notes;
                    std::future::pending::<()>().await;
                });
                task::block_on(future)
            };
            match by_time {
                true => drop(task::timeout(Duration::from_millis(1), never)),
                false => never().unwrap(),
            }
        });
        if !by_time {
            let task = waits.task().clone();
            scheduler.spawn(move || task.cancel());
        }
        scheduler.run().unwrap();
        assert!(dropped.get());
        assert_eq!(matches!(waits.join(), Err(JoinError::Canceled)), !by_time);
    }
}

#[test]
fn outside_a_task_there_is_none_to_block() {
    assert_eq!(task::block_on(async {}), Err(Error::NotInTask));
    assert!(task::remote().is_none());
}
