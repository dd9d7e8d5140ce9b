//! Pipes and terminals: waiting, timeouts, flags, and cancellation. No test here makes a child: until that runs
//! its program it has copies of the pipes of all tests, and theirs do not end.

mod support;

use std::fs::File;
use std::io::{
    self, BufRead, BufReader, BufWriter, ErrorKind, IoSlice, IoSliceMut, PipeReader, PipeWriter,
    Read, Write,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use majjen::io::Suspending;
use majjen::{Error, JoinError, task};
use support::{HOUR, in_a_task, run_for_a_moment, scheduler};

const MS: Duration = Duration::from_millis(1);

/// A pipe, whose ends block.
fn pipe() -> (Suspending<PipeReader>, Suspending<PipeWriter>) {
    let (reader, writer) = io::pipe().unwrap();
    (reader.into(), writer.into())
}

/// A terminal that blocks, and the other end, which types.
fn terminal() -> (Suspending<File>, File) {
    let (mut keyboard, mut terminal) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: the addresses are good for descriptors, and the others are left out.
    let opened =
        unsafe { libc::openpty(&mut keyboard, &mut terminal, null, null.cast(), null.cast()) };
    assert_eq!(opened, 0);
    // SAFETY: opened just now, and nobody else has them.
    unsafe { (Suspending::new(File::from_raw_fd(terminal)), File::from_raw_fd(keyboard)) }
}

fn is_blocking(fd: &impl AsFd) -> bool {
    // SAFETY: reads flags of an open descriptor.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK == 0 }
}

#[test]
fn others_run_while_a_pipe_is_waited_for() {
    in_a_task(|| {
        let (reader, mut writer) = pipe();
        let lines =
            task::spawn(move || BufReader::new(reader).lines().collect::<Result<Vec<_>, _>>());
        for byte in b"one\ntwo\n" {
            task::sleep(MS).unwrap();
            writer.write_all(&[*byte]).unwrap();
        }
        assert!(is_blocking(&writer));
        drop(writer);
        assert_eq!(lines.join().unwrap().unwrap(), ["one", "two"]);
    });
}

#[test]
fn more_than_a_pipe_holds_is_written() {
    in_a_task(|| {
        let (mut reader, mut writer) = pipe();
        let data: Vec<u8> = (0..500_000u32).map(|n| n as u8).collect();
        let expected = data.clone();
        // By one call: a `write` ends when all is written.
        let writes = task::spawn(move || writer.write(&data).unwrap());
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert!(received == expected);
        assert_eq!(writes.join().unwrap(), expected.len());
    });
}

#[test]
fn a_terminal_is_read_and_written() {
    in_a_task(|| {
        let (terminal, mut keyboard) = terminal();
        let terminal = Rc::new(terminal);
        let reads = terminal.clone();
        let line = task::spawn(move || {
            let mut line = String::new();
            BufReader::new(&*reads).read_line(&mut line).map(|_| line)
        });
        task::sleep(MS).unwrap();
        assert!(!line.is_finished());
        keyboard.write_all(b"typed\n").unwrap();
        assert_eq!(line.join().unwrap().unwrap(), "typed\n");
        assert_eq!((&*terminal).write(b"shown").unwrap(), 5);
        let mut seen = [0; 12];
        keyboard.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"typed\r\nshown"); // With the echo.
        assert!(is_blocking(&*terminal));
    });
}

#[test]
fn calls_have_time_limits() {
    in_a_task(|| {
        let (mut reader, mut writer) = pipe();
        assert_eq!((reader.read_timeout(), writer.write_timeout()), (None, None));
        for zero in [
            reader.set_read_timeout(Some(Duration::ZERO)),
            writer.set_write_timeout(Some(Duration::ZERO)),
        ] {
            assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        reader.set_read_timeout(Some(3 * MS)).unwrap();
        let began = Instant::now();
        assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= 3 * MS);

        writer.set_write_timeout(Some(3 * MS)).unwrap();
        let began = Instant::now();
        // What was written is told, and the next call fails.
        let written = writer.write(&[7; 1_000_000]).unwrap();
        assert!(written > 0 && written < 1_000_000);
        assert_eq!(writer.write(&[7; 100_000]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= 6 * MS);
        drop(writer);
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written);
    });
}

