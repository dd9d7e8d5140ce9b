//! What a signal has interrupted: handlers that look at it, and the signals for them.

use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::ptr::null_mut;

use super::cancellation::uncancelable;
use super::signal::{FaultInfo, action_now, has_default_action, set_default_action, set_of};
use super::time::timespec;
use super::{SignalMask, block_all_signals, restore_signal_mask};

/// A handler that is given what it has interrupted.
pub type InterruptHandler = extern "C" fn(c_int, *mut FaultInfo, *mut c_void);

/// Registers of the interrupted thread.
#[derive(Clone, Copy, Default)]
pub struct Registers {
    /// Where it was.
    pub code: usize,
    /// Where its stack ended.
    pub stack: usize,
    /// Where its function was called from, if the processor has a register for that; else 0.
    pub link: usize,
}

/// The registers that a handler has been given.
///
/// # Safety
/// The context is what the kernel gave to an [`InterruptHandler`], which has not returned.
pub unsafe fn interrupted_registers(context: *const c_void) -> Registers {
    // SAFETY: as this function's contract says.
    let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    return Registers {
        code: machine.gregs[libc::REG_RIP as usize] as usize,
        stack: machine.gregs[libc::REG_RSP as usize] as usize,
        link: 0,
    };
    #[cfg(target_arch = "aarch64")]
    return Registers {
        code: machine.pc as usize,
        stack: machine.sp as usize,
        link: machine.regs[30] as usize,
    };
}

/// The real-time signals that the C library leaves to programs, in the order in which the library
/// looks for one: the first ones are what programs take that do not look.
pub fn real_time_signals() -> impl Iterator<Item = c_int> {
    const OFTEN_TAKEN: c_int = 10;
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    (first + OFTEN_TAKEN..=last).chain(first..(first + OFTEN_TAKEN).min(last + 1))
}

/// Installs a handler for a signal whose action is the default one, and returns whether it has. It runs
/// on the thread's alternate stack if it has one, and no other handler interrupts it; system calls go
/// on behind it.
pub fn handle_interrupt(signal: c_int, handler: InterruptHandler) -> bool {
    // SAFETY: a sigaction is integers and an optional pointer, for which zero is a value.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: all addresses are good; the handler is a function of the type for these flags.
    has_default_action(signal)
        && unsafe {
            libc::sigfillset(&mut action.sa_mask);
            libc::sigaction(signal, &action, null_mut()) == 0
        }
}

/// Puts the default action back, unless the program has set another one since.
pub fn restore_default_action(signal: c_int, handler: InterruptHandler) {
    if is_handled_by(signal, handler) {
        set_default_action(signal);
    }
}

/// Whether a signal is still handled so.
pub fn is_handled_by(signal: c_int, handler: InterruptHandler) -> bool {
    action_now(signal).is_some_and(|action| action.sa_sigaction == handler as *const () as usize)
}

/// Takes a signal back that was sent to this thread, and may be held off by its mask.
pub fn take_back_signal(signal: c_int) {
    let mask: SignalMask = block_all_signals();
    let (only, now) = (set_of(&[signal]), timespec(0));
    // SAFETY: the addresses are good for the call, which returns at once.
    while uncancelable(|| unsafe { libc::sigtimedwait(&only, null_mut(), &now) }) > 0 {}
    restore_signal_mask(&mask);
}
