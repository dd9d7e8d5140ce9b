//! The schedulers that are watched, and what the watchdog sees when it looks at them.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::{self, null, null_mut};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::capture::{self, Turn};
use crate::engine::log;
use crate::engine::sys;
use crate::engine::task::Task;
use crate::engine::threads::{Lock, LockGuard, this_process};

/// What the registry has of a scheduler, which is a part of it.
pub struct Entry {
    next: Cell<*const Entry>,
    subject: Cell<Subject>,
    seen: Cell<Seen>,
    /// Whether a signal was sent to the thread in this run.
    pub signaled: Cell<bool>,
    /// Whether its thread waits, and has no turn.
    pub asleep: AtomicBool,
    /// How many turns were too long.
    pub long_turns: AtomicU64,
}

/// Whom to look at.
#[derive(Clone, Copy)]
pub struct Subject {
    pub limit_ns: u64,
    /// The thread: as the kernel knows it, and as the handler does.
    pub thread_id: c_int,
    pub thread: usize,
    /// The scheduler's word that differs from turn to turn, and the one that has the running task.
    pub turn: *const AtomicU64,
    pub task: *const AtomicPtr<Task>,
}

/// What the watchdog has seen last.
#[derive(Clone, Copy)]
struct Seen {
    task: *mut Task,
    turn: u64,
    /// Since when.
    since_ns: u64,
    /// Whether it has been counted.
    counted: bool,
}

impl Seen {
    /// No turn.
    const NOTHING: Seen = Seen { task: null_mut(), turn: 0, since_ns: 0, counted: false };
}

impl Entry {
    pub const fn new() -> Entry {
        let nobody = Subject { limit_ns: 0, thread_id: 0, thread: 0, turn: null(), task: null() };
        Entry {
            next: Cell::new(null()),
            subject: Cell::new(nobody),
            seen: Cell::new(Seen::NOTHING),
            signaled: Cell::new(false),
            asleep: AtomicBool::new(false),
            long_turns: AtomicU64::new(0),
        }
    }
}

/// The schedulers that run and are watched.
pub struct Registry {
    /// The process that has made it what it is.
    process: u32,
    first: *const Entry,
    /// Whether the watchdog's thread runs.
    pub has_thread: bool,
    /// The signal whose handler is installed; 0 for none.
    pub signal: c_int,
    /// The signal that the program has chosen; 0 for any that is free.
    pub chosen: c_int,
}

// SAFETY: the entries are of schedulers that run, which leave before they end.
unsafe impl Send for Registry {}

static REGISTRY: Lock<Registry> = Lock::in_static(Registry {
    process: 0,
    first: null(),
    has_thread: false,
    signal: 0,
    chosen: 0,
});

/// Locks the registry: this process's own.
pub fn registry() -> LockGuard<'static, Registry> {
    let mut registry = REGISTRY.lock();
    if registry.process != this_process() {
        // The threads of the parent are not here, nor do their schedulers run.
        registry.process = this_process();
        registry.first = null();
        registry.has_thread = false;
        capture::forget();
    }
    registry
}

/// What the watchdog has seen.
pub struct Look {
    /// Whether any scheduler is awake.
    pub is_any_awake: bool,
    /// When to look again, if one is.
    pub interval_ns: u64,
    /// A turn that has become too long, and is to be reported.
    pub long: Option<LongTurn>,
}

/// A turn that is too long.
pub struct LongTurn {
    pub task_id: u64,
    pub since_ns: u64,
    pub limit_ns: u64,
    /// Where it is, and what it is told from others by.
    thread: usize,
    turn: u64,
    /// Whether its stack will be there soon: see [`capture::take`].
    pub is_captured: bool,
    pub permit: log::Permit,
}

/// However short the limit is, the watchdog does not look more often.
const LEAST_INTERVAL_NS: u64 = 1_000_000;

