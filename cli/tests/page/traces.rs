//! Traces for the tests: entries by hand, and a server that is made up, in which everything happens that entries can
//! tell.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use majjen_cli::page::Recorded;

pub const LOOP: u64 = 1;
pub const READY: u64 = 2;
pub const CREATED: u64 = 3;
pub const POSTED: u64 = 4;
pub const YIELDED: u64 = 5;
pub const ENDED: u64 = 6;
pub const SLEEPS: u64 = 7;
pub const WAITS: u64 = 8;
pub const TEXT: u64 = 9;
pub const RUNS: u64 = 10;

pub const KINDS: [&str; 6] = ["fd", "mutex", "semaphore", "a channel", "task", "select"];
pub const FD: u64 = 0;
pub const MUTEX: u64 = 1;
pub const SEMAPHORE: u64 = 2;
pub const CHANNEL: u64 = 3;
pub const JOIN: u64 = 4;
pub const PARKED: u64 = 255;

pub const US: u64 = 1000;
pub const MS: u64 = 1000 * US;

/// An entry of a task: `above` is what stands in bits 24 to 55.
pub fn entry(time: u64, code: u64, slot: u64, above: u64) -> [u64; 2] {
    [time, code << 56 | above << 24 | slot]
}

pub fn left_loop(time: u64, slept: u64) -> [u64; 2] {
    [time, LOOP << 56 | slept]
}

pub fn waits(time: u64, slot: u64, kind: u64, which: u64) -> [u64; 2] {
    entry(time, WAITS, slot, which << 8 | kind)
}

/// The entries of a name, in parts of 15 bytes.
pub fn texts(name: &str) -> Vec<[u64; 2]> {
    let parts = name.as_bytes().chunks(15).take(2);
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    parts
        .map(|part| {
            [word(&part[..part.len().min(8)]), TEXT << 56 | word(&part[part.len().min(8)..])]
        })
        .collect()
}

/// What the server is like.
pub struct Server {
    pub sessions: usize,
    /// How many requests a session has.
    pub requests: u32,
    pub entries: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Listener,
    Logger,
    Cleaner,
    Ticker,
    Supervisor,
    Idle,
    Session,
}

struct Slot {
    uses: u64,
    is_alive: bool,
    role: Role,
    phase: u32,
    requests: u32,
    name: String,
}

struct Simulation {
    server: Server,
    entries: Vec<[u64; 2]>,
    now: u64,
    random: u64,
    slots: Vec<Slot>,
    free: Vec<usize>,
    ready: VecDeque<usize>,
    /// When the loop makes whom ready.
    events: BinaryHeap<Reverse<(u64, usize, u64)>>,
    alive: usize,
    born: u32,
    permits: u32,
    wait_for_permit: VecDeque<usize>,
    is_locked: bool,
    wait_for_lock: VecDeque<usize>,
    lines: u32,
    logger_waits: bool,
}

impl Server {
    /// What a recorder would have recorded of it.
    pub fn run(self) -> Recorded {
        let mut simulation = Simulation {
            entries: Vec::with_capacity(self.entries + 64),
            now: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            events: BinaryHeap::new(),
            alive: 0,
            born: 0,
            permits: 6,
            wait_for_permit: VecDeque::new(),
            is_locked: false,
            wait_for_lock: VecDeque::new(),
            lines: 0,
            logger_waits: true,
            server: self,
        };
        simulation.run();
        let alive = simulation.slots.iter().enumerate().filter(|(_, slot)| slot.is_alive);
        Recorded {
            name: "1".to_owned(),
            kinds: KINDS.map(str::to_owned).to_vec(),
            names: alive.map(|(slot, task)| (slot as u32, task.name.clone())).collect(),
            entries: simulation.entries,
            lost: 0,
        }
    }
}

