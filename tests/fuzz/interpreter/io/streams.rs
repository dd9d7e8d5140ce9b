//! Streams: what they read ahead and collect is not where the kernel says that it is, but it comes in order
//! all the same.

use std::ffi::{c_char, c_int, c_void};

use libc::{EBADF, EBUSY, ECONNRESET, EINVAL, EMSGSIZE, ENOTCONN, ENOTSOCK, EPERM, EPIPE};
use libc::{POLLIN, POLLOUT};

use super::super::majjen_h::*;
use super::calls::make;
use super::files::fill;
use super::program::{Kind, StreamCall};
use super::transfers::{number_of, room};
use super::verdict::{For, Op, Use};
use super::{World, tell, with};

pub struct Stream {
    pub at: *mut mj_stream,
    pub number: c_int,
    file: usize,
    /// What it may read ahead.
    capacity: usize,
    /// Others have closed or released its descriptor.
    pub is_lost: bool,
    /// How much it has read ahead, when a call has told.
    held: Option<usize>,
    /// Calls use it.
    reads: bool,
    writes: bool,
}

/// A side of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Input,
    Output,
    Both,
}

pub fn act(which: usize, slot: usize, call: StreamCall, span: u64) {
    if let StreamCall::Create(bytes) = call {
        return create(which, slot, bytes);
    }
    if with(|world| world.streams[which].is_none() || world.current().is_none()) {
        return;
    }
    match call {
        StreamCall::Create(_) => {}
        StreamCall::Read(bytes) => read(which, bytes, false, span),
        StreamCall::ReadExact(bytes) => read(which, bytes, true, span),
        StreamCall::ReadLine => read_held(which, Held::Line, span),
        StreamCall::ReadUntil(delimiter) => read_held(which, Held::Until(delimiter), span),
        StreamCall::Peek(bytes) => read_held(which, Held::AtLeast(bytes), span),
        StreamCall::Skip(bytes) => skip(which, bytes),
        StreamCall::Write(bytes) => write(which, bytes, span),
        StreamCall::Flush => flush(which, span),
        StreamCall::Shutdown => shutdown(which, span),
        StreamCall::Close => close(which, span),
        StreamCall::Destroy => destroy(which),
    }
}

fn create(which: usize, slot: usize, bytes: usize) {
    let number = number_of(slot);
    let file = with(|world| {
        let file = world.file(number)?;
        let it = &world.files[file];
        let has_flows = it.input.is_some() && it.output.is_some();
        let is_free = !world.is_used(number, &[Use::Reads, Use::ReadsOn, Use::Writes])
            && world.streams.iter().flatten().all(|stream| stream.number != number)
            && world.streams[which].is_none()
            && !it.output.is_some_and(|flow| world.flows[flow].is_unclear)
            && !it.input.is_some_and(|flow| world.flows[flow].is_lost);
        (has_flows && is_free && !it.is_new && it.kind != Kind::Listener).then_some(file)
    });
    let Some(file) = file else { return };
    let at = mj_stream_create(number, bytes, bytes);
    assert!(!at.is_null());
    assert_eq!(mj_stream_fd(at), number);
    with(|world| {
        if !world.owned.contains(&number) {
            world.owned.push(number);
        }
        let capacity = if bytes == 0 { 8192 } else { bytes };
        let (is_lost, held, reads, writes) = (false, Some(0), false, false);
        let stream = Stream { at, number, file, capacity, is_lost, held, reads, writes };
        world.streams[which] = Some(stream);
    });
}

impl World {
    fn stream(&mut self, which: usize) -> &mut Stream {
        self.streams[which].as_mut().expect("there is a stream")
    }

    /// Whether a stream still has its descriptor.
    fn has_descriptor(&self, which: usize) -> bool {
        self.streams[which].as_ref().is_some_and(|stream| !stream.is_lost)
    }

    fn set_used(&mut self, which: usize, side: Side, used: bool) {
        let Some(stream) = &mut self.streams[which] else { return };
        if side != Side::Output {
            (stream.reads, stream.held) = (used, None);
        }
        if side != Side::Input {
            stream.writes = used;
        }
    }
}

