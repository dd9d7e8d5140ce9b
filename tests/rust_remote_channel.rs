//! Channels between threads in Rust: what becomes of the elements, of tasks that are unwound, and of ends that
//! go.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use majjen::sync::{Select, remote};
use majjen::{Error, JoinError, Scheduler, task};

const MS: Duration = Duration::from_millis(1);

/// Counts itself while it lives.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, SeqCst);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn elements_are_dropped_once_wherever_they_are() {
    let count = Arc::new(AtomicUsize::new(0));
    // In the channel when the last receiver goes, and when the last sender has gone before.
    for senders_first in [false, true] {
        let (sender, receiver) = remote::channel(3);
        for _ in 0..3 {
            sender.send(Counted::new(&count)).unwrap();
        }
        drop(receiver.recv().unwrap());
        assert_eq!(count.load(SeqCst), 2);
        if senders_first {
            drop(sender);
            drop(receiver);
        } else {
            drop(receiver);
            assert_eq!(count.load(SeqCst), 0);
            assert_eq!(sender.send(Counted::new(&count)).unwrap_err().error, Error::Disconnected);
        }
        assert_eq!(count.load(SeqCst), 0);
    }
    // In the frame of a sender that gives up, and of one that is told.
    let (sender, receiver) = remote::channel(1);
    sender.send(Counted::new(&count)).unwrap();
    drop(sender.send_timeout(Counted::new(&count), MS));
    drop(sender.try_send(Counted::new(&count)));
    assert_eq!(count.load(SeqCst), 1);
    let waits = thread::spawn({
        let (sender, element) = (sender.clone(), Counted::new(&count));
        move || sender.send(element).unwrap_err().error
    });
    thread::sleep(5 * MS);
    receiver.close();
    assert_eq!(waits.join().unwrap(), Error::Disconnected);
    assert_eq!(count.load(SeqCst), 1);
    drop((sender, receiver));
    assert_eq!(count.load(SeqCst), 0);
}

/// Senders and receivers come and go while elements are on their way.
#[test]
fn elements_are_dropped_once_whichever_thread_goes_first() {
    let count = Arc::new(AtomicUsize::new(0));
    for round in 0..200 {
        let (sender, receiver) = remote::channel(1 + round % 3);
        let senders = [0, 1].map(|_| {
            let (sender, count) = (sender.clone(), count.clone());
            thread::spawn(move || while sender.send(Counted::new(&count)).is_ok() {})
        });
        drop(sender);
        let received = receiver.iter().take(round % 7).count();
        assert_eq!(received, round % 7);
        drop(receiver);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(count.load(SeqCst), 0);
    }
}

#[test]
fn a_canceled_task_is_unwound_and_takes_nothing() {
    let count = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = remote::channel(1);
    let full = remote::channel(1);
    full.0.send(Counted::new(&count)).unwrap();
    let scheduler = Scheduler::new().unwrap();
    let receives = scheduler.spawn({
        let receiver = receiver.clone();
        move || receiver.recv().map(|_: i32| ())
    });
    let sends = scheduler.spawn({
        let (sender, element) = (full.0.clone(), Counted::new(&count));
        move || sender.send(element).map_err(Error::from)
    });
    scheduler.spawn(move || {
        for waits in [receives, sends] {
            waits.cancel();
            assert!(matches!(waits.join(), Err(JoinError::Canceled)));
        }
    });
    scheduler.run().unwrap();
    assert_eq!(count.load(SeqCst), 1);
    sender.send(1).unwrap();
    assert_eq!(receiver.recv(), Ok(1));
}

#[test]
fn a_scheduler_that_is_dropped_leaves_the_channel_to_others() {
    let (sender, receiver) = remote::channel(1);
    let scheduler = Scheduler::new().unwrap();
    let stop = scheduler.stop_handle();
    let other = receiver.clone();
    scheduler.spawn(move || other.recv().map(|_: i32| ()));
    scheduler.spawn(move || stop.stop());
    scheduler.run().unwrap();
    let waits = thread::spawn(move || receiver.recv());
    drop(scheduler);
    sender.send(7).unwrap();
    assert_eq!(waits.join().unwrap(), Ok(7));
    assert_eq!(sender.send(8).unwrap_err().error, Error::Disconnected);
}

#[test]
fn the_last_sender_that_goes_ends_all_waits() {
    let (sender, receiver) = remote::channel::<i32>(1);
    let threads = [0, 1].map(|_| {
        let receiver = receiver.clone();
        thread::spawn(move || receiver.recv())
    });
    let scheduler = Scheduler::new().unwrap();
    let waits = scheduler.spawn(move || {
        Select::new()
            .receive(&receiver, |received| received)
            .after(Duration::from_secs(3600), || Ok(0))
            .wait()
    });
    scheduler.spawn(move || {
        task::sleep(5 * MS).unwrap();
        drop(sender);
    });
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), Ok(Err(Error::Disconnected)));
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Err(Error::Disconnected));
    }
}

#[test]
fn elements_of_any_size_are_carried() {
    let (sender, receiver) = remote::channel::<()>(2);
    sender.send(()).unwrap();
    assert_eq!((receiver.recv(), receiver.try_recv()), (Ok(()), Err(Error::WouldBlock)));
    let (sender, receiver) = remote::channel::<[u8; 1000]>(2);
    let other = thread::spawn(move || {
        (0..100).for_each(|byte| sender.send([byte; 1000]).unwrap());
    });
    for byte in 0..100 {
        assert_eq!(receiver.recv().unwrap(), [byte; 1000]);
    }
    other.join().unwrap();
}

/// In a destructor that runs while a panic unwinds: a thread waits, a task does not suspend.
#[test]
fn destructors_may_use_a_channel() {
    struct Sends(remote::Sender<i32>);
    impl Drop for Sends {
        fn drop(&mut self) {
            let _ = self.0.send(1);
            let failed = self.0.send_timeout(2, MS).unwrap_err().error;
            let expected =
                if task::current().is_some() { Error::Unwinding } else { Error::TimedOut };
            assert_eq!(failed, expected);
        }
    }
    for in_a_task in [false, true] {
        let (sender, receiver) = remote::channel(1);
        let fails = move || {
            let _sends = Sends(sender);
            std::panic::resume_unwind(Box::new("expected"));
        };
        if in_a_task {
            let scheduler = Scheduler::new().unwrap();
            let failed = scheduler.spawn(fails);
            scheduler.run().unwrap();
            assert!(matches!(failed.join(), Err(JoinError::Panicked(_))));
        } else {
            assert!(catch_unwind(std::panic::AssertUnwindSafe(fails)).is_err());
        }
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn both_ends_tell_what_is_in_it() {
    let (sender, receiver) = remote::channel(2);
    assert!(sender.is_empty() && receiver.is_empty());
    sender.send(7).unwrap();
    assert!(!sender.is_empty() && !receiver.is_empty());
    let said = (format!("{sender:?}"), format!("{receiver:?}"));
    assert_eq!(said, ("Sender { len: 1 }".to_owned(), "Receiver { len: 1 }".to_owned()));
}

#[test]
fn a_capacity_of_nothing_is_refused() {
    assert!(catch_unwind(|| remote::channel::<i32>(0)).is_err());
    assert!(catch_unwind(|| remote::channel::<i32>(usize::MAX)).is_err());
}
