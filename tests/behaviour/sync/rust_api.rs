//! The objects of the Rust API. Guards are stored beside their objects, since behaviours unlock and
//! release by calls.

use std::cell::RefCell;
use std::time::Duration;

use majjen::Error;
use majjen::sync::{
    Condvar, Mutex, MutexGuard, Permits, Receiver, Select, Semaphore, Sender, WaitGroup, channel,
};
use majjen::task::no_unwind;

use super::{Sync, Thing};
use crate::rust_api::RustApi;

pub struct Lock {
    mutex: Mutex<()>,
    guard: RefCell<Option<MutexGuard<'static, ()>>>,
}

impl Lock {
    fn keep(&self, guard: Result<MutexGuard<'static, ()>, Error>) -> Result<(), i32> {
        self.guard.replace(Some(guard.map_err(Error::errno)?));
        Ok(())
    }
}

fn leak<T>(object: T) -> &'static T {
    Box::leak(Box::new(object))
}

/// Runs a call that returns a cancellation as an error, instead of unwinding.
fn told<T, E: Into<Error>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, i32> {
    no_unwind(call).map_err(|error| error.into().errno())
}

impl Sync for RustApi {
    type Mutex = &'static Lock;
    type Condvar = &'static Condvar;
    type Semaphore = &'static Semaphore;
    type Group = &'static WaitGroup;
    type Channel = &'static (Sender<u64>, Receiver<u64>);

    fn mutex(&self) -> &'static Lock {
        leak(Lock { mutex: Mutex::new(()), guard: RefCell::new(None) })
    }

    fn lock(lock: &'static Lock, timeout: Option<Duration>) -> Result<(), i32> {
        lock.keep(no_unwind(|| match timeout {
            Some(timeout) => lock.mutex.lock_timeout(timeout),
            None => lock.mutex.lock(),
        }))
    }

    fn try_lock(lock: &'static Lock) -> Result<(), i32> {
        lock.keep(lock.mutex.try_lock())
    }

    fn unlock(lock: &'static Lock) -> Result<(), i32> {
        lock.guard.take().map(drop).ok_or(libc::EPERM)
    }

    fn condvar(&self) -> &'static Condvar {
        leak(Condvar::new())
    }

    fn wait(
        condvar: &'static Condvar,
        lock: &'static Lock,
        timeout: Option<Duration>,
    ) -> Result<(), i32> {
        let guard = lock.guard.take().ok_or(libc::EPERM)?;
        let (guard, timed_out) = told(|| match timeout {
            Some(timeout) => condvar
                .wait_timeout(guard, timeout)
                .map(|(guard, result)| (guard, result.timed_out())),
            None => condvar.wait(guard).map(|guard| (guard, false)),
        })?;
        lock.keep(Ok(guard))?;
        if timed_out { Err(libc::ETIMEDOUT) } else { Ok(()) }
    }

    fn notify_one(condvar: &'static Condvar) {
        condvar.notify_one().unwrap();
    }

    fn notify_all(condvar: &'static Condvar) {
        condvar.notify_all().unwrap();
    }

    fn semaphore(&self, permits: u32) -> &'static Semaphore {
        leak(Semaphore::new(permits))
    }

    fn acquire(
        semaphore: &'static Semaphore,
        permits: u32,
        timeout: Option<Duration>,
    ) -> Result<(), i32> {
        told(|| match timeout {
            Some(timeout) => semaphore.acquire_timeout(permits, timeout),
            None => semaphore.acquire(permits),
        })
        .map(Permits::keep)
    }

    fn try_acquire(semaphore: &'static Semaphore, permits: u32) -> Result<(), i32> {
        semaphore.try_acquire(permits).map(Permits::keep).map_err(Error::errno)
    }

    fn release(semaphore: &'static Semaphore, permits: u32) -> Result<(), i32> {
        semaphore.release(permits).map_err(Error::errno)
    }

    fn available(semaphore: &'static Semaphore) -> u32 {
        semaphore.available()
    }

    fn group(&self) -> &'static WaitGroup {
        leak(WaitGroup::new())
    }

    fn add(group: &'static WaitGroup, count: usize) -> Result<(), i32> {
        group.add(count).map_err(Error::errno)
    }

    fn done(group: &'static WaitGroup) -> Result<(), i32> {
        group.done().map_err(Error::errno)
    }

    fn wait_for_group(group: &'static WaitGroup, timeout: Option<Duration>) -> Result<(), i32> {
        told(|| match timeout {
            Some(timeout) => group.wait_timeout(timeout),
            None => group.wait(),
        })
    }

    fn channel(&self, capacity: usize) -> Self::Channel {
        leak(channel(capacity))
    }

    fn send(channel: Self::Channel, number: u64, timeout: Option<Duration>) -> Result<(), i32> {
        told(|| match timeout {
            Some(timeout) => channel.0.send_timeout(number, timeout),
            None => channel.0.send(number),
        })
    }

    fn receive(channel: Self::Channel, timeout: Option<Duration>) -> Result<u64, i32> {
        told(|| match timeout {
            Some(timeout) => channel.1.recv_timeout(timeout),
            None => channel.1.recv(),
        })
    }

    fn try_send(channel: Self::Channel, number: u64) -> Result<(), i32> {
        channel.0.try_send(number).map_err(|failed| failed.error.errno())
    }

    fn try_receive(channel: Self::Channel) -> Result<u64, i32> {
        channel.1.try_recv().map_err(Error::errno)
    }

    fn close(channel: Self::Channel) {
        channel.0.close();
    }

    fn select(
        cases: &[(Self::Channel, Option<u64>)],
        timeout: Option<Duration>,
    ) -> Result<(usize, Option<u64>), i32> {
        let mut select = Select::new();
        for (index, &((sender, receiver), number)) in cases.iter().enumerate() {
            select = match number {
                None => {
                    select.receive(receiver, move |got| got.map(|number| (index, Some(number))))
                }
                Some(number) => select.send(sender, number, move |sent| {
                    sent.map(|()| (index, None)).map_err(Error::from)
                }),
            };
        }
        told(|| match timeout {
            Some(timeout) => select.wait_timeout(timeout)?,
            None => select.wait()?,
        })
    }

    fn select_any(
        things: &[Thing<'_, RustApi>],
        timeout: Option<Duration>,
    ) -> Result<(usize, Result<(), i32>), i32> {
        let mut select = Select::new();
        for (index, thing) in things.iter().enumerate() {
            let told = move |result: Result<(), Error>| (index, result.map_err(Error::errno));
            select = match thing {
                Thing::Receive((_, receiver)) => {
                    select.receive(receiver, move |got| told(got.map(drop)))
                }
                Thing::Readable(fd) => select.readable(fd, told),
                Thing::Writable(fd) => select.writable(fd, told),
                Thing::Ended(task) => select.ended(task.task(), move || told(Ok(()))),
                Thing::After(duration) => select.after(*duration, move || told(Ok(()))),
            };
        }
        told(|| match timeout {
            Some(timeout) => select.wait_timeout(timeout),
            None => select.wait(),
        })
    }
}
