//! What the flight recorder is told: see [`Recorder`] for the entries.
//!
//! A turn that the recorder is not told of costs nothing: it is told where the clock would be asked anyway, after
//! a number of turns that is 0 while it records (`round.rs`). What has become ready in a turn is found at its end,
//! behind those in the run queue that were there before. So a task counts as ready from the end of the turn in
//! which it became so, and making it ready costs nothing either.

use std::ptr::{eq, from_ref, null};
use std::sync::atomic::Ordering::Relaxed;

use super::living::LIVING;
use super::object::Scheduler;
use super::round::TURNS_UNASKED;
use crate::engine::context::Stack;
use crate::engine::log;
use crate::engine::measure::{Code, EXPONENTS, Entry, PARKED, Recorder, Request};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{NOT_IN_HEAP, ONE_USE, ObjectKind, Task, WaitNode};
use crate::engine::time::Instant;

impl Scheduler {
    /// Records the last `entries`, rounded up to a power of two, from the next round of the loop on; 0 to stop.
    pub fn record(&self, entries: usize) -> Result<()> {
        let running = self.running();
        if self.recorder.is_on() {
            // What the next turns are prepared for is over.
            self.dispatch.turn_times.ask_clock_after(0);
        }
        if entries == 0 {
            if let Some(entry) = running {
                self.recorder.add(entry.time, entry.word);
            }
            self.recorder.stop();
            return Ok(());
        }
        let exponent = entries.checked_next_power_of_two().map_or(u32::MAX, usize::ilog2);
        if exponent > *EXPONENTS.end() {
            return Err(Error::InvalidArgument);
        }
        self.recorder.begin(exponent.max(*EXPONENTS.start()), u64::MAX)
    }

    /// The entry of a turn that goes on while turns are recorded.
    pub fn running(&self) -> Option<Entry> {
        // SAFETY: null, or the task that runs, and tasks live in the slab.
        let task = unsafe { self.current_task.get().as_ref() }?;
        let is_told = self.recorder.is_on() && !self.recorder.read().numbers().is_empty();
        let word = Code::Runs.word(task.id.get());
        is_told.then(|| Entry { time: self.time.clock.ticks(), word })
    }

    /// A round begins, and the recorder is on, or asked to be.
    #[cold]
    #[inline(never)]
    pub(super) fn record_round(&self, now: Instant) {
        let recorder = &self.recorder;
        if recorder.is_on() && now.ns >= recorder.until_ns() {
            recorder.stop();
        }
        let request = recorder.take_request(LIVING.request.load(Relaxed));
        if let (false, Some(request)) = (recorder.is_on(), request) {
            self.answer(request, now.ns);
        }
        if !recorder.is_on() || self.run_queue.is_empty() {
            return;
        }
        let ticks = self.time.clock.ticks();
        self.record_ready(ticks, null());
        let slept_ns = self.metrics.total_wait_time_ns.get();
        let before_ns = recorder.slept_ns.replace(slept_ns);
        recorder.add(ticks, Code::Loop.word(slept_ns.saturating_sub(before_ns)));
        self.record_next(TURNS_UNASKED);
    }

    /// Entries have been added. At most so many turns follow that [`record_yield`](Self::record_yield) records, as the
    /// ring has room for.
    pub(super) fn record_next(&self, turns: u64) {
        let is_known = !self.recorder.last_ready.get().is_null();
        let turns = if is_known { turns.min(self.recorder.room()) } else { 0 };
        self.dispatch.turn_times.record_until_clock(turns);
    }

    /// Ends the turn of a task that has yielded, and is in the run queue, if turns are recorded: in the least
    /// instructions, where nothing has become ready but this task, and nothing else is to be done. Returns false else:
    /// [`end_other_turn`](Self::end_other_turn) is to follow.
    #[inline(always)]
    pub(super) fn record_yield(&self, task: &Task, now: u64) -> bool {
        let (recorder, turn_times) = (&self.recorder, &self.dispatch.turn_times);
        if turn_times.is_next_recorded() {
            let last = recorder.last_ready.get().cast::<Task>();
            // SAFETY: not null, as `record_next` says; a slot of the slab, and these are never unmapped.
            if eq(unsafe { (*last).next.get() }, task) && turn_times.end_recorded(now) {
                recorder.last_ready.set(from_ref(task).cast());
                // SAFETY: `record_next` has said that there is room for as many as may be recorded, and is called
                // after all other entries.
                unsafe { recorder.add_of(Code::Yielded, task.id.get(), now) };
                return true;
            }
        }
        false
    }

