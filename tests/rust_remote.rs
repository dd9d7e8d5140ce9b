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
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{Either, join, select};
use futures_util::stream::FuturesUnordered;
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
    assert_eq!(format!("{remote:?}"), "Remote { .. }");
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
fn a_channel_of_futures_connects_a_thread_and_a_task() {
    let scheduler = scheduler();
    let (questions, asked) = async_channel::bounded(1);
    let (answers, answered) = async_channel::bounded(1);
    let other = thread::spawn(move || {
        while let Ok(number) = asked.recv_blocking() {
            answers.send_blocking(number + 1).unwrap();
        }
    });
    let asks = scheduler.spawn(move || {
        let conversation = async move {
            let mut number = 0;
            for _ in 0..1000 {
                questions.send(number).await.unwrap();
                number = answered.recv().await.unwrap();
            }
            number
        };
        task::block_on(conversation)
    });
    assert_eq!(scheduler.run(), Ok(Ended::Completed));
    other.join().unwrap();
    assert_eq!(asks.join().unwrap(), Ok(1000));
}

#[test]
fn combined_futures_run_in_a_task() {
    let scheduler = scheduler();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..8).map(|_| async_channel::bounded::<usize>(1)).unzip();
    let (silent, never) = async_channel::bounded::<usize>(1);
    let threads: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(which, sender)| {
            thread::spawn(move || {
                for round in 0..100 {
                    sender.send_blocking(100 * which + round).unwrap();
                }
            })
        })
        .collect();
    let combines = scheduler.spawn(move || {
        let mut sum = 0;
        for round in 0..100 {
            // Each future has a waker of its own, which wakes that of the task.
            let all: FuturesUnordered<_> = receivers[1..].iter().map(|it| it.recv()).collect();
            let both = join(receivers[0].recv(), all.map(Result::unwrap).collect::<Vec<_>>());
            let (first, others) = task::block_on(both).unwrap();
            assert_eq!((first.unwrap(), others.len()), (round, 7));
            sum += others.into_iter().sum::<usize>();
        }
        // The other one is dropped.
        let ready = pin!(async { 5 });
        match task::block_on(select(pin!(never.recv()), ready)).unwrap() {
            Either::Right((5, _)) => sum,
            _ => unreachable!("the first one is never ready"),
        }
    });
    assert_eq!(scheduler.run(), Ok(Ended::Completed));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(silent);
    let expected = (1..8).map(|which| (0..100).map(|round| 100 * which + round).sum::<usize>());
    assert_eq!(combines.join().unwrap(), expected.sum());
}

#[test]
fn a_receive_whose_time_is_over_takes_nothing() {
    let scheduler = scheduler();
    let (sender, receiver) = async_channel::bounded(1);
    let (over, is_over) = mpsc::channel();
    let other = thread::spawn(move || {
        is_over.recv().unwrap();
        sender.send_blocking(7).unwrap();
    });
    let waits = scheduler.spawn(move || {
        let receives = || task::block_on(receiver.recv()).unwrap().unwrap();
        assert!(task::timeout(Duration::from_millis(1), receives).is_err());
        over.send(()).unwrap();
        receives()
    });
    assert_eq!(scheduler.run(), Ok(Ended::Completed));
    other.join().unwrap();
    assert_eq!(waits.join().unwrap(), 7);
}

#[test]
fn a_closure_that_is_dropped_may_use_the_handle_and_panic() {
    struct Uses(majjen::Remote, mpsc::Sender<(Error, Error)>);
    impl Drop for Uses {
        fn drop(&mut self) {
            let refused = self.0.spawn(|| ()).unwrap_err().error;
            self.1.send((refused, task::yield_now().unwrap_err())).unwrap();
            panic!("on purpose");
        }
    }
    let scheduler = scheduler();
    let remote = scheduler.remote();
    let (told, tells) = mpsc::channel();
    for _ in 0..2 {
        let uses = Uses(remote.clone(), told.clone());
        remote.spawn(move || drop(uses)).unwrap();
    }
    drop(scheduler);
    drop(told);
    let expected = (Error::Disconnected, Error::NotInTask);
    assert_eq!(tells.iter().collect::<Vec<_>>(), [expected; 2]);
}

#[test]
fn a_task_has_the_handle_of_its_scheduler() {
    let scheduler = scheduler();
    let id = scheduler.spawn(|| {
        let remote = task::remote().unwrap();
        let (tell, told) = mpsc::channel();
        remote.spawn(move || tell.send(task::current().unwrap().id()).unwrap()).unwrap();
        // It has its turn when the loop has looked, which is not between any two turns.
        let begin = Instant::now();
        loop {
            match told.try_recv() {
                Ok(id) => return id,
                Err(_) => task::yield_now().unwrap(),
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "it never has its turn");
        }
    });
    scheduler.run().unwrap();
    assert_ne!(id.join().unwrap(), 0);
    assert_eq!(scheduler.metrics().tasks_exited, 2);
}

#[test]
fn outside_a_task_there_is_none_to_block() {
    assert_eq!(task::block_on(async {}), Err(Error::NotInTask));
    assert!(task::remote().is_none());
}
