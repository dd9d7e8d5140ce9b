//! Descriptors whose files other processes and duplicates share: what a child of a task does, and
//! numbers that are used again.

use std::cell::Cell;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Api, End, Events, HOUR, MS};

behaviours!(
    a_child_of_a_task_does_not_disturb_its_parents_waits,
    a_child_goes_on_with_copies_of_the_tasks,
    an_event_of_an_earlier_file_wakes_nobody,
    a_wait_left_behind_is_not_for_the_next_file,
    no_standard_stream_is_taken,
);

/// Makes a child process; 0 in the child, which ends in any case.
fn fork() -> i32 {
    // SAFETY: the child does nothing that needs another thread, or a lock of one.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::alarm(50) };
    }
    child
}

fn leave(good: bool) -> ! {
    // SAFETY: ends the process, and runs nothing.
    unsafe { libc::_exit(i32::from(!good)) }
}

fn ended_well(child: i32) -> bool {
    let mut status = 0;
    // SAFETY: a child that nobody else waits for.
    unsafe { libc::waitpid(child, &raw mut status, 0) == child && status == 0 }
}

/// The descriptor with a number, which the test keeps open.
fn borrow<'f>(fd: RawFd) -> BorrowedFd<'f> {
    // SAFETY: open while it is used. That another file gets the number is what is tested.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Sleeps until something has happened, or that has taken much longer than it should.
fn wait_until<D: Api>(done: impl Fn() -> bool) -> bool {
    (0..5000).any(|_| done() || D::sleep(MS).is_err()) && done()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InChild {
    Leaves,
    Sleeps,
    Waits,
    Returns,
    Stops,
}

fn a_child_of_a_task_does_not_disturb_its_parents_waits<D: Api>() {
    use InChild::*;
    for first in [Leaves, Sleeps, Waits, Returns, Stops] {
        let (api, events) = (D::new(), Events::new());
        let (reader, mut writer) = std::io::pipe().unwrap();
        let in_child = Rc::new(Cell::new(false));
        let (log, flag) = (events.clone(), in_child.clone());
        let waiting = api.spawn(move || {
            let result = D::wait_readable(reader.as_fd(), None);
            if !flag.get() {
                log.push(result);
            }
        });
        let (log, flag, stop) = (events.clone(), in_child.clone(), api.stop());
        api.spawn(move || {
            D::sleep(2 * MS).unwrap(); // The wait is in the epoll set.
            let child = fork();
            flag.set(child == 0);
            match first {
                _ if child > 0 => {
                    assert!(ended_well(child));
                    log.are(&[]);
                    writer.write_all(b"x").unwrap();
                    assert!(wait_until::<D>(|| !log.0.borrow().is_empty()), "the wait is lost");
                }
                Leaves => leave(true),
                Sleeps => leave(D::sleep(2 * MS).is_ok()),
                Waits => {
                    let Ok((own, mut to_own)) = std::io::pipe() else { leave(false) };
                    let late = D::wait_readable(own.as_fd(), Some(2 * MS));
                    let _ = to_own.write_all(b"x");
                    let ready = D::wait_readable(own.as_fd(), Some(HOUR));
                    leave(late == Err(libc::ETIMEDOUT) && ready.is_ok())
                }
                Returns => D::cancel(&waiting),
                Stops => D::raise(&stop),
            }
        });
        let ended = api.run();
        if in_child.get() {
            let good = ended == if first == Stops { End::Stopped } else { End::Completed };
            drop(api);
            leave(good);
        }
        assert_eq!(ended, End::Completed);
        events.are(&[Ok(())]);
    }
}

/// What the child writes, both could read: its tasks wait by registrations of its own.
fn a_child_goes_on_with_copies_of_the_tasks<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let in_child = Rc::new(Cell::new(false));
    let log = events.clone();
    api.spawn(move || log.push(D::wait_readable(reader.as_fd(), None)));
    let flag = in_child.clone();
    api.spawn(move || {
        D::sleep(2 * MS).unwrap();
        let child = fork();
        flag.set(child == 0);
        if child > 0 {
            assert!(ended_well(child));
        }
        writer.write_all(b"x").unwrap();
    });
    let ended = api.run();
    if in_child.get() {
        leave(ended == End::Completed && *events.0.borrow() == [Ok(())]);
    }
    events.are(&[Ok(())]);
}

/// What keeps the earlier file open.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Nowhere,
    Duplicate,
    Child,
}

