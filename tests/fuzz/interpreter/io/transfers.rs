//! Reading and writing.

use std::ffi::{c_int, c_void};
use std::fs;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::ptr::null_mut;

use libc::{EBADF, ECONNRESET, ENOTCONN, ENOTSOCK, EPIPE, POLLIN, POLLOUT};

use super::super::majjen_h::*;
use super::calls::make;
use super::files::{File, fill};
use super::program::{Kind, Reading, Writing};
use super::verdict::{For, Op, Use};
use super::{ROOM, World, with};

/// A file that is sent from.
pub struct Source {
    file: fs::File,
    /// How much of it was used.
    used: u64,
}

impl Source {
    pub fn new() -> Source {
        // SAFETY: a string.
        let fd = unsafe { libc::memfd_create(c"source".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: opened just now, and owned by nothing else.
        Source { file: unsafe { fs::File::from_raw_fd(fd) }, used: 0 }
    }

    /// Adds these bytes. Returns where they are, and the descriptor.
    fn add(&mut self, bytes: &[u8]) -> (i64, c_int) {
        let at = self.used;
        self.file.write_all_at(bytes, at).expect("there is room");
        self.used += bytes.len() as u64;
        (at as i64, self.file.as_raw_fd())
    }
}

/// A message of these parts.
fn message_of(parts: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: zero is a message without anything.
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), parts.len());
    message
}

/// The number of a slot.
pub fn number_of(slot: usize) -> c_int {
    with(|world| world.slots[slot].number)
}

/// The room of the running task.
pub fn room() -> *mut u8 {
    with(|world| {
        let task = world.current().expect("a task is running");
        world.tasks[task].room.as_mut_ptr()
    })
}

/// What was read into the room of a task.
fn read_bytes(world: &mut World, task: usize, flow: usize, count: usize, peeks: bool) {
    let room = std::mem::take(&mut world.tasks[task].room);
    world.receive(flow, &room[..count], peeks);
    world.tasks[task].room = room;
}

/// Whether the model leaves a call out: another one would take a part of what it reads.
fn is_shared(world: &World, number: c_int, uses: Use) -> bool {
    let has_stream = world.streams.iter().flatten().any(|stream| stream.number == number);
    let is_unconnected = world
        .file(number)
        .is_some_and(|file| world.files[file].is_new || world.files[file].kind == Kind::Listener);
    let others: &[Use] = match uses {
        Use::Reads => &[Use::ReadsOn],
        Use::ReadsOn => &[Use::Reads, Use::ReadsOn],
        _ => &[Use::Writes],
    };
    let is_lost = uses != Use::Writes
        && world
            .file(number)
            .and_then(|file| world.files[file].input)
            .is_some_and(|flow| world.flows[flow].is_lost);
    // It may be open once the call has yielded.
    let is_to_come = uses != Use::Reads
        && world.file(number).is_none()
        && world.current().is_some_and(|task| !world.has_budget(task));
    has_stream || is_unconnected || is_lost || is_to_come || world.is_used(number, others)
}

pub fn read(slot: usize, how: Reading, bytes: usize, span: u64) {
    let uses = if how == Reading::Exact { Use::ReadsOn } else { Use::Reads };
    let number = number_of(slot);
    if with(|world| is_shared(world, number, uses)) {
        return;
    }
    let bytes = if how.is_of_sockets() { bytes.max(1) } else { bytes };
    assert!(bytes <= ROOM);
    let flow = with(|world| {
        let flow = world.file(number).and_then(|file| world.files[file].input);
        if let Some(flow) = flow.filter(|_| uses == Use::ReadsOn) {
            world.flows[flow].has_reader = true;
        }
        flow
    });
    let (memory, mut done) = (room().cast::<c_void>(), usize::MAX);
    let (task, result, op) = make(For::Fd(number, POLLIN), uses, span, || match how {
        Reading::Plain => mj_read(number, memory, bytes, span),
        Reading::Exact => mj_read_exact(number, memory, bytes, span, &raw mut done),
        Reading::Gathered | Reading::Message | Reading::PeekMessage => {
            let half = bytes / 2;
            let mut parts = [
                libc::iovec { iov_base: memory, iov_len: half },
                libc::iovec { iov_base: memory.wrapping_byte_add(half), iov_len: bytes - half },
            ];
            if how == Reading::Gathered {
                return mj_readv(number, parts.as_ptr(), 2, span);
            }
            let mut message = message_of(&mut parts);
            let flags = if how.peeks() { libc::MSG_PEEK } else { 0 };
            let result = mj_recvmsg(number, &raw mut message, flags, span);
            assert_eq!((message.msg_flags, message.msg_controllen), (0, 0));
            result
        }
        Reading::Peek => {
            let (address, length) = (null_mut(), null_mut());
            mj_recvfrom(number, memory, bytes, libc::MSG_PEEK, address, length, span)
        }
    });
    with(|world| {
        if let Some(flow) = flow.filter(|_| uses == Use::ReadsOn) {
            world.flows[flow].has_reader = false;
        }
        if how == Reading::Exact {
            assert!(done <= bytes && (result < 0 || result as usize == done), "done: {done}");
            world.tasks[task].spent += done / 1024;
            if let Some(flow) = flow {
                read_bytes(world, task, flow, done, false);
            }
        }
        let verdict = world.may_read(task, &op, number, how, bytes, result);
        assert!(verdict.is_ok(), "reading returned {result}: {verdict:?}, {op:?}");
    });
}