impl Simulation {
    /// A number from `low` to `high`, mostly nearer to `low`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        low + ((high - low) as f64 * part * part) as u64
    }

    fn push(&mut self, code: u64, slot: usize) {
        let uses = self.slots[slot].uses;
        self.entries.push(entry(self.now, code, slot as u64, uses));
    }

    fn create(&mut self, role: Role, name: String, code: u64) {
        let task = Slot { uses: 0, is_alive: true, role, phase: 0, requests: 0, name };
        let slot = match self.free.pop() {
            Some(slot) => {
                let uses = self.slots[slot].uses + 1;
                self.slots[slot] = Slot { uses, ..task };
                slot
            }
            None => {
                self.slots.push(task);
                self.slots.len() - 1
            }
        };
        self.push(code, slot);
        self.ready.push_back(slot);
        self.alive += 1;
    }

    fn make_ready(&mut self, slot: usize) {
        self.push(READY, slot);
        self.ready.push_back(slot);
    }

    fn wait(&mut self, slot: usize, kind: u64, which: u64) {
        self.entries.push(waits(self.now, slot as u64, kind, which));
    }

    /// Waits for a descriptor that will have something later.
    fn wait_fd(&mut self, slot: usize, fd: u64, low: u64, high: u64) {
        self.wait(slot, FD, fd);
        self.later(slot, low, high);
    }

    fn later(&mut self, slot: usize, low: u64, high: u64) {
        let time = self.now + self.between(low, high);
        self.events.push(Reverse((time, slot, self.slots[slot].uses)));
    }

    fn run(&mut self) {
        for (role, name) in [
            (Role::Listener, "listener"),
            (Role::Logger, "logger"),
            (Role::Cleaner, "cleaner"),
            (Role::Ticker, "metrics"),
            (Role::Supervisor, "supervisor"),
            (Role::Idle, "shutdown"),
        ] {
            self.create(role, name.to_owned(), POSTED);
        }
        while self.entries.len() < self.server.entries {
            let mut slept = 0;
            if self.ready.is_empty() {
                let Reverse((next, _, _)) = *self.events.peek().expect("the ticker");
                slept = next.saturating_sub(self.now);
                self.now += slept;
            }
            self.now += self.between(2 * US, 9 * US);
            while let Some(Reverse((_, slot, uses))) =
                self.events.peek().copied().filter(|Reverse((time, ..))| *time <= self.now)
            {
                self.events.pop();
                if self.slots[slot].uses == uses && self.slots[slot].is_alive {
                    self.make_ready(slot);
                }
            }
            self.entries.push(left_loop(self.now, slept));
            for _ in 0..self.ready.len() {
                let slot = self.ready.pop_front().expect("one of them");
                self.turn(slot);
            }
        }
    }

    fn turn(&mut self, slot: usize) {
        match self.slots[slot].role {
            Role::Listener => self.listen(slot),
            Role::Logger => self.log(slot),
            Role::Cleaner => self.clean(slot),
            Role::Ticker => {
                self.now += self.between(8 * US, 60 * US);
                self.push(SLEEPS, slot);
                self.later(slot, 10 * MS, 10 * MS + 1);
            }
            Role::Supervisor => {
                self.now += 4 * US;
                self.wait(slot, JOIN, 2);
            }
            Role::Idle => {
                self.now += 3 * US;
                self.wait(slot, PARKED, 0);
            }
            Role::Session => self.serve(slot),
        }
    }

    fn listen(&mut self, slot: usize) {
        self.now += self.between(5 * US, 20 * US);
        let most = self.server.sessions + 6;
        if self.alive < most {
            self.born += 1;
            let name = format!("session 10.0.{}.{}", self.born / 250 % 250, self.born % 250);
            self.create(Role::Session, name, CREATED);
            self.now += self.between(4 * US, 12 * US);
        }
        if self.alive < most / 2 {
            self.push(YIELDED, slot);
            self.ready.push_back(slot);
        } else {
            self.wait_fd(slot, 3, 100 * US, 4 * MS);
        }
    }

    fn log(&mut self, slot: usize) {
        self.now += self.between(10 * US, 80 * US) + 3 * US * u64::from(self.lines);
        self.lines = 0;
        self.logger_waits = true;
        self.wait(slot, CHANNEL, 0x5_7a10 >> 3);
    }

    fn clean(&mut self, slot: usize) {
        let phase = self.slots[slot].phase;
        self.slots[slot].phase = (phase + 1) % 3;
        match phase {
            0 => {
                self.now += 10 * US;
                self.push(SLEEPS, slot);
                self.later(slot, 60 * MS, 60 * MS + 1);
            }
            1 => {
                self.is_locked = true;
                // Now and then it has much to do.
                self.now += self.between(300 * US, 6 * MS);
                self.wait_fd(slot, 7, 4 * MS, 9 * MS);
            }
            _ => {
                self.now += self.between(50 * US, 300 * US);
                self.is_locked = false;
                while let Some(other) = self.wait_for_lock.pop_front() {
                    self.make_ready(other);
                }
                self.push(YIELDED, slot);
                self.ready.push_back(slot);
            }
        }
    }

    fn serve(&mut self, slot: usize) {
        let client = 10 + slot as u64;
        let phase = self.slots[slot].phase;
        self.slots[slot].phase = phase + 1;
        match phase {
            0 => {
                self.now += self.between(5 * US, 20 * US);
                self.wait_fd(slot, client, 200 * US, 20 * MS);
            }
            // A request has come.
            1 => {
                self.now += self.between(15 * US, 160 * US);
                if self.is_locked && self.between(0, 100) < 30 {
                    self.wait(slot, MUTEX, 0x3c_ea00 >> 3);
                    self.wait_for_lock.push_back(slot);
                } else {
                    self.push(YIELDED, slot);
                    self.ready.push_back(slot);
                }
            }
            2 => {
                self.now += self.between(5 * US, 30 * US);
                if self.permits == 0 {
                    self.wait(slot, SEMAPHORE, 0x3c_ea40 >> 3);
                    self.wait_for_permit.push_back(slot);
                } else {
                    self.permits -= 1;
                    self.slots[slot].phase += 1;
                    self.wait_fd(slot, 300 + client, 300 * US, 6 * MS);
                }
            }
            3 => {
                self.now += self.between(5 * US, 30 * US);
                self.wait_fd(slot, 300 + client, 300 * US, 6 * MS);
            }
            // The database has answered.
            _ => {
                self.now += self.between(30 * US, 250 * US);
                match self.wait_for_permit.pop_front() {
                    Some(other) => self.make_ready(other),
                    None => self.permits += 1,
                }
                self.lines += 1;
                if std::mem::replace(&mut self.logger_waits, false) {
                    self.make_ready(1);
                }
                self.now += self.between(5 * US, 30 * US);
                self.slots[slot].phase = 1;
                self.slots[slot].requests += 1;
                if self.slots[slot].requests < self.server.requests {
                    self.wait_fd(slot, client, 2 * MS, 40 * MS);
                } else {
                    self.push(ENDED, slot);
                    let name = self.slots[slot].name.clone();
                    self.entries.extend(texts(&name));
                    self.slots[slot].is_alive = false;
                    self.alive -= 1;
                    self.free.push(slot);
                }
            }
        }
    }
}
