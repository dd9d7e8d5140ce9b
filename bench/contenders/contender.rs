//! What the contenders written in Rust share; see `contender.h`, which says the same in C.
#![allow(dead_code)] // Each contender uses some of it.

use std::io::Write;

pub const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

pub const SERVE_ONCE: u64 = 0;
pub const SERVE_KEPT: u64 = 1;
pub const SERVE_ECHO: u64 = 2;

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the address is good for the call.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

pub fn wall_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

pub fn test() -> String {
    std::env::args().nth(1).unwrap_or_default()
}

/// The number given as `name=number`.
pub fn argument(name: &str) -> u64 {
    std::env::args()
        .skip(2)
        .find_map(|argument| argument.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        .unwrap_or_else(|| panic!("{name}=number is missing"))
}

pub fn report(name: &str, value: f64) {
    println!("{name}={value}");
}

/// Bytes of memory the process holds, and bytes of page tables that the kernel holds for it.
pub fn resident_bytes() -> (u64, u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let tables = status.lines().find_map(|line| line.strip_prefix("VmPTE:")).unwrap();
    let tables_kib: u64 = tables.trim().trim_end_matches(" kB").parse().unwrap();
    // SAFETY: no preconditions.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    (pages * page_bytes, tables_kib * 1024)
}

/// xorshift64* (Vigna): the same numbers for every contender.
pub fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

pub fn random_delays(count: u64, least_ns: u64, spread_ns: u64) -> Vec<u64> {
    let mut state = 88_172_645_463_325_252;
    (0..count).map(|_| least_ns + next_random(&mut state) % spread_ns).collect()
}

pub fn random_order(count: u64) -> Vec<usize> {
    let mut state = 1_442_695_040_888_963_407;
    let mut order: Vec<usize> = (0..count as usize).collect();
    for end in (2..=order.len()).rev() {
        order.swap(end - 1, (next_random(&mut state) % end as u64) as usize);
    }
    order
}

/// Passes time without letting anybody else run.
pub fn pass_time(ns: u64) {
    std::thread::sleep(std::time::Duration::from_nanos(ns));
}

pub fn report_lateness(mut lateness_ns: Vec<i64>) {
    lateness_ns.sort_unstable();
    let count = lateness_ns.len();
    report("work", count as f64);
    report("min_ns", lateness_ns[0] as f64);
    report("p50_ns", lateness_ns[count / 2] as f64);
    report("p99_ns", lateness_ns[count * 99 / 100] as f64);
    report("max_ns", lateness_ns[count - 1] as f64);
}

/// Sleeps of 50 us to 20 ms, as many short as long ones on a logarithmic scale.
pub fn sleep_length_ns(index: u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_add(index);
    next_random(&mut state);
    let part = (next_random(&mut state) >> 11) as f64 / 9_007_199_254_740_992.0;
    let power = part * 8.643_856_189_774_724;
    let doublings = power.floor();
    (50e3 * 2f64.powf(doublings) * (1.0 + (power - doublings))) as u64
}

/// One line in the form of Majjen's log: formatted and written with one write(2), the local time formatted once a
/// second.
pub fn log_accepted(fd: i32) {
    use std::cell::RefCell;
    thread_local!(static STAMP: RefCell<(libc::time_t, String)> = const { RefCell::new((0, String::new())) });
    STAMP.with_borrow_mut(|(second, stamp)| {
        // SAFETY: the addresses are good for the calls.
        unsafe {
            let now = libc::time(std::ptr::null_mut());
            if now != *second {
                let mut local: libc::tm = std::mem::zeroed();
                libc::localtime_r(&now, &mut local);
                *stamp = format!(
                    "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                    local.tm_year + 1900,
                    local.tm_mon + 1,
                    local.tm_mday,
                    local.tm_hour,
                    local.tm_min,
                    local.tm_sec
                );
                *second = now;
            }
        }
        let mut line = [0u8; 128];
        let mut rest = &mut line[..];
        writeln!(rest, "[{stamp}] [INFO] New connection accepted on fd {fd}").unwrap();
        let length = 128 - rest.len();
        // SAFETY: within the array. Not by `println`, whose stream would split the line's write.
        unsafe { libc::write(1, line.as_ptr().cast(), length) };
    });
}

/// What one connection has sent, and what to send back; the same for all servers written in Rust.
pub struct Conversation {
    pub buffer: Vec<u8>,
    pub length: usize,
    kind: u64,
}

impl Conversation {
    pub fn new(kind: u64) -> Conversation {
        Conversation { buffer: vec![0; 4096], length: 0, kind }
    }

    /// Where to read to.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.length..]
    }

    /// What to send for the `bytes` that have just been read.
    pub fn answer(&mut self, bytes: usize) -> Option<&[u8]> {
        // The guide's server notes the time of each request.
        // SAFETY: a null pointer is allowed.
        std::hint::black_box(unsafe { libc::time(std::ptr::null_mut()) });
        if self.kind == SERVE_ECHO {
            return Some(&self.buffer[..bytes]);
        }
        self.length += bytes;
        if !self.buffer[..self.length].windows(4).any(|window| window == b"\r\n\r\n") {
            return None;
        }
        self.length = 0;
        Some(RESPONSE)
    }
}

/// The listening socket, as all servers have it.
pub fn listen() -> std::net::TcpListener {
    use std::os::fd::FromRawFd;
    // SAFETY: plain system calls on addresses that are good for them; the descriptor is handed on once.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        let on: libc::c_int = 1;
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, (&raw const on).cast(), size);
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = 8080u16.to_be();
        let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        assert_eq!(libc::bind(fd, (&raw const address).cast(), size), 0, "bind");
        assert_eq!(libc::listen(fd, 128), 0, "listen");
        std::net::TcpListener::from_raw_fd(fd)
    }
}
