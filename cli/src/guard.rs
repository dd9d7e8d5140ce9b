//! Calls of crates that read tables of other programs: what they find wrong there with a panic is no more than that
//! nothing is known.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// From now on panics in [`guarded`] calls write nothing.
pub fn install() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !GUARDED.get() {
            before(panic);
        }
    }));
}

/// The result of a function, unless it panics. What it has changed is not used any more then, or only looked up in.
pub fn guarded<T>(function: impl FnOnce() -> T) -> Option<T> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(function));
    GUARDED.set(before);
    result.ok()
}
