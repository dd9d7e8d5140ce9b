//! A program: calls of the interface, as bytes. Every instruction is four bytes long, so that bytes
//! can be removed, inserted and changed without changing the meaning of the rest.
//!
//! The running code takes the next instruction: `main`, a task, or a callback. So a program lists
//! what happens, in order.

use super::sync_calls::{self, SyncCall};

/// One of the two schedulers, or NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    First,
    Second,
    Null,
}

/// A task: the n-th that was created (modulo their number), alive or not, of any scheduler; or an
/// invalid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Task(u8),
    Oneself,
    Null,
    /// An address without a task.
    Nowhere,
    /// An address inside the n-th task's object.
    Inside(u8),
}

/// One end of a pipe, or a number that is not a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Reading(usize),
    Writing(usize),
    File,
    Negative,
    NotOpen,
}

/// A timeout, in nanoseconds.
pub type Span = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    // These suspend a task.
    Yield,
    YieldNow,
    SleepNs(Span),
    SleepFor(Span),
    SleepUntil {
        from_now: Span,
        back: bool,
    },
    Park(Span),
    WaitFd(End, i16, Span),
    WaitReadable(End),
    WaitWritable(End),
    Join(Who, Span),
    // These concern the tasks' bodies.
    Return,
    ExitAndReturn,
    Exit,
    SetState(u32),
    // These act on other tasks.
    Spawn(Which),
    SpawnNothing,
    Wake(Who),
    Cancel(Who),
    SetCancelable(bool),
    /// The same by the scheduler.
    WakeIn(Which, Who),
    CancelIn(Which, Who),
    Enqueue(Which, Who),
    Dequeue(Which),
    Stop(Which),
    Run(Which),
    RunUntilParked(Which),
    Create(Which, bool),
    Destroy(Which),
    Open(usize),
    Close(End),
    CloseIn(Which, End),
    PlainClose(End),
    Write(usize),
    Read(usize),
    /// The numbers of a pipe are given to another one, and the first stays open: with a byte in it
    /// or without. The caller may wait for it before, and again after.
    Renumber {
        pipe: usize,
        writes: bool,
        waits: bool,
    },
    /// A child process, which goes on for so many instructions and tidies up.
    Fork {
        first: InChild,
        instructions: u8,
    },
    // These only read.
    Find(Which, Who),
    FindAny(Which, u64),
    Current,
    Poll(Which),
    NowNs(Which),
    BackendFd(Which),
    StackUsed(Who),
    Name(Who, u8),
    SchedulerName(Which, u8),
    GetMetrics(Which),
    WriteMetrics(Which, u32, usize),
    PrintMetrics(Which, bool),
    Dump(Which, bool),
    // These change settings.
    ResetMetrics(Which),
    SetClock(Which),
    SetWaitFunction(Which),
    StackSize(Which, usize),
    TaskStackSize(Who, usize),
    ReportOverflow(Which, bool),
    /// A signal that never comes, or none, or what is no signal that one may wait for.
    DumpOnSignal(Which, i32),
    SetLevel(u32),
    Configure(u32),
    Log(u32),
    /// Which callbacks run instructions.
    Callbacks {
        log: bool,
        clock: bool,
        stream: bool,
    },
    /// The clock advances.
    Pass(Span),
    /// The clock advances by this much whenever it is read.
    Tick(Span),
    Sync(SyncCall),
}

/// What a child process does first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InChild {
    Nothing,
    /// It closes the pipes, as one that is to become another program does.
    Close,
    Stop,
    /// It ends, with nothing tidied up.
    Leave,
}

/// An action of the wait function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStep {
    WholeTime,
    PartOfTheTime(u8),
    NoTime,
    Fail,
    Builtin(u8),
    Act(Call),
}

/// The remaining bytes.
pub struct Program<'p> {
    bytes: &'p [u8],
}

