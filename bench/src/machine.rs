//! The machine: its properties, the processors that are used, and limits.

use std::fs;
use std::mem::{MaybeUninit, zeroed};
use std::process::Command;

/// The processor for the contenders, and the one for the load.
#[derive(Clone, Copy)]
pub struct Processors {
    pub contender: usize,
    pub driver: usize,
}

impl Processors {
    /// The first and the last processor that this process may use.
    pub fn choose() -> Processors {
        // SAFETY: an all-zero set is an empty one; the addresses and sizes match.
        let allowed: Vec<usize> = unsafe {
            let mut set: libc::cpu_set_t = zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &mut set);
            (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &set)).collect()
        };
        let first = allowed.first().copied().unwrap_or(0);
        Processors { contender: first, driver: allowed.last().copied().unwrap_or(first) }
    }

    pub fn pin_driver(&self) {
        pin(Some(self.driver));
    }

    pub fn are_two(&self) -> bool {
        self.contender != self.driver
    }
}

/// Pins the calling thread, and the processes that it starts, to one processor, or lets them use all. May be
/// called between fork and exec.
pub fn pin(processor: Option<usize>) {
    // SAFETY: an all-zero set is an empty one; the addresses and sizes match.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        match processor {
            Some(processor) => libc::CPU_SET(processor, &mut set),
            None => (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut set)),
        }
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

/// Raises the limit of descriptors as far as is allowed without privileges.
pub fn raise_descriptor_limit() {
    // SAFETY: the addresses are good for the calls.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

pub fn descriptor_limit() -> u64 {
    // SAFETY: the address is good for the call.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur
    }
}

/// Moves this process to its own network namespace, where port 8080 is free, if the system permits. Servers
/// and load then only see each other. Otherwise nothing changes.
pub fn enter_own_network() {
    // SAFETY: no other thread is running; the addresses are good for the calls.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNET) != 0
            && libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) != 0
        {
            return;
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        let mut request: libc::ifreq = zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &request);
        libc::close(socket);
    }
}

/// Bytes of available memory.
pub fn available_bytes() -> u64 {
    let kib = file("/proc/meminfo").lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok()
    });
    kib.unwrap_or(0u64) * 1024
}

/// CPU time of all threads of a process, in nanoseconds.
pub fn cpu_ns_of(pid: libc::pid_t) -> Option<u64> {
    let mut clock = 0;
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the addresses are good for the calls; `now` is filled in when the call succeeds.
    unsafe {
        if libc::clock_getcpuclockid(pid, &mut clock) != 0
            || libc::clock_gettime(clock, now.as_mut_ptr()) != 0
        {
            return None;
        }
        let now = now.assume_init();
        Some(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }
}

/// The number of context switches of a process's threads.
pub fn switches_of(pid: libc::pid_t) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads
        .flatten()
        .map(|thread| {
            file(&thread.path().join("status").to_string_lossy())
                .lines()
                .filter(|line| line.contains("ctxt_switches:"))
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum::<u64>()
        })
        .sum()
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first line of a command's output.
pub fn first_line_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}

/// When something is measured, and of which commit.
pub fn day_and_commit() -> String {
    let day = first_line_of("date", &["-u", "+%F"]).unwrap_or_default();
    match first_line_of("git", &["describe", "--always", "--dirty"]) {
        Some(commit) => format!("on {day}, at commit {commit}"),
        None => format!("on {day}"),
    }
}

/// What a reader needs to know about the machine to judge the numbers.
pub fn describe(processors: &Processors) -> Vec<(&'static str, String)> {
    let model = file("/proc/cpuinfo")
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1.to_owned()))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    // Not `available_parallelism`: this process is pinned to one processor.
    let count = file("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count();
    let memory = file("/proc/meminfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()
        })
        .unwrap_or(0);
    let kernel = file("/proc/sys/kernel/osrelease");
    let clock = file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let huge_pages = file("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge_pages = huge_pages.split(['[', ']']).nth(1).unwrap_or("none");
    let system = file("/etc/os-release")
        .lines()
        .find_map(|line| Some(line.strip_prefix("PRETTY_NAME=")?.trim_matches('"').to_owned()))
        .unwrap_or_default();
    let virtual_machine = file("/proc/cpuinfo").contains(" hypervisor");
    let pinned = if processors.are_two() {
        format!("contenders on {}, load on {}", processors.contender, processors.driver)
    } else {
        "contenders and load on the only one: rows 6 to 8 are slower than they would be".to_owned()
    };
    vec![
        (
            "processor",
            format!("{model}{}", if virtual_machine { ", a virtual machine" } else { "" }),
        ),
        ("processors", format!("{count}; {pinned}")),
        ("memory", format!("{:.1} GiB; huge pages: {huge_pages}", memory as f64 / 1048576.0)),
        ("kernel", format!("{}; clock source {}", kernel.trim(), clock.trim())),
        ("system", system),
        ("C compiler", first_line_of("cc", &["--version"]).unwrap_or_default()),
        ("Rust", first_line_of("rustc", &["--version"]).unwrap_or_default()),
    ]
}
