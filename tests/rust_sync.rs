//! Synchronization objects of the Rust API: what happens to guards and elements when tasks are
//! canceled, panic, or are dropped with their scheduler, and when objects are used or dropped at
//! unusual places.

mod support;

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

use majjen::sync::{
    Condvar, Mutex, MutexGuard, Receiver, Select, Semaphore, Sender, WaitGroup, channel,
};
use majjen::{Error, JoinError, Scheduler, task};
use support::{Drops, Guard, HOUR, OnDrop, run_for_a_moment, scheduler};

/// The objects that [`spawn_waiters`] waits for.
struct Objects {
    mutex: Mutex<i32>,
    other: Mutex<i32>,
    condvar: Condvar,
    semaphore: Semaphore,
    group: WaitGroup,
    empty: (Sender<Guard>, Receiver<Guard>),
    full: (Sender<Guard>, Receiver<Guard>),
}

impl Objects {
    fn new() -> Objects {
        let group = WaitGroup::new();
        group.add(1).unwrap();
        Objects {
            mutex: Mutex::new(1),
            other: Mutex::new(1),
            condvar: Condvar::new(),
            semaphore: Semaphore::new(0),
            group,
            empty: channel(0),
            full: channel(0),
        }
    }
}

const WAITERS: u32 = 7;

/// A kind of wait.
type Wait = fn(&Objects, Guard);

/// Adds a task for each kind of wait, which never ends, and one that owns the mutex. Each has a
/// drop guard, and each sender also an element.
fn spawn_waiters(scheduler: &Scheduler, drops: &Drops, objects: &Rc<Objects>) {
    let waits: [Wait; WAITERS as usize] = [
        |objects, _| {
            let _guard = objects.mutex.lock().unwrap();
            let _ = task::sleep(HOUR);
        },
        |objects, _| drop(objects.mutex.lock()),
        |objects, _| drop(objects.condvar.wait(objects.other.lock().unwrap())),
        |objects, _| drop(objects.semaphore.acquire(1)),
        |objects, _| {
            let _ = objects.group.wait();
        },
        |objects, element| drop(objects.full.0.send(element)),
        |objects, element| {
            let _ = Select::new()
                .receive(&objects.empty.1, drop)
                .send(&objects.full.0, element, drop)
                .wait();
        },
    ];
    for wait in waits {
        let (guard, element, objects) = (drops.guard(), drops.guard(), objects.clone());
        scheduler.spawn(move || {
            let _guard = guard;
            wait(&objects, element);
            // A task may own the mutex by now, since its previous owner was unwound before.
            let _ = task::sleep(HOUR);
            unreachable!("a canceled wait does not return");
        });
    }
    run_for_a_moment(scheduler);
    assert_eq!(scheduler.metrics().current_tasks, WAITERS.into());
}

#[test]
fn tasks_that_wait_are_unwound_with_their_scheduler() {
    let (scheduler, drops) = (scheduler(), Drops::default());
    let objects = Rc::new(Objects::new());
    spawn_waiters(&scheduler, &drops, &objects);
    drop(scheduler);
    assert_eq!(drops.count(), 2 * WAITERS);
    assert_eq!(Rc::strong_count(&objects), 1);
}

/// Objects whose scheduler is gone work for the tasks of the next one.
#[test]
fn objects_outlive_schedulers() {
    let drops = Drops::default();
    let objects = Rc::new(Objects::new());
    for _ in 0..3 {
        let scheduler = scheduler();
        spawn_waiters(&scheduler, &drops, &objects);
    }
    assert_eq!(drops.count(), 3 * 2 * WAITERS);
    let next = scheduler();
    let own = objects.clone();
    let result = next.spawn(move || {
        *own.mutex.lock()? += 1;
        own.semaphore.release(1)?;
        own.semaphore.acquire(1)?.keep();
        own.group.done()?;
        own.group.wait()?;
        let refused = own.full.0.try_send(drops.guard()).unwrap_err().error;
        Ok::<_, Error>((*own.mutex.lock()?, refused))
    });
    next.run().unwrap();
    assert_eq!(result.join().unwrap(), Ok((2, Error::WouldBlock)));
}