/// A pipe's reading end has a number, which then is another pipe's.
struct Reused {
    old_writer: std::io::PipeWriter,
    new_writer: std::io::PipeWriter,
    number: RawFd,
    duplicate: Option<RawFd>,
    child: Option<(i32, std::io::PipeWriter)>,
}

impl Reused {
    /// Gives the number to another pipe. With `closes`, a thread of another test may take it first:
    /// then there is nothing to see.
    fn new(number: RawFd, old_writer: std::io::PipeWriter, kept: Kept, closes: bool) -> Reused {
        let (new_reader, new_writer) = std::io::pipe().unwrap();
        let mut reused = Reused { old_writer, new_writer, number, duplicate: None, child: None };
        match kept {
            Kept::Nowhere => {}
            // SAFETY: no pointers.
            Kept::Duplicate => reused.duplicate = Some(unsafe { libc::dup(number) }),
            Kept::Child => {
                let (control, end_of_control) = std::io::pipe().unwrap();
                let child = fork();
                if child == 0 {
                    drop(end_of_control);
                    let mut byte = 0_u8;
                    // SAFETY: one byte. The parent writes it: its closed end would not do, since a child
                    // that another test makes meanwhile has a copy of that.
                    let count =
                        unsafe { libc::read(control.as_raw_fd(), (&raw mut byte).cast(), 1) };
                    leave(count == 1);
                }
                reused.child = Some((child, end_of_control));
            }
        }
        // SAFETY: descriptors of this test.
        reused.number = unsafe {
            if closes {
                libc::close(number);
                libc::fcntl(new_reader.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number)
            } else {
                libc::dup2(new_reader.as_raw_fd(), number)
            }
        };
        reused
    }
}

impl Drop for Reused {
    fn drop(&mut self) {
        for fd in self.duplicate.into_iter().chain([self.number]) {
            // SAFETY: a descriptor of this test.
            unsafe { libc::close(fd) };
        }
        if let Some((child, mut control)) = self.child.take() {
            control.write_all(b"x").unwrap();
            assert!(ended_well(child));
        }
    }
}

fn an_event_of_an_earlier_file_wakes_nobody<D: Api>() {
    for kept in [Kept::Duplicate, Kept::Child] {
        for case in 0..8 {
            let [closes, busy, cancels] = [1, 2, 4].map(|bit| case & bit != 0);
            earlier_file::<D>(kept, closes, busy, cancels);
        }
    }
}

/// A wait ends, and the number is used again while something keeps the file; then that is ready.
fn earlier_file<D: Api>(kept: Kept, closes: bool, busy: bool, cancels: bool) {
    let (api, events, done) = (D::new(), Events::new(), Rc::new(Cell::new(false)));
    let (old_reader, old_writer) = std::io::pipe().unwrap();
    let number = old_reader.into_raw_fd();
    let first = api.spawn(move || {
        let limit = if cancels { HOUR } else { 2 * MS };
        let expected = if cancels { libc::ECANCELED } else { libc::ETIMEDOUT };
        assert_eq!(D::wait_readable(borrow(number), Some(limit)), Err(expected));
    });
    if busy {
        let done = done.clone();
        api.spawn(move || while !done.get() && D::yield_now().is_ok() {});
    }
    let (log, inner) = (events.clone(), api.clone());
    api.spawn(move || {
        if cancels {
            D::sleep(2 * MS).unwrap();
            D::cancel(&first);
        }
        D::join(&first, None).unwrap();
        let mut reused = Reused::new(number, old_writer, kept, closes);
        let (number, seen) = (reused.number, log.clone());
        inner.spawn(move || seen.push(D::wait_readable(borrow(number), Some(HOUR))));
        D::yield_now().unwrap();
        reused.old_writer.write_all(b"x").unwrap();
        D::sleep(2 * MS).unwrap();
        log.are(&[]);
        reused.new_writer.write_all(b"x").unwrap();
        assert!(wait_until::<D>(|| !log.0.borrow().is_empty()), "the wait is lost");
        done.set(true);
    });
    assert_eq!(api.run(), End::Completed);
    events.are(&[Ok(())]);
}

