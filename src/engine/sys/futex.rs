//! Threads that wait for a word in memory: futex(2).

use std::ptr::null;
use std::sync::atomic::AtomicU32;

use super::cancellation::uncancelable;
use super::errno::errno;
use super::time::{sleep_ns, timespec};

/// Waits while the word has a value, no longer than until a moment of the monotonic clock. Returns early for no
/// reason, too.
pub fn futex_wait(word: &AtomicU32, value: u32, until_ns: Option<u64>) {
    let until = until_ns.map(timespec);
    let until = until.as_ref().map_or(null(), |until| until as *const libc::timespec);
    // SAFETY: the addresses are good for the call, which only reads there.
    let result = uncancelable(|| unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            value,
            until,
            null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    });
    if result != 0 && !matches!(errno(), libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT) {
        sleep_ns(1_000_000); // Refused by a filter.
    }
}

/// Wakes a thread that waits for the word at an address, where nothing need be any more.
pub fn futex_wake(word: *const AtomicU32) {
    // SAFETY: the call does not use what is at the address.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
}
