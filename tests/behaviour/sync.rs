//! What tasks synchronise by, seen through both doors.

mod c_abi;
mod rust_api;

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Door, Events, HOUR, MS};

/// A door to the objects. They are for the tasks of the scheduler that they were made for, or of
/// that whose task uses them first. Copies name the same object, which is never destroyed.
trait Sync: Door {
    type Mutex: Copy + 'static;
    type Condvar: Copy + 'static;
    type Semaphore: Copy + 'static;
    type Group: Copy + 'static;
    /// A channel of numbers.
    type Channel: Copy + 'static;

    fn mutex(&self) -> Self::Mutex;
    fn lock(mutex: Self::Mutex, timeout: Option<Duration>) -> Result<(), i32>;
    fn try_lock(mutex: Self::Mutex) -> Result<(), i32>;
    fn unlock(mutex: Self::Mutex) -> Result<(), i32>;

    fn condvar(&self) -> Self::Condvar;
    /// Returns with the mutex locked.
    fn wait(
        condvar: Self::Condvar,
        mutex: Self::Mutex,
        timeout: Option<Duration>,
    ) -> Result<(), i32>;
    fn notify_one(condvar: Self::Condvar);
    fn notify_all(condvar: Self::Condvar);

    fn semaphore(&self, permits: u32) -> Self::Semaphore;
    fn acquire(
        semaphore: Self::Semaphore,
        permits: u32,
        timeout: Option<Duration>,
    ) -> Result<(), i32>;
    fn try_acquire(semaphore: Self::Semaphore, permits: u32) -> Result<(), i32>;
    fn release(semaphore: Self::Semaphore, permits: u32) -> Result<(), i32>;
    fn available(semaphore: Self::Semaphore) -> u32;

    fn group(&self) -> Self::Group;
    fn add(group: Self::Group, count: usize) -> Result<(), i32>;
    fn done(group: Self::Group) -> Result<(), i32>;
    fn wait_for_group(group: Self::Group, timeout: Option<Duration>) -> Result<(), i32>;

    fn channel(&self, capacity: usize) -> Self::Channel;
    fn send(channel: Self::Channel, number: u64, timeout: Option<Duration>) -> Result<(), i32>;
    fn receive(channel: Self::Channel, timeout: Option<Duration>) -> Result<u64, i32>;
    fn try_send(channel: Self::Channel, number: u64) -> Result<(), i32>;
    fn try_receive(channel: Self::Channel) -> Result<u64, i32>;
    fn close(channel: Self::Channel);
    /// Receives from the first channel, or sends a number to the second: what was received.
    fn receive_or_send(
        from: Self::Channel,
        to: Self::Channel,
        number: u64,
        timeout: Option<Duration>,
    ) -> Result<Option<u64>, i32>;
}

/// Runs each behaviour through both doors.
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

mod late;

behaviours!(
    a_mutex_is_handed_over_in_order,
    a_lock_has_a_time_limit_and_needs_none_when_free,
    nobody_locks_twice,
    a_notification_wakes_one_and_all,
    a_wait_for_a_condition_has_a_time_limit,
    permits_go_to_the_first_however_many_it_wants,
    permits_are_counted_and_overflow_is_refused,
    a_group_is_waited_for_until_all_is_done,
    a_channel_keeps_its_order_and_its_bound,
    a_channel_without_room_hands_over,
    a_closed_channel_is_emptied_first,
    a_channel_has_time_limits,
    a_select_does_what_is_possible_first,
    what_cancel_ends_has_taken_nothing,
    objects_of_another_scheduler_are_refused,
    waits_outside_a_task_are_refused,
);

fn a_mutex_is_handed_over_in_order<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let mutex = door.mutex();
    for name in 0..4 {
        let events = events.clone();
        door.spawn(move || {
            for _ in 0..2 {
                D::lock(mutex, None).unwrap();
                D::yield_now().unwrap();
                events.push(name);
                D::unlock(mutex).unwrap();
            }
        });
    }
    door.run();
    events.are(&[0, 1, 2, 3, 0, 1, 2, 3]);
}

