//! Panics of the program's code, which end here.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic says, if it says it in words.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

/// Drops a value of the program. A panic of its destructor ends here; the panic hook has told of
/// it.
pub fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
        forget_payload(payload);
    }
}

/// Lets a panic's payload go without running its destructor, which could panic again.
pub fn forget_payload(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}
