//! Rounds: the loop starts one, in which tasks switch to each other without visiting the loop, and
//! which ends when the loop is due.
//!
//! The cycle counter ends a round, since it costs a third of what the clock costs. But it may jump,
//! ahead and back, stand still, or change its pace: when a machine was suspended or hibernated, a
//! virtual machine or a process was restored or moved. So it decides nothing that the clock does not
//! bound:
//!
//! - A turn that is longer than a round, or has a negative length, which is the same to unsigned
//!   numbers, ends the round.
//! - The clock is asked after [`TURNS_UNASKED`] turns, and ends a round that has taken too long.
//! - A turn is recorded as no longer than the clock has gone since the round began.

use std::sync::atomic::Ordering::Relaxed;

use super::io::MIN_POLL_INTERVAL_NS;
use super::living::LIVING;
use super::object::Scheduler;
use crate::engine::sys;
use crate::engine::task::probe;
use crate::engine::time::Instant;

/// The longest round, in which timers and I/O are not looked at.
const LONGEST_NS: u64 = MIN_POLL_INTERVAL_NS;

/// How many turns of a round the clock is not asked for.
pub(super) const TURNS_UNASKED: u64 = 256;

impl Scheduler {
    /// A round begins, in which tasks run for at most `ns`, and the first of them in any case.
    pub fn begin_round(&self, now: Instant, ns: u64) {
        let (dispatch, clock) = (&self.dispatch, &self.time.clock);
        let longest = clock.ns_to_ticks(LONGEST_NS);
        dispatch.longest_round_ticks.set(longest);
        dispatch.round_began.set(now);
        dispatch.turn_times.ask_clock_after(TURNS_UNASKED);
        let yield_at = match ns {
            0 => 0,
            1..LONGEST_NS => now.ticks.wrapping_add(clock.ns_to_ticks(ns)),
            _ => now.ticks.wrapping_add(longest),
        };
        dispatch.set_yield_at(yield_at, &self.remote);
        if self.recorder.concerns_round(LIVING.request.load(Relaxed)) {
            self.record_round(now);
        }
    }

    /// Ends a turn that has been counted, and that [`end_fast`] has not ended.
    ///
    /// [`end_fast`]: crate::engine::measure::TurnTimes::end_fast
    #[inline(never)]
    pub fn end_turn_slow(&self, now_ticks: u64) {
        let turn_times = &self.dispatch.turn_times;
        if turn_times.is_clock_due() {
            self.ask_clock(now_ticks);
        }
        let ticks = turn_times.ticks_since_it_began(now_ticks);
        let is_long = ticks >= self.dispatch.longest_round_ticks.get();
        turn_times.end_slow(now_ticks, if is_long { self.end_long_turn(ticks) } else { ticks });
    }

    /// The same of a turn that has not been recorded by [`record_yield`](Self::record_yield). Not inlined there, so that
    /// what is taken back here need not be kept.
    #[cold]
    #[inline(never)]
    pub(super) fn end_other_turn(&self, now_ticks: u64) {
        self.dispatch.turn_times.is_not_recorded();
        self.end_turn_slow(now_ticks);
    }

    /// The counter has not ended the round for many turns, or each turn is recorded.
    #[cold]
    fn ask_clock(&self, now_ticks: u64) {
        let turn_times = &self.dispatch.turn_times;
        if self.recorder.is_on() {
            let left = turn_times.recorded_left();
            self.record_turn(now_ticks);
            self.record_next(if left == 0 { TURNS_UNASKED } else { left - 1 });
            if left > 0 {
                return;
            }
        } else {
            turn_times.ask_clock_after(TURNS_UNASKED);
        }
        let began_ns = self.dispatch.round_began.get().ns;
        if sys::monotonic_ns().saturating_sub(began_ns) >= LONGEST_NS {
            self.dispatch.yield_at_once();
        }
    }

    /// A turn has taken longer than a round, or the counter has jumped. Returns its length.
    #[cold]
    fn end_long_turn(&self, ticks: u64) -> u64 {
        self.dispatch.yield_at_once();
        // SAFETY: a turn ends, so there is a current task, and tasks live in the slab.
        probe::long_turn(unsafe { &*self.current_task.get() }, ticks);
        let clock = &self.time.clock;
        let elapsed_ns = clock.now().ns.saturating_sub(self.dispatch.round_began.get().ns);
        ticks.min(clock.most_ticks(elapsed_ns))
    }
}
