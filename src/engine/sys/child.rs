//! Child processes: posix_spawn(3), pidfds, and how they end.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::mem::{MaybeUninit, zeroed};
use std::ptr::null_mut;

use super::cancellation::uncancelable;
use super::descriptor::{close, opened};
use super::errno::{check, is_refusal};
use super::error::{Error, Result};
use super::mark::mark_child;

/// A number of a process.
pub type Pid = libc::pid_t;

/// What becomes one of a child's first three descriptors.
#[derive(Clone, Copy)]
pub enum Source {
    /// This process's.
    Same,
    /// /dev/null.
    Null,
    /// The file of a descriptor from 3 on.
    File(c_int),
}

/// How a child is to begin. What it inherits else is as execve(2) says.
pub struct Beginning<'a> {
    /// The program, which is looked for in PATH if its name has no slash, and what it is told.
    pub arguments: *const *const c_char,
    /// NULL for this process's.
    pub environment: *const *const c_char,
    pub directory: Option<&'a CStr>,
    pub descriptors: [Source; 3],
    /// What become the descriptors from 3 on, whose numbers are above all those.
    pub further: &'a [c_int],
    pub leads_group: bool,
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// This process's environment, a list that ends with NULL. It is the program's, and who changes it while others read
/// it has made that mistake without this call, too.
pub fn environment() -> *const *const c_char {
    // SAFETY: a pointer, which is read.
    unsafe { environ }
}

/// Numbers of errno, as functions of the family of posix_spawn() return them.
fn check_number(number: c_int) -> Result<()> {
    match number {
        0 => Ok(()),
        libc::ENOMEM => Err(Error::OutOfMemory),
        other => Err(Error::Os(other)),
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> Result<Actions> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the address is good, and what is there is initialized if this succeeds.
        check_number(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: as above.
        Ok(Actions(unsafe { actions.assume_init() }))
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialized, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// No signal is ignored or blocked.
    fn new(leads_group: bool) -> Result<Attributes> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: as in `Actions::new`.
        check_number(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: as above.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        let group = if leads_group { libc::POSIX_SPAWN_SETPGROUP } else { 0 };
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK | group;
        // SAFETY: the attributes are initialized; sets of signals are integers, for which zero is a value.
        unsafe {
            let (mut all, mut none): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
            libc::sigfillset(&mut all);
            libc::sigemptyset(&mut none);
            check_number(libc::posix_spawnattr_setsigdefault(&mut attributes.0, &all))?;
            check_number(libc::posix_spawnattr_setsigmask(&mut attributes.0, &none))?;
            check_number(libc::posix_spawnattr_setpgroup(&mut attributes.0, 0))?;
            check_number(libc::posix_spawnattr_setflags(&mut attributes.0, flags as _))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialized, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// Makes a child. Blocks until it has begun its program, or has failed to.
///
/// # Safety
/// The lists are those of execve(2): they end with NULL, as do the texts, and there is a first argument.
pub unsafe fn spawn(beginning: &Beginning<'_>) -> Result<Pid> {
    let attributes = Attributes::new(beginning.leads_group)?;
    let mut actions = Actions::new()?;
    let further = beginning.further.iter().copied().map(Source::File);
    for (number, source) in (0..).zip(beginning.descriptors.into_iter().chain(further)) {
        // SAFETY: initialized, and a C string.
        check_number(unsafe {
            match source {
                Source::Same => 0,
                Source::File(fd) => {
                    libc::posix_spawn_file_actions_adddup2(&mut actions.0, fd, number)
                }
                Source::Null => libc::posix_spawn_file_actions_addopen(
                    &mut actions.0,
                    number,
                    c"/dev/null".as_ptr(),
                    libc::O_RDWR,
                    0,
                ),
            }
        })?;
    }
    if let Some(directory) = beginning.directory {
        // SAFETY: as above, and a C string.
        check_number(unsafe {
            libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, directory.as_ptr())
        })?;
    }
    let mut pid = 0;
    let environment = match beginning.environment.is_null() {
        true => environment(),
        false => beginning.environment,
    };
    // SAFETY: as this function's contract says. Neither list is written to.
    let spawned = unsafe {
        uncancelable(|| {
            libc::posix_spawnp(
                &mut pid,
                *beginning.arguments,
                &actions.0,
                &attributes.0,
                beginning.arguments.cast(),
                environment.cast(),
            )
        })
    };
    check_number(spawned)?;
    Ok(pid)
}

/// A descriptor of a child, which can be read once it has ended. Nothing if the system has none of it, as before
/// Linux 5.3, on Valgrind, and where there are too many: who waits for it looks again and again then.
pub fn open_child(pid: Pid) -> Option<c_int> {
    // SAFETY: no preconditions. The descriptor is closed by exec.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0 as c_uint) } as c_int;
    let fd = opened(fd).ok()?;
    mark_child(fd, pid);
    Some(fd)
}

/// Sends a signal to a child that has not been waited for, or to the group that it leads. ESRCH if it is gone.
pub fn signal_child(pid: Pid, fd: Option<c_int>, to_group: bool, signal: c_int) -> Result<()> {
    if let Some(fd) = fd.filter(|_| !to_group) {
        // SAFETY: NULL stands for what kill(2) would tell.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, null_mut::<u8>(), 0 as c_uint)
        };
        match check(sent as c_int) {
            // EBADF: the program has closed what is not its. The older call tells of a signal that is none, too.
            Err(error) if is_refusal(error) || error == Error::Os(libc::EBADF) => {}
            result => return result.map(drop),
        }
    }
    // SAFETY: no preconditions.
    check(unsafe { libc::kill(if to_group { -pid } else { pid }, signal) }).map(drop)
}

/// What a look at a child finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It has not ended.
    Runs,
    /// It has ended with this status, in the form of waitpid(2).
    Ended(c_int),
    /// It is no child of this process, or others have waited for it.
    Unknown,
}

/// Looks whether a child has ended, and if `reaps` says so, takes it out of the list of processes.
pub fn look_at_child(pid: Pid, reaps: bool) -> Look {
    if reaps {
        let mut status = 0;
        // SAFETY: the address is good for the answer.
        return match uncancelable(|| unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) }) {
            0 => Look::Runs,
            found if found == pid => Look::Ended(status),
            _ => Look::Unknown,
        };
    }
    // SAFETY: integers, for which zero is a value: it stays if none has ended.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the address is good for the answer.
    let done =
        uncancelable(|| unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) });
    // SAFETY: the fields are those of a child.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    match (done, pid, info.si_code) {
        (0, 0, _) => Look::Runs,
        (0, _, libc::CLD_EXITED) => Look::Ended(status << 8),
        (0, _, libc::CLD_DUMPED) => Look::Ended(status | 0x80),
        (0, ..) => Look::Ended(status),
        _ => Look::Unknown,
    }
}

/// A pipe, closed by exec: where to read, and where to write.
pub fn pipe() -> Result<[c_int; 2]> {
    let mut ends = [-1; 2];
    // SAFETY: the address is good for two.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    match ends.map(opened) {
        [Ok(reader), Ok(writer)] => Ok([reader, writer]),
        [Err(error), other] | [other, Err(error)] => {
            if let Ok(fd) = other {
                close(fd);
            }
            Err(error)
        }
    }
}
