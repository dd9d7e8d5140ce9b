//! Signals, and the stack that their handlers run on.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null, null_mut};

use super::time::timespec;
use super::{map, unmap};

pub use libc::{SIGINT, SIGPIPE, SIGTERM};

/// What a signal did before [`handle_signal`].
pub struct SavedAction {
    signal: c_int,
    action: libc::sigaction,
}

/// Whether the signal has its default effect.
pub fn has_default_action(signal: c_int) -> bool {
    // SAFETY: a sigaction is integers and an optional pointer, for which zero is a value.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: NULL changes nothing; the address is good for the answer.
    let known = unsafe { libc::sigaction(signal, null(), &mut action) } == 0;
    known && action.sa_sigaction == libc::SIG_DFL
}

/// Calls `handler` the first time that the signal comes; the second time it has its default effect.
/// The handler must be safe in a signal handler.
pub fn handle_signal(signal: c_int, handler: extern "C" fn(c_int)) -> Option<SavedAction> {
    // SAFETY: see has_default_action.
    let (mut action, mut saved): (libc::sigaction, libc::sigaction) =
        unsafe { (zeroed(), zeroed()) };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESETHAND;
    // SAFETY: both addresses are good; the handler is a function of the type for these flags.
    let done = unsafe { libc::sigaction(signal, &action, &mut saved) } == 0;
    done.then_some(SavedAction { signal, action: saved })
}

/// Puts back what the signal did before, unless someone else has set it in between.
pub fn restore_signal(saved: &SavedAction, handler: extern "C" fn(c_int)) {
    // SAFETY: see has_default_action.
    let mut now: libc::sigaction = unsafe { zeroed() };
    // SAFETY: NULL changes nothing; the address is good for the answer.
    let known = unsafe { libc::sigaction(saved.signal, null(), &mut now) } == 0;
    if known
        && (now.sa_sigaction == handler as *const () as usize || now.sa_sigaction == libc::SIG_DFL)
    {
        // SAFETY: the action came from sigaction.
        unsafe { libc::sigaction(saved.signal, &saved.action, null_mut()) };
    }
}

/// The signals that a thread holds off.
pub struct SignalMask(libc::sigset_t);

/// Holds off all signals of this thread. Returns what it held off before.
pub fn block_all_signals() -> SignalMask {
    // SAFETY: a signal set is integers, for which zero is a value; the addresses are good. It
    // cannot fail with these arguments.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
        SignalMask(before)
    }
}

/// Holds off what was held off before.
pub fn restore_signal_mask(mask: &SignalMask) {
    // SAFETY: from [`block_all_signals`].
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &mask.0, null_mut()) };
}

/// What the kernel says of a fault.
pub use libc::siginfo_t as FaultInfo;

/// Where a fault happened.
///
/// # Safety
/// The information is of a SIGSEGV that the kernel has raised.
pub unsafe fn fault_address(info: *const FaultInfo) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { (*info).si_addr() as usize }
}

type FaultHandler = extern "C" fn(c_int, *mut FaultInfo, *mut c_void);