/// Makes a call on a side of a stream, unless another one uses it: then that must be what it returns.
fn use_side<R: std::fmt::Debug + Copy + Into<isize>>(
    which: usize,
    side: Side,
    span: u64,
    call: impl FnOnce(*mut mj_stream) -> R,
) -> Option<(usize, isize, Op)> {
    let (at, number, is_busy) = with(|world| {
        let stream = world.stream(which);
        let reads = side != Side::Output && stream.reads;
        let writes = side != Side::Input && stream.writes;
        (stream.at, stream.number, reads || writes)
    });
    let events = if side == Side::Input { POLLIN } else { POLLOUT };
    if is_busy {
        let (_, result, _) = make(For::Nothing, Use::Waits, span, || call(at));
        assert_eq!(result.into(), -EBUSY as isize);
        return None;
    }
    with(|world| world.set_used(which, side, true));
    let uses = if side == Side::Input { Use::ReadsOn } else { Use::Writes };
    let (task, result, op) = make(For::Fd(number, events), uses, span, || call(at));
    with(|world| {
        world.set_used(which, side, false);
        world.tasks[task].spent += 8;
    });
    Some((task, result.into(), op))
}

impl World {
    /// What a call may return that has not done all.
    fn may_fail_stream(&self, which: usize, task: usize, op: &Op, error: isize) -> bool {
        let Some(stream) = &self.streams[which] else { return false };
        let file = &self.files[stream.file];
        let (Some(input), Some(output)) = (file.input, file.output) else { return false };
        match -error as c_int {
            EBADF => op.is_closed || !self.has_descriptor(which),
            ECONNRESET | EPIPE if op.uses == Use::Writes => {
                self.may_be_refused(Some(input), output)
            }
            ECONNRESET | ENOTCONN => self.flows[input].may_be_reset,
            ENOTSOCK => file.kind == Kind::Pipe,
            // It may have read ahead, or collected.
            _ => Op { what: For::Nothing, ..op.clone() }
                .pass(|op| self.may_fail(task, op, error as c_int).is_ok()),
        }
    }
}

impl Op {
    fn pass<R>(self, look: impl FnOnce(&Op) -> R) -> R {
        look(&self)
    }
}

fn read(which: usize, bytes: usize, exact: bool, span: u64) {
    let (memory, mut done) = (room().cast::<c_void>(), usize::MAX);
    let made = use_side(which, Side::Input, span, |at| {
        if exact {
            mj_stream_read_exact(at, memory, bytes, span, &raw mut done)
        } else {
            mj_stream_read(at, memory, bytes, span)
        }
    });
    let Some((task, result, op)) = made else { return };
    with(|world| {
        let count = if exact { done } else { result.max(0) as usize };
        assert!(count <= bytes && (result < 0 || result as usize == count), "{result}, {count}");
        let file = world.stream(which).file;
        let flow = world.files[file].input.expect("a stream of a socket");
        let memory = std::mem::take(&mut world.tasks[task].room);
        world.receive(flow, &memory[..count], false);
        world.tasks[task].room = memory;
        let is_short = if exact { count < bytes } else { count == 0 && bytes > 0 };
        let is_fine = match result {
            0.. => !is_short || world.may_be_at_end(file),
            _ => world.may_fail_stream(which, task, &op, result),
        };
        assert!(is_fine, "reading from a stream returned {result}: {op:?}");
    });
}

/// What is to be shown in the buffer of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Line,
    Until(u8),
    /// So much, without taking it.
    AtLeast(usize),
}

