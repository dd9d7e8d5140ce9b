//! Sets of signals.

use crate::engine::sys::{Error, LAST_SIGNAL, Result, can_be_awaited};

/// A set of signals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignalSet(pub(super) u64);

impl SignalSet {
    /// An error for none, and for one that cannot be waited for.
    pub fn of(signals: impl IntoIterator<Item = i32>) -> Result<SignalSet> {
        let add = |set: u64, signal| {
            can_be_awaited(signal).then(|| set | bit(signal)).ok_or(Error::InvalidArgument)
        };
        let set = signals.into_iter().try_fold(0, add)?;
        if set == 0 { Err(Error::InvalidArgument) } else { Ok(SignalSet(set)) }
    }
}

pub(super) fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The numbers of the signals of a set, in order.
pub(super) fn numbers(set: u64) -> impl Iterator<Item = i32> {
    (1..=LAST_SIGNAL).filter(move |number| set & bit(*number) != 0)
}
