//! A moment, as the clock and the cycle counter say.

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)] // For debuggers.
pub struct Instant {
    pub ticks: u64,
    pub ns: u64,
}
