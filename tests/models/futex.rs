//! The futex of models: loom's number, and the kernel's queue of those that sleep. It knows no time: a wait that
//! is not over when it begins has no limit, so a lost wake-up is a deadlock for loom.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use loom::sync::atomic::AtomicU32;
use loom::sync::{Condvar, Mutex};

/// Loom's numbers cannot be made in a static: this is one once it is looked at.
pub struct Word {
    first: u32,
    number: OnceLock<AtomicU32>,
}

impl Word {
    pub const fn new(first: u32) -> Word {
        Word { first, number: OnceLock::new() }
    }
}

impl Deref for Word {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        self.number.get_or_init(|| AtomicU32::new(self.first))
    }
}

struct Sleeper {
    address: usize,
    is_woken: AtomicBool,
    woken: Condvar,
}

loom::lazy_static! {
    /// Who sleeps, in order.
    static ref SLEEPERS: Mutex<Vec<Arc<Sleeper>>> = Mutex::new(Vec::new());
}

fn address_of(word: *const Word) -> usize {
    word.addr()
}

pub fn wait(word: &Word, value: u32, _: Option<u64>) {
    let mut sleepers = SLEEPERS.lock().unwrap();
    if word.load(Relaxed) != value {
        return;
    }
    let me = Arc::new(Sleeper {
        address: address_of(word),
        is_woken: AtomicBool::new(false),
        woken: Condvar::new(),
    });
    sleepers.push(me.clone());
    while !me.is_woken.load(Relaxed) {
        sleepers = me.woken.wait(sleepers).unwrap();
    }
}

/// Only the address is used.
pub fn wake(word: *const Word) {
    let mut sleepers = SLEEPERS.lock().unwrap();
    if let Some(first) = sleepers.iter().position(|other| other.address == address_of(word)) {
        let sleeper = sleepers.remove(first);
        sleeper.is_woken.store(true, Relaxed);
        sleeper.woken.notify_one();
    }
}
