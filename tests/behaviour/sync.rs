//! Synchronization objects, tested through both APIs.

mod budget;
mod c_abi;
mod canceled;
mod channel;
mod condvar;
mod deadline;
mod late;
mod mutex;
mod rust_api;
mod select;
mod select_any;
mod semaphore;
mod wait_group;

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Api, Events, HOUR, MS};

/// One API of the synchronization objects. An object is bound to the scheduler that it was made
/// for, or whose task uses it first. Copies refer to the same object, which is never destroyed.
pub trait Sync: Api {
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
    /// Does the first possible operation: sends a number to a channel, or receives one if there is
    /// none to send. Returns the index, and the received number.
    fn select(
        cases: &[(Self::Channel, Option<u64>)],
        timeout: Option<Duration>,
    ) -> Result<(usize, Option<u64>), i32>;
    /// Waits for the first of several things, and returns its index, and its own error.
    fn select_any(
        things: &[Thing<'_, Self>],
        timeout: Option<Duration>,
    ) -> Result<(usize, Result<(), i32>), i32>;
}

/// What a select waits for.
pub enum Thing<'t, D: Sync> {
    Receive(D::Channel),
    Readable(BorrowedFd<'t>),
    Writable(BorrowedFd<'t>),
    Ended(&'t D::Task),
    After(Duration),
}

behaviours!(
    a_canceled_wait_takes_nothing,
    a_hand_off_is_not_undone,
    objects_of_another_scheduler_are_refused,
    waits_outside_a_task_are_refused,
);

/// A timeout that expires soon, but not before a test has set up its scenario.
const LIMIT: Duration = Duration::from_millis(20);

/// A scheduler whose clock also counts the time that a task of this thread only pretends to
/// compute: so no deadline passes early because the machine is busy. Nor does a turn end early: with
/// a program's clock the budget of a turn is a number of calls, and no time.
pub(super) fn api_that_pretends<A: Api>() -> A {
    A::with_clock(|| {
        let (began, pretended) = TIME.get();
        began.elapsed() + pretended
    })
}

thread_local! {
    static TIME: Cell<(Instant, Duration)> = Cell::new((Instant::now(), Duration::ZERO));
}

/// Pretends to compute for longer than any timeout.
fn compute() {
    let (began, pretended) = TIME.get();
    TIME.set((began, pretended + 2 * HOUR));
}

/// Lets all ready tasks run until they block or end.
fn settle<D: Api>() {
    for _ in 0..20 {
        D::yield_now().unwrap();
    }
}

/// A wait of each kind is canceled, and then another task gets what it waited for.
fn a_canceled_wait_takes_nothing<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, semaphore, group) = (api.mutex(), api.semaphore(0), api.group());
    let (empty, full) = (api.channel(0), api.channel(0));
    D::add(group, 1).unwrap();
    api.spawn(move || {
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
        Rc::new(move || D::select(&[(empty, None), (full, Some(1))], None).map(drop)),
    ];
    let count = calls.len();
    let waiting: Vec<D::Task> = calls
        .into_iter()
        .map(|call| {
            let log = events.clone();
            api.spawn(move || log.push(call()))
        })
        .collect();
    let log = events.clone();
    api.spawn(move || {
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
    api.run();
    let mut expected = vec![Err(libc::ECANCELED); count];
    expected.extend([Ok(()); 5]);
    events.are(&expected);
}

/// What a task was handed belongs to it before it runs, and still does when it is canceled and its
/// deadline passes in between.
fn a_hand_off_is_not_undone<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, semaphore, group) = (api.mutex(), api.semaphore(0), api.group());
    let (condvar, condvar_mutex) = (api.condvar(), api.mutex());
    let (empty, full) = (api.channel(0), api.channel(0));
    D::add(group, 1).unwrap();
    // For each kind: a wait, and what ends it.
    type Kind = (Rc<dyn Fn() -> Result<(), i32>>, Rc<dyn Fn()>);
    let kinds: [Kind; 7] = [
        (
            Rc::new(move || D::lock(mutex, Some(HOUR)).and_then(|()| D::unlock(mutex))),
            Rc::new(move || D::unlock(mutex).unwrap()),
        ),
        (
            Rc::new(move || {
                D::lock(condvar_mutex, None)?;
                D::wait(condvar, condvar_mutex, Some(HOUR))?;
                D::unlock(condvar_mutex)
            }),
            Rc::new(move || D::notify_one(condvar)),
        ),
        (
            Rc::new(move || D::acquire(semaphore, 1, Some(HOUR))),
            Rc::new(move || D::release(semaphore, 1).unwrap()),
        ),
        (
            Rc::new(move || D::wait_for_group(group, Some(HOUR))),
            Rc::new(move || {
                D::done(group).unwrap();
                D::add(group, 1).unwrap(); // More is added, but the group was done.
            }),
        ),
        (
            Rc::new(move || D::receive(empty, Some(HOUR)).map(|number| assert_eq!(number, 5))),
            Rc::new(move || D::try_send(empty, 5).unwrap()),
        ),
        (
            Rc::new(move || D::send(full, 6, Some(HOUR))),
            Rc::new(move || assert_eq!(D::try_receive(full), Ok(6))),
        ),
        (
            Rc::new(move || {
                let done = D::select(&[(full, Some(7)), (empty, None)], Some(HOUR))?;
                assert_eq!(done, (1, Some(8)));
                Ok(())
            }),
            Rc::new(move || D::try_send(empty, 8).unwrap()),
        ),
    ];
    let (inner, log) = (api.clone(), events.clone());
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        for (wait, give) in kinds {
            let log = log.clone();
            let waiting = inner.spawn(move || log.push(wait()));
            D::yield_now().unwrap();
            give();
            D::cancel(&waiting);
            compute();
            settle::<D>();
        }
        assert_eq!(D::try_acquire(semaphore, 1), Err(libc::EAGAIN));
    });
    api.run();
    events.are(&[Ok(()); 7]);
}

fn objects_of_another_scheduler_are_refused<D: Sync>() {
    let (api, other, events) = (api_that_pretends::<D>(), D::new(), Events::new());
    let (mutex, semaphore, group) = (api.mutex(), api.semaphore(0), api.group());
    let channel = api.channel(0);
    D::add(group, 1).unwrap();
    // These bind the objects to this scheduler, if they are not bound yet.
    api.spawn(move || D::lock(mutex, None).unwrap());
    api.spawn(move || assert!(D::acquire(semaphore, 1, Some(MS)).is_err()));
    api.spawn(move || assert!(D::wait_for_group(group, Some(MS)).is_err()));
    api.spawn(move || assert!(D::receive(channel, Some(MS)).is_err()));
    api.run();
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
    let api = api_that_pretends::<D>();
    let (mutex, semaphore, group) = (api.mutex(), api.semaphore(0), api.group());
    let channel = api.channel(0);
    D::add(group, 1).unwrap();
    assert_eq!(D::lock(mutex, None), Err(libc::EPERM));
    assert_eq!(D::acquire(semaphore, 1, None), Err(libc::EPERM));
    assert_eq!(D::wait_for_group(group, None), Err(libc::EPERM));
    assert_eq!(D::send(channel, 1, None), Err(libc::EPERM));
    assert_eq!(D::receive(channel, None), Err(libc::EPERM));
    // Calls that need not wait work.
    D::release(semaphore, 1).unwrap();
    assert_eq!(D::try_acquire(semaphore, 1), Ok(()));
    assert_eq!(D::try_receive(channel), Err(libc::EAGAIN));
}
