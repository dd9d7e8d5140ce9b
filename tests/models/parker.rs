//! The parker of the models: by loom's condition variable. It knows no time: a wait with a limit ends at once.

use loom::sync::{Condvar, Mutex};

pub struct Parker {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    pub fn new() -> Parker {
        Parker { told: Mutex::new(false), changed: Condvar::new() }
    }

    pub fn reset(&self) {
        *self.told.lock().unwrap() = false;
    }

    pub fn wait(&self, until_ns: Option<u64>) -> bool {
        let mut told = self.told.lock().unwrap();
        while !*told && until_ns.is_none() {
            told = self.changed.wait(told).unwrap(); // A lost wake-up is a deadlock for loom.
        }
        *told
    }

    pub fn tell(&self) {
        *self.told.lock().unwrap() = true;
        self.changed.notify_one();
    }

    pub fn wake(_: *const Parker) {}
}