    fn answer(&self, request: Request, now_ns: u64) {
        let Some(until_ns) = request.until_ns(now_ns) else { return };
        if let Err(error) = self.recorder.begin(request.exponent, until_ns) {
            log::warn(format_args!(
                "Scheduler{} is asked to record what its tasks do, and cannot: {error}",
                self.title("")
            ));
        }
    }

    /// The turn of the current task ends.
    #[inline(never)]
    pub(super) fn record_turn(&self, ticks: u64) {
        // SAFETY: a turn ends, so there is one, and tasks live in the slab.
        let task = unsafe { &*self.current_task.get() };
        let recorder = &self.recorder;
        self.record_ready(ticks, task);
        if task.stack.get() == Stack::NONE {
            return self.record_end(ticks, task);
        }
        let word = match task.queued.get() {
            true => Code::Yielded.word(task.id.get()),
            false => wait_word(recorder, task),
        };
        recorder.add(ticks, word);
    }

    #[inline(never)]
    fn record_end(&self, ticks: u64, task: &Task) {
        // A slot that is free by now has the id of its next task; the rest is as it was.
        let uses = if task.queued.get() { 0 } else { ONE_USE };
        self.recorder.add(ticks, Code::Ended.word(task.id.get().wrapping_sub(uses)));
        self.recorder.add_text(&task.name.get());
    }

    /// Adds the tasks that have become ready since the last time, but for the one whose turn ends.
    #[inline(always)]
    fn record_ready(&self, ticks: u64, ending: *const Task) {
        let recorder = &self.recorder;
        let last = recorder.last_ready.replace(self.run_queue.tail.get().cast()).cast::<Task>();
        // SAFETY: null, or a slot of the slab, and these are never unmapped.
        let mut next = match unsafe { last.as_ref() } {
            None => self.run_queue.head.get(),
            // All others in the queue came later.
            Some(last) if eq(last, ending) => self.run_queue.head.get(),
            Some(last) if last.queued.get() => last.next.get(),
            Some(_) => null(), // The program has taken it out.
        };
        // SAFETY: as above; linked in a queue.
        while let Some(task) = unsafe { next.as_ref() } {
            if !eq(task, ending) {
                let is_new = task.turns.get() == 0 && task.stack.get() == Stack::NONE;
                let code = if is_new { Code::Created } else { Code::Ready };
                recorder.add(ticks, code.word(task.id.get()));
            }
            next = task.next.get();
        }
    }

    /// The loop has made a task for a post, which is the last one in the queue.
    #[cold]
    pub(super) fn record_post(&self) {
        let ticks = self.time.clock.ticks();
        let last = self.run_queue.tail.get();
        // SAFETY: null, or a task in the queue, which is alive.
        let Some(task) = (unsafe { last.as_ref() }) else { return };
        self.recorder.last_ready.set(last.cast());
        self.recorder.add(ticks, Code::Posted.word(task.id.get()));
        self.record_next(self.dispatch.turn_times.recorded_left());
    }
}

/// The entry of a task that waits or sleeps.
fn wait_word(recorder: &Recorder, task: &Task) -> u64 {
    let (id, wait) = (task.id.get(), task.wait.get());
    let Some(kind) = wait.kind() else {
        return match task.heap_index.get() {
            NOT_IN_HEAP => Code::waits(id, PARKED, 0),
            _ => Code::Sleeps.word(id),
        };
    };
    let object = match kind.object {
        // SAFETY: the task waits by a node at this address.
        ObjectKind::Descriptor => unsafe { &*(wait.object() as *const WaitNode) }.fd.get() as u64,
        // SAFETY: the task waits for the end of one at this address.
        ObjectKind::Task => unsafe { &*(wait.object() as *const Task) }.id.get(),
        // Objects are aligned to 8 bytes.
        ObjectKind::Address | ObjectKind::Hidden => wait.object() as u64 >> 3,
    };
    Code::waits(id, recorder.kind(from_ref(kind) as u64), object)
}
