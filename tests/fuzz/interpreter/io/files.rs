//! The model of files: links of two ends, and what flows through them.
//!
//! What is written is a function of its place, so that what is read says by itself whether something was
//! lost, came twice or in another order.

use std::ffi::c_int;

use super::World;
use super::program::Kind;

/// One direction of a link.
pub struct Flow {
    /// How many bytes the kernel has taken for certain, and how many at most: a call that writes has not
    /// returned, or has not said how much it has written.
    pub written: u64,
    pub most: u64,
    /// How many bytes were read.
    pub read: u64,
    /// The writer has closed it, or shut it down.
    pub is_ended: bool,
    /// The reader has closed it, or shut it down.
    pub is_refused: bool,
    /// A reader may be told that the connection was reset.
    pub may_be_reset: bool,
    /// What it holds may be lost: that of a TCP connection that was reset.
    pub may_lose: bool,
    /// A call of several parts reads, or writes. Others would read between its parts.
    pub has_reader: bool,
    /// It is not known how much was written, so nothing can be written any more.
    pub is_unclear: bool,
    /// What a stream had read ahead is gone, so nothing can be said of what is read.
    pub is_lost: bool,
}

/// What a descriptor is of.
pub struct File {
    pub kind: Kind,
    pub number: c_int,
    pub is_open: bool,
    pub input: Option<usize>,
    pub output: Option<usize>,
    /// mj_connect() has not succeeded yet.
    pub is_new: bool,
    /// shutdown(2) was called for reading: also what is there may be kept from it.
    pub is_shut: bool,
    /// The listeners that mj_connect() was to connect it to.
    pub sought: Vec<usize>,
}

pub struct Listener {
    pub number: c_int,
    pub file: usize,
    pub address: libc::sockaddr_in,
    /// Files that have perhaps connected, of which nobody has accepted the other end, and their ports, 0 as
    /// long as they are not known.
    pub pending: Vec<(usize, u16)>,
}

/// The byte at a place of a flow.
pub fn byte(flow: usize, place: u64) -> u8 {
    let mixed = (place ^ (flow as u64) << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    match (mixed >> 56) as u8 {
        0..12 => b'\n',
        byte => byte,
    }
}

/// Fills memory with what comes next.
pub fn fill(memory: &mut [u8], flow: usize, from: u64) {
    for (index, into) in memory.iter_mut().enumerate() {
        *into = byte(flow, from + index as u64);
    }
}

impl World {
    pub fn new_flow(&mut self) -> usize {
        self.flows.push(Flow {
            written: 0,
            most: 0,
            read: 0,
            is_ended: false,
            is_refused: false,
            may_be_reset: false,
            may_lose: false,
            has_reader: false,
            is_unclear: false,
            is_lost: false,
        });
        self.flows.len() - 1
    }

    pub fn new_file(
        &mut self,
        kind: Kind,
        number: c_int,
        input: Option<usize>,
        output: Option<usize>,
    ) -> usize {
        assert!(!self.numbers.contains_key(&number), "descriptor {number} is open already");
        let is_open = true;
        self.files.push(File {
            kind,
            number,
            is_open,
            input,
            output,
            is_new: false,
            is_shut: false,
            sought: Vec::new(),
        });
        self.numbers.insert(number, self.files.len() - 1);
        self.files.len() - 1
    }

    /// The file that has a number now.
    pub fn file(&self, number: c_int) -> Option<usize> {
        self.numbers.get(&number).copied()
    }

    /// A file has no descriptor any more.
    pub fn forget_file(&mut self, file: usize, resets: bool) {
        let File { kind, number, input, output, .. } = self.files[file];
        self.numbers.remove(&number);
        self.files[file].is_open = false;
        if let Some(flow) = input {
            let flow = &mut self.flows[flow];
            flow.is_refused = true;
            let may_hold = flow.most > flow.read || flow.has_reader;
            if let Some(output) = output.filter(|_| may_hold || resets) {
                // What nobody has read resets the connection.
                let is_tcp = kind == Kind::Tcp;
                let flow = &mut self.flows[output];
                flow.may_be_reset |= is_tcp || may_hold;
                flow.may_lose |= is_tcp;
            }
        }
        if let Some(flow) = output {
            self.flows[flow].is_ended = true;
            // When the other end writes to this one, it is told so.
            self.flows[flow].may_be_reset |= kind == Kind::Tcp;
        }
    }

    /// Checks what a call has read, and takes it. `peeks` leaves it there.
    pub fn receive(&mut self, flow: usize, memory: &[u8], peeks: bool) {
        let Flow { read, most, .. } = self.flows[flow];
        let end = read + memory.len() as u64;
        assert!(end <= most, "{end} bytes were read, and {most} written");
        for (place, found) in (read..).zip(memory) {
            let expected = byte(flow, place);
            assert_eq!(*found, expected, "byte {place} of flow {flow}, of {read} to {end}");
        }
        if !peeks {
            self.flows[flow].read = end;
        }
    }

    /// Whether reading may find the end.
    pub fn may_be_at_end(&self, file: usize) -> bool {
        let File { input, is_shut, .. } = self.files[file];
        input.is_none_or(|flow| {
            let flow = &self.flows[flow];
            is_shut
                || (flow.is_ended || flow.may_be_reset)
                    && (flow.may_lose || flow.read >= flow.written)
        })
    }

    /// Nothing is lost on the way: what was written and not read is in the kernel.
    pub fn check_conserved(&self) {
        for file in self.files.iter().filter(|file| file.is_open && !file.is_new) {
            let (Some(input), Kind::Pipe | Kind::Unix) = (file.input, file.kind) else { continue };
            let flow = &self.flows[input];
            let is_stream =
                self.streams.iter().flatten().any(|stream| stream.number == file.number);
            if flow.has_reader || flow.is_lost || is_stream || file.is_shut {
                continue;
            }
            let mut held: c_int = 0;
            // SAFETY: room for one number.
            let result = unsafe { libc::ioctl(file.number, libc::FIONREAD, &raw mut held) };
            assert_eq!(result, 0, "FIONREAD of {}", file.number);
            let (least, most) = (flow.written - flow.read.min(flow.written), flow.most - flow.read);
            let held = held as u64;
            assert!(
                (least..=most).contains(&held),
                "flow {input}: {} to {} were written, {} read, and {held} are there",
                flow.written,
                flow.most,
                flow.read
            );
        }
    }
}