/// Reads a line or the like, or looks at what is there.
fn read_held(which: usize, wanted: Held, span: u64) {
    let mut held: *mut c_char = std::ptr::dangling_mut();
    let made = use_side(which, Side::Input, span, |at| match wanted {
        Held::Line => mj_stream_read_line(at, &raw mut held, span),
        Held::Until(byte) => mj_stream_read_until(at, byte.into(), &raw mut held, span),
        Held::AtLeast(bytes) => mj_stream_peek(at, bytes, &raw mut held, span),
    });
    let Some((task, result, op)) = made else { return };
    with(|world| {
        let Stream { file, capacity, .. } = *world.stream(which);
        let flow = world.files[file].input.expect("a stream of a socket");
        if result < 0 {
            assert!(held.is_null());
            let may_be_long = !matches!(wanted, Held::AtLeast(bytes) if bytes <= capacity);
            let is_long = result == -EMSGSIZE as isize && may_be_long;
            let is_fine = is_long || world.may_fail_stream(which, task, &op, result);
            return assert!(is_fine, "a line: {result}, {op:?}");
        }
        let count = result as usize;
        assert!(count <= capacity);
        // SAFETY: in the stream's buffer, as the call has said, which nobody has used since.
        let bytes = unsafe { std::slice::from_raw_parts(held.cast::<u8>(), count) };
        world.receive(flow, bytes, matches!(wanted, Held::AtLeast(_)));
        match wanted {
            Held::AtLeast(least) => {
                assert!(count >= least || world.may_be_at_end_of(flow, count));
                world.stream(which).held = Some(count);
            }
            Held::Line | Held::Until(_) => {
                let last = if let Held::Until(byte) = wanted { byte } else { b'\n' };
                let first = bytes.iter().position(|byte| *byte == last);
                let is_line = first.is_some_and(|place| place + 1 == count);
                assert!(is_line || first.is_none() && world.may_be_at_end(file), "{bytes:?}");
                // SAFETY: there is a NUL behind a line.
                assert_eq!(unsafe { *held.add(count) }, 0);
            }
        }
    });
}

/// Skips what was read ahead.
fn skip(which: usize, bytes: usize) {
    let (at, is_busy, held) = with(|world| {
        let stream = world.stream(which);
        (stream.at, stream.reads, stream.held)
    });
    let result = mj_stream_skip(at, bytes);
    tell(|_| format!("    it returned {result}, {held:?} were read ahead"));
    if is_busy {
        return assert_eq!(result, -EBUSY);
    }
    let may_be_there = held.is_none_or(|held| bytes <= held);
    let may_be_more = held.is_none_or(|held| bytes > held);
    assert!(result == 0 && may_be_there || result == -EINVAL && may_be_more, "skipping: {result}");
    if result < 0 {
        return;
    }
    with(|world| {
        world.stream(which).held = held.map(|held| held - bytes);
        let file = world.stream(which).file;
        let flow = world.files[file].input.expect("a stream of a socket");
        let flow = &mut world.flows[flow];
        flow.read += bytes as u64;
        assert!(flow.read <= flow.most, "{} were skipped, of {}", flow.read, flow.most);
    });
}

impl World {
    /// Whether there may be no more than so much.
    fn may_be_at_end_of(&mut self, flow: usize, count: usize) -> bool {
        let file = self.files.iter().position(|file| file.input == Some(flow)).expect("its reader");
        self.flows[flow].read += count as u64;
        let is_end = self.may_be_at_end(file);
        self.flows[flow].read -= count as u64;
        is_end
    }

    /// Where a stream writes to.
    fn output_of(&mut self, which: usize) -> usize {
        let file = self.stream(which).file;
        self.files[file].output.expect("a stream of a socket")
    }
}

fn write(which: usize, bytes: usize, span: u64) {
    let memory = room();
    let (flow, base, is_busy) = with(|world| {
        let flow = world.output_of(which);
        let base = world.flows[flow].most;
        let is_busy = world.stream(which).writes;
        let task = world.current().expect("a task is running");
        fill(&mut world.tasks[task].room[..bytes], flow, base);
        if !is_busy {
            world.flows[flow].most = base + bytes as u64;
        }
        (flow, base, is_busy)
    });
    let mut done = usize::MAX;
    let made = use_side(which, Side::Output, span, |at| {
        mj_stream_write(at, memory.cast(), bytes, span, &raw mut done) as isize
    });
    if is_busy {
        return assert_eq!(done, 0);
    }
    let Some((task, result, op)) = made else { return };
    with(|world| {
        assert!(done <= bytes && (result < 0 || done == bytes), "{result}, {done}");
        world.flows[flow].most = base + done as u64;
        assert!(world.flows[flow].read <= world.flows[flow].most);
        let is_fine = result == 0 || world.may_fail_stream(which, task, &op, result);
        assert!(is_fine, "writing to a stream returned {result}: {op:?}");
    });
}

