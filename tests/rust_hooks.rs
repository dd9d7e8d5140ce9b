//! Functions of the program that the core calls: a wait function, a clock, and a log callback, when
//! they return and when they panic.

mod support;

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use majjen::logger::{self, Level};
use majjen::{Builder, Error, Instant, Scheduler, task};
use support::{HOUR, scheduler};

const MS: Duration = Duration::from_millis(1);

/// A scheduler in simulated time, and its clock.
fn simulated() -> (Scheduler, Rc<Cell<Duration>>) {
    let now = Rc::new(Cell::new(Duration::ZERO));
    let read = now.clone();
    (simulated_by(move || read.get(), now.clone()), now)
}

/// A scheduler with a clock, whose waits advance `now` instead.
fn simulated_by(clock: impl Fn() -> Duration + 'static, now: Rc<Cell<Duration>>) -> Scheduler {
    Builder::new()
        .clock(clock)
        .wait(move |timeout, _| {
            now.set(now.get() + timeout.unwrap());
            Ok(0)
        })
        .build()
        .unwrap()
}

#[test]
fn time_can_be_simulated() {
    let (scheduler, now) = simulated();
    let events: Rc<RefCell<Vec<_>>> = Rc::default();
    for hours in [3, 1, 2] {
        let (events, now) = (events.clone(), now.clone());
        scheduler.spawn(move || {
            let began = Instant::now();
            task::sleep(hours * HOUR).unwrap();
            assert_eq!(began.elapsed(), hours * HOUR);
            events.borrow_mut().push((hours, now.get()));
        });
    }
    scheduler.run().unwrap();
    assert_eq!(*events.borrow(), [(1, HOUR), (2, 2 * HOUR), (3, 3 * HOUR)]);
}

#[test]
fn a_wait_function_is_told_of_descriptors() {
    let calls = Rc::new(Cell::new(0));
    let count = calls.clone();
    let scheduler = Builder::new()
        .wait(move |timeout, backend| {
            count.set(count.get() + 1);
            assert!(timeout.is_none_or(|timeout| timeout <= HOUR));
            wait_for(backend)
        })
        .build()
        .unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let reads = scheduler.spawn(move || task::wait_readable_timeout(reader.as_fd(), HOUR));
    let other = std::thread::spawn(move || {
        std::thread::sleep(5 * MS);
        drop(writer);
    });
    scheduler.run().unwrap();
    other.join().unwrap();
    reads.join().unwrap().unwrap();
    assert!(calls.get() > 0);
}

/// Blocks until a descriptor is readable.
fn wait_for(fd: BorrowedFd<'_>) -> std::io::Result<usize> {
    let mut poll =
        libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&fd), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, of an open descriptor.
    match unsafe { libc::poll(&mut poll, 1, 1000) } {
        -1 => Err(std::io::Error::last_os_error()),
        ready => Ok(ready as usize),
    }
}

#[test]
fn a_wait_function_that_fails_or_panics_ends_nothing() {
    let calls = Rc::new(Cell::new(0));
    let count = calls.clone();
    let scheduler = Builder::new()
        .wait(move |_, _| {
            count.set(count.get() + 1);
            match count.get() % 2 {
                0 => panic!("a wait function, on purpose"),
                _ => Err(std::io::Error::other("on purpose")),
            }
        })
        .build()
        .unwrap();
    let sleeps = scheduler.spawn(|| task::sleep(10 * MS));
    scheduler.run().unwrap();
    sleeps.join().unwrap().unwrap();
    assert!(calls.get() >= 2, "{} calls", calls.get());
}

#[test]
fn a_clock_that_panics_stands_still() {
    let panics = Rc::new(Cell::new(false));
    let fails = panics.clone();
    let now = Rc::new(Cell::new(HOUR));
    let read = now.clone();
    let clock = move || {
        assert!(!fails.get(), "a clock, on purpose");
        read.get()
    };
    let scheduler = simulated_by(clock, now.clone());
    let moments = scheduler.spawn(move || {
        task::sleep(MS).unwrap();
        let before = Instant::now();
        panics.set(true);
        let during = Instant::now();
        task::yield_now().unwrap();
        panics.set(false);
        now.set(Duration::ZERO); // And the clock does not go back.
        let after = Instant::now();
        now.set(2 * HOUR);
        task::sleep(MS).unwrap();
        (before, during, after)
    });
    scheduler.run().unwrap();
    let (before, during, after) = moments.join().unwrap();
    assert_eq!((before, before), (during, after));
}

/// `park` reads the clock for its deadline, and the loop reads it before it waits.
#[test]
fn a_clock_wakes_the_task_that_is_about_to_park() {
    for call in 1..=2 {
        let parks: Rc<RefCell<Option<task::Task>>> = Rc::default();
        let calls_left = Rc::new(Cell::new(0));
        let (woken, count) = (parks.clone(), calls_left.clone());
        let now = Rc::new(Cell::new(Duration::ZERO));
        let read = now.clone();
        let clock = move || {
            let left: u32 = count.get();
            count.set(left.saturating_sub(1));
            if left == 1 {
                woken.borrow().as_ref().unwrap().wake();
            }
            read.get()
        };
        let scheduler = simulated_by(clock, now.clone());
        let parked = scheduler.spawn(move || {
            *parks.borrow_mut() = task::current();
            calls_left.set(call);
            task::park(HOUR)
        });
        scheduler.run().unwrap();
        assert_eq!(parked.join().unwrap(), Ok(()));
        assert_eq!(now.get(), Duration::ZERO, "woken by call {call}");
    }
}

