//! Stack overflow: a fault in a task's guard pages is reported with one line, before the process
//! ends as it would have.
//!
//! The handler runs on an alternate stack, since the task's is used up; each thread needs its own,
//! for as long as it runs a scheduler that reports overflows. All faults, reported or not, and any
//! SIGSEGV that is sent, are chained to the previous handler.

use std::ffi::{c_int, c_void};
use std::fmt::Write;

use crate::engine::context::stack;
use crate::engine::sys::{self, FaultAction, TruncatingWriter};
use crate::engine::task;
use crate::engine::threads::Lock;

/// The number of guards; the handler is installed while it is above 0.
static USERS: Lock<usize> = Lock::in_static(0);

/// The previous action. Set before the handler is installed, and read by it.
static PREVIOUS: FaultAction = FaultAction::new();

/// Overflows are reported on this thread while this lives.
pub struct Guard {
    alternate_stack: Option<sys::AlternateStack>,
}

impl Guard {
    /// The guard must stay on this thread. Without memory for the alternate stack, an overflow ends
    /// the process without a report.
    pub fn new() -> Guard {
        let alternate_stack = sys::AlternateStack::install();
        let mut users = USERS.lock();
        *users += 1;
        if *users == 1 {
            PREVIOUS.install(on_fault);
        }
        Guard { alternate_stack }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut users = USERS.lock();
        *users -= 1;
        if *users == 0 {
            PREVIOUS.restore(on_fault);
        }
        drop(users);
        drop(self.alternate_stack.take());
    }
}

/// Reports an overflow of the running task, if this is one, and chains to the previous action.
extern "C" fn on_fault(signal: c_int, info: *mut sys::FaultInfo, context: *mut c_void) {
    let errno = sys::errno();
    // SAFETY: what the kernel gave to this handler.
    let address = unsafe { sys::fault_address(info) };
    if let Some(address) = address
        && let Some(task) = task::running()
        && stack::guard_range(task.stack.get(), task.stack_bytes()).contains(&address)
    {
        let mut text = [0u8; 400];
        let mut line = TruncatingWriter::new(&mut text);
        let name = task.name.get();
        let name = sys::until_nul(&name);
        // TruncatingWriter does not fail. Nothing here allocates or takes a lock.
        let _ = writeln!(
            line,
            "majjen: task {:#x} \"{}\" has overflowed its stack of {} bytes; give it a larger one \
             with {}",
            task.id.get(),
            name.escape_ascii(),
            task.stack_bytes(),
            task.words().set_stack_size,
        );
        sys::write_to_stderr(line.written());
    }
    sys::set_errno(errno);
    // SAFETY: the arguments that the kernel gave.
    unsafe { PREVIOUS.chain(signal, info, context) };
}
