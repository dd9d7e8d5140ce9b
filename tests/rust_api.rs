//! The rarely used parts of the Rust API, and its `Debug` and `Display` texts.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use majjen::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use majjen::sync::{Condvar, Mutex, channel};
use majjen::{Builder, Error, Instant, JoinError, Scheduler, StopHandle, logger, task};
use support::{HOUR, run_for_a_moment, scheduler};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_builder_gives_what_it_was_asked_for() {
    let builder = Builder::new().name("front").stack_size(20_000).report_overflow(true);
    assert_eq!(
        format!("{builder:?}"),
        r#"Builder { name: Some("front"), stack_size: Some(20000), .. }"#
    );
    let scheduler = builder.build().unwrap();
    assert_eq!(scheduler.name().as_deref(), Some("front"));
    assert_eq!(format!("{scheduler:?}"), r#"Scheduler { name: Some("front"), tasks: 0 }"#);
    let waiting = scheduler.spawn(|| task::park(MS));
    assert_eq!(format!("{scheduler:?}"), r#"Scheduler { name: Some("front"), tasks: 1 }"#);
    scheduler.run().unwrap();
    assert_eq!(waiting.join().unwrap(), Err(Error::TimedOut));
    assert_eq!(Builder::new().stack_size(1).build().unwrap_err(), Error::InvalidArgument);
}

#[test]
fn a_signal_ends_the_run_of_an_application() {
    let scheduler = Scheduler::builder().handle_signals(true).build().unwrap();
    let waiting = scheduler.spawn(|| {
        // SAFETY: no preconditions. The run handles the signal.
        unsafe { libc::raise(libc::SIGTERM) };
        task::park(None)
    });
    scheduler.run().unwrap();
    assert!(!waiting.is_finished());
    assert_eq!(scheduler.signal(), Some(libc::SIGTERM));
}

#[test]
fn a_wait_for_room_has_a_time_limit() {
    let (mut one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    let scheduler = scheduler();
    let waiting = scheduler.spawn(move || {
        let room = task::wait_writable_timeout(&one, HOUR);
        while one.write(&[0; 4096]).is_ok() {}
        (room, task::wait_writable_timeout(&one, MS))
    });
    scheduler.run().unwrap();
    assert_eq!(waiting.join().unwrap(), (Ok(()), Err(Error::TimedOut)));
    drop(other);
}

#[test]
fn a_scheduler_closes_what_its_tasks_wait_for() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let fd = OwnedFd::from(reader);
    let number = fd.as_raw_fd();
    let scheduler = scheduler();
    let waiting = scheduler.spawn(move || {
        // SAFETY: open when the wait begins, which is told when it is closed.
        task::wait_readable(unsafe { std::os::fd::BorrowedFd::borrow_raw(number) })
    });
    run_for_a_moment(&scheduler);
    scheduler.close_fd(fd).unwrap();
    scheduler.run().unwrap();
    assert_eq!(waiting.join().unwrap(), Err(Error::Os(libc::EBADF)));
}

#[test]
fn moments_of_the_clock_are_computed_without_overflow() {
    let now = Instant::now();
    let later = now.checked_add(MS).unwrap();
    assert!(later > now);
    assert_eq!(later.checked_sub(MS), Some(now));
    assert_eq!(now.checked_add(Duration::MAX), None);
    assert_eq!(now.checked_sub(Duration::MAX), None);
}

#[test]
fn a_stop_handle_stops_the_run_and_outlives_the_scheduler() {
    let scheduler = scheduler();
    let stop: StopHandle = scheduler.stop_handle();
    assert_eq!(format!("{stop:?}"), "StopHandle { .. }");
    let handle = stop.clone();
    let waiting = scheduler.spawn(move || {
        handle.stop().unwrap();
        task::park(None)
    });
    scheduler.run().unwrap();
    assert!(!waiting.is_finished());
    drop(scheduler);
    assert_eq!(stop.stop(), Err(Error::Disconnected));
}

#[test]
fn counters_begin_anew() {
    let scheduler = scheduler();
    scheduler.spawn(|| task::yield_now().unwrap());
    scheduler.run().unwrap();
    assert_eq!(scheduler.metrics().tasks_created, 1);
    scheduler.reset_metrics();
    assert_eq!(scheduler.metrics().tasks_created, 0);
    assert!(scheduler.metrics_text().contains("Created:"));
    assert!(scheduler.metrics_prometheus().contains("# TYPE"));
    assert!(scheduler.metrics_json().starts_with('{'));
    task::Builder::new().name("worker").spawn_on(&scheduler, || ()).unwrap();
    assert!(scheduler.dump().contains("worker"));
}

#[test]
fn join_errors_describe_the_outcome() {
    let scheduler = scheduler();
    let panics = scheduler.spawn(|| panic!("on purpose"));
    let numbers = scheduler.spawn(|| std::panic::panic_any(7));
    let parks = scheduler.spawn(|| task::park(None));
    let id = parks.task().id();
    assert_eq!(
        format!("{parks:?}"),
        format!("JoinHandle {{ task: Task {{ id: {id}, name: None }}, is_finished: false }}")
    );
    parks.cancel();
    scheduler.run().unwrap();
    let said = |error: JoinError| (format!("{error}"), format!("{error:?}"));
    let expected = [
        ("the task has panicked: on purpose", r#"Panicked("on purpose")"#),
        ("the task has panicked: (no message)", r#"Panicked("(no message)")"#),
        ("the task was canceled", "Canceled"),
        ("cannot join the task: invalid argument", "Failed(InvalidArgument)"),
    ];
    let errors = [
        panics.join().unwrap_err(),
        numbers.join().unwrap_err(),
        parks.join().unwrap_err(),
        JoinError::Failed(Error::InvalidArgument),
    ];
    for (error, (display, debug)) in errors.into_iter().zip(expected) {
        assert_eq!(said(error), (display.to_owned(), debug.to_owned()));
    }
}

#[test]
fn a_task_outside_of_any_scheduler_cannot_be_started() {
    let failed = task::spawn(|| ());
    assert_eq!(failed.task().id(), 0);
    assert_eq!(failed.task().name(), None);
    failed.task().wake();
    assert!(matches!(failed.join(), Err(JoinError::Failed(Error::NotInTask))));
    assert!(task::current().is_none());
    assert_eq!(task::shield(|| 7), 7);
    assert_eq!(task::park(MS), Err(Error::NotInTask));
}

#[test]
fn a_task_has_its_name_and_its_stack() {
    let scheduler = scheduler();
    let builder = task::Builder::new().name("a name that is longer than it may be");
    assert!(format!("{builder:?}").contains("a name that is longer than it may be"));
    let named = builder
        .stack_size(1 << 20)
        .spawn_on(&scheduler, || {
            let mut deep = [1u8; 600_000];
            std::hint::black_box(&mut deep);
            task::current().and_then(|task| task.name())
        })
        .unwrap();
    let too_small = task::Builder::new().stack_size(1).spawn_on(&scheduler, || ());
    assert_eq!(too_small.err(), Some(Error::InvalidArgument));
    scheduler.run().unwrap();
    assert_eq!(named.task().name(), None);
    assert_eq!(named.join().unwrap().as_deref(), Some("a name that is longer t"));
}

#[test]
fn a_wake_up_that_comes_early_is_kept() {
    let scheduler = scheduler();
    let order: Rc<RefCell<Vec<_>>> = Rc::default();
    let seen = order.clone();
    let sleeper = scheduler.spawn(move || {
        task::sleep(2 * MS).unwrap();
        seen.borrow_mut().push("slept");
        task::park(None).unwrap();
        seen.borrow_mut().push("parked");
        task::park(MS)
    });
    let waker = scheduler.spawn(move || {
        sleeper.task().wake();
        sleeper.join()
    });
    scheduler.run().unwrap();
    assert_eq!(waker.join().unwrap().unwrap(), Err(Error::TimedOut));
    assert_eq!(*order.borrow(), ["slept", "parked"]);
}

#[test]
fn moments_can_be_added_to() {
    let began = Instant::now();
    let mut later = began;
    later += MS;
    assert_eq!(later - began, MS);
    assert_eq!(began - later, Duration::ZERO);
    assert_eq!(later - MS, began);
    assert_eq!(began - Duration::MAX, began - Duration::MAX - MS);
    assert!(began + Duration::MAX > later);
}

#[test]
fn a_clock_that_asks_for_the_time_gets_the_last_one() {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    let scheduler = Builder::new()
        .clock(move || {
            count.set(count.get() + 1);
            assert!(Instant::now() >= Instant::now() - MS);
            count.get() * MS
        })
        .build()
        .unwrap();
    scheduler.spawn(|| task::sleep(3 * MS).unwrap());
    scheduler.run().unwrap();
    assert!(asked.get() > 3);
}

#[test]
fn a_wait_function_that_panics_has_failed() {
    let calls = Rc::new(Cell::new(0));
    let count = calls.clone();
    let scheduler = Builder::new()
        .wait(move |_, _| {
            count.set(count.get() + 1);
            panic!("on purpose")
        })
        .build()
        .unwrap();
    scheduler.spawn(|| task::sleep(2 * MS).unwrap());
    scheduler.run().unwrap();
    assert!(calls.get() > 0);
}

#[test]
fn a_dump_at_signal_0_is_refused() {
    let scheduler = Scheduler::new().unwrap();
    assert_eq!(scheduler.dump_on_signal(Some(0)), Err(Error::InvalidArgument));
    assert_eq!(scheduler.dump_on_signal(Some(libc::SIGKILL)), Err(Error::InvalidArgument));
    assert_eq!(scheduler.dump_on_signal(None), Ok(()));
}

#[test]
fn the_logger_goes_where_it_is_told() {
    let path = std::env::temp_dir().join(format!("majjen-api-{}.log", std::process::id()));
    let level = logger::level();
    assert!(logger::enabled(level));
    logger::to_file(&path).unwrap();
    logger::log(logger::Level::Error, format_args!("kept"));
    logger::reopen_file().unwrap();
    assert!(logger::to_syslog("").is_err());
    assert!(logger::to_file("/no/such/directory/file").is_err());
    logger::log(logger::Level::Error, format_args!("and kept"));
    logger::to_streams().unwrap();
    assert_eq!(logger::dropped(), 0);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert!(text.contains("] kept\n") && text.contains("] and kept\n"), "{text}");
}

/// Runs a body in a task.
fn in_a_task(body: impl FnOnce() + 'static) {
    let scheduler = scheduler();
    let task = scheduler.spawn(body);
    scheduler.run().unwrap();
    task.join().unwrap();
}

#[test]
fn sockets_are_those_of_the_standard_library() {
    in_a_task(|| {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        listener.set_read_timeout(Some(MS)).unwrap();
        assert_eq!(listener.read_timeout().unwrap(), Some(MS));
        let connecting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut accepted = listener.incoming().next().unwrap().unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), connecting.local_addr().unwrap());
        accepted.set_nodelay(true).unwrap();
        assert!(accepted.nodelay().unwrap());
        assert!(accepted.take_error().unwrap().is_none());
        let fd = accepted.as_fd().try_clone_to_owned().unwrap();
        drop(fd);
        accepted.write_all(b"four").unwrap();
        accepted.shutdown(Shutdown::Write).unwrap();

        let std = std::net::TcpStream::from(connecting);
        let mut back = TcpStream::try_from(std).unwrap();
        let (mut one, mut other) = ([0; 2], [0; 8]);
        let mut buffers = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
        assert_eq!(back.read_vectored(&mut buffers).unwrap(), 4);
        assert_eq!((&one, &other[..2]), (b"fo", &b"ur"[..]));
        assert_eq!(back.read(&mut other).unwrap(), 0);
        let _owned: OwnedFd = back.into();
        let _owned: OwnedFd = OwnedFd::from(listener);
    });
}

#[test]
fn sockets_of_other_kinds_are_too() {
    in_a_task(|| {
        let path = std::env::temp_dir().join(format!("majjen-api-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(path.as_path()));
        let connecting = UnixStream::connect(&path).unwrap();
        assert_eq!(connecting.peer_addr().unwrap().as_pathname(), Some(path.as_path()));
        assert!(connecting.local_addr().unwrap().is_unnamed());
        let mut accepted = (&listener).into_iter().next().unwrap().unwrap();
        accepted.set_write_timeout(Some(MS)).unwrap();
        assert_eq!(accepted.write_timeout().unwrap(), Some(MS));
        assert!(format!("{accepted:?}").contains("UnixStream"));
        let mut again = accepted.try_clone().unwrap();
        assert_eq!(again.write_timeout().unwrap(), Some(MS));
        accepted.write_all(b"x").unwrap();
        again.flush().unwrap();
        let mut byte = [0];
        (&connecting).read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        std::fs::remove_file(path).unwrap();

        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(udp.read_timeout().unwrap(), None);
        let _std = udp.into_std();
    });
}

/// So that code which uses those of the standard library needs another `use` and nothing else.
#[test]
fn timeouts_have_the_shapes_of_the_standard_library() {
    type Getter<S> = fn(&S) -> std::io::Result<Option<Duration>>;
    let _: [Getter<TcpStream>; 2] = [TcpStream::read_timeout, TcpStream::write_timeout];
    let _: [Getter<UnixStream>; 2] = [UnixStream::read_timeout, UnixStream::write_timeout];
    let _: [Getter<UdpSocket>; 2] = [UdpSocket::read_timeout, UdpSocket::write_timeout];

    let scheduler = scheduler();
    let pair = Rc::new((Mutex::new(0), Condvar::new()));
    let own = pair.clone();
    let waits = scheduler.spawn(move || {
        let (guard, notified) = own.1.wait_timeout(own.0.lock()?, HOUR)?;
        let (guard, late) = own.1.wait_timeout(guard, MS)?;
        Ok::<_, Error>((*guard, notified.timed_out(), late.timed_out()))
    });
    scheduler.spawn(move || {
        *pair.0.lock()? = 1;
        pair.1.notify_one()
    });
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), Ok((1, false, true)));
}

#[test]
#[expect(clippy::mutable_key_type, reason = "tasks are told apart by what does not change")]
fn handles_and_values_have_the_usual_traits() {
    let scheduler = scheduler();
    let (one, other) = (scheduler.spawn(|| ()), scheduler.spawn(|| ()));
    let tasks = HashSet::from([one.task().clone(), other.task().clone(), one.task().clone()]);
    assert_eq!(tasks.len(), 2);
    assert_ne!(one.task(), other.task());
    assert_ne!(one.task(), support::scheduler().spawn(|| ()).task());

    assert_eq!(HashSet::from([Error::Busy, Error::Busy]).len(), 1);
    assert_eq!(majjen::Metrics::default().task_executions, 0);
    assert_eq!(Mutex::from(5).into_inner(), 5);
    let (sender, receiver) = channel(2);
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    sender.close();
    let mut received: Vec<i32> = (&receiver).into_iter().take(1).collect();
    for number in receiver {
        received.push(number);
    }
    assert_eq!(received, [1, 2]);
    assert_eq!(sender.try_send(3).unwrap_err().error, Error::Disconnected);
}

#[test]
fn sockets_are_made_of_descriptors() {
    in_a_task(|| {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut one = UnixStream::try_from(OwnedFd::from(one)).unwrap();
        one.set_read_timeout(Some(MS)).unwrap();
        // It does not block the thread.
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        let number = one.as_fd().as_raw_fd();
        assert_eq!(one.into_raw_fd(), number);
        // SAFETY: the number was released just now.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        drop(other);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _connected = TcpStream::connect(address).unwrap();
        let accepted = (&listener).into_iter().next().unwrap().unwrap();
        assert_eq!(accepted.local_addr().unwrap(), address);
    });
}

#[test]
fn moments_are_converted_and_never_come_earlier() {
    let moment = std::time::Instant::now() + MS;
    in_a_task(move || {
        task::sleep_until(moment).unwrap();
        assert!(std::time::Instant::now() >= moment);
    });
    for offset in [MS, 3600 * 1000 * MS] {
        let now = Instant::now();
        for moment in [now + offset, now - offset] {
            let back = Instant::from(std::time::Instant::from(moment));
            assert!(back >= moment && back - moment < 1000 * MS);
        }
    }
    let mut moment = Instant::now();
    let before = moment;
    moment += MS;
    moment -= MS;
    assert_eq!(moment, before);
    // The ends of the clock's range, which the system's range exceeds.
    let (end, beginning) = (before + Duration::MAX, before - Duration::MAX);
    assert!(std::time::Instant::from(end) > std::time::Instant::from(beginning));
    assert_eq!((end.checked_add(MS), beginning.checked_sub(MS)), (None, None));
}

/// The fields of a struct in the header.
fn header_fields(name: &str) -> Vec<&'static str> {
    let header = include_str!("../include/majjen.h");
    let (_, fields) = header.split_once(&format!("typedef struct {name} {{")).unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let words = |line: &'static str| line.strip_suffix(';')?.split_whitespace().last();
    fields.lines().filter_map(words).collect()
}

/// The Prometheus metrics, in order: name, type and value.
fn prometheus_samples(text: &str) -> Vec<(&str, &str, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let samples = lines.chunks(3).map(|lines| {
        let (name, value) = lines[2].split_once(' ').unwrap();
        let kind = lines[1].strip_prefix("# TYPE ").and_then(|rest| rest.strip_prefix(name));
        (name, kind.unwrap().trim_start(), value)
    });
    samples.collect()
}

/// The rules are in `engine/measure/counters.rs`.
#[test]
fn a_metric_has_one_name_in_all_interfaces() {
    let scheduler = Scheduler::new().unwrap();
    for _ in 0..3 {
        scheduler.spawn(|| task::sleep(Duration::from_micros(100)).unwrap());
    }
    scheduler.run().unwrap();
    let in_c = header_fields("mj_metrics");
    assert_eq!(in_c.len(), 18, "{in_c:?}");
    let (gauges, histograms) = (
        ["task_run_time_ns", "timer_lateness_ns"],
        ["loop_delay_ns", "ready_delay_ns", "offload_delay_ns"],
    );
    let distributions: Vec<&str> = gauges.into_iter().chain(histograms).collect();

    // JSON: `"name":number` and `"name":{...}`.
    let json = scheduler.metrics_json();
    let in_json: Vec<&str> = json.split('"').skip(1).step_by(2).collect();
    let of_distributions = distributions.iter().flat_map(|name| [name, "p50", "p99", "max"]);
    let expected: Vec<&str> = in_c.iter().copied().chain(of_distributions).collect();
    assert_eq!(in_json, expected);

    // Prometheus.
    let text = scheduler.metrics_prometheus();
    let (text, of_histograms) = text.split_at(text.find("# HELP majjen_loop_delay").unwrap());
    let types = of_histograms.lines().filter_map(|line| line.strip_prefix("# TYPE majjen_"));
    let expected = histograms.map(|name| name.replace("_ns", "_seconds histogram"));
    assert_eq!(types.collect::<Vec<_>>(), expected);
    let samples = prometheus_samples(text);
    let quantiles =
        |name: &str| ["_p50_ns", "_p99_ns", "_max_ns"].map(|end| name.replace("_ns", end));
    let names = in_c.iter().map(|name| (*name).to_owned());
    let names: Vec<String> = names.chain(gauges.iter().flat_map(|name| quantiles(name))).collect();
    assert_eq!(samples.len(), names.len());
    for (name, (sample, kind, value)) in names.iter().zip(&samples) {
        let stem = name.strip_prefix("total_").unwrap_or(name);
        let stem =
            stem.strip_suffix("_ns").map_or(stem.to_owned(), |stem| format!("{stem}_seconds"));
        let total = if *kind == "counter" { "_total" } else { "" };
        assert_eq!(*sample, format!("majjen_{stem}{total}"));
        assert_eq!(name.ends_with("_ns"), value.contains('.'), "{sample} {value}");
        assert!(!name.starts_with("total_") || *kind == "counter", "{sample} is a {kind}");
    }

    // Rust: its fields are grouped by meaning, so their order is another one.
    let metrics = format!("{:#?}", scheduler.metrics());
    let field =
        |line: &str| line.strip_prefix("    ")?.split_once(": ").map(|(name, _)| name.to_owned());
    let mut in_rust: Vec<String> = metrics.lines().filter_map(field).collect();
    in_rust.retain(|name| !name.starts_with(' '));
    in_rust.sort();
    let without_unit = |name: &&str| name.strip_suffix("_ns").unwrap_or(name).to_owned();
    let mut expected: Vec<String> = in_c.iter().chain(&distributions).map(without_unit).collect();
    expected.sort();
    assert_eq!(in_rust, expected);

    // And the values are the same.
    let metrics = scheduler.metrics();
    for (name, value) in [
        ("task_executions", u128::from(metrics.task_executions)),
        ("total_execution_time_ns", metrics.total_execution_time.as_nanos()),
        ("min_execution_time_ns", metrics.min_execution_time.as_nanos()),
        ("max_execution_time_ns", metrics.max_execution_time.as_nanos()),
        ("scheduler_loops", u128::from(metrics.scheduler_loops)),
        ("total_loop_time_ns", metrics.total_loop_time.as_nanos()),
        ("timer_expirations", u128::from(metrics.timer_expirations)),
        ("timer_cancellations", u128::from(metrics.timer_cancellations)),
        ("wait_calls", u128::from(metrics.wait_calls)),
        ("total_wait_time_ns", metrics.total_wait_time.as_nanos()),
        ("io_events", u128::from(metrics.io_events)),
        ("tasks_created", u128::from(metrics.tasks_created)),
        ("tasks_exited", u128::from(metrics.tasks_exited)),
        ("current_tasks", u128::from(metrics.current_tasks)),
        ("peak_tasks", u128::from(metrics.peak_tasks)),
        ("heap_operations", u128::from(metrics.heap_operations)),
        ("memory_allocated_bytes", metrics.memory_allocated_bytes as u128),
        ("long_turns", u128::from(metrics.long_turns)),
    ] {
        assert!(
            json.contains(&format!("\"{name}\":{value},")),
            "{name} is {value} in Rust: {json}"
        );
    }
}
