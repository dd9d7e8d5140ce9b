//! Instructions: four bytes each, of which the last says whether the wait function may take it.

use std::ffi::c_int;

/// What a link is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pipe,
    Unix,
    Tcp,
    /// The end of no link: it listens.
    Listener,
}

/// How something is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Plain,
    Exact,
    Gathered,
    /// mj_recvfrom(), without taking it.
    Peek,
    /// mj_recvmsg(), and the same without taking it.
    Message,
    PeekMessage,
}

impl Reading {
    /// Whether it leaves there what it reads.
    pub fn peeks(self) -> bool {
        matches!(self, Reading::Peek | Reading::PeekMessage)
    }

    /// Whether it is for sockets only.
    pub fn is_of_sockets(self) -> bool {
        self.peeks() || self == Reading::Message
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    Plain,
    All,
    Gathered,
    /// mj_sendto() and mj_sendmsg(): a part may do.
    Part,
    Message,
    /// mj_sendfile().
    File,
}

impl Writing {
    /// Whether it is for sockets only.
    pub fn is_of_sockets(self) -> bool {
        matches!(self, Writing::Part | Writing::Message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// mj_fd_close().
    Library,
    /// close(2).
    Raw,
    /// mj_fd_close() with a linger of 0, which resets a TCP connection.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamCall {
    Create(usize),
    Read(usize),
    ReadExact(usize),
    ReadLine,
    ReadUntil(u8),
    Peek(usize),
    Skip(usize),
    Write(usize),
    Flush,
    Shutdown,
    Close,
    Destroy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupCall {
    Create(usize, bool),
    Go,
    TryGo,
    Wait,
    Cancel,
    End,
    Destroy,
    Look,
}

/// The thread that makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Here,
    Elsewhere,
}

/// What a call is made with. Slots and others are taken modulo their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Opens a link at a slot and the next one.
    Open {
        kind: Kind,
        slot: usize,
        blocks: bool,
        owned: bool,
    },
    Close {
        slot: usize,
        how: Closing,
    },
    Shutdown {
        slot: usize,
        how: c_int,
    },
    Adopt(usize),
    Release(usize),
    Listen,
    Connect {
        slot: usize,
        span: u64,
    },
    Accept {
        slot: usize,
        span: u64,
    },
    Read {
        slot: usize,
        how: Reading,
        bytes: usize,
        span: u64,
    },
    Write {
        slot: usize,
        how: Writing,
        bytes: usize,
        span: u64,
    },
    WaitFd {
        slot: usize,
        events: i16,
        span: u64,
    },
    Poll {
        slots: [usize; 2],
        events: i16,
        span: u64,
    },
    /// For a descriptor, the end of a task, and a time.
    Select {
        slot: usize,
        task: usize,
        span: u64,
        at_ns: u64,
    },
    Sleep(u64),
    Yield,
    Join {
        task: usize,
        span: u64,
    },
    Cancel(usize),
    /// mj_remote_cancel().
    RemoteCancel(usize, From),
    Wake(usize),
    /// mj_remote_wake().
    RemoteWake(usize, From),
    Deadline(u64),
    Spawn,
    Post {
        from: From,
        has_node: bool,
        count: usize,
    },
    Return(c_int),
    /// The simulated clock advances.
    Pass(u64),
    Stop,
    /// Reads of no bytes, so many, which spend the budget.
    Spend {
        slot: usize,
        times: usize,
    },
    Stream {
        which: usize,
        slot: usize,
        call: StreamCall,
        span: u64,
    },
    Group {
        which: usize,
        call: GroupCall,
        span: u64,
    },
}

fn from(byte: u8) -> From {
    if byte < 128 { From::Here } else { From::Elsewhere }
}

fn span(byte: u8) -> u64 {
    match byte {
        0..40 => 0,
        // Few different ones, so that limits are often equal.
        40..160 => u64::from(byte % 6) * 500_000,
        _ => u64::MAX,
    }
}

fn size(byte: u8) -> usize {
    match byte {
        0..4 => 0,
        4..160 => usize::from(byte % 24) + 1,
        160..220 => usize::from(byte) * 7,
        220..250 => usize::from(byte - 210) * 600,
        _ => 30_000,
    }
}

fn kind(byte: u8) -> Kind {
    match byte % 8 {
        0..=2 => Kind::Unix,
        3..=4 => Kind::Pipe,
        _ => Kind::Tcp,
    }
}

pub fn act([code, a, b, c]: [u8; 4]) -> Act {
    use Act::*;
    let slot = usize::from(a) % super::SLOTS;
    let way = usize::from(a) / super::SLOTS;
    let (span, bytes) = (span(c), size(b));
    match code % 112 {
        0..=9 => {
            Open { kind: kind(b), slot: slot & !1, blocks: b / 8 % 4 == 0, owned: b / 32 % 2 == 0 }
        }
        10..=13 => Close { slot, how: Closing::Library },
        14 | 15 => Close { slot, how: Closing::Raw },
        16 | 17 => Close { slot, how: Closing::Reset },
        18 | 19 => Shutdown { slot, how: c_int::from(b % 4).min(2) },
        20 | 21 => Adopt(slot),
        22 | 23 => Release(slot),
        24 => Listen,
        25 | 26 => Connect { slot, span },
        27..=29 => Accept { slot, span },
        30..=36 => Read { slot, how: Reading::Plain, bytes, span },
        37..=40 => Read { slot, how: Reading::Exact, bytes, span },
        41 => Read { slot, how: [Reading::Gathered, Reading::Message][way % 2], bytes, span },
        42 => Read { slot, how: [Reading::Peek, Reading::PeekMessage][way % 2], bytes, span },
        43..=46 => Write { slot, how: Writing::Plain, bytes, span },
        47..=51 => Write { slot, how: Writing::All, bytes, span },
        52 => Write { slot, how: [Writing::Gathered, Writing::File][way % 2], bytes, span },
        53 => Write { slot, how: [Writing::Part, Writing::Message][way % 2], bytes, span },
        54..=56 => WaitFd { slot, events: events(b), span },
        57 | 58 => {
            Poll { slots: [slot, usize::from(b / 4) % super::SLOTS], events: events(b), span }
        }
        59..=61 => {
            Select { slot, task: usize::from(b), span, at_ns: u64::from(b / 16 % 4) * 500_000 }
        }
        62 => Sleep(span.min(3_000_000)),
        63..=65 => Yield,
        66 => Join { task: usize::from(a), span },
        67 if b % 4 < 2 => RemoteCancel(usize::from(a), from(b)),
        67..=70 => Cancel(usize::from(a)),
        71 if b % 4 < 2 => RemoteWake(usize::from(a), from(b)),
        71 | 72 => Wake(usize::from(a)),
        73..=75 => Deadline(span),
        76 | 77 => Post { from: from(b), has_node: b % 2 == 0, count: way % 4 + 1 },
        78..=85 => Spawn,
        86..=88 => Return(c_int::from(b % 3)),
        89 => Pass(span.min(3_000_000)),
        90 if a < 16 => Stop,
        90 => Spend { slot, times: usize::from(b) % 80 },
        91..=99 => Stream {
            which: usize::from(a % 8 == 7),
            slot,
            call: stream_call(b, usize::from(a / 2)),
            span,
        },
        _ => Group { which: usize::from(a) % 2, call: group_call(b, usize::from(a / 2)), span },
    }
}

fn events(byte: u8) -> i16 {
    [libc::POLLIN, libc::POLLOUT, libc::POLLIN | libc::POLLOUT, libc::POLLIN][usize::from(byte) % 4]
}

fn stream_call(byte: u8, number: usize) -> StreamCall {
    use StreamCall::*;
    match byte % 32 {
        0..=4 => Create([16, 64, 0][number % 3]),
        5..=9 => Read(number % 40),
        10..=12 => ReadExact(number),
        13 | 14 => ReadLine,
        15 => ReadUntil([b'\n', number as u8 * 2][number % 2]),
        16 if number.is_multiple_of(3) => Skip(number / 3 % 12),
        16 => Peek(number % 24),
        17..=24 => Write(if number > 100 { number * 60 } else { number % 50 }),
        25..=28 => Flush,
        29 => Shutdown,
        30 => Close,
        _ => Destroy,
    }
}

fn group_call(byte: u8, number: usize) -> GroupCall {
    use GroupCall::*;
    match byte % 32 {
        0..=4 => Create(number % 4, (number / 4).is_multiple_of(4)),
        5..=14 => Go,
        15..=18 => TryGo,
        19..=22 => Wait,
        23..=25 => Cancel,
        26..=28 => End,
        29 => Destroy,
        _ => Look,
    }
}
