//! An estimate of the thread's wake-up latency.

use std::cell::Cell;

/// The minimum wake-up latency of the latest waits for a timer. Later waits are shortened by it,
/// which halves the lateness of timers. A thread that wakes too early spins in the loop until the
/// timer is due.
#[derive(Default)]
pub struct WakeupLatency {
    least_ns: Cell<u32>,
    /// The minimum since `least_ns` was last replaced.
    least_of_these_ns: Cell<u32>,
    waits: Cell<u32>,
}

impl WakeupLatency {
    /// The timeout for a timer that is due in `timeout_ns`.
    pub fn compensate(&self, timeout_ns: u64) -> u64 {
        match timeout_ns {
            u64::MAX => u64::MAX, // There is no timer.
            _ => timeout_ns.saturating_sub(u64::from(self.least_ns.get())),
        }
    }

    /// A wait ended `late_ns` after its timeout.
    pub fn observe(&self, late_ns: u64) {
        /// Spinning for longer, where timers are close together, would cost more processor time
        /// than it is worth.
        const MOST_NS: u32 = 60_000;
        const WAITS: u32 = 16;
        let late_ns = u32::try_from(late_ns).unwrap_or(MOST_NS).min(MOST_NS);
        let so_far = if self.waits.get() == 0 { MOST_NS } else { self.least_of_these_ns.get() };
        self.least_of_these_ns.set(so_far.min(late_ns));
        self.least_ns.set(self.least_ns.get().min(late_ns));
        self.waits.set((self.waits.get() + 1) % WAITS);
        if self.waits.get() == 0 {
            self.least_ns.set(self.least_of_these_ns.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WakeupLatency;

    #[test]
    fn waits_are_shorter_by_what_all_of_the_latest_were_late() {
        let latency = WakeupLatency::default();
        for late_ns in (0..15).map(|wait| 50_000 - 1000 * wait) {
            latency.observe(late_ns);
            assert_eq!(latency.compensate(100_000), 100_000);
        }
        latency.observe(70_000);
        assert_eq!(latency.compensate(100_000), 64_000);
        assert_eq!(latency.compensate(20_000), 0);
        assert_eq!(latency.compensate(u64::MAX), u64::MAX);
        // Less counts at once, more when all have taken more, and no more than there is a use for.
        latency.observe(10_000);
        assert_eq!(latency.compensate(100_000), 90_000);
        for _ in 0..15 {
            assert_eq!(latency.compensate(100_000), 90_000);
            latency.observe(1_000_000);
        }
        (0..16).for_each(|_| latency.observe(1_000_000));
        assert_eq!(latency.compensate(100_000), 40_000);
    }
}
