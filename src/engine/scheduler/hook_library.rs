//! libmajjen-hook, a library of its own that suspends tasks in blocking calls of the C library (`hook/`).
//!
//! At the start of each run it is looked for, and told where things are, for the thread that runs: a
//! [`HookLibrary`], which it only reads but for `kinds`, and by which it finds the running task and
//! calls this copy of Majjen. At the run's end it is told what it was told before.
//!
//! The layout is an interface between versions: fields are added at the end, and `bytes` says which there
//! are. `hook/src/core.h` declares it for C.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::mem::{offset_of, transmute};
use std::ptr::{from_ref, null};

use crate::engine::context::switch;
use crate::engine::sys::{self, VisiblePointer};
use crate::engine::task::Task;

/// The functions that the library is to call, as `hook/src/core.h` lists them; the engine does not know
/// them.
#[derive(Clone, Copy)]
pub struct HookCalls(pub *const c_void);

#[cfg(test)]
impl HookCalls {
    /// For tests, which have no such library.
    pub const NONE: HookCalls = HookCalls(null());
}

/// What it is told of a scheduler that runs.
#[repr(C)]
pub(super) struct HookLibrary {
    /// The size of this, by which the library knows its version.
    bytes: usize,
    calls: Cell<*const c_void>,
    scheduler: Cell<*const c_void>,
    /// Where the address of the running task is.
    current_task: Cell<*const c_void>,
    /// The address of the thread's count of calls that are not to be hooked.
    own_calls: Cell<*const c_void>,
    /// Where in a task the byte is that the library sets to leave its calls alone.
    unhooked_offset: usize,
    /// Which kinds of calls it stands in for. The library's own.
    kinds: Cell<usize>,
    /// Whether there has been a run, and the library was there.
    found: Cell<Option<bool>>,
}

type Attach = unsafe extern "C" fn(*const HookLibrary) -> *const HookLibrary;
type Forget = unsafe extern "C" fn(*const c_void);

unsafe extern "C" {
    safe fn majjen_shim_hook_attach() -> Option<Attach>;
    safe fn majjen_shim_hook_forget() -> Option<Forget>;
}

/// The function of the library of this name.
fn find(name: &CStr) -> Option<*mut c_void> {
    sys::symbol(name)
}

fn find_attach() -> Option<Attach> {
    majjen_shim_hook_attach().or_else(|| {
        // SAFETY: what has this name is a function of this type: a name of this project.
        Some(unsafe { transmute::<*mut c_void, Attach>(find(c"mj_hook_attach")?) })
    })
}

fn find_forget() -> Option<Forget> {
    majjen_shim_hook_forget().or_else(|| {
        // SAFETY: as in `find_attach`.
        Some(unsafe { transmute::<*mut c_void, Forget>(find(c"mj_hook_forget")?) })
    })
}

/// The library knows of a run while this lives.
pub(super) struct Attached {
    attach: Attach,
    before: *const HookLibrary,
}

impl HookLibrary {
    pub const fn new() -> HookLibrary {
        HookLibrary {
            bytes: size_of::<HookLibrary>(),
            calls: Cell::new(null()),
            scheduler: Cell::new(null()),
            current_task: Cell::new(null()),
            own_calls: Cell::new(null()),
            unhooked_offset: offset_of!(Task, unhooked),
            kinds: Cell::new(0),
            found: Cell::new(None),
        }
    }

    /// Tells the library, if there is one, that a run begins on this thread.
    /// The scheduler is only an address to it; its running task is where `current_task` says.
    pub fn attach(
        &self,
        calls: HookCalls,
        scheduler: *const c_void,
        current_task: &VisiblePointer<Task>,
    ) -> Option<Attached> {
        let attach = find_attach();
        self.found.set(Some(attach.is_some()));
        let attach = attach?;
        self.calls.set(calls.0);
        self.scheduler.set(scheduler);
        self.current_task.set(from_ref(current_task).cast());
        // SAFETY: the thread's own variable, which lives as long as the thread.
        self.own_calls.set(from_ref(unsafe { &(*switch::thread()).own_calls }).cast());
        // SAFETY: the library uses it until it is told of another, which `Attached` does before the run
        // ends; and the scheduler, which this is a part of, stays where it is.
        let before = unsafe { attach(self) };
        Some(Attached { attach, before })
    }

    /// The same for what is no run, but has tasks go on that may be in the middle of a hooked call.
    pub fn attach_again(
        &self,
        scheduler: *const c_void,
        current_task: &VisiblePointer<Task>,
    ) -> Option<Attached> {
        let calls = self.calls.get();
        if calls.is_null() { None } else { self.attach(HookCalls(calls), scheduler, current_task) }
    }

    /// Tells the library, if there is one, that a scheduler is no more.
    pub fn forget(&self, scheduler: *const c_void) {
        if self.found.get() == Some(false) {
            return;
        }
        if let Some(forget) = find_forget() {
            // SAFETY: the address is only compared.
            unsafe { forget(scheduler) };
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: what the library returned when it was told of this run, which is nested in that one.
        unsafe { (self.attach)(self.before) };
    }
}
