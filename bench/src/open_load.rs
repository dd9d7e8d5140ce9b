//! The open load: requests that compute, each due at a time that was set beforehand, whether or not earlier ones have
//! been answered. A latency counts from that time on, also if the request is sent later because its connection or
//! this program is busy: so the slow moments of a server are not left out just because nothing was sent then
//! (Tene, "How NOT to Measure Latency": coordinated omission). Each answer has the result, and is compared.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::mem::zeroed;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::PORT;

/// One of so many requests is heavy.
const HEAVY: u64 = 10;
const SEEDS: u64 = 16;
/// No load takes this long.
const PATIENCE: Duration = Duration::from_secs(100);

/// A request and when it is due.
struct Request {
    due_ns: u64,
    client: usize,
    seed: u64,
    is_heavy: bool,
}

/// What is asked of a server, and what it has to answer.
pub struct OpenLoad {
    clients: usize,
    /// The answers to light and to heavy requests, by seed.
    answers: [Vec<String>; 2],
}

/// How a load went.
pub struct Outcome {
    pub took: Duration,
    /// Of all requests but the first tenth, in ascending order.
    pub latencies_ns: Vec<u64>,
}

struct Client {
    stream: TcpStream,
    /// What it has been sent and not answered, and what is due and not sent.
    asked: Option<usize>,
    due: VecDeque<usize>,
    received: usize,
}

impl OpenLoad {
    /// Heavy requests compute for so many rounds.
    pub fn new(clients: usize, rounds: u64) -> OpenLoad {
        let answer = |result: u64| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\n";
            format!("{head}{result:016x}")
        };
        let answers =
            [0, rounds].map(|rounds| (0..SEEDS).map(|seed| answer(crunch(seed, rounds))).collect());
        OpenLoad { clients, answers }
    }

    /// Makes so many requests for each second, at random times (a Poisson process) of random connections, which are
    /// the same in each run; or, without a rate, all as soon as their connections let them.
    pub fn make(&self, count: usize, a_second: Option<f64>) -> Result<Outcome> {
        let (mut state, mut due_ns) = (88_172_645_463_325_252, 0.0);
        let mut requests = Vec::with_capacity(count);
        for _ in 0..count {
            let client = (next_random(&mut state) % self.clients as u64) as usize;
            let (seed, is_heavy) =
                (next_random(&mut state) % SEEDS, next_random(&mut state).is_multiple_of(HEAVY));
            requests.push(Request { due_ns: due_ns as u64, client, seed, is_heavy });
            let part = ((next_random(&mut state) >> 11) + 1) as f64 / 9_007_199_254_740_992.0;
            due_ns += a_second.map_or(0.0, |rate| -part.ln() / rate * 1e9);
        }
        let mut clients = Vec::with_capacity(self.clients);
        for _ in 0..self.clients {
            clients.push(Client::connect().map_err(|error| format!("connect: {error}"))?);
        }
        Run { load: self, requests, clients, latencies_ns: Vec::with_capacity(count) }.finish()
    }
}

struct Run<'l> {
    load: &'l OpenLoad,
    requests: Vec<Request>,
    clients: Vec<Client>,
    latencies_ns: Vec<u64>,
}

