//! The stack of a turn, copied by a signal handler on its thread.
//!
//! There is room for one. [`STATE`] says whose it is; each request has a number, so that a handler
//! which is late takes no other request for its own.
//!
//! | state | the copy is | next, and who does it |
//! |---|---|---|
//! | idle | nobody's | armed: the watchdog, which has written the request |
//! | armed | nobody's | filling: the handler on the thread of the request. Idle: the watchdog, which has waited long enough, or the thread of the request, which leaves the registry |
//! | filling | the handler's | ready: the same handler |
//! | ready | the watchdog's | idle: the watchdog |
//!
//! The handler takes no lock and no memory. What it reads is of its own thread: the running task, and
//! its stack from where the signal has interrupted it up to the stack's end. If the signal has
//! interrupted something on another stack, as a handler of the program on an alternate one, only
//! the registers are copied.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, null_mut};
use std::sync::atomic::{
    AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::engine::context::switch;
use crate::engine::sys::{self, FaultInfo, Registers};
use crate::engine::task::{self, Name, Task};
use crate::engine::threads::Futex;

/// How much of a stack is copied: 32 KiB.
pub const WORDS: usize = 32 * 1024 / size_of::<usize>();

/// What a handler has found.
pub struct Capture {
    /// Whether the turn was still the same; if not, nothing else is known.
    pub is_same_turn: bool,
    pub name: Name,
    pub registers: Registers,
    /// How many of the words were copied.
    pub count: usize,
    pub words: [usize; WORDS],
}

/// A turn, as the watchdog has seen it.
#[derive(Clone, Copy)]
pub struct Turn {
    /// What the running task's scheduler changes from turn to turn, and its value then.
    pub word: *const AtomicU64,
    pub value: u64,
    /// Its task.
    pub task: *mut Task,
}

struct Shared(UnsafeCell<Capture>);

// SAFETY: STATE says who may use it.
unsafe impl Sync for Shared {}

static CAPTURE: Shared = Shared(UnsafeCell::new(Capture {
    is_same_turn: false,
    name: [0; size_of::<Name>()],
    registers: Registers { code: 0, stack: 0, link: 0 },
    count: 0,
    words: [0; WORDS],
}));

/// The number of the request, and in the lowest bits one of the states.
static STATE: Futex = Futex::in_static(IDLE);
const IDLE: u32 = 0;
const ARMED: u32 = 1;
const FILLING: u32 = 2;
const READY: u32 = 3;
const STATES: u32 = 4;

/// The request: written by the watchdog while the state is idle.
static THREAD: AtomicUsize = AtomicUsize::new(0);
static TURN_WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());
static TURN: AtomicU64 = AtomicU64::new(0);
static TASK: AtomicPtr<Task> = AtomicPtr::new(null_mut());

/// The calling thread, as a number.
pub fn this_thread() -> usize {
    switch::thread() as usize
}

/// In a child of fork(), before anybody uses it.
pub fn forget() {
    STATE.store(IDLE, Relaxed);
}

/// The next signal on that thread copies the turn. For the watchdog.
pub fn arm(thread: usize, turn: Turn) {
    THREAD.store(thread, Relaxed);
    TURN_WORD.store(turn.word.cast_mut(), Relaxed);
    TURN.store(turn.value, Relaxed);
    TASK.store(turn.task, Relaxed);
    let number = STATE.load(Relaxed).wrapping_add(STATES);
    STATE.store(number / STATES * STATES + ARMED, Release);
}

/// The calling thread's scheduler ends its run: its words are not to be read any more.
pub fn disarm_this_thread() {
    let state = STATE.load(Acquire);
    if state % STATES == ARMED && THREAD.load(Relaxed) == this_thread() {
        let _ = STATE.compare_exchange(state, state - ARMED + IDLE, AcqRel, Relaxed);
    }
}

/// Calls a function with the copy, once there is one. Waits for so long, and while `may_come` says, which
/// it asks every so often. For the watchdog.
pub fn take<R>(
    patience_ns: u64,
    may_come: impl Fn() -> bool,
    function: impl FnOnce(&Capture) -> R,
) -> Option<R> {
    const ASK_EVERY_NS: u64 = 10_000_000;
    let until_ns = sys::monotonic_ns().saturating_add(patience_ns);
    loop {
        let state = STATE.load(Acquire);
        let is_over = sys::monotonic_ns() >= until_ns || !may_come();
        match state % STATES {
            IDLE => return None,
            READY => {
                // SAFETY: the state says that it is the watchdog's, which this is.
                let result = function(unsafe { &*CAPTURE.0.get() });
                STATE.store(state - READY + IDLE, Release);
                return Some(result);
            }
            ARMED if is_over => {
                // The thread holds the signal off, or is in a system call that nothing interrupts.
                let _ = STATE.compare_exchange(state, state - ARMED + IDLE, AcqRel, Relaxed);
            }
            // A handler that has begun is a few microseconds of its thread from the end.
            _ => _ = STATE.wait_while(state, Some(sys::monotonic_ns() + ASK_EVERY_NS)),
        }
    }
}

/// The handler of the signal.
pub extern "C" fn on_signal(_: c_int, _: *mut FaultInfo, context: *mut c_void) {
    let errno = sys::errno();
    let state = STATE.load(Acquire);
    if state % STATES == ARMED
        && THREAD.load(Relaxed) == this_thread()
        && STATE.compare_exchange(state, state - ARMED + FILLING, AcqRel, Relaxed).is_ok()
    {
        // SAFETY: the state says that it is this handler's. The context is what the kernel gave.
        unsafe { fill(&mut *CAPTURE.0.get(), context) };
        STATE.store(state - ARMED + READY, Release);
        Futex::wake(&STATE);
    }
    sys::set_errno(errno);
}

/// # Safety
/// Called by a handler with its context.
unsafe fn fill(capture: &mut Capture, context: *const c_void) {
    // SAFETY: a field of the scheduler that runs on this thread: who ends the run disarms first.
    let turn = unsafe { &*TURN_WORD.load(Relaxed) }.load(Relaxed);
    let running = task::running();
    let same = running.filter(|task| {
        turn == TURN.load(Relaxed) && ptr::eq(*task, TASK.load(Relaxed).cast_const())
    });
    capture.is_same_turn = same.is_some();
    capture.count = 0;
    let Some(task) = same else { return };
    capture.name = task.name.get();
    // SAFETY: as this function's contract says.
    capture.registers = unsafe { sys::interrupted_registers(context) };
    let Some((lowest, bytes)) = task.stack_bounds() else { return };
    let (start, end) = (capture.registers.stack, lowest as usize + bytes);
    if !(lowest as usize..end).contains(&start) || !start.is_multiple_of(size_of::<usize>()) {
        return;
    }
    let first = start as *const usize;
    let count = ((end - start) / size_of::<usize>()).min(WORDS);
    for (index, word) in capture.words[..count].iter_mut().enumerate() {
        // SAFETY: within the stack of the running task, whose memory can be read.
        *word = unsafe { switch::read_word(first.add(index)) };
    }
    // What is not in use any more is copied, too.
    switch::valgrind_allow_reading(capture.words.as_ptr().cast(), count * size_of::<usize>());
    capture.count = count;
}