impl World {
    fn may_read(
        &mut self,
        task: usize,
        op: &Op,
        number: c_int,
        how: Reading,
        bytes: usize,
        result: isize,
    ) -> Result<(), String> {
        if op.is_closed {
            let is_right = result == -EBADF as isize;
            return if is_right { Ok(()) } else { Err("it was closed meanwhile".to_owned()) };
        }
        let Some(file) = self.file(number) else { return self.may_fail(task, op, result as c_int) };
        if op.is_gone && result == -EBADF as isize {
            return Ok(());
        }
        let File { kind, input, is_new, .. } = self.files[file];
        let is_like_it = result == -ENOTCONN as isize || bytes == 0 && result == 0;
        if (is_new || kind == Kind::Listener) && is_like_it {
            return Ok(()); // It has the number since the call began.
        }
        if how.is_of_sockets() && kind == Kind::Pipe {
            let is_canceled = self.may_be_canceled(task) && !self.has_budget(task);
            let is_right = result == -ENOTSOCK as isize || is_canceled;
            return if is_right { Ok(()) } else { Err("a pipe".to_owned()) };
        }
        let Some(flow) = input else {
            return self.may_refuse(task, result);
        };
        match result {
            0 if bytes == 0 => Ok(()),
            0.. if how == Reading::Exact && result as usize == bytes => Ok(()),
            0.. if how == Reading::Exact || result == 0 => match self.may_be_at_end(file) {
                true => Ok(()),
                false => Err("it is not the end".to_owned()),
            },
            1.. if result as usize <= bytes => {
                read_bytes(self, task, flow, result as usize, how.peeks());
                Ok(())
            }
            _ if result == -ECONNRESET as isize && self.flows[flow].may_be_reset => {
                let is_all = self.may_be_at_end(file);
                if is_all { Ok(()) } else { Err("there is more before the reset".to_owned()) }
            }
            _ if result == -ENOTCONN as isize && self.flows[flow].may_be_reset => Ok(()),
            _ => self.may_fail(task, op, result as c_int),
        }
    }
}

pub fn write(slot: usize, how: Writing, bytes: usize, span: u64) {
    let number = number_of(slot);
    if with(|world| is_shared(world, number, Use::Writes)) {
        return;
    }
    let may_be_part = how.is_of_sockets() || how == Writing::File;
    let bytes = if may_be_part { bytes.max(1) } else { bytes };
    assert!(bytes <= ROOM);
    let file = with(|world| world.file(number));
    let flow = with(|world| world.files[file?].output);
    if flow.is_some_and(|flow| with(|world| world.flows[flow].is_unclear)) {
        return;
    }
    let base = with(|world| {
        let flow = flow?;
        let base = world.flows[flow].written;
        world.flows[flow].most = base + bytes as u64;
        let task = world.current().expect("a task is running");
        fill(&mut world.tasks[task].room[..bytes], flow, base);
        Some(base)
    });
    let (memory, mut done) = (room().cast::<c_void>(), usize::MAX);
    let (begin, source) = match how {
        Writing::File => with(|world| {
            let task = world.current().expect("a task is running");
            world.source.add(&world.tasks[task].room[..bytes])
        }),
        _ => (0, -1),
    };
    let mut place = begin;
    let (task, result, op) = make(For::Fd(number, POLLOUT), Use::Writes, span, || match how {
        Writing::Plain => mj_write(number, memory, bytes, span),
        Writing::All => mj_write_all(number, memory, bytes, span, &raw mut done) as isize,
        Writing::Gathered | Writing::Message => {
            let part = |from, to| libc::iovec {
                iov_base: memory.wrapping_byte_add(from),
                iov_len: to - from,
            };
            let (first, second) = (bytes / 3, bytes / 2);
            let mut parts = [part(0, first), part(first, second), part(second, bytes)];
            if how == Writing::Gathered {
                return mj_writev(number, parts.as_ptr(), 3, span);
            }
            mj_sendmsg(number, &message_of(&mut parts), 0, span)
        }
        Writing::Part => mj_sendto(number, memory, bytes, 0, null_mut(), 0, span),
        Writing::File => mj_sendfile(number, source, &raw mut place, bytes, span),
    });
    assert_eq!(place - begin, if how == Writing::File { result.max(0) as i64 } else { 0 });
    let known = match how {
        Writing::All => {
            assert!(done <= bytes && (result < 0) | (result == 0 && done == bytes), "done: {done}");
            Some(done)
        }
        _ if may_be_part => Some(result.max(0) as usize),
        _ if result >= 0 => {
            assert_eq!(result as usize, bytes);
            Some(bytes)
        }
        _ => None,
    };
    with(|world| {
        world.tasks[task].spent += bytes / 512;
        if let (Some(flow), Some(base)) = (flow, base) {
            world.note_written(flow, base, known);
        }
        let has_sent = how == Writing::File && result > 0;
        let verdict = match has_sent && (op.is_closed || (result as usize) < bytes) {
            true => world.may_stop(task, &op, file),
            false => world.may_write(task, &op, file, how, result),
        };
        assert!(verdict.is_ok(), "writing {bytes} returned {result}: {verdict:?}, {op:?}");
    });
}

