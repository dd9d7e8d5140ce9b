//! The objects of the C ABI.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

use super::Sync;
use crate::c_abi::{CAbi, Handle, ns, result};

/// An `mj_chan_case`.
#[repr(C)]
struct Case {
    channel: Handle,
    operation: u32,
    result: c_int,
    element: *mut c_void,
    reserved: [*mut c_void; 3],
}

const SEND: u32 = 0;
const RECEIVE: u32 = 1;

unsafe extern "C" {
    fn mj_mutex_create(scheduler: Handle) -> Handle;
    fn mj_mutex_lock(mutex: Handle, timeout_ns: u64) -> c_int;
    fn mj_mutex_try_lock(mutex: Handle) -> c_int;
    fn mj_mutex_unlock(mutex: Handle) -> c_int;
    fn mj_cond_create(scheduler: Handle) -> Handle;
    fn mj_cond_wait(cond: Handle, mutex: Handle, timeout_ns: u64) -> c_int;
    fn mj_cond_signal(cond: Handle) -> c_int;
    fn mj_cond_broadcast(cond: Handle) -> c_int;
    fn mj_semaphore_create(scheduler: Handle, permits: u32) -> Handle;
    fn mj_semaphore_acquire(semaphore: Handle, permits: u32, timeout_ns: u64) -> c_int;
    fn mj_semaphore_try_acquire(semaphore: Handle, permits: u32) -> c_int;
    fn mj_semaphore_release(semaphore: Handle, permits: u32) -> c_int;
    fn mj_semaphore_available(semaphore: Handle) -> u32;
    fn mj_waitgroup_create(scheduler: Handle) -> Handle;
    fn mj_waitgroup_add(group: Handle, count: usize) -> c_int;
    fn mj_waitgroup_done(group: Handle) -> c_int;
    fn mj_waitgroup_wait(group: Handle, timeout_ns: u64) -> c_int;
    fn mj_chan_create(scheduler: Handle, element_bytes: usize, capacity: usize) -> Handle;
    fn mj_chan_send(chan: Handle, element: *const u64, timeout_ns: u64) -> c_int;
    fn mj_chan_recv(chan: Handle, place: *mut u64, timeout_ns: u64) -> c_int;
    fn mj_chan_try_send(chan: Handle, element: *const u64) -> c_int;
    fn mj_chan_try_recv(chan: Handle, place: *mut u64) -> c_int;
    fn mj_chan_close(chan: Handle) -> c_int;
    fn mj_chan_select(cases: *mut Case, count: usize, timeout_ns: u64) -> c_int;
}

// SAFETY, for all of these: objects are from `create` functions, and are never destroyed.
impl Sync for CAbi {
    type Mutex = Handle;
    type Condvar = Handle;
    type Semaphore = Handle;
    type Group = Handle;
    type Channel = Handle;

    fn mutex(&self) -> Handle {
        // SAFETY: the scheduler is alive.
        unsafe { mj_mutex_create(self.handle()) }
    }

    fn lock(mutex: Handle, timeout: Option<Duration>) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_mutex_lock(mutex, ns(timeout)) })
    }

    fn try_lock(mutex: Handle) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_mutex_try_lock(mutex) })
    }

    fn unlock(mutex: Handle) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_mutex_unlock(mutex) })
    }

    fn condvar(&self) -> Handle {
        // SAFETY: the scheduler is alive.
        unsafe { mj_cond_create(self.handle()) }
    }

    fn wait(condvar: Handle, mutex: Handle, timeout: Option<Duration>) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_cond_wait(condvar, mutex, ns(timeout)) })
    }

    fn notify_one(condvar: Handle) {
        // SAFETY: see above.
        result(unsafe { mj_cond_signal(condvar) }).unwrap();
    }

    fn notify_all(condvar: Handle) {
        // SAFETY: see above.
        result(unsafe { mj_cond_broadcast(condvar) }).unwrap();
    }

    fn semaphore(&self, permits: u32) -> Handle {
        // SAFETY: the scheduler is alive.
        unsafe { mj_semaphore_create(self.handle(), permits) }
    }

    fn acquire(semaphore: Handle, permits: u32, timeout: Option<Duration>) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_semaphore_acquire(semaphore, permits, ns(timeout)) })
    }

    fn try_acquire(semaphore: Handle, permits: u32) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_semaphore_try_acquire(semaphore, permits) })
    }

    fn release(semaphore: Handle, permits: u32) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_semaphore_release(semaphore, permits) })
    }

    fn available(semaphore: Handle) -> u32 {
        // SAFETY: see above.
        unsafe { mj_semaphore_available(semaphore) }
    }

    fn group(&self) -> Handle {
        // SAFETY: the scheduler is alive.
        unsafe { mj_waitgroup_create(self.handle()) }
    }

    fn add(group: Handle, count: usize) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_waitgroup_add(group, count) })
    }

    fn done(group: Handle) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_waitgroup_done(group) })
    }

    fn wait_for_group(group: Handle, timeout: Option<Duration>) -> Result<(), i32> {
        // SAFETY: see above.
        result(unsafe { mj_waitgroup_wait(group, ns(timeout)) })
    }

    fn channel(&self, capacity: usize) -> Handle {
        // SAFETY: the scheduler is alive.
        unsafe { mj_chan_create(self.handle(), size_of::<u64>(), capacity) }
    }

    fn send(channel: Handle, number: u64, timeout: Option<Duration>) -> Result<(), i32> {
        // SAFETY: see above; a number.
        result(unsafe { mj_chan_send(channel, &number, ns(timeout)) })
    }

    fn receive(channel: Handle, timeout: Option<Duration>) -> Result<u64, i32> {
        let mut number = 0;
        // SAFETY: see above; a place for a number.
        result(unsafe { mj_chan_recv(channel, &mut number, ns(timeout)) }).map(|()| number)
    }

    fn try_send(channel: Handle, number: u64) -> Result<(), i32> {
        // SAFETY: see above; a number.
        result(unsafe { mj_chan_try_send(channel, &number) })
    }

    fn try_receive(channel: Handle) -> Result<u64, i32> {
        let mut number = 0;
        // SAFETY: see above; a place for a number.
        result(unsafe { mj_chan_try_recv(channel, &mut number) }).map(|()| number)
    }

    fn close(channel: Handle) {
        // SAFETY: see above.
        result(unsafe { mj_chan_close(channel) }).unwrap();
    }

    fn receive_or_send(
        from: Handle,
        to: Handle,
        mut number: u64,
        timeout: Option<Duration>,
    ) -> Result<Option<u64>, i32> {
        let mut received = 0u64;
        let case = |channel, operation, element: *mut u64| Case {
            channel,
            operation,
            result: 0,
            element: element.cast(),
            reserved: [null_mut(); 3],
        };
        let mut cases = [case(from, RECEIVE, &mut received), case(to, SEND, &mut number)];
        // SAFETY: see above; cases with a number, and a place for one.
        let index = unsafe { mj_chan_select(cases.as_mut_ptr(), cases.len(), ns(timeout)) };
        result(index)?;
        result(cases[index as usize].result)?;
        Ok((index == 0).then_some(received))
    }
}
