//! What is in a process: its schedulers and their tasks, read while they run.
//!
//! A task is read twice, with what it waits for in between. If both readings are the same, it was like that
//! all the time: it has had no turn, and nobody has woken it. If not, it is read again, and if that does not help,
//! it is said to be *busy*, as long as it is the same task. Slots that have a different task at each reading are
//! dropped, and counted.

use std::cell::OnceCell;
use std::collections::HashSet;

use crate::memory::{Memory, Read, u8_in, u32_in, u64_in};
use crate::slots::{Buffers, Pass};
use crate::table::Table;
use crate::wait::{Kinds, Wait};

/// How often what has changed meanwhile is read again.
pub const ATTEMPTS: usize = 6;
/// No process has more than these: a number that is larger is none of the library's.
const MOST_SCHEDULERS: usize = 65_536;
const MOST_CHUNKS: u64 = 8192;
const MOST_SLOTS: u64 = 65_536;
const MOST_TASKS: u64 = 1 << 23;
/// Mixed with the address of an entry in the list of schedulers.
const IS_LIVING: u64 = 0x6d6a_2d6c_6976_696e;
/// The place in the heap of timers of a task without one.
pub const NO_TIMER: u64 = u64::MAX;

/// See the module.
#[derive(Default)]
pub struct Snapshot {
    pub schedulers: Vec<Scheduler>,
    /// How many times a task was read again.
    pub read_again: usize,
    /// Tasks, chunks of tasks and schedulers that came or went while they were read.
    pub dropped: usize,
}

/// A scheduler.
#[derive(Default)]
pub struct Scheduler {
    /// From 1 on, in the order in which they were made.
    pub number: usize,
    /// Empty for none.
    pub name: Vec<u8>,
    pub address: u64,
    /// Which of the process's copies of the library it is of.
    pub copy: usize,
    /// The thread that runs it, 0 for none.
    pub thread: i32,
    /// Whether its times are of a clock of the program's.
    pub has_own_clock: bool,
    /// When the current turn began, by the counter.
    pub turn_began: u64,
    pub current_task: u64,
    clock: Clock,
    pub metrics: Vec<u64>,
    /// Counts of histograms.
    pub turn_times: Vec<u64>,
    pub lateness: Vec<u64>,
    /// In the order of their numbers.
    pub tasks: Vec<Task>,
    id_number_bits: u32,
}

/// What converts the ticks of the processor's counter.
#[derive(Clone, Copy, Default)]
struct Clock {
    ticks: u64,
    ns: u64,
    ticks_per_ns: f64,
}

/// A task.
pub struct Task {
    pub address: u64,
    /// The number of its slot: short, and its own as long as it lives.
    pub number: u32,
    pub id: u64,
    pub name: [u8; 24],
    pub state: State,
    pub is_canceled: bool,
    pub is_daemon: bool,
    pub turns: u32,
    /// How many mutexes it owns.
    pub locks: u32,
    pub wait: Wait,
    pub wake_time_ns: Option<u64>,
    /// Since when it waits, by the counter.
    pub since_ticks: u64,
    pub body: u64,
    pub group: u64,
    /// The saved context and the beginning of the stack; 0 for none.
    pub context: u64,
    pub stack_top: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Ready,
    /// It has turns so often that it could not be read in between.
    Busy,
    Sleeping,
    Waiting,
    Parked,
}

impl State {
    /// In their order.
    pub const ALL: [State; 6] =
        [State::Running, State::Ready, State::Busy, State::Sleeping, State::Waiting, State::Parked];

    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Ready => "ready",
            State::Sleeping => "sleeping",
            State::Waiting => "waiting",
            State::Parked => "parked",
            State::Busy => "busy",
        }
    }
}

impl Task {
    /// The name's bytes.
    pub fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or(&[])
    }

    /// How much of its stack it uses, if that is known: not of one that runs.
    pub fn stack_used(&self) -> Option<u64> {
        if self.context == 0 || matches!(self.state, State::Running | State::Busy) {
            return None;
        }
        self.stack_top.checked_sub(self.context).filter(|bytes| *bytes <= 1 << 30)
    }

    pub fn waits(&self) -> bool {
        matches!(self.state, State::Sleeping | State::Waiting | State::Parked)
    }
}

impl Scheduler {
    /// A moment of the counter, as one of CLOCK_MONOTONIC.
    pub fn ns_of(&self, ticks: u64) -> u64 {
        let Clock { ticks: then, ns, ticks_per_ns } = self.clock;
        let difference = then.wrapping_sub(ticks).cast_signed() as f64 / ticks_per_ns;
        ns.saturating_add_signed((-difference) as i64)
    }

