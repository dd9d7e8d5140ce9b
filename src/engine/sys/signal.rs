//! Signals, and the alternate signal stack.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::cancellation::own_call;
use super::memory::{map, unmap};

pub use libc::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGWINCH,
};

/// Whether the signal's action is SIG_DFL.
pub fn has_default_action(signal: c_int) -> bool {
    action_now(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL)
}

/// The signal's action; nothing if there is no such signal.
pub(super) fn action_now(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: a sigaction is integers and an optional pointer, for which zero is a value.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: NULL changes nothing; the address is good for the answer.
    let known = unsafe { libc::sigaction(signal, null(), &mut action) } == 0;
    known.then_some(action)
}

/// A handler, of the type that goes with SA_SIGINFO.
pub type SignalHandler = extern "C" fn(c_int, *mut FaultInfo, *mut c_void);

/// What a signal does.
#[derive(Clone, Copy)]
pub struct Action(libc::sigaction);

impl Action {
    /// What it does now; nothing if there is no such signal, or it is the C library's.
    pub fn now(signal: c_int) -> Option<Action> {
        action_now(signal).map(Action)
    }

    /// Has a handler called, on the thread's alternate stack if it has one, since a task's may be small.
    /// It must be async-signal-safe. `restart`: system calls that it interrupts go on. What becomes of
    /// children stays as it is `before`; and if that is a handler, what is held off while it runs, since
    /// this one may call it.
    pub fn catching(handler: SignalHandler, restart: bool, before: &Action) -> Action {
        // SAFETY: see action_now.
        let mut action: libc::sigaction = unsafe { zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_flags |= before.0.sa_flags & (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT);
        if before.0.sa_sigaction == libc::SIG_IGN {
            action.sa_flags |= libc::SA_NOCLDWAIT; // Children of who ignores SIGCHLD are not waited for.
        }
        if !before.does_without_handler() {
            action.sa_flags |= before.0.sa_flags & libc::SA_NODEFER;
            action.sa_mask = before.0.sa_mask;
        }
        if restart {
            action.sa_flags |= libc::SA_RESTART;
        }
        Action(action)
    }

    pub fn is_default(&self) -> bool {
        self.0.sa_sigaction == libc::SIG_DFL
    }

    fn does_without_handler(&self) -> bool {
        matches!(self.0.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
    }

    pub fn is(&self, handler: SignalHandler) -> bool {
        self.0.sa_sigaction == handler as *const () as usize
    }

    /// Makes it what the signal does. Returns whether that may be.
    pub fn set(&self, signal: c_int) -> bool {
        // SAFETY: the action came from sigaction, or is one of `catching`.
        unsafe { libc::sigaction(signal, &self.0, null_mut()) == 0 }
    }

    /// The function, SIG_DFL or SIG_IGN, and the flags: all that [`act`] needs.
    pub fn parts(&self) -> (usize, c_int) {
        (self.0.sa_sigaction, self.0.sa_flags)
    }
}

/// In a handler: does what the signal would have done by another action, whose [parts](Action::parts) are
/// given.
///
/// # Safety
/// The arguments of the handler; a function of the program can still be called.
pub unsafe fn act(
    (function, flags): (usize, c_int),
    signal: c_int,
    info: *mut FaultInfo,
    context: *mut c_void,
) {
    match function {
        libc::SIG_IGN => {}
        libc::SIG_DFL => default_effect(signal, true),
        function => {
            if flags & libc::SA_RESETHAND != 0 {
                set_default_action(signal);
            }
            // SAFETY: as this function's contract says.
            unsafe { call(function, flags, signal, info, context) };
        }
    }
}

/// # Safety
/// A handler that was set with these flags, and the arguments that the kernel gave to another one.
unsafe fn call(
    function: usize,
    flags: c_int,
    signal: c_int,
    info: *mut FaultInfo,
    context: *mut c_void,
) {
    if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the flag says that the handler has this type.
        let handler = unsafe { std::mem::transmute::<usize, SignalHandler>(function) };
        handler(signal, info, context);
    } else {
        // SAFETY: without the flag a handler has this type.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(function) };
        handler(signal);
    }
}

/// A thread's signal mask.
pub struct SignalMask(libc::sigset_t);

/// Blocks all signals of this thread. Returns the previous mask.
pub fn block_all_signals() -> SignalMask {
    // SAFETY: a signal set is integers, for which zero is a value; the addresses are good. It
    // cannot fail with these arguments.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigfillset(&mut all);
        own_call(|| libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before));
        SignalMask(before)
    }
}

/// Restores a signal mask.
pub fn restore_signal_mask(mask: &SignalMask) {
    // SAFETY: from [`block_all_signals`].
    own_call(|| unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &mask.0, null_mut()) });
}

/// Sends a signal to this thread.
#[cfg(test)]
pub fn raise(signal: c_int) {
    // SAFETY: a valid signal, which the test handles.
    unsafe { libc::raise(signal) };
}

/// siginfo_t of a fault.
pub use libc::siginfo_t as FaultInfo;

/// The address of a fault; `None` if the signal was sent instead, by kill(), raise() or a timer.
///
/// # Safety
/// The information is what the kernel gave to a handler of SIGSEGV.
pub unsafe fn fault_address(info: *const FaultInfo) -> Option<usize> {
    // SAFETY: as this function's contract says.
    let info = unsafe { &*info };
    // SAFETY: the kernel gives the address with the positive codes.
    (info.si_code > 0).then(|| unsafe { info.si_addr() as usize })
}