/// All that was collected is written.
fn note_flushed(world: &mut World, which: usize) {
    let flow = world.output_of(which);
    world.flows[flow].written = world.flows[flow].most;
}

fn flush(which: usize, span: u64) {
    let made = use_side(which, Side::Output, span, |at| mj_stream_flush(at, span) as isize);
    let Some((task, result, op)) = made else { return };
    with(|world| {
        let is_fine = result == 0 || world.may_fail_stream(which, task, &op, result);
        assert!(is_fine, "flushing returned {result}: {op:?}");
        if result == 0 {
            note_flushed(world, which);
        }
    });
}

fn shutdown(which: usize, span: u64) {
    let made = use_side(which, Side::Output, span, |at| {
        mj_stream_shutdown(at, libc::SHUT_WR, span) as isize
    });
    let Some((task, result, op)) = made else { return };
    with(|world| {
        let is_fine = result == 0
            || result == -ENOTCONN as isize
            || world.may_fail_stream(which, task, &op, result);
        assert!(is_fine, "shutting down returned {result}: {op:?}");
        if result == 0 {
            note_flushed(world, which);
            let flow = world.output_of(which);
            world.flows[flow].is_ended = true;
        }
    });
}

fn close(which: usize, span: u64) {
    let had_it = with(|world| world.has_descriptor(which));
    let made = use_side(which, Side::Both, span, |at| mj_stream_close(at, span) as isize);
    let Some((task, result, op)) = made else { return };
    with(|world| {
        assert!(result != -EBUSY as isize && result != -EPERM as isize);
        let is_fine = result == 0 || world.may_fail_stream(which, task, &op, result);
        assert!(is_fine, "closing a stream returned {result}: {op:?}");
        if result == 0 && had_it {
            note_flushed(world, which);
        }
    });
    forget(which);
}

fn destroy(which: usize) {
    let (at, is_busy) = with(|world| {
        let stream = world.stream(which);
        (stream.at, stream.reads || stream.writes)
    });
    let result = mj_stream_destroy(at);
    assert_eq!(result, if is_busy { -EBUSY } else { 0 });
    if !is_busy {
        forget(which);
    }
}

/// A stream is gone, and its descriptor closed if it still had it.
fn forget(which: usize) {
    with(|world| {
        let has_it = world.has_descriptor(which);
        let Some(stream) = world.streams[which].take() else { return };
        let File { input, output } = {
            let file = &world.files[stream.file];
            File { input: file.input, output: file.output }
        };
        if has_it {
            world.has_closed(stream.number, false, true);
        }
        // What it has read ahead is lost, and perhaps what it has collected.
        if let Some(flow) = input {
            world.flows[flow].is_lost = true;
        }
        if let Some(flow) = output {
            world.flows[flow].is_unclear |= world.flows[flow].written != world.flows[flow].most;
        }
    });
}

struct File {
    input: Option<usize>,
    output: Option<usize>,
}

/// Destroys those that nobody uses, before the scheduler is.
pub fn release_idle() {
    for which in 0..2 {
        let at = with(|world| {
            let stream = world.streams[which].as_ref();
            stream.filter(|it| !it.reads && !it.writes).map(|it| it.at)
        });
        if let Some(at) = at.filter(|_| which == 0) {
            assert_eq!(mj_stream_destroy(at), 0);
            forget(which);
        }
    }
}

/// After the scheduler was destroyed: nobody uses them any more.
pub fn destroy_all() {
    for which in 0..2 {
        let Some(at) = with(|world| world.streams[which].as_ref().map(|it| it.at)) else {
            continue;
        };
        assert_eq!(mj_stream_destroy(at), 0);
        forget(which);
    }
}