/// What a process does about SIGSEGV, while a handler of ours is there in its place.
pub struct FaultAction(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written while the handler is not installed, under the caller's lock, and read by
// handlers.
unsafe impl Sync for FaultAction {}

impl FaultAction {
    pub const fn new() -> FaultAction {
        FaultAction(UnsafeCell::new(MaybeUninit::zeroed()))
    }

    /// Installs a handler, which runs on the alternate stack, and remembers what was there. Not
    /// while it is installed.
    pub fn replace_with(&self, handler: FaultHandler) {
        // SAFETY: see has_default_action.
        let mut action: libc::sigaction = unsafe { zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler's type is the one for these flags. What was there is stored before
        // the new action is in place, so no handler reads it half written.
        unsafe {
            libc::sigaction(libc::SIGSEGV, null(), (*self.0.get()).as_mut_ptr());
            libc::sigaction(libc::SIGSEGV, &action, null_mut());
        }
    }

    /// Puts back what was there, unless someone else has set it in between.
    pub fn restore(&self, handler: FaultHandler) {
        // SAFETY: see has_default_action. The stored action came from sigaction.
        unsafe {
            let mut now: libc::sigaction = zeroed();
            libc::sigaction(libc::SIGSEGV, null(), &mut now);
            if now.sa_sigaction == handler as *const () as usize {
                libc::sigaction(libc::SIGSEGV, (*self.0.get()).as_ptr(), null_mut());
            }
        }
    }

    /// Does about a fault what would have been done without the handler.
    ///
    /// # Safety
    /// Called by the handler, with its arguments.
    pub unsafe fn hand_on(&self, signal: c_int, info: *mut FaultInfo, context: *mut c_void) {
        // SAFETY: the handler is installed, so what was there before is stored.
        let before = unsafe { (*self.0.get()).assume_init_ref() };
        match before.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                // SAFETY: see has_default_action. The instruction is tried again when the handler
                // returns, and then the fault has its default effect: the kernel ignores no fault.
                unsafe {
                    let default: libc::sigaction = zeroed();
                    libc::sigaction(signal, &default, null_mut());
                }
            }
            handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
                // SAFETY: the flag says that the handler has this type.
                let handler = unsafe { std::mem::transmute::<usize, FaultHandler>(handler) };
                handler(signal, info, context);
            }
            handler => {
                // SAFETY: without the flag a handler has this type.
                let handler =
                    unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
                handler(signal);
            }
        }
    }
}

/// A stack for this thread's signal handlers.
pub struct AlternateStack {
    memory: *mut u8,
}

impl AlternateStack {
    const BYTES: usize = 64 * 1024;

    /// Gives the thread a stack, if it has none yet and there is memory.
    pub fn install() -> Option<AlternateStack> {
        // SAFETY: a stack_t is integers and a pointer, for which zero is a value.
        let mut now: libc::stack_t = unsafe { zeroed() };
        // SAFETY: NULL changes nothing; the address is good for the answer.
        let known = unsafe { libc::sigaltstack(null(), &mut now) } == 0;
        if !known || now.ss_flags & libc::SS_DISABLE == 0 {
            return None;
        }
        let memory = map(AlternateStack::BYTES).ok()?;
        let stack =
            libc::stack_t { ss_sp: memory.cast(), ss_flags: 0, ss_size: AlternateStack::BYTES };
        // SAFETY: the memory is ours until `drop`, which takes it away from the thread first.
        unsafe { libc::sigaltstack(&stack, null_mut()) };
        Some(AlternateStack { memory })
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: as in `install`. No handler runs on the stack, since this thread is here.
        unsafe {
            let mut now: libc::stack_t = zeroed();
            libc::sigaltstack(null(), &mut now);
            if now.ss_sp == self.memory.cast() {
                let none =
                    libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
                libc::sigaltstack(&none, null_mut());
            }
            unmap(self.memory, AlternateStack::BYTES);
        }
    }
}

/// Writes past all buffers. Safe in a signal handler.
pub fn write_to_stderr(text: &[u8]) {
    // SAFETY: the text is as long as said. If it fails there is no other place to write to.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

fn only(signal: c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills in the whole set; the signal is a valid one.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        set.assume_init()
    }
}

/// Holds a signal off this thread. Returns whether it was not held off before.
pub fn block_signal(signal: c_int) -> bool {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are good; the call fills in the old one when it succeeds.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &only(signal), before.as_mut_ptr()) == 0
            && libc::sigismember(before.as_ptr(), signal) == 0
    }
}

/// Ends [`block_signal`]; signals that came meanwhile are dropped.
pub fn drop_and_unblock_signal(signal: c_int) {
    let set = only(signal);
    let now = timespec(0);
    // SAFETY: the sets and the time are good for the calls.
    unsafe {
        while libc::sigtimedwait(&set, null_mut(), &now) > 0 {}
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, null_mut());
    }
}
