//! Which core is given something.

use std::sync::atomic::Ordering::Relaxed;

use super::object::{Cluster, Core};

/// How many cores are looked at for the one with the least to do. On a large machine a look at all of them, whose
/// counters others have written to, costs more than the last bit of balance is worth.
const LOOKS: usize = 8;

impl Cluster {
    /// Each core in turn.
    pub fn in_turn(&self) -> &Core {
        let cores = self.cores();
        &cores[self.next.fetch_add(1, Relaxed) % cores.len()]
    }

    /// The core with the least to do among some: the one that runs here, if others have no less.
    pub fn least_loaded(&self) -> &Core {
        let other = self.less_loaded(self.here());
        other.unwrap_or_else(|| self.in_turn())
    }

    /// The core that each number has for good: keys next to each other are spread.
    pub fn of_key(&self, key: u64) -> &Core {
        let cores = self.cores();
        // The finalizer of MurmurHash3 (Appleby 2011): each bit of the key changes each of the result.
        let mut hash = key;
        for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        hash ^= hash >> 33;
        // The high bits of a product spread over the cores without a division (Lemire 2019).
        &cores[((u128::from(hash) * cores.len() as u128) >> 64) as usize]
    }

    /// The least loaded of some cores, and of `here`, which comes first.
    fn less_loaded<'c>(&'c self, here: Option<&'c Core>) -> Option<&'c Core> {
        let cores = self.cores();
        let first = self.looks.fetch_add(1, Relaxed);
        let others = (0..cores.len().min(LOOKS)).map(|step| &cores[(first + step) % cores.len()]);
        here.into_iter()
            .chain(others)
            .filter(|core| !core.is_over())
            .min_by_key(|core| core.load.load(Relaxed))
    }
}

impl Core {
    /// Who is to have a connection that this core has accepted: itself, unless it has clearly more than another one. A
    /// connection that stays costs no message, and where the kernel spreads them well, most stay.
    pub(super) fn least_loaded_or_self(&self) -> &Core {
        if !self.cluster().is_of_this_process() {
            return self; // The others are the parent's.
        }
        let Some(other) = self.cluster().less_loaded(Some(self)) else { return self };
        let (mine, others) = (self.load.load(Relaxed), other.load.load(Relaxed));
        if mine > others + 1 + others / 32 { other } else { self }
    }
}
