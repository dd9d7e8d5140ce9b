//! Connecting to the first of several addresses that answers.
//!
//! One task does it by itself: the attempts are sockets that do not block, and it waits for any of them, or
//! for the moment when the next one is to begin. RFC 8305 has the pace: an attempt that has neither
//! succeeded nor failed after 250 ms gets company, and one that fails makes room at once.

use std::ffi::c_int;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};

use super::order::{Addresses, MOST};
use crate::engine::fd;
use crate::engine::io::WRITABLE;
use crate::engine::scheduler::{Limit, close_fd, is_past_deadline, now_ns, running_task, spend};
use crate::engine::sys::{
    self, Connected, ErrnoGuard, Error, OwnedFd, Result, SocketOption, pollfd,
};
use crate::engine::threads::this_process;
use crate::engine::time::Deadline;

/// How long an attempt has the field for itself.
const PACE_NS: u64 = 250_000_000;

/// A connection to one of the addresses, which does not block and is nobody's yet. They are tried in
/// this order. If none works, the error that says most.
pub fn race(
    addresses: &Addresses,
    local: Option<&SocketAddr>,
    options: &[SocketOption],
    mut limit: Limit,
) -> Result<OwnedFd> {
    let _errno = ErrnoGuard::save();
    let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
    spend()?;
    let end_ns = limit.deadline.resolve(&scheduler.time.clock).unwrap_or(u64::MAX);
    let mut attempts = Attempts::new();
    let mut failure = None;
    let mut left = addresses.as_slice().iter();
    let mut next_ns = 0;
    loop {
        while attempts.are_none() || next_ns <= now_ns() {
            let Some(address) = left.next() else { break };
            match sys::connect_tcp(address, local, options) {
                Ok((socket, Connected::Yes)) => return Ok(socket),
                Ok((socket, Connected::Later)) => {
                    attempts.add(socket);
                    next_ns = now_ns().saturating_add(PACE_NS);
                }
                Err(error) => note(&mut failure, error),
            }
        }
        if attempts.are_none() {
            return Err(failure.unwrap_or(Error::InvalidArgument)); // There is no address.
        }
        let may_start = !left.as_slice().is_empty();
        let until_ns = if may_start { next_ns.min(end_ns) } else { end_ns };
        let deadline = if until_ns == u64::MAX { Deadline::Never } else { Deadline::At(until_ns) };
        match fd::poll(attempts.polls(), Limit::uninterrupted(deadline)) {
            Ok(_) => {
                if let Some(socket) = attempts.take_connected(&mut failure) {
                    return Ok(socket);
                }
                next_ns = 0; // One has failed.
            }
            // The time of the task may be over, too.
            Err(Error::TimedOut)
                if until_ns < end_ns && !running_task().is_some_and(is_past_deadline) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Keeps the error that says most: what another machine has answered, and then what was found out about the
/// way there. Of such that say as much, the first.
fn note(failure: &mut Option<Error>, error: Error) {
    let weight = |error: Error| match error {
        // There is no such network here.
        Error::Os(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::ENETUNREACH) => 0,
        Error::Os(libc::ECONNABORTED) => 0, // The parent of this process is told.
        Error::Os(libc::EHOSTUNREACH) => 1,
        Error::Os(libc::ETIMEDOUT) => 2,
        _ => 3,
    };
    if failure.is_none_or(|known| weight(known) < weight(error)) {
        *failure = Some(error);
    }
}

/// The sockets of the attempts that are under way, which are closed when this is dropped. There is room for those of
/// all addresses: where most are silent, each gets its attempt in time.
struct Attempts {
    polls: [pollfd; MOST],
    /// Which process has begun each.
    processes: [u32; MOST],
    count: usize,
}

impl Attempts {
    fn new() -> Attempts {
        let none = pollfd { fd: -1, events: WRITABLE as i16, revents: 0 };
        Attempts { polls: [none; MOST], processes: [0; MOST], count: 0 }
    }

    fn are_none(&self) -> bool {
        self.count == 0
    }

    fn polls(&mut self) -> &mut [pollfd] {
        &mut self.polls[..self.count]
    }

    fn add(&mut self, socket: OwnedFd) {
        self.polls[self.count].fd = socket.into_raw_fd();
        self.processes[self.count] = this_process();
        self.count += 1;
    }

    fn remove(&mut self, index: usize) -> c_int {
        self.count -= 1;
        self.polls.swap(index, self.count);
        self.processes.swap(index, self.count);
        self.polls[self.count].fd
    }

    /// Takes out those that have ended: returns the first that is connected, and closes those that have failed.
    fn take_connected(&mut self, failure: &mut Option<Error>) -> Option<OwnedFd> {
        let mut index = 0;
        while index < self.count {
            let poll = self.polls[index];
            if poll.revents == 0 {
                index += 1;
                continue;
            }
            match fd::outcome_of_attempt(poll.fd, self.processes[index]) {
                Ok(()) => {
                    let fd = self.remove(index);
                    // SAFETY: it was an OwnedFd, and is in no other place now.
                    return Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
                Err(error) => {
                    note(failure, error);
                    // An error means that it is not open.
                    let _ = close_fd(self.remove(index));
                    // Another one is at `index` now, with what the poll has said of it.
                }
            }
        }
        None
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        for poll in &self.polls[..self.count] {
            let _ = close_fd(poll.fd); // As above.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_that_says_most_is_kept() {
        let rising = [
            [libc::ENETUNREACH, libc::ECONNABORTED],
            [libc::EHOSTUNREACH; 2],
            [libc::ETIMEDOUT; 2],
            [libc::ECONNREFUSED, libc::EACCES],
        ];
        for first in 0..rising.len() {
            for then in 0..rising.len() {
                let mut kept = None;
                note(&mut kept, Error::Os(rising[first][0]));
                note(&mut kept, Error::Os(rising[then][1]));
                let expected = if then > first { rising[then][1] } else { rising[first][0] };
                assert_eq!(kept, Some(Error::Os(expected)));
            }
        }
    }
}