/// Canceled one by one in a run, instead of with the scheduler.
#[test]
fn canceled_waits_are_unwound_in_a_run() {
    let (scheduler, drops) = (scheduler(), Drops::default());
    let objects = Rc::new(Objects::new());
    let (own, guard) = (objects.clone(), drops.guard());
    let owner = scheduler.spawn(move || {
        let _guard = own.mutex.lock().unwrap();
        let _counted = guard;
        task::sleep(HOUR)
    });
    let (own, guard) = (objects.clone(), drops.guard());
    let canceled = scheduler.spawn(move || {
        let _counted = guard;
        own.mutex.lock().map(drop)
    });
    let (own, guard) = (objects.clone(), drops.guard());
    let sender = scheduler.spawn(move || own.full.0.send(guard).map_err(Error::from));
    let own = objects.clone();
    let next = scheduler.spawn(move || own.mutex.lock().map(|value| *value));
    scheduler.spawn(move || {
        canceled.cancel();
        sender.cancel();
        assert!(matches!(canceled.join(), Err(JoinError::Canceled)));
        assert!(matches!(sender.join(), Err(JoinError::Canceled)));
        owner.cancel(); // Its guard is dropped, and the mutex goes to the next waiter.
    });
    scheduler.run().unwrap();
    assert_eq!(next.join().unwrap(), Ok(1));
    assert_eq!(drops.count(), 3);
}

#[test]
fn a_panic_unlocks_and_poisons_nothing() {
    let scheduler = scheduler();
    let mutex = Rc::new(Mutex::new(0));
    let semaphore = Rc::new(Semaphore::new(1));
    let (own, permits) = (mutex.clone(), semaphore.clone());
    let panics = scheduler.spawn(move || {
        let mut value = own.lock().unwrap();
        let _permit = permits.acquire(1).unwrap();
        *value = 1;
        task::yield_now().unwrap();
        panic!("on purpose");
    });
    let own = mutex.clone();
    let next = scheduler.spawn(move || own.lock().map(|value| *value));
    scheduler.run().unwrap();
    assert!(matches!(panics.join(), Err(JoinError::Panicked(_))));
    assert_eq!(next.join().unwrap(), Ok(1));
    assert_eq!(semaphore.available(), 1);
}

/// Calls that need not wait work while the stack is unwound; calls that would wait are refused.
#[test]
fn destructors_lock_and_send_but_do_not_wait() {
    let scheduler = scheduler();
    let (mutex, busy) = (Rc::new(Mutex::new(0)), Rc::new(Mutex::new(0)));
    let (sender, receiver) = channel(1);
    let own = busy.clone();
    scheduler.spawn(move || {
        let _guard = own.lock();
        task::sleep(Duration::from_millis(5))
    });
    let own = mutex.clone();
    let panics = scheduler.spawn(move || {
        let _on_unwinding = OnDrop(move || {
            *own.lock().unwrap() = 1;
            assert_eq!(busy.lock().err(), Some(Error::Unwinding));
            sender.send(1).unwrap();
            assert_eq!(sender.send(2).unwrap_err().error, Error::Unwinding);
        });
        panic!("on purpose");
    });
    scheduler.run().unwrap();
    assert!(matches!(panics.join(), Err(JoinError::Panicked(_))));
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(1), Err(Error::Disconnected)));
    assert_eq!(Rc::into_inner(mutex).unwrap().into_inner(), 1);
}