impl World {
    /// A call has written so much; `None` if it does not say.
    fn note_written(&mut self, flow: usize, base: u64, known: Option<usize>) {
        if let Some(done) = known {
            let flow = &mut self.flows[flow];
            (flow.written, flow.most) = (base + done as u64, base + done as u64);
            assert!(flow.read <= flow.written, "{} were read, of {}", flow.read, flow.written);
            return;
        }
        let reader = self.files.iter().find(|file| file.input == Some(flow) && file.is_open);
        let mut held: c_int = 0;
        let is_told = reader.is_some_and(|reader| {
            let is_kept = matches!(reader.kind, Kind::Pipe | Kind::Unix) && !reader.is_shut;
            let has_stream = self.streams.iter().flatten().any(|it| it.number == reader.number);
            is_kept
                && !has_stream
                && !self.flows[flow].has_reader
                // SAFETY: room for one number.
                && unsafe { libc::ioctl(reader.number, libc::FIONREAD, &raw mut held) } == 0
        });
        let flow = &mut self.flows[flow];
        if is_told {
            let written = flow.read + held as u64;
            assert!((base..=flow.most).contains(&written), "{written} bytes were written");
            (flow.written, flow.most) = (written, written);
        } else {
            flow.is_unclear = true;
        }
    }

    fn may_write(
        &self,
        task: usize,
        op: &Op,
        file: Option<usize>,
        how: Writing,
        result: isize,
    ) -> Result<(), String> {
        if op.is_closed {
            let is_right = result == -EBADF as isize;
            return if is_right { Ok(()) } else { Err("it was closed meanwhile".to_owned()) };
        }
        let Some(file) = file else { return self.may_fail(task, op, result as c_int) };
        let File { kind, input, output, .. } = self.files[file];
        if how.is_of_sockets() && kind == Kind::Pipe {
            let is_canceled = self.may_be_canceled(task) && !self.has_budget(task);
            let is_right = result == -ENOTSOCK as isize || is_canceled;
            return if is_right { Ok(()) } else { Err("a pipe".to_owned()) };
        }
        let Some(output) = output else {
            return self.may_refuse(task, result);
        };
        match -result as c_int {
            ..=0 => Ok(()),
            EPIPE | ECONNRESET => match self.may_be_refused(input, output) {
                true => Ok(()),
                false => Err("somebody reads".to_owned()),
            },
            error => self.may_fail(task, op, -error),
        }
    }

    /// A call that has sent a part of a file, and not the rest.
    fn may_stop(&self, task: usize, op: &Op, file: Option<usize>) -> Result<(), String> {
        let is_refused = file.is_some_and(|file| {
            let File { input, output, .. } = self.files[file];
            output.is_some_and(|output| self.may_be_refused(input, output))
        });
        if op.is_closed || op.is_gone || file.is_none() || is_refused {
            return Ok(());
        }
        let is_late = self.may_fail(task, op, -libc::ETIMEDOUT);
        is_late.or_else(|_| self.may_fail(task, op, -libc::ECANCELED))
    }

    /// A call in the wrong direction: it fails, unless the task is canceled and has made many calls.
    fn may_refuse(&self, task: usize, result: isize) -> Result<(), String> {
        let is_canceled = self.may_be_canceled(task) && !self.has_budget(task);
        match -result as c_int {
            EBADF => Ok(()),
            libc::ECANCELED if is_canceled => Ok(()),
            _ => Err("it is for the other direction".to_owned()),
        }
    }

    /// Whether writing may find that nobody reads.
    pub fn may_be_refused(&self, input: Option<usize>, output: usize) -> bool {
        let flow = &self.flows[output];
        let was_reset = input.is_some_and(|input| self.flows[input].may_be_reset);
        flow.is_refused || flow.is_ended || was_reset
    }
}

/// Reads nothing, again and again, which spends the budget.
pub fn spend(slot: usize, times: usize) {
    for _ in 0..times {
        read(slot, Reading::Plain, 0, 0);
    }
}