    /// Since when a task waits, by CLOCK_MONOTONIC; `None` if it does not.
    pub fn waits_since_ns(&self, task: &Task) -> Option<u64> {
        (task.waits() && task.turns > 0).then(|| self.ns_of(task.since_ticks))
    }

    /// Since when the running task has had its turn.
    pub fn turn_since_ns(&self) -> u64 {
        self.ns_of(self.turn_began)
    }

    /// The latest moment that is known: in a core file that of the end, nearly.
    pub fn latest_ns(&self) -> u64 {
        self.clock.ns
    }

    /// The task with a number.
    pub fn numbered(&self, number: u32) -> Option<&Task> {
        let found = self.tasks.binary_search_by_key(&number, |task| task.number);
        found.ok().map(|at| &self.tasks[at])
    }

    /// The task that runs.
    pub fn running(&self) -> Option<&Task> {
        self.tasks.iter().find(|task| task.state == State::Running)
    }
}

/// Reads a process; again and again, if that is wanted.
pub struct Reader<'m> {
    memory: &'m dyn Memory,
    tables: &'m [Table],
    kinds: Kinds,
    buffers: Buffers,
    /// How many more slots may be read for this snapshot, of all schedulers.
    slots_left: u64,
}

impl<'m> Reader<'m> {
    pub fn new(memory: &'m dyn Memory, tables: &'m [Table]) -> Reader<'m> {
        Reader {
            memory,
            tables,
            kinds: Kinds::default(),
            buffers: Buffers::default(),
            slots_left: 0,
        }
    }

    /// The schedulers without their tasks.
    pub fn schedulers(&mut self) -> Snapshot {
        self.read_with(false)
    }

    /// Reads all.
    pub fn read(&mut self) -> Snapshot {
        self.read_with(true)
    }

    fn read_with(&mut self, tasks: bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let tables = self.tables;
        self.slots_left = MOST_TASKS;
        self.kinds.begin();
        for (copy, table) in tables.iter().enumerate() {
            // The list has the newest first.
            for entry in self.list(table, &mut snapshot).into_iter().rev() {
                let number = snapshot.schedulers.len() + 1;
                match self.scheduler(table, entry, tasks, &mut snapshot) {
                    Some(scheduler) => {
                        snapshot.schedulers.push(Scheduler { number, copy, ..scheduler });
                    }
                    None => snapshot.dropped += 1,
                }
            }
        }
        snapshot
    }

    /// The entries of the list of schedulers.
    fn list(&self, table: &Table, snapshot: &mut Snapshot) -> Vec<u64> {
        let mut entries = Vec::new();
        for _ in 0..ATTEMPTS {
            entries.clear();
            let mut seen = HashSet::new();
            let mut link = table.head();
            let whole = loop {
                match self.memory.u64_at(link) {
                    Some(0) => break true,
                    Some(entry)
                        if self.is_living(table, entry)
                            && seen.insert(entry)
                            && entries.len() < MOST_SCHEDULERS =>
                    {
                        entries.push(entry);
                        link = entry.wrapping_add(table.living_next);
                    }
                    _ => break false,
                }
            };
            if whole {
                return entries;
            }
        }
        snapshot.dropped += 1;
        entries
    }

    fn is_living(&self, table: &Table, entry: u64) -> bool {
        self.memory.u64_at(entry.wrapping_add(table.living_word)) == Some(IS_LIVING ^ entry)
    }

    fn scheduler(
        &mut self,
        table: &Table,
        entry: u64,
        with_tasks: bool,
        snapshot: &mut Snapshot,
    ) -> Option<Scheduler> {
        let address = entry.wrapping_sub(table.scheduler_living);
        let slots_left = self.slots_left;
        for _ in 0..ATTEMPTS {
            self.slots_left = slots_left;
            let bytes = self.memory.bytes_at(address, table.scheduler_bytes as usize)?;
            let tasks = if with_tasks {
                self.tasks(table, address, &bytes, snapshot)
            } else {
                Some(Vec::new())
            };
            if !self.is_living(table, entry) {
                return None;
            }
            // Without them the table of chunks has moved meanwhile.
            let Some(tasks) = tasks else { continue };
            let living = |field: u64| table.scheduler_living + field;
            let instant = table.scheduler_latest_instant;
            let ticks_per_ns = f64::from_bits(u64_in(&bytes, table.scheduler_ticks_per_ns));
            let is_rate = (1e-4..=1e3).contains(&ticks_per_ns);
            let counts = |at: u64| {
                (0..table.histogram_buckets).map(|index| u64_in(&bytes, at + 8 * index)).collect()
            };
            let name = match table.scheduler_name as usize {
                0 => &[],
                at => bytes.get(at..at + table.name_bytes as usize).unwrap_or(&[]),
            };
            return Some(Scheduler {
                name: name.split(|byte| *byte == 0).next().unwrap_or(&[]).to_vec(),
                address,
                thread: u32_in(&bytes, living(table.living_thread)).cast_signed(),
                has_own_clock: u8_in(&bytes, living(table.living_has_own_clock)) != 0,
                turn_began: u64_in(&bytes, table.scheduler_turn_began),
                current_task: u64_in(&bytes, table.scheduler_current_task),
                clock: Clock {
                    ticks: u64_in(&bytes, instant),
                    ns: u64_in(&bytes, instant + 8),
                    ticks_per_ns: if is_rate { ticks_per_ns } else { 1.0 },
                },
                metrics: (0..table.metrics_bytes / 8)
                    .map(|index| u64_in(&bytes, table.scheduler_metrics + 8 * index))
                    .collect(),
                turn_times: counts(table.scheduler_turn_times),
                lateness: counts(table.scheduler_lateness),
                tasks,
                id_number_bits: table.id_number_bits as u32,
                ..Scheduler::default()
            });
        }
        None
    }

    /// The tasks of a scheduler, chunk by chunk. `None` if the table of chunks cannot be read.
    fn tasks(
        &mut self,
        table: &Table,
        scheduler: u64,
        bytes: &[u8],
        snapshot: &mut Snapshot,
    ) -> Option<Vec<Task>> {
        let first = u64_in(bytes, table.scheduler_chunks_first);
        let count = u64_in(bytes, table.scheduler_chunks_count).min(MOST_CHUNKS);
        let chunks = self.memory.bytes_at(first, (count * table.chunk_bytes) as usize)?;
        let mut tasks = Vec::new();
        for chunk in chunks.chunks_exact(table.chunk_bytes as usize) {
            let memory = u64_in(chunk, table.chunk_memory);
            let slots = u64_in(chunk, table.chunk_slots);
            if slots > MOST_SLOTS || slots > self.slots_left {
                return None;
            }
            self.slots_left -= slots;
            let addresses: Vec<u64> =
                (0..slots).map(|slot| memory.wrapping_add(slot * table.task_bytes)).collect();
            tasks.reserve(slots as usize);
            let (memory, kinds) = (self.memory, &mut self.kinds);
            Pass { memory, kinds, table, scheduler, buffers: &mut self.buffers }
                .read(addresses, &mut tasks, snapshot);
        }
        tasks.sort_by_key(|task| task.number);
        Some(tasks)
    }
}