#[test]
fn a_guard_unlocks_wherever_it_is_dropped() {
    let (scheduler, other) = (scheduler(), support::scheduler());
    let mutex: &'static Mutex<i32> = Box::leak(Box::new(Mutex::new(0)));
    let kept: Rc<RefCell<Option<MutexGuard<'static, i32>>>> = Rc::default();
    // In another task, while a task waits.
    let place = kept.clone();
    scheduler.spawn(move || {
        place.replace(Some(mutex.lock().unwrap()));
        task::sleep(Duration::from_millis(3)).unwrap();
    });
    let waits = scheduler.spawn(move || mutex.lock().map(|mut value| *value += 1));
    let place = kept.clone();
    scheduler.spawn(move || drop(place.take()));
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), Ok(()));
    // After its task has ended, in a task of another scheduler: until then no task can lock it.
    let guard = scheduler.spawn(move || mutex.lock().unwrap());
    scheduler.run().unwrap();
    let late = scheduler.spawn(move || mutex.lock().err());
    scheduler.run().unwrap();
    assert_eq!(late.join().unwrap(), Some(Error::OwnerDied));
    let guard = guard.join().unwrap();
    other.spawn(move || drop(guard));
    other.run().unwrap();
    // Outside a run, when the scheduler is gone.
    let guard = scheduler.spawn(move || mutex.lock().unwrap());
    scheduler.run().unwrap();
    drop(scheduler);
    drop(guard.join().unwrap());
    let last = other.spawn(move || mutex.lock().map(|value| *value));
    other.run().unwrap();
    assert_eq!(last.join().unwrap(), Ok(1));
}

#[test]
fn a_forgotten_guard_keeps_the_mutex_locked() {
    let scheduler = scheduler();
    let mutex = Rc::new(Mutex::new(0));
    let own = mutex.clone();
    let waits = scheduler.spawn(move || {
        task::yield_now()?;
        own.lock().map(drop)
    });
    let own = mutex.clone();
    scheduler.spawn(move || {
        std::mem::forget(own.lock().unwrap());
        task::yield_now()
    });
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), Err(Error::OwnerDied));
}

/// Another task owns the mutex when the wait ends, and has ended with it locked.
#[test]
fn a_condition_whose_mutex_is_lost_gives_no_guard() {
    let scheduler = scheduler();
    let pair = Rc::new((Mutex::new(0), Condvar::new()));
    let own = pair.clone();
    let waits = scheduler.spawn(move || own.1.wait(own.0.lock()?).map(|value| *value));
    let own = pair.clone();
    scheduler.spawn(move || {
        std::mem::forget(own.0.lock().unwrap());
        own.1.notify_one()
    });
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), Err(Error::OwnerDied));
    let own = pair.clone();
    let late = scheduler.spawn(move || own.0.lock().err());
    scheduler.run().unwrap();
    assert_eq!(late.join().unwrap(), Some(Error::OwnerDied));
}

