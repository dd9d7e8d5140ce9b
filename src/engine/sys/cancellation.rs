//! Cancellation of threads, pthread_cancel(3).
//!
//! It unwinds a thread out of the call that it is in, if that is a cancellation point: through
//! frames that do not expect it, with locks held and descriptors open. So none of this library's
//! calls is a cancellation point: each call of the C library that is one is made by
//! [`uncancelable`], and what runs code of others, or C's streams, holds an [`Uncancelable`]. A
//! request that comes meanwhile stays pending.

use std::ffi::c_int;
use std::ptr::null_mut;

unsafe extern "C-unwind" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

const ENABLE: c_int = 0;
const DISABLE: c_int = 1;

/// This thread is not canceled while this lives. It must stay on this thread.
///
/// Dropping it unwinds if a request is pending and the thread's type of cancelability is
/// PTHREAD_CANCEL_ASYNCHRONOUS; with the deferred type, the thread's next cancellation point does.
pub struct Uncancelable {
    was_enabled: bool,
}

impl Uncancelable {
    #[inline]
    pub fn begin() -> Uncancelable {
        let mut before = DISABLE;
        // SAFETY: the address is good for the call. Disabling does not unwind.
        unsafe { pthread_setcancelstate(DISABLE, &mut before) };
        Uncancelable { was_enabled: before == ENABLE }
    }
}

impl Drop for Uncancelable {
    #[inline]
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: NULL is allowed by the C libraries that this is built for. It may unwind,
            // and nothing here is left to do then.
            unsafe { pthread_setcancelstate(ENABLE, null_mut()) };
        }
    }
}

/// Makes a call of the C library that is a cancellation point, as if it were none. What may block is one,
/// and libmajjen-hook stands in for it: this is the mark by which it knows the library's own calls.
#[inline(always)]
pub fn uncancelable<T>(call: impl FnOnce() -> T) -> T {
    let _own = OwnCall::begin();
    let _uncancelable = Uncancelable::begin();
    call()
}

/// Makes a call that libmajjen-hook stands in for, and that is no cancellation point, with the same mark.
#[inline(always)]
pub fn own_call<T>(call: impl FnOnce() -> T) -> T {
    let _own = OwnCall::begin();
    call()
}

/// The calls on this thread are the library's own while this lives. It must stay on this thread.
struct OwnCall(*mut usize);

unsafe extern "C" {
    safe fn majjen_shim_own_calls() -> *mut usize;
}

impl OwnCall {
    #[inline(always)]
    fn begin() -> OwnCall {
        let count = majjen_shim_own_calls();
        // SAFETY: the thread's own variable.
        unsafe { *count += 1 };
        OwnCall(count)
    }
}

impl Drop for OwnCall {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as in `begin`, on the same thread.
        unsafe { *self.0 -= 1 };
    }
}
