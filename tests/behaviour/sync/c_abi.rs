//! The objects of the C ABI.

use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{Sync, Thing};
use crate::c_abi::{CAbi, ns, result};
use crate::majjen_h::*;

impl Sync for CAbi {
    type Mutex = *mut mj_mutex;
    type Condvar = *mut mj_cond;
    type Semaphore = *mut mj_sem;
    type Group = *mut mj_waitgroup;
    type Channel = *mut mj_chan;

    fn mutex(&self) -> *mut mj_mutex {
        mj_mutex_create(self.scheduler())
    }

    fn lock(mutex: *mut mj_mutex, timeout: Option<Duration>) -> Result<(), i32> {
        result(mj_mutex_lock(mutex, ns(timeout)))
    }

    fn try_lock(mutex: *mut mj_mutex) -> Result<(), i32> {
        result(mj_mutex_try_lock(mutex))
    }

    fn unlock(mutex: *mut mj_mutex) -> Result<(), i32> {
        result(mj_mutex_unlock(mutex))
    }

    fn condvar(&self) -> *mut mj_cond {
        mj_cond_create(self.scheduler())
    }

    fn wait(
        condvar: *mut mj_cond,
        mutex: *mut mj_mutex,
        timeout: Option<Duration>,
    ) -> Result<(), i32> {
        result(mj_cond_wait(condvar, mutex, ns(timeout)))
    }

    fn notify_one(condvar: *mut mj_cond) {
        result(mj_cond_signal(condvar)).unwrap();
    }

    fn notify_all(condvar: *mut mj_cond) {
        result(mj_cond_broadcast(condvar)).unwrap();
    }

    fn semaphore(&self, permits: u32) -> *mut mj_sem {
        mj_sem_create(self.scheduler(), permits)
    }

    fn acquire(semaphore: *mut mj_sem, permits: u32, timeout: Option<Duration>) -> Result<(), i32> {
        result(mj_sem_acquire(semaphore, permits, ns(timeout)))
    }

    fn try_acquire(semaphore: *mut mj_sem, permits: u32) -> Result<(), i32> {
        result(mj_sem_try_acquire(semaphore, permits))
    }

    fn release(semaphore: *mut mj_sem, permits: u32) -> Result<(), i32> {
        result(mj_sem_release(semaphore, permits))
    }

    fn available(semaphore: *mut mj_sem) -> u32 {
        mj_sem_available(semaphore)
    }

    fn group(&self) -> *mut mj_waitgroup {
        mj_waitgroup_create(self.scheduler())
    }

    fn add(group: *mut mj_waitgroup, count: usize) -> Result<(), i32> {
        result(mj_waitgroup_add(group, count))
    }

    fn done(group: *mut mj_waitgroup) -> Result<(), i32> {
        result(mj_waitgroup_done(group))
    }

    fn wait_for_group(group: *mut mj_waitgroup, timeout: Option<Duration>) -> Result<(), i32> {
        result(mj_waitgroup_wait(group, ns(timeout)))
    }

    fn channel(&self, capacity: usize) -> *mut mj_chan {
        mj_chan_create(self.scheduler(), size_of::<u64>(), capacity)
    }

    fn send(channel: *mut mj_chan, number: u64, timeout: Option<Duration>) -> Result<(), i32> {
        result(mj_chan_send(channel, (&raw const number).cast(), ns(timeout)))
    }

    fn receive(channel: *mut mj_chan, timeout: Option<Duration>) -> Result<u64, i32> {
        let mut number = 0;
        result(mj_chan_recv(channel, (&raw mut number).cast(), ns(timeout))).map(|()| number)
    }

    fn try_send(channel: *mut mj_chan, number: u64) -> Result<(), i32> {
        result(mj_chan_try_send(channel, (&raw const number).cast()))
    }

    fn try_receive(channel: *mut mj_chan) -> Result<u64, i32> {
        let mut number = 0;
        result(mj_chan_try_recv(channel, (&raw mut number).cast())).map(|()| number)
    }

    fn close(channel: *mut mj_chan) {
        result(mj_chan_close(channel)).unwrap();
    }

    fn select(
        cases: &[(*mut mj_chan, Option<u64>)],
        timeout: Option<Duration>,
    ) -> Result<(usize, Option<u64>), i32> {
        let mut elements: Vec<u64> = cases.iter().map(|(_, number)| number.unwrap_or(0)).collect();
        let each = cases.iter().zip(&mut elements);
        let mut real: Vec<mj_select_case> = each
            .map(|((chan, number), element)| mj_select_case {
                chan: *chan,
                op: if number.is_some() { MJ_SELECT_SEND } else { MJ_SELECT_RECV },
                element: (&raw mut *element).cast(),
                ..Default::default()
            })
            .collect();
        let index = mj_select(real.as_mut_ptr(), real.len(), ns(timeout));
        result(index)?;
        let index = index as usize;
        result(real[index].result)?;
        Ok((index, cases[index].1.is_none().then_some(elements[index])))
    }

    fn select_any(
        things: &[Thing<'_, CAbi>],
        timeout: Option<Duration>,
    ) -> Result<(usize, Result<(), i32>), i32> {
        let mut number = 0u64;
        let now_ns = mj_scheduler_now_ns(mj_scheduler_current());
        let nothing = mj_select_case::default();
        let of_fd = |fd: i32, events| mj_select_case { op: MJ_SELECT_FD, fd, events, ..nothing };
        let mut cases: Vec<mj_select_case> = things
            .iter()
            .map(|thing| match thing {
                Thing::Receive(chan) => mj_select_case {
                    chan: *chan,
                    op: MJ_SELECT_RECV,
                    element: (&raw mut number).cast(),
                    ..nothing
                },
                Thing::Readable(fd) => of_fd(fd.as_raw_fd(), libc::POLLIN),
                Thing::Writable(fd) => of_fd(fd.as_raw_fd(), libc::POLLOUT),
                Thing::Ended(task) => {
                    mj_select_case { op: MJ_SELECT_TASK, task: task.id, ..nothing }
                }
                Thing::After(duration) => mj_select_case {
                    op: MJ_SELECT_DEADLINE,
                    deadline_ns: now_ns + ns(Some(*duration)),
                    ..nothing
                },
            })
            .collect();
        let index = mj_select(cases.as_mut_ptr(), cases.len(), ns(timeout));
        result(index)?;
        Ok((index as usize, result(cases[index as usize].result)))
    }
}
