//! What the library does without on a system that lacks it. `docs/platforms.md` has the table: since
//! when there is what, and what its absence costs.

use super::descriptor::has_epoll_pwait2;
use super::memory::{MADV_GUARD_INSTALL, advises_many, knows_advice};

/// The names of the fallbacks that are in use here. Asks the system, each time.
pub fn fallbacks() -> impl Iterator<Item = &'static str> {
    let present = [
        ("guards", knows_advice(MADV_GUARD_INSTALL)),
        ("batches", advises_many()),
        ("pwait2", has_epoll_pwait2()),
        ("wipe", knows_advice(libc::MADV_WIPEONFORK)),
    ];
    present.into_iter().filter_map(|(name, is_present)| (!is_present).then_some(name))
}
