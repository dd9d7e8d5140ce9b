//! The scheduler's part of it.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::capture::{on_signal, this_thread};
use super::registry::{Entry, Registry, Subject, registry};
use super::{capture, thread};
use crate::engine::log;
use crate::engine::sys::{self, AlternateStack, Error, Result};
use crate::engine::task::Task;
use crate::engine::threads::this_process;

/// What a scheduler has to be watched by. All but what it counts is its thread's.
pub struct Watch {
    /// From how long on a turn is reported; 0 for never.
    limit_ns: Cell<u64>,
    /// Whether it is in the registry of a process, and which.
    is_on: Cell<bool>,
    process: Cell<u32>,
    /// The stack for the handler, if the thread had none.
    alternate_stack: Cell<Option<AlternateStack>>,
    entry: Entry,
}

impl Watch {
    pub const fn new() -> Watch {
        Watch {
            limit_ns: Cell::new(0),
            is_on: Cell::new(false),
            process: Cell::new(0),
            alternate_stack: Cell::new(None),
            entry: Entry::new(),
        }
    }

    /// Sets the limit, from the next [`begin`](Self::begin) on.
    pub fn set_limit(&self, ns: u64) {
        self.limit_ns.set(ns);
    }

    /// The calling thread runs the scheduler, whose words these are, until [`end`](Self::end). It must
    /// not move meanwhile.
    pub fn begin(&self, turn: &AtomicU64, task: &AtomicPtr<Task>) {
        let limit_ns = self.limit_ns.get();
        if limit_ns == 0 || self.is_on.replace(true) {
            return;
        }
        self.alternate_stack.set(AlternateStack::install());
        self.enter(Subject {
            limit_ns,
            thread_id: sys::thread_id(),
            thread: this_thread(),
            turn,
            task,
        });
    }

    /// In a child of fork() that goes on with the run: its registry has no entry of the parent's.
    pub fn begin_in_child(&self, turn: &AtomicU64, task: &AtomicPtr<Task>) {
        if self.is_on.get() && self.process.get() != this_process() {
            self.is_on.set(false);
            let stack = self.alternate_stack.take();
            self.begin(turn, task);
            if stack.is_some() {
                self.alternate_stack.set(stack);
            }
        }
    }

    fn enter(&self, subject: Subject) {
        self.process.set(this_process());
        sys::keep_loaded();
        let mut registry = registry();
        registry.enter(&self.entry, subject);
        let has_signal = install(&mut registry);
        let started = thread::ensure(&mut registry);
        drop(registry);
        thread::ring();
        if let Err(error) = started {
            log::warn(format_args!("long turns are not reported: no thread for it: {error}"));
        } else if !has_signal {
            log::warn(format_args!(
                "long turns are reported without names and stacks: the program has other uses for \
                 the signal"
            ));
        }
    }

    /// The run ends.
    pub fn end(&self) {
        if !self.is_on.replace(false) {
            return;
        }
        let mut registry = registry();
        registry.leave(&self.entry);
        capture::disarm_this_thread();
        if self.entry.signaled.take() {
            sys::take_back_signal(registry.signal);
        }
        let is_empty = registry.is_empty();
        if is_empty && registry.signal != 0 {
            sys::restore_default_action(registry.signal, on_signal);
            registry.signal = 0;
        }
        drop(registry);
        if is_empty {
            thread::ring();
        }
        drop(self.alternate_stack.take());
    }

    /// The thread is about to wait.
    #[inline(always)]
    pub fn sleeps(&self) {
        self.entry.asleep.store(true, Relaxed);
    }

    /// The thread has waited.
    #[inline(always)]
    pub fn wakes(&self) {
        if self.is_on.get() {
            self.entry.asleep.store(false, Relaxed);
            thread::ring_if_parked();
        }
    }

    /// How many turns were too long.
    pub fn long_turns(&self) -> u64 {
        self.entry.long_turns.load(SeqCst)
    }

    pub fn reset(&self) {
        self.entry.long_turns.store(0, SeqCst);
    }
}

/// Installs the handler, unless it is. Returns whether it is.
fn install(registry: &mut Registry) -> bool {
    if registry.signal == 0 {
        let installed = |signal: &c_int| sys::handle_interrupt(*signal, on_signal);
        registry.signal = match registry.chosen {
            0 => sys::real_time_signals().find(installed).unwrap_or(0),
            chosen => Some(chosen).filter(installed).unwrap_or(0),
        };
    }
    registry.signal != 0
}

/// Chooses the signal; 0 for any that is free. Not while a scheduler is watched.
pub fn set_signal(signal: c_int) -> Result<()> {
    if signal != 0 && !sys::real_time_signals().any(|other| other == signal) {
        return Err(Error::InvalidArgument);
    }
    let mut registry = registry();
    if !registry.is_empty() {
        return Err(Error::Busy);
    }
    registry.chosen = signal;
    Ok(())
}
