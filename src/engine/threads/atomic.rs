//! Atomics for code that is checked with loom: loom's under `cfg(loom)`, else the standard
//! library's.

#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(not(loom))]
pub use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
};

/// A point where a signal handler may interrupt a poster: models may run a handler there.
#[cfg(not(loom))]
#[inline(always)]
pub fn step() {}

#[cfg(loom)]
pub use interrupts::{interrupt_at, step};

#[cfg(loom)]
mod interrupts {
    use std::cell::{Cell, RefCell};

    type Handler = Box<dyn FnOnce()>;

    loom::thread_local! {
        static STEPS: Cell<usize> = Cell::new(0);
        static HANDLER: RefCell<Option<(usize, Handler)>> = RefCell::new(None);
    }

    /// Runs `handler` at a step of this thread, as a signal would.
    pub fn interrupt_at(step: usize, handler: impl FnOnce() + 'static) {
        STEPS.with(|steps| steps.set(0));
        HANDLER.with(|slot| *slot.borrow_mut() = Some((step, Box::new(handler))));
    }

    pub fn step() {
        let now = STEPS.with(|steps| steps.replace(steps.get() + 1));
        let due = HANDLER.with(|slot| {
            let mut slot = slot.borrow_mut();
            if slot.as_ref().is_some_and(|(at, _)| *at == now) { slot.take() } else { None }
        });
        if let Some((_, handler)) = due {
            handler();
        }
    }
}
