//! What the library does without on a system that lacks it. `docs/platforms.md` has the table: since
//! when there is what, and what its absence costs.

use super::descriptor::has_epoll_pwait2;
use super::memory::{MADV_GUARD_INSTALL, advises_many, knows_advice};
use super::select::is_poll_refused;
use super::transfer::moves;

/// The names of the fallbacks, and whether each is in use here. Asks the system, each time.
pub fn fallbacks() -> [(&'static str, bool); 7] {
    let [nowait, nosignal] = moves();
    [
        ("guards", !knows_advice(MADV_GUARD_INSTALL)),
        ("batches", !advises_many()),
        ("pwait2", !has_epoll_pwait2()),
        ("poll", is_poll_refused()),
        ("nowait", !nowait),
        ("nosignal", !nosignal),
        ("wipe", !knows_advice(libc::MADV_WIPEONFORK)),
    ]
}