impl Run<'_> {
    fn finish(mut self) -> Result<Outcome> {
        // SAFETY: no preconditions.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let result = self.by(epoll);
        // SAFETY: made above.
        unsafe { libc::close(epoll) };
        let took = result?;
        let mut latencies_ns = self.latencies_ns.split_off(self.requests.len() / 10);
        latencies_ns.sort_unstable();
        Ok(Outcome { took, latencies_ns })
    }

    fn by(&mut self, epoll: i32) -> Result<Duration> {
        for (index, client) in self.clients.iter().enumerate() {
            let events = libc::EPOLLIN as u32;
            let mut event = libc::epoll_event { events, u64: index as u64 };
            // SAFETY: the address is good for the call.
            unsafe {
                libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, client.stream.as_raw_fd(), &mut event)
            };
        }
        let (mut next, began) = (0, Instant::now());
        // SAFETY: plain data.
        let mut events: [libc::epoll_event; 256] = unsafe { zeroed() };
        while self.latencies_ns.len() < self.requests.len() {
            let now = began.elapsed();
            while let Some(request) = self.requests.get(next)
                && request.due_ns <= now.as_nanos() as u64
            {
                self.clients[request.client].due.push_back(next);
                self.send(request.client)?;
                next += 1;
            }
            let wait = match self.requests.get(next) {
                Some(request) => {
                    Duration::from_nanos(request.due_ns).saturating_sub(began.elapsed())
                }
                None => Duration::from_millis(100),
            };
            wait_for(epoll, wait);
            // SAFETY: the array has room for as many events as said.
            let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 256, 0) };
            for event in &events[..count.max(0) as usize] {
                self.receive(event.u64 as usize, began)?;
            }
            if now > PATIENCE {
                let (done, all) = (self.latencies_ns.len(), self.requests.len());
                return Err(format!("{done} of {all} requests in {} s", PATIENCE.as_secs()));
            }
        }
        Ok(began.elapsed())
    }

    /// Sends a client's next request if it has one and has the answer to the one before.
    fn send(&mut self, index: usize) -> Result<()> {
        let client = &mut self.clients[index];
        if client.asked.is_some() {
            return Ok(());
        }
        let Some(next) = client.due.pop_front() else { return Ok(()) };
        let Request { seed, is_heavy, .. } = self.requests[next];
        let text = format!(
            "GET /{}/{seed:02x} HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: majjen-bench\r\n\r\n",
            u8::from(is_heavy)
        );
        // It fits: the one before has been answered.
        client.stream.write_all(text.as_bytes()).map_err(|error| format!("send: {error}"))?;
        (client.asked, client.received) = (Some(next), 0);
        Ok(())
    }

    fn receive(&mut self, index: usize, began: Instant) -> Result<()> {
        let client = &mut self.clients[index];
        let mut buffer = [0; 256];
        let bytes = match client.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("receive: {error}")),
            Ok(0) => return Err("receive: closed too early".to_owned()),
            Ok(bytes) => bytes,
        };
        let asked = client.asked.ok_or("an answer to nothing")?;
        let request = &self.requests[asked];
        let answer = &self.load.answers[usize::from(request.is_heavy)][request.seed as usize];
        if !answer.as_bytes()[client.received..].starts_with(&buffer[..bytes]) {
            return Err("receive: the answer is wrong".to_owned());
        }
        client.received += bytes;
        if client.received == answer.len() {
            client.asked = None;
            self.latencies_ns.push(began.elapsed().as_nanos() as u64 - request.due_ns);
            self.send(index)?;
        }
        Ok(())
    }
}

impl Client {
    fn connect() -> std::io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", PORT))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Client { stream, asked: None, due: VecDeque::new(), received: 0 })
    }
}

/// Until a descriptor is readable, with the kernel's finest timer.
fn wait_for(fd: i32, wait: Duration) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let wait = libc::timespec {
        tv_sec: wait.as_secs() as libc::time_t,
        tv_nsec: wait.subsec_nanos() as libc::c_long,
    };
    // SAFETY: the addresses are good for the call, and no signal mask is given.
    unsafe { libc::ppoll(&mut poll, 1, &wait, std::ptr::null()) };
}

/// While it lives, this thread comes before all that are not in real time, as a load from another machine would, and
/// its timers are not put off. Where the system does not permit that, it is as any other.
pub struct FirstOfAll;

impl FirstOfAll {
    pub fn begin() -> FirstOfAll {
        let priority = libc::sched_param { sched_priority: 1 };
        // SAFETY: the address is good for the call.
        unsafe {
            libc::prctl(libc::PR_SET_TIMERSLACK, 1);
            libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &priority);
        }
        FirstOfAll
    }
}

impl Drop for FirstOfAll {
    fn drop(&mut self) {
        let priority = libc::sched_param { sched_priority: 0 };
        // SAFETY: the address is good for the call.
        unsafe {
            libc::prctl(libc::PR_SET_TIMERSLACK, 0);
            libc::sched_setscheduler(0, libc::SCHED_OTHER, &priority);
        }
    }
}

// ---- computing, as in `cores.h`

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

fn crunch(seed: u64, rounds: u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_add(seed);
    for _ in 0..rounds {
        next_random(&mut state);
    }
    state
}

/// How many rounds take so long: by the processor time of this thread, the best of some.
pub fn rounds_in(ns: f64) -> u64 {
    const ROUNDS: u64 = 1_000_000;
    let clock = || {
        // SAFETY: the address is good for the call.
        unsafe {
            let mut now: libc::timespec = zeroed();
            libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now);
            now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
        }
    };
    let one = |seed| {
        let began = clock();
        std::hint::black_box(crunch(std::hint::black_box(seed), ROUNDS));
        clock() - began
    };
    let best = (0..10).map(one).fold(f64::INFINITY, f64::min);
    (ns * ROUNDS as f64 / best).round() as u64
}

#[cfg(test)]
mod tests {
    use super::{crunch, rounds_in};

    #[test]
    fn computing_takes_the_longer_the_more_there_is() {
        assert_ne!(crunch(0, 1000), crunch(1, 1000));
        assert!(rounds_in(1e6) > 10 * rounds_in(2e4));
    }
}