#[test]
fn several_buffers_are_one_call() {
    in_a_task(|| {
        let (mut reader, mut writer) = pipe();
        let parts = [IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo")];
        assert_eq!(writer.write_vectored(&parts).unwrap(), 5);
        let (mut one, mut other) = ([0; 3], [0; 9]);
        let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
        assert_eq!(reader.read_vectored(&mut parts).unwrap(), 5);
        assert_eq!((&one, &other[..2]), (b"hel", &b"lo"[..]));
        // More than a system call takes are not all taken.
        let many = vec![IoSlice::new(b"x"); 5000];
        let written = writer.write_vectored(&many).unwrap();
        assert!((1..=5000).contains(&written), "{written}");
        // Nothing is nothing, and waits for nothing.
        assert_eq!(writer.write(b"").unwrap(), 0);
        drop(writer);
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        writer_is_gone(reader);
    });
}

/// What is left, and nothing else.
fn writer_is_gone(mut reader: Suspending<PipeReader>) {
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.iter().all(|byte| *byte == b'x'));
}

#[test]
fn a_pipe_that_nobody_reads_is_broken() {
    in_a_task(|| {
        let (reader, mut writer) = pipe();
        drop(reader);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_file_on_a_disk_is_read_and_written() {
    let path = std::env::temp_dir().join(format!("majjen-io-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let file = in_a_task(move || {
        let mut file = Suspending::new(file);
        file.write_all(&[7; 100_000]).unwrap();
        file.flush().unwrap();
        file.into_inner()
    });
    let mut again = Suspending::new(file);
    io::Seek::rewind(again.get_mut()).unwrap();
    assert_eq!(again.write(b"outside a task").unwrap(), 14);
    let mut rest = Vec::new();
    again.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 100_000 - 14);
}

#[test]
fn a_canceled_task_is_unwound_from_a_read() {
    let scheduler = scheduler();
    let (mut reader, writer) = pipe();
    let waits = scheduler.spawn(move || reader.read(&mut [0; 8]));
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert!(matches!(waits.join(), Err(JoinError::Canceled)));
    // Its end is closed.
    assert_eq!((&writer).write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn what_a_canceled_task_has_written_is_told_first() {
    let scheduler = scheduler();
    let (reader, mut writer) = pipe();
    let told = Rc::new(std::cell::Cell::new(0));
    let seen = told.clone();
    let writes = scheduler.spawn(move || {
        seen.set(writer.write(&[7; 1_000_000]).unwrap());
        let _ = writer.write(&[7; 1_000_000]);
        unreachable!("a canceled write does not return");
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert!(matches!(writes.join(), Err(JoinError::Canceled)));
    let mut received = Vec::new();
    (&reader).read_to_end(&mut received).unwrap();
    assert!(told.get() > 0);
    assert_eq!(received.len(), told.get());
}

#[test]
fn outside_a_task_a_call_works_unless_it_would_wait() {
    let (mut reader, mut writer) = pipe();
    writer.write_all(b"x").unwrap();
    reader.read_exact(&mut [0]).unwrap();
    let error = reader.read(&mut [0]).unwrap_err();
    assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Error::NotInTask));
    let full = (0..10_000).find_map(|_| writer.write(&[0; 4096]).err()).unwrap();
    assert_eq!(full.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Error::NotInTask));
    let (mut terminal, mut keyboard) = terminal();
    assert!(terminal.read(&mut [0]).is_err());
    keyboard.write_all(b"x\n").unwrap();
    assert_eq!(terminal.read(&mut [0; 8]).unwrap(), 2);
}

#[test]
fn a_destructor_that_unwinding_runs_writes_what_there_is_room_for() {
    let scheduler = scheduler();
    let (mut reader, writer) = pipe();
    scheduler.spawn(move || {
        let mut writer = BufWriter::new(writer);
        writer.write_all(b"buffered").unwrap();
        let _ = task::sleep(HOUR);
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "buffered");
}

#[test]
fn whatever_has_a_descriptor_can_be_held() {
    fn share(_: impl Send + Sync) {}
    share(pipe());
    share(Suspending::new(io::stdin()));
    let (reader, writer) = pipe();
    // A reference, or a borrowed descriptor.
    let borrowed: Suspending<BorrowedFd<'_>> = Suspending::new(reader.as_fd());
    (&writer).write_all(b"xy").unwrap();
    (&borrowed).read_exact(&mut [0]).unwrap();
    Suspending::new(reader.get_ref()).read_exact(&mut [0]).unwrap();
    assert_eq!(borrowed.as_raw_fd(), reader.as_raw_fd());
    assert!(format!("{reader:?}").starts_with("Suspending(PipeReader"), "{reader:?}");
}
