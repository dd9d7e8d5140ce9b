//! What is known of a signal that has come: siginfo_t, as far as it concerns programs.

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, zeroed};

use super::signal::FaultInfo;

/// A signal that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    pub number: c_int,
    /// What has sent it: `si_code`.
    pub code: c_int,
    /// The process that has; 0 if it was none.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// A union sigval, or the status of a child; 0 if it has none.
    pub value: u64,
}

/// The beginning of siginfo_t, for signals that come from processes and timers. The kernel's layout on
/// machines of 64 bits.
#[repr(C)]
struct Layout {
    number: c_int,
    errno: c_int,
    code: c_int,
    _gap: c_int,
    pid: i32,
    uid: u32,
    value: u64,
}

const _: () =
    assert!(offset_of!(Layout, value) == 24 && size_of::<Layout>() <= size_of::<FaultInfo>());

/// How many bytes of a value are a child's status.
const STATUS: u64 = u32::MAX as u64;

impl Signal {
    pub const NONE: Signal = Signal { number: 0, code: 0, pid: 0, uid: 0, value: 0 };

    /// Safe in a signal handler.
    ///
    /// # Safety
    /// What the kernel gave to a handler, or NULL, from one that calls another one.
    pub unsafe fn read(number: c_int, info: *const FaultInfo) -> Signal {
        if info.is_null() {
            return Signal { number, ..Signal::NONE };
        }
        // SAFETY: as this function's contract says; the layout is its beginning.
        let Layout { code, pid, uid, value, .. } = unsafe { info.cast::<Layout>().read() };
        let of_child = number == libc::SIGCHLD && code > 0;
        let from_process = of_child
            || matches!(code, libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL | libc::SI_MESGQ);
        let (pid, uid) = if from_process { (pid, uid) } else { (0, 0) };
        let value = match code {
            _ if of_child => value & STATUS,
            libc::SI_QUEUE | libc::SI_TIMER | libc::SI_MESGQ | libc::SI_ASYNCIO => value,
            _ => 0,
        };
        Signal { number, code, pid, uid, value }
    }

    /// Sends it to this process once more, as if it came from where it came from.
    pub fn send_again(&self) {
        // SAFETY: a siginfo_t is integers and pointers, for which zero is a value; the layout is its beginning.
        unsafe {
            let mut info: FaultInfo = zeroed();
            let Signal { number, code, pid, uid, value } = *self;
            (&raw mut info).cast::<Layout>().write(Layout {
                number,
                errno: 0,
                code,
                _gap: 0,
                pid,
                uid,
                value,
            });
            let address: *const c_void = (&raw const info).cast();
            let process = libc::getpid();
            if process <= 0 {
                return; // A filter refuses it, and to kill(2) -1 is every process of the user.
            }
            // What a process has sent, only the main thread may say so of.
            if libc::syscall(libc::SYS_rt_sigqueueinfo, process, number, address) != 0 {
                libc::kill(process, number);
            }
        }
    }
}

/// Signals that a handler may be had for, and that are no faults, are numbered from 1 to this.
pub const LAST_SIGNAL: c_int = 64;

/// Whether a signal can be waited for: no fault of the thread itself, none that the kernel or the C library
/// keeps for itself.
pub fn can_be_awaited(signal: c_int) -> bool {
    /// What nptl uses.
    const OF_THE_C_LIBRARY: [c_int; 2] = [32, 33];
    const FAULTS: [c_int; 6] =
        [libc::SIGILL, libc::SIGTRAP, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
    (1..=LAST_SIGNAL).contains(&signal)
        && !matches!(signal, libc::SIGKILL | libc::SIGSTOP)
        && !OF_THE_C_LIBRARY.contains(&signal)
        && !FAULTS.contains(&signal)
}