/// The tasks of a snapshot by what others know of them.
pub struct Index<'s> {
    snapshot: &'s Snapshot,
    /// Addresses, with the places of the scheduler and the task.
    by_address: OnceCell<Vec<(u64, u32, u32)>>,
}

impl<'s> Index<'s> {
    pub fn new(snapshot: &'s Snapshot) -> Index<'s> {
        Index { snapshot, by_address: OnceCell::new() }
    }

    pub fn id(&self, id: u64) -> Option<(&'s Scheduler, &'s Task)> {
        // Of those with the same number one at most.
        self.snapshot.schedulers.iter().find_map(|scheduler| {
            let bits = scheduler.id_number_bits;
            let task = scheduler.numbered((id & ((1 << bits) - 1)) as u32)?;
            (task.id == id).then_some((scheduler, task))
        })
    }

    pub fn address(&self, address: u64) -> Option<(&'s Scheduler, &'s Task)> {
        let schedulers = &self.snapshot.schedulers;
        let sorted = self.by_address.get_or_init(|| {
            let mut sorted = Vec::new();
            for (place, scheduler) in schedulers.iter().enumerate() {
                let tasks = scheduler.tasks.iter().enumerate();
                sorted.extend(tasks.map(|(at, task)| (task.address, place as u32, at as u32)));
            }
            sorted.sort_unstable();
            sorted
        });
        let found = sorted.binary_search_by_key(&address, |(address, ..)| *address).ok()?;
        let (_, place, at) = sorted[found];
        let scheduler = &schedulers[place as usize];
        Some((scheduler, &scheduler.tasks[at as usize]))
    }
}
