//! The keys of task-local values. They are the process's, and for good: a program makes each once.
//!
//! Any thread makes keys. One increment claims a number for it, and the functions are stored before anybody is
//! told the number: whoever uses it has been told, by the program's own means, after that. A number that is
//! only guessed may be claimed and have no functions yet, which is as good as a key that has none.

use std::ffi::c_void;
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::engine::sys::{Error, Result};

/// How many there can be.
pub const MOST_KEYS: usize = 128;

/// Destroys a value when its task ends.
pub type Destroy = unsafe extern "C" fn(*mut c_void);

/// Makes the value of a new task of the one of the task that makes it; null for none.
pub type Inherit = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

struct Key {
    destroy: AtomicPtr<c_void>,
    inherit: AtomicPtr<c_void>,
}

static KEYS: [Key; MOST_KEYS] =
    [const { Key { destroy: AtomicPtr::new(null_mut()), inherit: AtomicPtr::new(null_mut()) } };
        MOST_KEYS];

/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Makes a key: its index.
pub fn make_key(destroy: Option<Destroy>, inherit: Option<Inherit>) -> Result<usize> {
    let claim = |count| (count < MOST_KEYS).then_some(count + 1);
    let index = COUNT.fetch_update(Relaxed, Relaxed, claim).map_err(|_| Error::OutOfMemory)?;
    let destroy = destroy.map_or(null_mut(), |function| function as *mut c_void);
    let inherit = inherit.map_or(null_mut(), |function| function as *mut c_void);
    KEYS[index].destroy.store(destroy, Release);
    KEYS[index].inherit.store(inherit, Release);
    Ok(index)
}

/// Whether there is a key of this index.
pub fn is_key(index: usize) -> bool {
    index < COUNT.load(Relaxed)
}

/// What destroys the values of a key.
pub fn destroy_of(index: usize) -> Option<Destroy> {
    let address = KEYS.get(index)?.destroy.load(Acquire);
    // SAFETY: null, which is `None`, or such a function.
    unsafe { transmute::<*mut c_void, Option<Destroy>>(address) }
}

/// What makes new tasks inherit the values of a key.
pub fn inherit_of(index: usize) -> Option<Inherit> {
    let address = KEYS.get(index)?.inherit.load(Acquire);
    // SAFETY: as above.
    unsafe { transmute::<*mut c_void, Option<Inherit>>(address) }
}