/// One of them is relocking the other's mutex when the scheduler is dropped.
#[test]
fn tasks_that_lock_again_are_dropped_with_their_scheduler() {
    let (scheduler, drops) = (scheduler(), Drops::default());
    let pair = Rc::new((Mutex::new(0), Condvar::new()));
    let (own, guard) = (pair.clone(), drops.guard());
    scheduler.spawn(move || {
        let _counted = guard;
        let _ = own.1.wait(own.0.lock().unwrap());
        task::sleep(HOUR)
    });
    let (own, guard) = (pair.clone(), drops.guard());
    scheduler.spawn(move || {
        let _counted = guard;
        let _guard = own.0.lock().unwrap();
        own.1.notify_one().unwrap();
        task::sleep(HOUR)
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(drops.count(), 2);
    let next = support::scheduler();
    let free = next.spawn(move || pair.0.lock().map(|value| *value));
    next.run().unwrap();
    assert_eq!(free.join().unwrap(), Ok(0));
}

#[test]
fn elements_are_dropped_once_wherever_they_are() {
    let scheduler = Scheduler::builder().clock(|| Duration::ZERO).build().unwrap();
    let drops = Drops::default();
    let (sender, receiver) = channel(2);
    let own = drops.clone();
    let sends = scheduler.spawn(move || {
        let sent = (0..4).map(|_| sender.send(own.guard()).is_ok());
        sent.filter(|sent| *sent).count()
    });
    let own = drops.clone();
    scheduler.spawn(move || {
        drop(receiver.recv().unwrap());
        assert_eq!(own.count(), 1);
        drop(receiver); // With two elements in the buffer; the fourth is returned.
        assert_eq!(own.count(), 3);
    });
    scheduler.run().unwrap();
    assert_eq!((sends.join().unwrap(), drops.count()), (3, 4));
    // In a select: the element that is not sent.
    let (first, second) = (channel(1), channel(1));
    let select = Select::new()
        .send(&first.0, drops.guard(), |sent| sent.is_ok())
        .receive(&second.1, |element: majjen::Result<Guard>| element.is_ok());
    second.0.try_send(drops.guard()).unwrap();
    first.0.try_send(drops.guard()).unwrap();
    assert_eq!(select.attempt(), Ok(true));
    assert_eq!(drops.count(), 6);
    drop((first, second));
    assert_eq!(drops.count(), 7);
}

/// Large, zero-sized, aligned, and with a destructor that uses the channel.
#[test]
fn elements_of_all_kinds_go_through() {
    #[repr(align(128))]
    struct Aligned(u8);
    struct Back(Option<Sender<Back>>);
    impl Drop for Back {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                assert!(sender.try_send(Back(None)).is_err());
            }
        }
    }
    let (sender, receiver) = channel(3);
    (0..3).for_each(|number| sender.try_send([number; 5000]).unwrap());
    assert!(receiver.iter().take(3).map(|array| array[4999]).eq(0..3));
    let (sender, receiver) = channel(1);
    sender.try_send(Aligned(5)).unwrap();
    assert!(receiver.recv().is_ok_and(|element| element.0 == 5));
    let (sender, receiver) = channel(usize::MAX);
    sender.try_send(()).unwrap();
    assert_eq!((receiver.recv(), receiver.len()), (Ok(()), 0));
    let (sender, receiver) = channel(2);
    sender.try_send(Back(Some(sender.clone()))).unwrap();
    drop(receiver);
    assert!(std::panic::catch_unwind(|| channel::<u64>(usize::MAX)).is_err());
}

#[test]
fn the_last_end_of_a_side_closes_a_channel() {
    let scheduler = scheduler();
    let (sender, receiver) = channel::<i32>(0);
    let second = sender.clone();
    let waits = scheduler.spawn(move || receiver.recv());
    let seen = waits.task().clone();
    scheduler.spawn(move || {
        drop(sender);
        task::yield_now().unwrap();
        assert!(!seen.is_finished());
        drop(second);
    });
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), Err(Error::Disconnected));
}

#[test]
fn members_are_done_when_their_tasks_are_canceled() {
    let scheduler = scheduler();
    let group = Rc::new(WaitGroup::new());
    let member = group.member().unwrap();
    let sleeper = scheduler.spawn(move || {
        let _member = member;
        task::sleep(HOUR)
    });
    let waits = scheduler.spawn(move || group.wait());
    scheduler.spawn(move || sleeper.cancel());
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), Ok(()));
}

/// A message to a task of another scheduler of the thread would be refused; one that is sent
/// outside a run is received in the next.
#[test]
fn changes_between_runs_apply_to_the_next_run() {
    let scheduler = scheduler();
    let (sender, receiver) = channel(0);
    let semaphore = Rc::new(Semaphore::new(0));
    let own = semaphore.clone();
    let waits = scheduler.spawn(move || {
        let _permit = own.acquire(1)?;
        receiver.recv()
    });
    run_for_a_moment(&scheduler);
    semaphore.release(1).unwrap();
    run_for_a_moment(&scheduler);
    sender.try_send(5).unwrap();
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), Ok(5));
}

