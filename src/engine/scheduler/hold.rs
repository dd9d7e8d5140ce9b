//! What keeps a run going besides its tasks: somebody outside who has work for it now and then.
//!
//! A scheduler that is held does not end its run for want of tasks, nor by deadlock: its loop waits for messages.
//! Who holds it sends one, which lets it go. Only the thread that has the scheduler may do either.

use std::ffi::c_void;

use super::object::Scheduler;

impl Scheduler {
    /// Holds it, until it is [let go](Self::let_go).
    pub fn hold(&self, holder: *const c_void) {
        self.is_held.set(true);
        self.holder.set(holder);
    }

    /// Its run ends when its tasks have.
    pub fn let_go(&self) {
        self.is_held.set(false);
    }

    pub fn is_held(&self) -> bool {
        self.is_held.get()
    }

    /// Whether it is a part of something that was made with it, and destroys it: of whoever has held it.
    pub fn is_of_others(&self) -> bool {
        !self.holder().is_null()
    }

    /// Who has held it last, by an address of whoever that is; null for nobody.
    pub fn holder(&self) -> *const c_void {
        self.holder.get()
    }
}