fn a_lock_has_a_time_limit_and_needs_none_when_free<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let mutex = door.mutex();
    door.spawn(move || {
        D::lock(mutex, Some(Duration::ZERO)).unwrap();
        D::sleep(10 * MS).unwrap();
        D::unlock(mutex).unwrap();
    });
    let log = events.clone();
    door.spawn(move || {
        log.push(D::try_lock(mutex));
        let began = Instant::now();
        log.push(D::lock(mutex, Some(2 * MS)));
        assert!(began.elapsed() >= 2 * MS);
        log.push(D::lock(mutex, Some(HOUR)));
        log.push(D::unlock(mutex));
        log.push(D::try_lock(mutex));
        log.push(D::unlock(mutex));
    });
    door.run();
    events.are(&[Err(libc::EBUSY), Err(libc::ETIMEDOUT), Ok(()), Ok(()), Ok(()), Ok(())]);
}

fn nobody_locks_twice<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let (mutex, log) = (door.mutex(), events.clone());
    door.spawn(move || {
        D::lock(mutex, None).unwrap();
        log.push(D::lock(mutex, None));
        log.push(D::try_lock(mutex));
        D::unlock(mutex).unwrap();
    });
    door.run();
    events.are(&[Err(libc::EDEADLK), Err(libc::EDEADLK)]);
}

fn a_notification_wakes_one_and_all<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let (mutex, condvar) = (door.mutex(), door.condvar());
    for name in ["a", "b", "c"] {
        let events = events.clone();
        door.spawn(move || {
            D::lock(mutex, None).unwrap();
            D::wait(condvar, mutex, None).unwrap();
            events.push(name);
            D::unlock(mutex).unwrap();
        });
    }
    let log = events.clone();
    door.spawn(move || {
        D::notify_one(condvar);
        D::yield_now().unwrap();
        log.push("one");
        D::lock(mutex, None).unwrap();
        D::notify_all(condvar);
        D::yield_now().unwrap();
        log.push("all");
        D::unlock(mutex).unwrap();
    });
    door.run();
    events.are(&["a", "one", "all", "b", "c"]);
}

fn a_wait_for_a_condition_has_a_time_limit<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let (mutex, condvar, log) = (door.mutex(), door.condvar(), events.clone());
    door.spawn(move || {
        D::lock(mutex, None).unwrap();
        let began = Instant::now();
        log.push(D::wait(condvar, mutex, Some(2 * MS)));
        assert!(began.elapsed() >= 2 * MS);
        log.push(D::try_lock(mutex));
        D::unlock(mutex).unwrap();
    });
    door.run();
    events.are(&[Err(libc::ETIMEDOUT), Err(libc::EDEADLK)]);
}

fn permits_go_to_the_first_however_many_it_wants<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let semaphore = door.semaphore(1);
    for permits in [3, 1, 2] {
        let events = events.clone();
        door.spawn(move || {
            D::acquire(semaphore, permits, None).unwrap();
            events.push(permits);
            D::release(semaphore, permits).unwrap();
        });
    }
    door.spawn(move || {
        assert_eq!(D::try_acquire(semaphore, 1), Err(libc::EAGAIN)); // Others wait.
        D::release(semaphore, 2).unwrap();
    });
    door.run();
    events.are(&[3, 1, 2]);
    assert_eq!(D::available(semaphore), 3);
}

fn permits_are_counted_and_overflow_is_refused<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let (semaphore, log) = (door.semaphore(2), events.clone());
    door.spawn(move || {
        D::acquire(semaphore, 2, None).unwrap();
        let began = Instant::now();
        log.push(D::acquire(semaphore, 1, Some(2 * MS)));
        assert!(began.elapsed() >= 2 * MS);
        log.push(D::release(semaphore, u32::MAX));
        log.push(D::release(semaphore, 1));
    });
    door.run();
    events.are(&[Err(libc::ETIMEDOUT), Ok(()), Err(libc::EOVERFLOW)]);
    assert_eq!(D::available(semaphore), u32::MAX);
}