/// A file is closed, and its number used again, while a task waits for it.
fn a_wait_left_behind_is_not_for_the_next_file<D: Api>() {
    for kept in [Kept::Nowhere, Kept::Duplicate, Kept::Child] {
        for (times_out, busy) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut limit = if times_out { 10 * MS } else { HOUR };
            while !left_behind::<D>(kept, times_out.then_some(limit), busy) {
                limit *= 2; // The machine is busy.
            }
        }
    }
}

/// Another task's wait for the number finds out, or the time limit. Returns false if that was over
/// before the number was used again.
fn left_behind<D: Api>(kept: Kept, limit: Option<Duration>, busy: bool) -> bool {
    let (began, in_time) = (Rc::new(Cell::new(Instant::now())), Rc::new(Cell::new(true)));
    let times_out = limit.is_some();
    let (api, events, done) = (D::new(), Events::new(), Rc::new(Cell::new(false)));
    let (old_reader, old_writer) = std::io::pipe().unwrap();
    let number = old_reader.into_raw_fd();
    let (log, start) = (events.clone(), began.clone());
    let first = api.spawn(move || {
        start.set(Instant::now());
        log.push(("first", D::wait_readable(borrow(number), Some(limit.unwrap_or(HOUR)))));
    });
    if busy {
        let done = done.clone();
        api.spawn(move || while !done.get() && D::yield_now().is_ok() {});
    }
    let (log, inner, soon) = (events.clone(), api.clone(), in_time.clone());
    api.spawn(move || {
        D::sleep(3 * MS).unwrap(); // The wait is in the epoll set.
        let mut reused = Reused::new(number, old_writer, kept, false);
        soon.set(limit.is_none_or(|limit| began.get().elapsed() < limit));
        reused.new_writer.write_all(b"x").unwrap();
        if !times_out {
            let seen = log.clone();
            inner.spawn(move || seen.push(("second", D::wait_readable(borrow(number), None))));
        }
        D::join(&first, None).unwrap();
        assert!(wait_until::<D>(|| times_out || log.0.borrow().len() == 2));
        done.set(true);
    });
    assert_eq!(api.run(), End::Completed);
    let expected = [("first", Err(libc::EBADF)), ("second", Ok(()))];
    if in_time.get() {
        events.are(&expected[..if times_out { 1 } else { 2 }]);
    }
    in_time.get()
}

/// Whichever of the descriptors 0 to 2 a program has closed, a scheduler takes none of them.
fn no_standard_stream_is_taken<D: Api>() {
    for closed in 0..8 {
        let child = fork();
        if child > 0 {
            assert!(ended_well(child), "closed: {closed:#b}");
            continue;
        }
        let fds = move || (0..3).filter(move |fd| closed & 1 << fd != 0);
        // SAFETY: nothing of this process is written any more.
        let close = |fd| unsafe { libc::close(fd) };
        // SAFETY: no pointers.
        let is_open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1;
        fds().for_each(|fd| _ = close(fd));
        let api = D::new();
        let good = Rc::new(Cell::new(true));
        let seen = good.clone();
        api.spawn(move || {
            // As daemon(3) does: it must not take away what the scheduler waits by.
            let Ok(null) = std::fs::File::open("/dev/null") else { leave(false) };
            for fd in fds() {
                // SAFETY: no pointers.
                unsafe { libc::dup2(null.as_raw_fd(), fd) };
            }
            if null.as_raw_fd() < 3 {
                _ = null.into_raw_fd();
            }
            let Ok((reader, mut writer)) = std::io::pipe() else { leave(false) };
            let late = D::wait_readable(reader.as_fd(), Some(MS));
            let _ = writer.write_all(b"x");
            let ready = D::wait_readable(reader.as_fd(), Some(HOUR));
            seen.set(late == Err(libc::ETIMEDOUT) && ready.is_ok());
        });
        let taken = fds().any(is_open);
        leave(api.run() == End::Completed && good.get() && !taken);
    }
}
