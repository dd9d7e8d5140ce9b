//! Calls of synchronization objects, as bytes: a part of `calls.rs`.

use std::ops::Range;

use super::calls::{Span, span};
use super::objects::{CHANNELS, CONDITIONS, GROUPS, MUTEXES, REMOTE, SEMAPHORES};

/// One of the model's objects, or NULL.
pub type It = Option<usize>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncCall {
    Lock(It, Span),
    TryLock(It),
    Unlock(It),
    CondWait(It, It, Span),
    Signal(It),
    Broadcast(It),
    Acquire(It, u32, Span),
    TryAcquire(It, u32),
    Release(It, u32),
    Add(It, usize),
    Done(It),
    WaitGroup(It, Span),
    Send(It, Element, Span),
    TrySend(It, Element),
    Recv(It, Element, Span),
    TryRecv(It, Element),
    Close(It),
    Select(Cases, Span),
    TrySelect(Cases),
    Destroy(It),
    /// Calls that need not wait, so many.
    Spend(It, u8),
    /// Makes possible what a task waits for at a channel between threads, and may cancel it at once.
    Meet {
        nth: usize,
        cancels: bool,
    },
    MakeNothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Here,
    Null,
}

/// The number of cases; for each, a bit that says whether it sends, and two for its channel; and which are
/// with a channel between threads: none, the first, the last, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cases {
    pub count: usize,
    pub sends: u8,
    pub channels: u8,
    pub remote: u8,
    /// What is invalid about the last case.
    pub flaw: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    NoChannel,
    NoOperation,
    NoElement,
}

pub fn call(code: u8, a: u8, b: u8, c: u8) -> SyncCall {
    use SyncCall::*;
    match code {
        0..=7 => Lock(nth(MUTEXES, a), span(b)),
        8 | 9 => TryLock(nth(MUTEXES, a)),
        10..=15 => Unlock(nth(MUTEXES, a)),
        16..=20 => CondWait(nth(CONDITIONS, a), nth(MUTEXES, c), span(b)),
        21 | 22 => Signal(nth(CONDITIONS, a)),
        23 => Broadcast(nth(CONDITIONS, a)),
        24..=28 => Acquire(nth(SEMAPHORES, a), permits(c), span(b)),
        29 => TryAcquire(nth(SEMAPHORES, a), permits(c)),
        30..=32 => Release(nth(SEMAPHORES, a), permits(c)),
        33 | 34 => Add(nth(GROUPS, a), if b == u8::MAX { usize::MAX } else { usize::from(b) % 4 }),
        35 | 36 => Done(nth(GROUPS, a)),
        37..=39 => WaitGroup(nth(GROUPS, a), span(b)),
        40..=43 => Send(channel(a), element(c), span(b)),
        44 | 45 => TrySend(channel(a), element(c)),
        46..=49 => Recv(channel(a), element(c), span(b)),
        50 | 51 => TryRecv(channel(a), element(c)),
        52 => Close(channel(a)),
        53..=56 => Select(cases(a, c), span(b)),
        58 if !b.is_multiple_of(4) => Meet { nth: usize::from(a), cancels: b.is_multiple_of(2) },
        57 | 58 => TrySelect(cases(a, c)),
        59..=62 if a / 64 == 3 => Destroy(nth(REMOTE, a)),
        59..=62 => Destroy(nth(0..CHANNELS.end, a)),
        63 if !b.is_multiple_of(8) => Spend(nth(GROUPS, a), 56 + c % 12),
        _ => MakeNothing,
    }
}

fn nth(kind: Range<usize>, byte: u8) -> It {
    (byte < 248).then(|| kind.start + usize::from(byte) % kind.len())
}

/// A channel, local or between threads.
fn channel(byte: u8) -> It {
    nth(if byte < 128 { CHANNELS } else { REMOTE }, byte)
}

fn permits(byte: u8) -> u32 {
    if byte == u8::MAX { u32::MAX } else { u32::from(byte) % 4 }
}

fn element(byte: u8) -> Element {
    if byte < 248 { Element::Here } else { Element::Null }
}

fn cases(count: u8, channels: u8) -> Cases {
    let flaw = match count / 32 {
        0..=5 => Flaw::None,
        6 if count % 32 < 16 => Flaw::NoChannel,
        6 => Flaw::NoOperation,
        _ => Flaw::NoElement,
    };
    Cases {
        count: usize::from(count % 4),
        sends: count / 4 % 8,
        channels,
        remote: channels / 64,
        flaw,
    }
}
