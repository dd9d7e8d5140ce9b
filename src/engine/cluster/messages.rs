//! What other threads tell a core of its end, and who is told when all have ended; see `end.rs` and `control.rs`.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::{NonNull, null};

use super::urge::Notice;
use crate::engine::task::Words;
use crate::engine::threads::{Message, Remote};

/// What the library's own tasks of a cluster are: of C, whatever the API.
pub static WORDS: Words = Words {
    set_stack_size: "mj_scheduler_set_stack_size() or Builder::stack_size()",
    exit: "",
    abandon: None,
};

/// What a core has for its end.
pub struct End {
    pub let_go: ToCore,
    pub urged: ToCore,
    /// Up while `urged` is under way.
    pub notice: Notice,
    /// The task that ends the others; 0 if there is none. Of the core's thread.
    pub task: Cell<u64>,
}

/// A message of a core.
#[repr(C)]
pub struct ToCore {
    message: Message,
    core: Cell<*const c_void>,
}

const _: () = assert!(offset_of!(ToCore, message) == 0);

/// What the loop calls with a message.
type Run = unsafe fn(NonNull<Message>);

impl End {
    pub fn new(let_go: Run, urged: Run) -> End {
        let to_core = |run| ToCore { message: Message::new(run, forget), core: Cell::new(null()) };
        End {
            let_go: to_core(let_go),
            urged: to_core(urged),
            notice: Notice::new(),
            task: Cell::new(0),
        }
    }

    /// The core is where it stays.
    pub fn settle(&self, core: *const c_void) {
        [&self.let_go, &self.urged].iter().for_each(|message| message.core.set(core));
    }
}

impl ToCore {
    /// The core of a message.
    ///
    /// # Safety
    /// The message of a [`ToCore`], which is there.
    pub unsafe fn core_of(message: NonNull<Message>) -> *const c_void {
        // SAFETY: as this function's contract says.
        unsafe { message.cast::<ToCore>().as_ref() }.core.get()
    }
}

/// The scheduler is gone, and nothing is left to be told.
///
/// # Safety
/// None.
pub unsafe fn forget(_: NonNull<Message>) {}

/// Who is told of the end of the last core.
pub struct Control {
    pub remote: Remote,
    pub message: NonNull<Message>,
}

// SAFETY: the message is sent once, under the lock, and is there until its loop has got it.
unsafe impl Send for Control {}
