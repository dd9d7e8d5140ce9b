//! A process that runs: its memory, by process_vm_readv(2) or else /proc/PID/mem, and what /proc says of it.
//!
//! Nothing here stops the process or runs code in it; nothing but `majjen trace` writes to it, one word.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::memory::{Map, Memory, Place};
use crate::problem::{Problem, Result};

/// See the module.
pub struct Process {
    pub pid: i32,
    maps: Vec<Map>,
    /// Where process_vm_readv may not be used, as in some containers.
    file: Option<File>,
}

/// The kernel takes no more places in one call.
const MOST_PLACES: usize = 1024;

impl Process {
    /// Begins to look.
    pub fn open(pid: i32) -> Result<Process> {
        let text = match fs::read_to_string(format!("/proc/{pid}/maps")) {
            Ok(text) => text,
            Err(error) => return Err(cannot_open(pid, &error)),
        };
        let maps = parse_maps(&text);
        if maps.is_empty() {
            return Err(without_memory(pid));
        }
        let mut process = Process { pid, maps, file: None };
        let first = process.maps[0].start;
        if let Err(error) = process.read_by_call(first, &mut [0; 4]) {
            match error.raw_os_error() {
                Some(libc::ESRCH) => return Err(no_process(pid)),
                Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
                    let file = File::open(format!("/proc/{pid}/mem"));
                    process.file = Some(file.map_err(|error| cannot_open(pid, &error))?);
                }
                _ => {} // That page alone, perhaps.
            }
        }
        Ok(process)
    }

    /// The program's name, as the kernel has it.
    pub fn name(&self) -> String {
        let name = fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        crate::words::printable(name.strip_suffix(b"\n").unwrap_or(&name))
    }

    /// What its CLOCK_MONOTONIC shows now, which another time namespace may have moved.
    pub fn monotonic_ns(&self) -> u64 {
        let offset = |path: String| -> i64 {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("monotonic"));
            let mut numbers = line.unwrap_or_default().split_whitespace().map(str::parse::<i64>);
            match (numbers.next(), numbers.next()) {
                (Some(Ok(s)), Some(Ok(ns))) => s.saturating_mul(1_000_000_000).saturating_add(ns),
                _ => 0,
            }
        };
        let theirs = offset(format!("/proc/{}/timens_offsets", self.pid));
        let ours = offset("/proc/self/timens_offsets".to_owned());
        own_monotonic_ns().saturating_add_signed(theirs.saturating_sub(ours))
    }

    /// What one of its threads does: see proc(5) on /proc/PID/task/TID/syscall.
    pub fn thread_state(&self, thread: i32) -> ThreadState {
        let path = |file: &str| format!("/proc/{}/task/{thread}/{file}", self.pid);
        let Ok(stat) = fs::read_to_string(path("stat")) else { return ThreadState::Gone };
        // The name, in parentheses, may have any characters.
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        if state == Some('R') {
            return ThreadState::Runs;
        }
        let call = fs::read_to_string(path("syscall")).unwrap_or_default();
        ThreadState::parse_blocked(&call)
    }

    /// Writes a number.
    pub fn write_u64(&self, address: u64, value: u64) -> io::Result<()> {
        let mut bytes = value.to_le_bytes();
        let count = if self.file.is_some() {
            let memory = File::options().write(true).open(format!("/proc/{}/mem", self.pid))?;
            memory.write_at(&bytes, address)?
        } else {
            let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let remote = libc::iovec { iov_base: address as *mut _, iov_len: bytes.len() };
            // SAFETY: one buffer of ours, which is as long as it says, and which is only read.
            let count = unsafe { libc::process_vm_writev(self.pid, &local, 1, &remote, 1, 0) };
            usize::try_from(count).map_err(|_| io::Error::last_os_error())?
        };
        if count == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn read_by_call(&self, address: u64, into: &mut [u8]) -> io::Result<usize> {
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let remote = libc::iovec { iov_base: address as *mut _, iov_len: into.len() };
        // SAFETY: one buffer of ours, which is as long as it says; the other's memory is only read.
        let count = unsafe { libc::process_vm_readv(self.pid, &local, 1, &remote, 1, 0) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

impl Memory for Process {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        if into.is_empty() {
            return true;
        }
        let mut done = 0;
        while done < into.len() {
            let (Some(at), rest) = (address.checked_add(done as u64), &mut into[done..]) else {
                return false;
            };
            let count = match &self.file {
                Some(file) => file.read_at(rest, at),
                None => self.read_by_call(at, rest),
            };
            match count {
                Ok(0) => return false,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Many in one call. It ends at the first that cannot be read, and goes on behind that.
    fn read_many(&self, places: &mut [Place<'_>]) {
        if self.file.is_some() {
            for place in places {
                place.is_read = self.read(place.address, place.into);
            }
            return;
        }
        for batch in places.chunks_mut(MOST_PLACES) {
            let mut begun = 0;
            while begun < batch.len() {
                let rest = &mut batch[begun..];
                let local: Vec<libc::iovec> = rest
                    .iter_mut()
                    .map(|place| libc::iovec {
                        iov_base: place.into.as_mut_ptr().cast(),
                        iov_len: place.into.len(),
                    })
                    .collect();
                let remote: Vec<libc::iovec> = rest
                    .iter()
                    .map(|place| libc::iovec {
                        iov_base: place.address as *mut _,
                        iov_len: place.into.len(),
                    })
                    .collect();
                // SAFETY: as many buffers of ours as it says, each as long as it says.
                let count = unsafe {
                    libc::process_vm_readv(
                        self.pid,
                        local.as_ptr(),
                        local.len() as libc::c_ulong,
                        remote.as_ptr(),
                        remote.len() as libc::c_ulong,
                        0,
                    )
                };
                let mut count = usize::try_from(count).unwrap_or(0);
                for place in rest.iter_mut() {
                    begun += 1;
                    place.is_read = count >= place.into.len();
                    if !place.is_read {
                        break;
                    }
                    count -= place.into.len();
                }
            }
        }
    }

    fn maps(&self) -> &[Map] {
        &self.maps
    }
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    Runs,
    /// In a system call, with these arguments.
    InCall {
        number: i64,
        first: u64,
        sp: u64,
        pc: u64,
    },
    /// It waits for something else, such as a page, or that may not be told.
    Waits,
    Gone,
}

impl ThreadState {
    fn parse_blocked(text: &str) -> ThreadState {
        let words: Vec<&str> = text.split_whitespace().collect();
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        match words[..] {
            ["running", ..] => ThreadState::Runs,
            [number, first, .., sp, pc] if words.len() >= 9 => {
                match (number.parse::<i64>(), hex(first), hex(sp), hex(pc)) {
                    (Ok(number), Some(first), Some(sp), Some(pc)) if number >= 0 => {
                        ThreadState::InCall { number, first, sp, pc }
                    }
                    _ => ThreadState::Waits,
                }
            }
            _ => ThreadState::Waits,
        }
    }
}

/// CLOCK_MONOTONIC, here.
pub fn own_monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the address is good.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// The lines of /proc/PID/maps.
pub fn parse_maps(text: &str) -> Vec<Map> {
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let parse = |line: &str| {
        let mut words = line.splitn(6, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let rights = words.next()?;
        let offset = hex(words.next()?)?;
        words.next()?; // The device.
        let inode = words.next()?.parse().ok()?;
        let path = words.next().unwrap_or("").trim_start();
        Some(Map {
            start: hex(start)?,
            end: hex(end)?,
            is_executable: rights.contains('x'),
            offset,
            path: path.to_owned(),
            inode,
        })
    };
    // Without [vsyscall], which cannot be read by others.
    text.lines()
        .filter_map(parse)
        .filter(|map| map.start < map.end && map.start < 1 << 63)
        .collect()
}

// ---- what is wrong

fn no_process(pid: i32) -> Problem {
    Problem::new(format!("there is no process {pid}: `ps` or `pgrep` tells which there are"))
}

fn cannot_open(pid: i32, error: &io::Error) -> Problem {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => no_process(pid),
        Some(libc::EACCES | libc::EPERM) => not_permitted(pid),
        _ => Problem::new(format!("process {pid} cannot be looked into: {error}")),
    }
}

fn without_memory(pid: i32) -> Problem {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
    if state.starts_with('Z') {
        return Problem::new(format!("process {pid} has ended: it only waits for its parent"));
    }
    Problem::new(format!("process {pid} has no memory of its own: it is one of the kernel's"))
}

fn not_permitted(pid: i32) -> Problem {
    // SAFETY: no preconditions.
    let us = unsafe { libc::geteuid() };
    let owner = fs::metadata(format!("/proc/{pid}")).map_or(us, |metadata| metadata.uid());
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let advice = advice(scope.trim(), us, owner);
    Problem::new(format!("no permission to look into process {pid}: {advice}"))
}

/// What to do, by the setting of Yama that the system has, if any.
fn advice(ptrace_scope: &str, us: u32, owner: u32) -> String {
    match ptrace_scope {
        "3" => "this system lets nobody look into processes until it is booted again \
                (kernel.yama.ptrace_scope is 3)"
            .to_owned(),
        "2" => "this system lets only root do it (kernel.yama.ptrace_scope is 2): run majjen as root"
            .to_owned(),
        _ if owner != us => {
            format!("it is of user {owner}, and this is user {us}: run majjen as root or as that user")
        }
        "1" => "this system lets a user look only into children (kernel.yama.ptrace_scope is 1): run \
                majjen as root, or have the program call prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)"
            .to_owned(),
        _ if us == 0 => "it is protected, or of another container: root there and here needs the capability \
                         SYS_PTRACE"
            .to_owned(),
        _ => "it has rights that this user has not, or is protected, or is in another container: run \
              majjen as root, in a container with the capability SYS_PTRACE"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ThreadState, advice, parse_maps};

    #[test]
    fn advice_is_that_for_the_system_and_the_user() {
        for (scope, us, owner, expected) in [
            ("", 1000, 1001, "run majjen as root or as that user"),
            ("0", 1000, 1000, "run majjen as root, in a container with the capability SYS_PTRACE"),
            ("1", 1000, 1000, "prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)"),
            ("1", 1000, 1001, "run majjen as root or as that user"),
            ("2", 1000, 1000, "lets only root do it"),
            ("3", 0, 0, "until it is booted again"),
            ("0", 0, 0, "root there and here needs the capability SYS_PTRACE"),
        ] {
            let text = advice(scope, us, owner);
            assert!(text.contains(expected), "{scope} {us} {owner}: {text}");
        }
    }

    #[test]
    fn maps_are_parsed() {
        let maps = parse_maps(
            "55d0c0000000-55d0c0001000 r-xp 00001000 fe:01 123   /usr/bin/a program\n\
             7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
             nonsense\n\
             ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n",
        );
        assert_eq!(maps.len(), 2);
        assert_eq!((maps[0].offset, maps[0].inode, maps[0].is_executable), (4096, 123, true));
        assert_eq!(maps[0].path, "/usr/bin/a program");
        assert_eq!((maps[1].start, maps[1].path.as_str()), (0x7f00_0000_0000, ""));
    }

    #[test]
    fn threads_in_calls_are_parsed() {
        let read = "0 0x3 0x7ffd 0x1 0x0 0x0 0x0 0x7ffe0010 0x7f0011\n";
        assert_eq!(
            ThreadState::parse_blocked(read),
            ThreadState::InCall { number: 0, first: 3, sp: 0x7ffe_0010, pc: 0x7f_0011 }
        );
        assert_eq!(ThreadState::parse_blocked("running\n"), ThreadState::Runs);
        for other in ["", "-1 0x7ffe 0x7f00\n", "x"] {
            assert_eq!(ThreadState::parse_blocked(other), ThreadState::Waits);
        }
    }
}