/// The previous action of SIGSEGV, while our handler is installed.
pub struct FaultAction {
    action: UnsafeCell<MaybeUninit<libc::sigaction>>,
    /// Whether a handler that is called only once has been.
    used_up: AtomicBool,
    /// Whether [`restore`](Self::restore) has found another handler, which may know ours as the one
    /// before it and call it. Only under the caller's lock.
    covered: AtomicBool,
}

// SAFETY: the action is written while the handler is not installed, under the caller's lock, and
// read by handlers.
unsafe impl Sync for FaultAction {}

impl FaultAction {
    pub const fn new() -> FaultAction {
        FaultAction {
            action: UnsafeCell::new(MaybeUninit::zeroed()),
            used_up: AtomicBool::new(false),
            covered: AtomicBool::new(false),
        }
    }

    /// Installs a handler, which runs on the alternate stack, and remembers what was there.
    ///
    /// Not in front of one that was set in front of it during an earlier use, and has stayed: the two
    /// would hand a fault to each other without end. That one is left to call ours, if it does.
    pub fn install(&self, handler: SignalHandler) {
        // SAFETY: see action_now.
        let now = unsafe {
            let mut now: libc::sigaction = zeroed();
            libc::sigaction(libc::SIGSEGV, null(), &mut now);
            now
        };
        let covered = self.covered.load(Relaxed)
            && !matches!(now.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
        if covered || now.sa_sigaction == handler as *const () as usize {
            return;
        }
        self.used_up.store(false, Relaxed);
        // SAFETY: see action_now. The handler's type is the one for these flags. What was
        // there is stored before the new action is in place, so no handler reads it half written:
        // neither this one is installed, nor one in front of it.
        unsafe {
            let mut action: libc::sigaction = zeroed();
            *self.action.get() = MaybeUninit::new(now);
            let before = (*self.action.get()).assume_init_ref();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            if matches!(before.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
                // A signal that is ignored interrupts nothing; but there are calls, poll(2) among
                // them, that end with EINTR all the same (signal(7)).
                action.sa_flags |= libc::SA_RESTART;
            } else {
                // While the handler of before is called, the signals are held off that it wants
                // held off: the kernel does it from the beginning of ours.
                action.sa_flags |= before.sa_flags & (libc::SA_NODEFER | libc::SA_RESTART);
                action.sa_mask = before.sa_mask;
            }
            libc::sigaction(libc::SIGSEGV, &action, null_mut());
        }
    }

    /// Restores the previous action, unless the program has set another one since.
    pub fn restore(&self, handler: SignalHandler) {
        // SAFETY: see action_now. The stored action came from sigaction.
        unsafe {
            let mut now: libc::sigaction = zeroed();
            libc::sigaction(libc::SIGSEGV, null(), &mut now);
            let ours = now.sa_sigaction == handler as *const () as usize;
            if ours {
                libc::sigaction(libc::SIGSEGV, (*self.action.get()).as_ptr(), null_mut());
            }
            let another = !ours && !matches!(now.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
            self.covered.store(another, Relaxed);
        }
    }

    /// Chains to the previous action.
    ///
    /// # Safety
    /// Called by the handler, with its arguments.
    pub unsafe fn chain(&self, signal: c_int, info: *mut FaultInfo, context: *mut c_void) {
        // SAFETY: the handler is or was installed, so what was there before is stored.
        let before = unsafe { (*self.action.get()).assume_init_ref() };
        // SAFETY: as this function's contract says.
        let was_sent = unsafe { fault_address(info) }.is_none();
        let once = before.sa_flags & libc::SA_RESETHAND != 0;
        match before.sa_sigaction {
            libc::SIG_IGN if was_sent => {}
            libc::SIG_DFL | libc::SIG_IGN => default_effect(signal, was_sent),
            _ if once && self.used_up.swap(true, Relaxed) => default_effect(signal, was_sent),
            handler => {
                if once {
                    set_default_action(signal);
                }
                // SAFETY: as this function's contract says.
                unsafe { call(handler, before.sa_flags, signal, info, context) };
            }
        }
    }
}

pub(super) fn set_default_action(signal: c_int) {
    // SAFETY: see action_now; zero is the default action.
    unsafe {
        let default: libc::sigaction = zeroed();
        libc::sigaction(signal, &default, null_mut());
    }
}

/// Applies the default action, inside a handler. A fault recurs when the handler returns: the
/// instruction is executed again, and the core file shows it. A signal that was sent does not
/// recur, so it is raised again; and unblocked here, since it may be blocked where the handler
/// returns to.
fn default_effect(signal: c_int, was_sent: bool) {
    if matches!(signal, libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH) {
        return; // None, and what is installed stays.
    }
    set_default_action(signal);
    if was_sent {
        // SAFETY: a valid signal, and a set that is good for the call.
        unsafe {
            libc::raise(signal);
            let set = set_of(&[signal]);
            own_call(|| libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, null_mut()));
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

/// The set of some signals.
pub(super) fn set_of(signals: &[c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills in the whole set; the signals are valid ones.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