#[test]
fn a_wait_with_a_timeout_reads_the_clock_once() {
    let readings = Rc::new(Cell::new(0));
    let count = readings.clone();
    let clock = move || {
        count.set(count.get() + 1);
        Duration::ZERO
    };
    let scheduler = Builder::new().clock(clock).build().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"x").unwrap();
    let counts = scheduler.spawn(move || {
        readings.set(0);
        task::wait_readable(&reader).unwrap();
        let without = readings.replace(0);
        task::wait_readable_timeout(&reader, HOUR).unwrap();
        [without, readings.get()]
    });
    scheduler.run().unwrap();
    assert_eq!(counts.join().unwrap(), [0, 1]);
}

/// One test for all, since the process has one logger.
#[test]
fn a_log_callback_gets_lines_may_suspend_and_may_panic() {
    static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());
    static PANICS: AtomicBool = AtomicBool::new(false);
    static SUSPENDS: AtomicBool = AtomicBool::new(false);
    let this = std::thread::current().id();
    logger::set_callback(move |level, text| {
        if std::thread::current().id() != this {
            return; // A line of another test.
        }
        LINES.lock().unwrap().push((level, text.to_owned()));
        if SUSPENDS.load(Relaxed) {
            let _ = task::yield_now();
        }
        if PANICS.swap(false, Relaxed) {
            panic!("a log callback, on purpose");
        }
    })
    .unwrap();
    let scheduler = scheduler();
    SUSPENDS.store(true, Relaxed);
    let long = "x".repeat(5000);
    let line = long.clone();
    let suspended = scheduler.spawn(move || logger::log(Level::Error, format_args!("{line}")));
    let seen = scheduler.spawn(|| LINES.lock().unwrap().len());
    scheduler.run().unwrap();
    suspended.join().unwrap();
    assert_eq!(seen.join().unwrap(), 1);
    assert_eq!(*LINES.lock().unwrap(), [(Level::Error, long)]);

    // Canceled while it is suspended inside the callback: the unwinding is caught there, and
    // resumed later.
    let canceled = scheduler.spawn(|| {
        logger::log(Level::Error, format_args!("canceled meanwhile"));
        task::yield_now()
    });
    scheduler.spawn(move || {
        canceled.cancel();
        assert!(matches!(canceled.join(), Err(majjen::JoinError::Canceled)));
    });
    scheduler.run().unwrap();
    SUSPENDS.store(false, Relaxed);

    PANICS.store(true, Relaxed);
    let unharmed = scheduler.spawn(|| logger::log(Level::Error, format_args!("panics")));
    scheduler.run().unwrap();
    unharmed.join().unwrap();
    LINES.lock().unwrap().clear();
    logger::log(Level::Silent, format_args!("never"));
    logger::log(Level::Debug, format_args!("below the level"));
    logger::log(Level::Warn, format_args!("ordinary"));
    assert_eq!(*LINES.lock().unwrap(), [(Level::Warn, "ordinary".to_owned())]);

    logger::set_escape(true);
    logger::log(Level::Warn, format_args!("one\n[ERROR] line"));
    logger::set_escape(false);
    logger::log(Level::Warn, format_args!("two\nlines"));
    let expected = ["ordinary", "one\\n[ERROR] line", "two\nlines"];
    let lines = LINES.lock().unwrap();
    assert_eq!(lines.iter().map(|(_, text)| text).collect::<Vec<_>>(), expected);
    drop(lines);

    logger::to_stderr().unwrap();
    logger::log(Level::Warn, format_args!("to stderr"));
    assert_eq!(LINES.lock().unwrap().len(), expected.len());
    logger::to_streams().unwrap();
}

#[test]
fn builders_refuse_what_cannot_be() {
    assert_eq!(Builder::new().stack_size(100).build().unwrap_err(), Error::InvalidArgument);
    let scheduler = scheduler();
    let tiny = task::Builder::new().stack_size(100).spawn_on(&scheduler, || ());
    assert_eq!(tiny.unwrap_err(), Error::InvalidArgument);
    assert!(task::Builder::new().spawn(|| ()).is_err_and(|error| error == Error::NotInTask));
    assert!(matches!(task::spawn(|| ()).join(), Err(majjen::JoinError::Failed(Error::NotInTask))));
    scheduler.run().unwrap();
}

#[test]
fn a_task_has_the_stack_it_was_given() {
    let scheduler = Builder::new().stack_size(64 * 1024).build().unwrap();
    let deep = || std::hint::black_box([1u8; 500_000]).iter().map(|byte| u64::from(*byte)).sum();
    let large = task::Builder::new().stack_size(1 << 20).spawn_on(&scheduler, deep).unwrap();
    let used = scheduler.spawn(|| {
        std::hint::black_box([1u8; 30_000]);
        task::current().unwrap().stack_used()
    });
    scheduler.run().unwrap();
    let sum: u64 = large.join().unwrap();
    assert_eq!(sum, 500_000);
    let used = used.join().unwrap();
    assert!((30_000..=64 * 1024).contains(&used), "{used}");
}