impl<'p> Program<'p> {
    pub fn new(bytes: &'p [u8]) -> Program<'p> {
        Program { bytes }
    }

    pub fn next(&mut self) -> Option<[u8; 4]> {
        let (instruction, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*instruction)
    }
}

pub fn wait_step(instruction: [u8; 4]) -> WaitStep {
    match instruction[0] % 16 {
        0..=6 => WaitStep::WholeTime,
        7 => WaitStep::PartOfTheTime(instruction[1]),
        8 => WaitStep::NoTime,
        9 if instruction[1] < 8 => WaitStep::Fail, // It costs a millisecond of real time.
        9 | 10 => WaitStep::Builtin(instruction[1]),
        _ => WaitStep::Act(call([
            instruction[1],
            instruction[2],
            instruction[3],
            instruction[0] / 16,
        ])),
    }
}

pub fn call([code, a, b, c]: [u8; 4]) -> Call {
    use Call::*;
    if code >= 192 {
        return Sync(sync_calls::call(code - 192, a, b, c));
    }
    match code % 96 {
        0..=3 => Yield,
        4..=6 => YieldNow,
        7 => SleepNs(span(a)),
        8..=12 => SleepFor(span(a)),
        13 | 14 => SleepUntil { from_now: span(a), back: b % 4 == 0 },
        15..=19 => Park(span(a)),
        20..=25 => WaitFd(end(a), events(b), span(c)),
        26 => WaitReadable(end(a)),
        27 => WaitWritable(end(a)),
        28..=31 => Join(who(a), span(b)),
        32 => Return,
        33..=36 => ExitAndReturn,
        37 => Exit,
        38 if b % 2 == 1 => SetCancelable(a % 4 == 0),
        38 => SetState(u32::from(a) % 6),
        39..=46 => Spawn(which(a)),
        47 if b % 8 == 0 => SpawnNothing,
        48..=51 if b % 4 == 1 => WakeIn(which(c), who(a)),
        48..=51 => Wake(who(a)),
        52 | 53 if b % 4 == 1 => CancelIn(which(c), who(a)),
        52 | 53 => Cancel(who(a)),
        54..=57 => Enqueue(which(a), who(b)),
        58 => Dequeue(which(a)),
        59 => Stop(which(a)),
        60 | 61 => Run(which(a)),
        62 => RunUntilParked(which(a)),
        63 => Create(which(a), b % 2 == 0),
        64 => Destroy(which(a)),
        65 | 66 => Open(usize::from(a) % 3),
        67 | 68 if b % 4 == 1 => CloseIn(which(c), end(a)),
        67 | 68 => Close(end(a)),
        69 if b % 2 == 0 => PlainClose(end(a)),
        47 | 69 => Renumber { pipe: usize::from(a) % 3, writes: c % 4 > 0, waits: c % 32 > 7 },
        70..=72 => Write(usize::from(a) % 3),
        73 | 74 => Read(usize::from(a) % 3),
        75 => Find(which(a), who(b)),
        76 if b % 4 > 0 => Poll(which(a)),
        76 => FindAny(which(a), u64::from_le_bytes([b, c, a, b, c, a, b, c])),
        77 => match b % 4 {
            0 => Current,
            1 => Fork { first: in_child(a), instructions: c % 8 },
            _ => Poll(which(a)),
        },
        78 => match b % 4 {
            0 => NowNs(which(a)),
            1 => BackendFd(which(a)),
            2 => StackUsed(who(a)),
            _ if b >= 192 => SchedulerName(which(a), c),
            _ => Name(who(a), c),
        },
        79 => GetMetrics(which(a)),
        80 => WriteMetrics(which(a), u32::from(b) % 5, usize::from(c) * 16),
        81 => PrintMetrics(which(a), b % 8 == 0),
        82 | 83 => Dump(which(a), b % 8 == 0),
        84 => ResetMetrics(which(a)),
        85 => match b % 2 {
            0 => SetClock(which(a)),
            _ => SetWaitFunction(which(a)),
        },
        86 => match c % 2 {
            0 => StackSize(which(a), stack_size(b)),
            _ => TaskStackSize(who(a), stack_size(b)),
        },
        87 if b % 8 == 7 => DumpOnSignal(which(a), signal(c)),
        87 => ReportOverflow(which(a), b % 2 == 0),
        88 => SetLevel(u32::from(a) % 9),
        89 => Configure(u32::from(a) % 9),
        90 => Log(u32::from(a) % 9),
        91..=93 => Callbacks { log: a % 2 == 1, clock: a / 2 % 4 == 1, stream: a / 8 % 2 == 1 },
        94 => Pass(span(a)),
        _ => Tick(u64::from(a % 4) * 100),
    }
}

fn in_child(byte: u8) -> InChild {
    match byte % 4 {
        0 => InChild::Nothing,
        1 => InChild::Close,
        2 => InChild::Stop,
        _ => InChild::Leave,
    }
}

fn which(byte: u8) -> Which {
    match byte % 16 {
        0..=10 => Which::First,
        11..=14 => Which::Second,
        _ => Which::Null,
    }
}

fn who(byte: u8) -> Who {
    match byte {
        0..240 => Who::Task(byte),
        240..246 => Who::Oneself,
        246..249 => Who::Null,
        249..252 => Who::Nowhere,
        _ => Who::Inside(byte),
    }
}

fn end(byte: u8) -> End {
    let pipe = usize::from(byte / 2) % 3;
    match byte {
        0..220 if byte.is_multiple_of(2) => End::Reading(pipe),
        0..220 => End::Writing(pipe),
        220..240 => End::File,
        240..248 => End::Negative,
        _ => End::NotOpen,
    }
}

fn events(byte: u8) -> i16 {
    use libc::{POLLERR, POLLIN, POLLNVAL, POLLOUT, POLLPRI, POLLRDHUP};
    match byte % 16 {
        0..=5 => POLLIN,
        6..=9 => POLLOUT,
        10 => POLLIN | POLLOUT,
        11 => POLLIN | POLLRDHUP | POLLERR,
        12 => POLLPRI | POLLIN,
        13 => 0,
        14 => POLLNVAL,
        _ => i16::from_le_bytes([byte, byte]),
    }
}

pub fn span(byte: u8) -> Span {
    match byte {
        0..16 => 0,
        // Few different values, so that deadlines are often equal.
        16..200 => u64::from(byte % 8) * 1000,
        200..220 => u64::from(byte) * 12_345,
        220..230 => u64::MAX - u64::from(byte),
        _ => u64::MAX,
    }
}

fn signal(byte: u8) -> i32 {
    use libc::{SIGKILL, SIGSEGV, SIGUSR1, SIGUSR2};
    [SIGUSR1, SIGUSR2, 0, SIGUSR1, -1, 1000, SIGKILL, SIGSEGV][usize::from(byte) % 8]
}

fn stack_size(byte: u8) -> usize {
    // Not the smallest allowed size: this program's own calls need some stack.
    [0, 1, 128 << 10, 200_000, 1 << 20, (1 << 30) + 1, usize::MAX][usize::from(byte) % 7]
}