fn a_group_is_waited_for_until_all_is_done<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let group = door.group();
    assert_eq!(D::done(group), Err(libc::EINVAL));
    D::add(group, 3).unwrap();
    assert_eq!(D::add(group, usize::MAX), Err(libc::EOVERFLOW));
    for _ in 0..2 {
        let log = events.clone();
        door.spawn(move || {
            assert_eq!(D::wait_for_group(group, Some(MS)), Err(libc::ETIMEDOUT));
            D::wait_for_group(group, None).unwrap();
            log.push("waited");
        });
    }
    for _ in 0..3 {
        let log = events.clone();
        door.spawn(move || {
            D::sleep(5 * MS).unwrap();
            log.push("done");
            D::done(group).unwrap();
        });
    }
    door.run();
    events.are(&["done", "done", "done", "waited", "waited"]);
}

fn a_channel_keeps_its_order_and_its_bound<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let channel = door.channel(2);
    let log = events.clone();
    door.spawn(move || {
        for number in 0..5 {
            D::send(channel, number, None).unwrap();
            log.push(("sent", number));
        }
    });
    let log = events.clone();
    door.spawn(move || {
        assert_eq!(D::try_send(channel, 9), Err(libc::EAGAIN));
        for _ in 0..5 {
            let number = D::receive(channel, None).unwrap();
            log.push(("received", number));
        }
        assert_eq!(D::try_receive(channel), Err(libc::EAGAIN));
    });
    door.run();
    let all = events.0.borrow();
    let of = |what: &str| {
        let numbers = all.iter().filter(|(kind, _)| *kind == what).map(|(_, number)| *number);
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(of("sent"), [0, 1, 2, 3, 4]);
    assert_eq!(of("received"), [0, 1, 2, 3, 4]);
    assert_eq!(all[..3], [("sent", 0), ("sent", 1), ("received", 0)]);
}

fn a_channel_without_room_hands_over<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let channel = door.channel(0);
    let log = events.clone();
    door.spawn(move || {
        assert_eq!(D::try_send(channel, 1), Err(libc::EAGAIN));
        D::send(channel, 7, None).unwrap();
        log.push(0);
    });
    let log = events.clone();
    door.spawn(move || {
        D::sleep(2 * MS).unwrap();
        log.push(D::receive(channel, None).unwrap());
    });
    door.run();
    events.are(&[7, 0]);
}

fn a_closed_channel_is_emptied_first<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let (channel, empty, full) = (door.channel(2), door.channel(1), door.channel(0));
    D::try_send(channel, 5).unwrap();
    let log = events.clone();
    door.spawn(move || log.push(D::receive(empty, None)));
    let log = events.clone();
    door.spawn(move || log.push(D::send(full, 1, None).map(|()| 0)));
    let log = events.clone();
    door.spawn(move || {
        for channel in [channel, empty, full] {
            D::close(channel);
        }
        log.push(D::send(channel, 6, None).map(|()| 0));
        log.push(D::receive(channel, None));
        log.push(D::receive(channel, None));
    });
    door.run();
    let closed = Err(libc::EPIPE);
    events.are(&[closed, Ok(5), closed, closed, closed]);
}

fn a_channel_has_time_limits<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let (channel, log) = (door.channel(0), events.clone());
    door.spawn(move || {
        let began = Instant::now();
        log.push(D::receive(channel, Some(2 * MS)));
        log.push(D::send(channel, 1, Some(2 * MS)).map(|()| 0));
        assert!(began.elapsed() >= 4 * MS);
    });
    door.run();
    events.are(&[Err(libc::ETIMEDOUT); 2]);
}

fn a_select_does_what_is_possible_first<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let (from, to) = (door.channel(0), door.channel(0));
    let log = events.clone();
    door.spawn(move || {
        log.push(D::receive_or_send(from, to, 1, Some(MS)));
        log.push(D::receive_or_send(from, to, 2, None));
        log.push(D::receive_or_send(from, to, 3, None));
        D::close(from);
        log.push(D::receive_or_send(from, to, 4, None));
    });
    let log = events.clone();
    door.spawn(move || {
        D::sleep(3 * MS).unwrap();
        D::send(from, 10, None).unwrap();
        log.push(D::receive(to, None).map(Some));
        // Neither the number that was not sent nor the wait are left behind.
        log.push(D::receive(to, Some(MS)).map(Some));
    });
    door.run();
    let (timed_out, closed) = (Err(libc::ETIMEDOUT), Err(libc::EPIPE));
    let mut all = events.0.borrow().clone();
    all[1..].sort();
    let mut expected = [timed_out, Ok(Some(10)), Ok(None), closed, Ok(Some(3)), timed_out];
    expected[1..].sort();
    assert_eq!(all, expected);
}

