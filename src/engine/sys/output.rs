//! Writing to descriptors that others may have closed, filled or made nonblocking, as those of the
//! standard streams and of log files: without harm to the process, and for a bounded time.

use std::ffi::c_int;
use std::mem::{MaybeUninit, zeroed};
use std::ptr::null_mut;

use super::cancellation::{own_call, uncancelable};
use super::descriptor::poll_one;
use super::errno::{last_error, retry_interrupted};
use super::error::{Error, Result};
use super::signal::set_of;
use super::time::{monotonic_ns, sleep_ns, timespec};

/// The signals of writes: to a pipe or a socket that nobody reads, and past RLIMIT_FSIZE.
const SIGNALS: [c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// The signals that a write raises are held off on this thread while this lives, and what the
/// writes have raised is discarded: they only fail. The thread's mask is as before afterwards, and
/// the process's actions are not touched at all.
pub struct QuietWrites {
    mask_before: libc::sigset_t,
    /// Those that were pending before, and stay so. Only a blocked one can be.
    pending_before: [bool; 2],
    /// Set once a write has failed: only then is there something to discard.
    pub has_failed: bool,
}

impl QuietWrites {
    pub fn begin() -> QuietWrites {
        // SAFETY: a signal set is integers, for which zero is a value; the addresses are good for
        // the calls, which cannot fail with these arguments.
        unsafe {
            let mut mask_before: libc::sigset_t = zeroed();
            own_call(|| {
                libc::pthread_sigmask(libc::SIG_BLOCK, &set_of(&SIGNALS), &mut mask_before)
            });
            let mut pending_before = [false; 2];
            if SIGNALS.iter().any(|signal| libc::sigismember(&mask_before, *signal) == 1) {
                let mut pending = MaybeUninit::zeroed();
                libc::sigpending(pending.as_mut_ptr());
                pending_before =
                    SIGNALS.map(|signal| libc::sigismember(pending.as_ptr(), signal) == 1);
            }
            QuietWrites { mask_before, pending_before, has_failed: false }
        }
    }

    fn discard_signals(&self) {
        let now = timespec(0);
        for (signal, was_pending) in SIGNALS.into_iter().zip(self.pending_before) {
            if was_pending {
                continue;
            }
            let only = set_of(&[signal]);
            // SAFETY: as in `begin`. It returns at once, at the latest when none is pending.
            while uncancelable(|| unsafe { libc::sigtimedwait(&only, null_mut(), &now) }) > 0 {}
        }
    }

    /// Writes all bytes. Waits for room in a nonblocking file, at most `patience_ns` together. An
    /// error comes with the number of bytes written before.
    pub fn write_all(
        &mut self,
        fd: c_int,
        bytes: &[u8],
        patience_ns: u64,
    ) -> std::result::Result<(), (usize, Error)> {
        let mut written = 0;
        let (mut until_ns, mut looked) = (None, false);
        while written < bytes.len() {
            let rest = &bytes[written..];
            // SAFETY: the bytes are good for the call.
            let write = || unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) };
            let count = uncancelable(|| retry_interrupted(write));
            let error = match count {
                1.. => {
                    written += count as usize;
                    looked = false;
                    continue;
                }
                // Unexpected; an error, so as not to retry for ever.
                0 => Error::Os(libc::EIO),
                _ => last_error(),
            };
            let until_ns = *until_ns.get_or_insert_with(|| monotonic_ns() + patience_ns);
            if error == Error::Os(libc::EAGAIN) && wait_for_room(fd, until_ns).is_ok() {
                // There may be room, but not for this.
                if looked {
                    sleep_ns(RETRY_NS);
                }
                looked = true;
                continue;
            }
            self.has_failed = true;
            return Err((written, error));
        }
        Ok(())
    }
}

impl Drop for QuietWrites {
    fn drop(&mut self) {
        if self.has_failed {
            self.discard_signals();
        }
        // SAFETY: the mask is from `begin`.
        let restore =
            || unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask_before, null_mut()) };
        own_call(restore);
    }
}

/// write(2) to stderr, without buffers: for a process that is about to end, whose last words are no
/// reason to end in another way. Async-signal-safe, as all that [`QuietWrites`] calls is on Linux:
/// there is no lock and no memory in it.
pub fn write_to_stderr(text: &[u8]) {
    // If it fails there is no other place to write to.
    let _ = QuietWrites::begin().write_all(libc::STDERR_FILENO, text, LAST_WORDS_NS);
}

/// How long the last words wait for room.
const LAST_WORDS_NS: u64 = 100_000_000;

/// After a write that had no room where poll(2) says that there is some.
const RETRY_NS: u64 = 1_000_000;

/// Waits until a file takes bytes, or fails: at most until a moment.
pub fn wait_for_room(fd: c_int, until_ns: u64) -> Result<()> {
    loop {
        let left_ns = until_ns.saturating_sub(monotonic_ns());
        if left_ns == 0 {
            return Err(Error::TimedOut);
        }
        if poll_one(fd, libc::POLLOUT as u32, left_ns)? != 0 {
            return Ok(());
        }
    }
}