impl Registry {
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        // SAFETY: the entries of schedulers that run, whose memory stays until they have left.
        let entry = |address: *const Entry| unsafe { address.as_ref() };
        std::iter::successors(entry(self.first), move |before| entry(before.next.get()))
    }

    /// A scheduler's run begins.
    pub fn enter(&mut self, entry: &Entry, subject: Subject) {
        entry.subject.set(subject);
        entry.seen.set(Seen::NOTHING);
        entry.signaled.set(false);
        entry.asleep.store(false, Relaxed);
        entry.next.set(self.first);
        self.first = entry;
    }

    /// Its run ends. Without effect if it is not there, as in a child of fork().
    pub fn leave(&mut self, entry: &Entry) {
        if ptr::eq(self.first, entry) {
            self.first = entry.next.get();
        } else if let Some(before) = self.entries().find(|other| ptr::eq(other.next.get(), entry)) {
            before.next.set(entry.next.get());
        }
        entry.next.set(null());
    }

    /// Whether any scheduler is awake. After [`Bell::park`](super::bell::Bell::park).
    pub fn is_any_awake(&self) -> bool {
        self.entries().any(|entry| !entry.asleep.load(Relaxed))
    }

    /// Looks at all, up to the first whose turn has become too long.
    pub fn look(&self) -> Look {
        let mut look = Look { is_any_awake: false, interval_ns: u64::MAX, long: None };
        for entry in self.entries() {
            let interval_ns = (entry.subject.get().limit_ns / 2).max(LEAST_INTERVAL_NS);
            look.interval_ns = look.interval_ns.min(interval_ns);
            if entry.asleep.load(Relaxed) {
                entry.seen.set(Seen::NOTHING);
                continue;
            }
            look.is_any_awake = true;
            look.long = self.look_at(entry);
            if look.long.is_some() {
                break;
            }
        }
        look
    }

    /// Counts a turn that has become too long. Returns it if it is to be reported.
    fn look_at(&self, entry: &Entry) -> Option<LongTurn> {
        let (subject, seen) = (entry.subject.get(), entry.seen.get());
        // SAFETY: words of a scheduler that is in the registry.
        let (turn, task) =
            unsafe { ((*subject.turn).load(Relaxed), (*subject.task).load(Relaxed)) };
        let now_ns = sys::monotonic_ns();
        if task.is_null() {
            entry.seen.set(Seen::NOTHING);
            return None;
        }
        if (turn, task) != (seen.turn, seen.task) {
            entry.seen.set(Seen { task, turn, since_ns: now_ns, counted: false });
            return None;
        }
        if seen.counted || now_ns - seen.since_ns < subject.limit_ns {
            return None;
        }
        // SAFETY: a slot of its tasks, which keeps its address as long as the scheduler is there.
        let task_id = unsafe { (*task).id.word() }.load(Relaxed);
        // SAFETY: as above.
        if unsafe { (*subject.turn).load(Relaxed) } != turn {
            return None; // It has just ended, and the number may be another task's.
        }
        entry.seen.set(Seen { counted: true, ..seen });
        entry.long_turns.fetch_add(1, SeqCst);
        let permit = log::permit_warning()?;
        let is_captured = sys::is_handled_by(self.signal, capture::on_signal) && {
            capture::arm(subject.thread, Turn { word: subject.turn, value: turn, task });
            entry.signaled.set(true);
            sys::signal_thread(subject.thread_id, self.signal)
        };
        let (since_ns, limit_ns) = (seen.since_ns, subject.limit_ns);
        let thread = subject.thread;
        Some(LongTurn { task_id, since_ns, limit_ns, thread, turn, is_captured, permit })
    }

    /// Whether a turn still lasts.
    pub fn lasts(&self, long: &LongTurn) -> bool {
        let of_thread = |entry: &&Entry| entry.subject.get().thread == long.thread;
        self.entries().find(of_thread).is_some_and(|entry| {
            // SAFETY: a word of a scheduler that is in the registry.
            unsafe { (*entry.subject.get().turn).load(Relaxed) == long.turn }
        })
    }
}