thread_local! {
    static KEPT: RefCell<Option<Scheduler>> = const { RefCell::new(None) };
    static OBJECTS: Box<Objects> = Box::new(Objects::new());
    static IN_CHILD: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn objects_begin_empty_and_say_what_they_hold() {
    let said = |object: &dyn Debug| format!("{object:?}");
    assert_eq!(said(&Mutex::<i32>::default()), "Mutex { .. }");
    assert_eq!(said(&Condvar::default()), "Condvar { .. }");
    assert_eq!(said(&WaitGroup::default()), "WaitGroup { .. }");
    assert_eq!(said(&Select::<()>::default()), "Select { arms: 0 }");
    let semaphore = Semaphore::new(3);
    let permits = semaphore.try_acquire(2).unwrap();
    assert_eq!(said(&semaphore), "Semaphore { available: 1 }");
    assert_eq!(said(&permits), "Permits { count: 2 }");
    let group = Rc::new(WaitGroup::new());
    assert_eq!(said(&group.member().unwrap()), "Member { .. }");
    let (sender, receiver) = channel(1);
    sender.try_send("one").unwrap();
    assert_eq!(said(&sender), "Sender { len: 1 }");
    assert_eq!(said(&receiver), "Receiver { len: 1 }");
    drop(receiver);
    let refused = sender.try_send("two").unwrap_err();
    assert_eq!(refused.to_string(), Error::Disconnected.to_string());
    assert!(sender.is_empty()); // Its elements were dropped with the receiver.
    assert_eq!(said(&refused), "SendError { error: Disconnected, .. }");
    let scheduler = scheduler();
    let guard = scheduler.spawn(move || format!("{:?}", Mutex::new(5).try_lock().unwrap()));
    scheduler.run().unwrap();
    assert_eq!(guard.join().unwrap(), "5");
}

#[test]
fn a_condition_is_rechecked_after_each_notification() {
    const ENOUGH: u32 = 3;
    let mut number = Mutex::new(0);
    *number.get_mut() += 1;
    let shared = Rc::new((number, Condvar::new()));
    let own = shared.clone();
    let scheduler = scheduler();
    let waiting = scheduler.spawn(move || {
        let mut looks = 0;
        let guard = own.1.wait_while(own.0.lock()?, |number| {
            looks += 1;
            *number < ENOUGH
        });
        guard.map(|number| (*number, looks))
    });
    scheduler.spawn(move || {
        for _ in 0..2 {
            task::yield_now().unwrap();
            *shared.0.lock().unwrap() += 1;
            shared.1.notify_one().unwrap();
        }
    });
    scheduler.run().unwrap();
    assert_eq!(waiting.join().unwrap(), Ok((ENOUGH, 3)));
}

/// They release the tasks first. Only valgrind would find a fault.
#[test]
fn objects_in_a_thread_local_are_dropped_before_the_tasks_that_wait() {
    let thread = std::thread::spawn(|| {
        KEPT.with(|kept| *kept.borrow_mut() = Some(scheduler()));
        KEPT.with(|kept| {
            let kept = kept.borrow();
            let scheduler = kept.as_ref().unwrap();
            let waits: [fn(&Objects); 6] = [
                |objects| {
                    let _end = OnDrop(|| {
                        if IN_CHILD.get() {
                            // SAFETY: ends the child, whose status is looked at.
                            unsafe { libc::_exit(7) }
                        }
                    });
                    let _guard = objects.mutex.lock();
                    let _ = task::sleep(HOUR);
                },
                |objects| drop(objects.mutex.lock()),
                |objects| drop(objects.condvar.wait(objects.other.lock().unwrap())),
                |objects| drop(objects.semaphore.acquire(1)),
                |objects| objects.group.wait().unwrap(),
                |objects| drop(objects.empty.1.recv()),
            ];
            for wait in waits {
                scheduler.spawn(move || OBJECTS.with(|objects| wait(objects)));
            }
            run_for_a_moment(scheduler);
            assert_eq!(scheduler.metrics().current_tasks, 6);
            // In a child they are not unwound: not before the objects are dropped, since a task may
            // wait for a thread that is not there, and not afterwards.
            // SAFETY: the child uses nothing of other threads.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: no preconditions. It ends a child that waits.
                unsafe { libc::alarm(50) };
                IN_CHILD.set(true);
                std::process::exit(0);
            }
            let mut status = 0;
            // SAFETY: a child of this thread's own, and a place for the status.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
        });
    });
    thread.join().unwrap();
}