/// A wait of each kind is canceled, and then what it waited for is there for another task.
fn what_cancel_ends_has_taken_nothing<D: Sync>() {
    let (door, events) = (D::new(), Events::new());
    let (mutex, semaphore, group) = (door.mutex(), door.semaphore(0), door.group());
    let (empty, full) = (door.channel(0), door.channel(0));
    D::add(group, 1).unwrap();
    door.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::sleep(5 * MS).unwrap();
        D::unlock(mutex).unwrap();
    });
    let calls: [Rc<dyn Fn() -> Result<(), i32>>; 6] = [
        Rc::new(move || D::lock(mutex, None)),
        Rc::new(move || D::acquire(semaphore, 1, None)),
        Rc::new(move || D::wait_for_group(group, None)),
        Rc::new(move || D::receive(empty, None).map(drop)),
        Rc::new(move || D::send(full, 1, None)),
        Rc::new(move || D::receive_or_send(empty, full, 1, None).map(drop)),
    ];
    let count = calls.len();
    let waiting: Vec<D::Task> = calls
        .into_iter()
        .map(|call| {
            let log = events.clone();
            door.spawn(move || log.push(call()))
        })
        .collect();
    let log = events.clone();
    door.spawn(move || {
        waiting.iter().for_each(D::cancel);
        D::yield_now().unwrap();
        log.push(D::release(semaphore, 1));
        log.push(D::acquire(semaphore, 1, None));
        log.push(D::done(group));
        assert_eq!(D::try_send(empty, 1), Err(libc::EAGAIN));
        assert_eq!(D::try_receive(full), Err(libc::EAGAIN));
        log.push(D::lock(mutex, None));
        log.push(D::unlock(mutex));
    });
    door.run();
    let mut expected = vec![Err(libc::ECANCELED); count];
    expected.extend([Ok(()); 5]);
    events.are(&expected);
}

fn objects_of_another_scheduler_are_refused<D: Sync>() {
    let (door, other, events) = (D::new(), D::new(), Events::new());
    let (mutex, semaphore, group) = (door.mutex(), door.semaphore(0), door.group());
    let channel = door.channel(0);
    D::add(group, 1).unwrap();
    // These make the objects this scheduler's, if they are not yet.
    door.spawn(move || D::lock(mutex, None).unwrap());
    door.spawn(move || assert!(D::acquire(semaphore, 1, Some(MS)).is_err()));
    door.spawn(move || assert!(D::wait_for_group(group, Some(MS)).is_err()));
    door.spawn(move || assert!(D::receive(channel, Some(MS)).is_err()));
    door.run();
    let log = events.clone();
    other.spawn(move || {
        log.push(D::lock(mutex, None));
        log.push(D::acquire(semaphore, 1, None));
        log.push(D::release(semaphore, 1));
        log.push(D::wait_for_group(group, None));
        log.push(D::done(group));
        log.push(D::send(channel, 1, None));
        log.push(D::try_receive(channel).map(drop));
    });
    other.run();
    events.are(&[Err(libc::EPERM); 7]);
}

fn waits_outside_a_task_are_refused<D: Sync>() {
    let door = D::new();
    let (mutex, semaphore, group) = (door.mutex(), door.semaphore(0), door.group());
    let channel = door.channel(0);
    D::add(group, 1).unwrap();
    assert_eq!(D::lock(mutex, None), Err(libc::EPERM));
    assert_eq!(D::acquire(semaphore, 1, None), Err(libc::EPERM));
    assert_eq!(D::wait_for_group(group, None), Err(libc::EPERM));
    assert_eq!(D::send(channel, 1, None), Err(libc::EPERM));
    assert_eq!(D::receive(channel, None), Err(libc::EPERM));
    // What need not wait works.
    D::release(semaphore, 1).unwrap();
    assert_eq!(D::try_acquire(semaphore, 1), Ok(()));
    assert_eq!(D::try_receive(channel), Err(libc::EAGAIN));
}
