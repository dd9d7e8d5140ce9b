//! Waiting for any of many descriptors, and what becomes of all who wait for one that is closed.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::Duration;

use super::{Io, in_a_task, takes_at_least};
use crate::{Events, HOUR, MS};

/// What is waited for.
#[derive(Clone, Copy)]
pub enum To {
    Read,
    Write,
}

/// Those that are ready, by their places, and for one that is not open the error.
pub type Told = Vec<(usize, Result<(), i32>)>;

/// One API of descriptors that are known by their numbers.
pub trait Poll: Io {
    fn poll(entries: &[(BorrowedFd<'_>, To)], limit: Option<Duration>) -> Result<Told, i32>;
    fn select(fd: BorrowedFd<'_>) -> Result<(), i32>;
    fn read_fd(fd: BorrowedFd<'_>) -> Result<usize, i32>;
    fn write_fd(fd: BorrowedFd<'_>) -> Result<usize, i32>;
    /// The library owns a descriptor, if the API has calls for that.
    fn adopt(fd: BorrowedFd<'_>);
    fn close(&self, fd: OwnedFd);
}

behaviours!(
    all_that_are_ready_are_told,
    a_poll_waits_for_the_first,
    a_poll_has_a_limit,
    a_poll_for_nothing_waits_for_its_limit,
    a_descriptor_is_polled_twice,
    a_closed_descriptor_is_ready,
    a_canceled_poll_tells_what_is_ready,
    a_deadline_ends_a_poll,
    a_wake_up_ends_no_poll,
    a_close_ends_all_waits,
    a_close_is_not_for_the_next_file,
);

const NOT_OPEN: Result<(), i32> = Err(libc::EBADF);

/// The descriptor of a number, which may be closed or another file's: only numbers are compared.
fn borrow<'f>(number: RawFd) -> BorrowedFd<'f> {
    // SAFETY: it is not -1. What is done with it is what a number is good for, whosever it is.
    unsafe { BorrowedFd::borrow_raw(number) }
}

fn all_that_are_ready_are_told<D: Poll>() {
    in_a_task::<D>(|_| {
        let [(one, mut first), (two, second), (three, mut third)] =
            [0; 3].map(|_| std::io::pipe().unwrap());
        let entries = [
            (one.as_fd(), To::Read),
            (second.as_fd(), To::Write),
            (two.as_fd(), To::Read),
            (three.as_fd(), To::Read),
        ];
        for limit in [None, Some(Duration::ZERO), Some(HOUR)] {
            assert_eq!(D::poll(&entries, limit), Ok(vec![(1, Ok(()))]));
        }
        first.write_all(b"x").unwrap();
        third.write_all(b"x").unwrap();
        for limit in [None, Some(Duration::ZERO), Some(HOUR)] {
            // They are there as long as nobody takes them.
            assert_eq!(D::poll(&entries, limit), Ok([0, 1, 3].map(|at| (at, Ok(()))).to_vec()));
        }
        drop(third);
        drop(first);
        assert_eq!(D::poll(&entries[2..], None), Ok(vec![(1, Ok(()))]));
    });
}

fn a_poll_waits_for_the_first<D: Poll>() {
    in_a_task::<D>(|api| {
        let pipes = [0; 20].map(|_| std::io::pipe().unwrap());
        let (readers, mut writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        let events = Events::new();
        let log = events.clone();
        let polls = api.spawn(move || {
            let entries: Vec<_> = readers.iter().map(|fd| (fd.as_fd(), To::Read)).collect();
            log.push(D::poll(&entries, None));
            log.push(D::poll(&entries, Some(HOUR)));
        });
        D::sleep(MS).unwrap();
        events.are(&[]);
        writers[17].write_all(b"x").unwrap();
        D::join(&polls, None).unwrap();
        events.are(&[Ok(vec![(17, Ok(()))]), Ok(vec![(17, Ok(()))])]);
    });
}

fn a_poll_has_a_limit<D: Poll>() {
    in_a_task::<D>(|_| {
        let (reader, _writer) = std::io::pipe().unwrap();
        let entries = [(reader.as_fd(), To::Read), (reader.as_fd(), To::Read)];
        for limit in [Duration::ZERO, 3 * MS] {
            takes_at_least(limit, || D::poll(&entries, Some(limit)).map(drop));
        }
    });
}

fn a_poll_for_nothing_waits_for_its_limit<D: Poll>() {
    in_a_task::<D>(|api| {
        for limit in [Duration::ZERO, 2 * MS] {
            takes_at_least(limit, || D::poll(&[], Some(limit)).map(drop));
        }
        let events = Events::new();
        let log = events.clone();
        let polls = api.spawn(move || log.push(D::poll(&[], None)));
        D::sleep(MS).unwrap();
        events.are(&[]);
        D::cancel(&polls);
        D::join(&polls, None).unwrap();
        events.are(&[Err(libc::ECANCELED)]);
    });
}

fn a_descriptor_is_polled_twice<D: Poll>() {
    in_a_task::<D>(|api| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let copy = reader.try_clone().unwrap();
        let events = Events::new();
        for limit in [None, Some(HOUR)] {
            let (reader, copy) = (reader.as_raw_fd(), copy.as_raw_fd());
            let log = events.clone();
            api.spawn(move || {
                let entries = [reader, copy, reader].map(|fd| (borrow(fd), To::Read));
                log.push(D::poll(&entries, limit));
            });
        }
        D::sleep(MS).unwrap();
        writer.write_all(b"x").unwrap();
        D::sleep(MS).unwrap();
        while events.0.borrow().len() < 2 {
            D::sleep(MS).unwrap();
        }
        events.are(&[(); 2].map(|()| Ok([0, 1, 2].map(|at| (at, Ok(()))).to_vec())));
    });
}

fn a_closed_descriptor_is_ready<D: Poll>() {
    in_a_task::<D>(|api| {
        let (reader, _writer) = std::io::pipe().unwrap();
        let (other, _there) = std::io::pipe().unwrap();
        let number = reader.as_raw_fd();
        let events = Events::new();
        let (log, kept) = (events.clone(), other.as_raw_fd());
        let polls = api.spawn(move || {
            let entries = [(borrow(kept), To::Read), (borrow(number), To::Read)];
            log.push(D::poll(&entries, Some(HOUR)));
        });
        D::sleep(MS).unwrap();
        events.are(&[]);
        api.close(reader.into());
        D::join(&polls, None).unwrap();
        events.are(&[Ok(vec![(1, NOT_OPEN)])]);
    });
}

fn a_canceled_poll_tells_what_is_ready<D: Poll>() {
    in_a_task::<D>(|api| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let events = Events::new();
        let (log, number) = (events.clone(), reader.as_raw_fd());
        let polls = api.spawn(move || {
            let entries = [(borrow(number), To::Read)];
            for _ in 0..3 {
                log.push(D::poll(&entries, None));
            }
        });
        D::sleep(MS).unwrap();
        D::cancel(&polls);
        D::yield_now().unwrap();
        D::join(&polls, None).unwrap();
        events.are(&[(); 3].map(|()| Err(libc::ECANCELED)));
        let log = events.clone();
        let polls = api.spawn(move || log.push(D::poll(&[(borrow(number), To::Read)], None)));
        D::sleep(MS).unwrap();
        writer.write_all(b"x").unwrap();
        D::cancel(&polls);
        D::join(&polls, None).unwrap();
        assert_eq!(events.0.borrow()[3], Ok(vec![(0, Ok(()))]));
    });
}

fn a_deadline_ends_a_poll<D: Poll>() {
    in_a_task::<D>(|_| {
        let (reader, writer) = std::io::pipe().unwrap();
        let entries = [(reader.as_fd(), To::Read)];
        takes_at_least(2 * MS, || {
            D::set_deadline(Some(2 * MS)).unwrap(); // It passes from here on.
            D::poll(&entries, None).map(drop)
        });
        takes_at_least(Duration::ZERO, || D::poll(&entries, None).map(drop));
        // It need not wait for what is ready.
        assert_eq!(D::poll(&[(writer.as_fd(), To::Write)], None), Ok(vec![(0, Ok(()))]));
        D::set_deadline(None).unwrap();
    });
}

fn a_wake_up_ends_no_poll<D: Poll>() {
    in_a_task::<D>(|api| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let events = Events::new();
        let log = events.clone();
        let polls = api.spawn(move || log.push(D::poll(&[(reader.as_fd(), To::Read)], None)));
        for _ in 0..5 {
            D::yield_now().unwrap();
            D::wake(&polls);
        }
        D::yield_now().unwrap();
        events.are(&[]);
        writer.write_all(b"x").unwrap();
        D::join(&polls, None).unwrap();
        events.are(&[Ok(vec![(0, Ok(()))])]);
    });
}

/// A socket that is neither readable nor writable, and the other end.
fn full_pair() -> (UnixStream, UnixStream) {
    let (full, other) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while (&full).write(&[0; 1000]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    (full, other)
}

/// What is told of one entry, which is the only one that is ready.
fn first(told: &Told, place: usize) -> Result<(), i32> {
    assert_eq!((told.len(), told[0].0), (1, place));
    told[0].1
}

/// All kinds of waits for one descriptor, which is closed then.
fn closed_during_all_waits<D: Poll>(api: &D, owned: bool, is_used_again: bool) {
    let (full, other) = full_pair();
    let (unrelated, _there) = std::io::pipe().unwrap();
    let number = under_own_number(full.into()).into_raw_fd();
    if owned {
        D::adopt(borrow(number));
    }
    let (events, kept) = (Events::new(), unrelated.as_raw_fd());
    let waits: [Box<dyn FnOnce() -> Result<(), i32>>; 9] = [
        Box::new(move || D::read_fd(borrow(number)).map(drop)),
        Box::new(move || D::read_fd(borrow(number)).map(drop)),
        Box::new(move || D::write_fd(borrow(number)).map(drop)),
        Box::new(move || D::wait_readable(borrow(number), None)),
        Box::new(move || D::wait_readable(borrow(number), Some(HOUR))),
        Box::new(move || D::wait_writable(borrow(number), None)),
        Box::new(move || D::select(borrow(number))),
        Box::new(move || {
            let entries = [(borrow(number), To::Write), (borrow(kept), To::Read)];
            D::poll(&entries, None).and_then(|told| first(&told, 0))
        }),
        Box::new(move || {
            let entries = [(borrow(kept), To::Read), (borrow(number), To::Read)];
            D::poll(&entries, Some(HOUR)).and_then(|told| first(&told, 1))
        }),
    ];
    let count = waits.len();
    let tasks = waits.map(|wait| {
        let log = events.clone();
        api.spawn(move || log.push(wait()))
    });
    D::sleep(MS).unwrap();
    events.are(&[]);
    // SAFETY: it was made here, and its tasks have its number only.
    api.close(unsafe { OwnedFd::from_raw_fd(number) });
    let next = is_used_again.then(|| used_again(number));
    for task in &tasks {
        D::join(task, None).unwrap();
    }
    events.are(&vec![NOT_OPEN; count]);
    drop((other, next));
}

/// Gives a file a number that no other test takes, also not when it is closed.
fn under_own_number(file: OwnedFd) -> OwnedFd {
    static NEXT: AtomicI32 = AtomicI32::new(700);
    copy_to(&file, NEXT.fetch_add(1, Relaxed))
}

/// Copies a file to a number that is free.
fn copy_to(file: &OwnedFd, number: RawFd) -> OwnedFd {
    // SAFETY: no pointers.
    let copied = unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) };
    assert_eq!(copied, number);
    // SAFETY: made just now, and owned by nothing else.
    unsafe { OwnedFd::from_raw_fd(copied) }
}

/// A file that is readable and writable, under a number that was closed just now.
fn used_again(number: RawFd) -> (OwnedFd, UnixStream) {
    let (ready, mut other) = UnixStream::pair().unwrap();
    other.write_all(b"x").unwrap();
    (copy_to(&ready.into(), number), other)
}

fn a_close_ends_all_waits<D: Poll>() {
    in_a_task::<D>(|api: D| {
        for owned in [false, true] {
            closed_during_all_waits(&api, owned, false);
        }
    });
}

fn a_close_is_not_for_the_next_file<D: Poll>() {
    in_a_task::<D>(|api: D| {
        for owned in [false, true] {
            closed_during_all_waits(&api, owned, true);
        }
    });
}
