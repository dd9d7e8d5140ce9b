//! What the recorders of a process have recorded, read while they go on. src/engine/measure/recorder.rs describes
//! what is in the process.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use crate::entry::{Code, EXPONENTS, Entry, Recording};
use crate::memory::{Memory, Read, u64_in};
use crate::snapshot::Scheduler;
use crate::table::Table;
use crate::wait::Kinds;
use crate::words::printable;

/// What is recorded of a scheduler.
#[derive(Clone)]
pub struct Recorded {
    /// Its number and name, for people.
    pub title: String,
    pub number: u32,
    /// Their times are of CLOCK_MONOTONIC.
    pub entries: Vec<Entry>,
    /// How many earlier ones have been overwritten.
    pub lost: u64,
    /// What tasks wait for, by the index in entries; empty for none.
    pub kinds: Vec<String>,
    /// Slots and names of tasks that are alive.
    pub names: Vec<(u64, Vec<u8>)>,
}

/// A recorder, as it is in the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub is_on: bool,
    ring: u64,
    capacity: u64,
    written: u64,
    pub beginnings: u64,
}

/// Of the head, before the addresses of the kinds.
const HEAD_BYTES: usize = 40;
const ENTRY_BYTES: usize = 16;
/// So many entries are read at a time: only where there is memory, more is needed for it.
const PIECE: u64 = 1 << 16;
/// So many are read of all schedulers of a process, which is more than a page could show. Schedulers that are none can
/// have one large ring together.
pub const MOST_ENTRIES: u64 = 1 << 27;
/// How often a ring is read that another one replaces meanwhile.
const ATTEMPTS: usize = 3;

impl Head {
    /// None if it cannot be read.
    pub fn read(memory: &dyn Memory, table: &Table, scheduler: u64) -> Option<Head> {
        let bytes =
            memory.bytes_at(scheduler.wrapping_add(table.scheduler_recorder), HEAD_BYTES)?;
        let [is_on, ring, capacity, written, beginnings] =
            std::array::from_fn(|index| u64_in(&bytes, index as u64 * 8));
        let written = written / ENTRY_BYTES as u64;
        Some(Head { is_on: is_on != 0, ring, capacity, written, beginnings })
    }

    fn has_ring(&self) -> bool {
        self.ring != 0
            && self.capacity.is_power_of_two()
            && EXPONENTS.contains(&self.capacity.trailing_zeros())
    }

    /// The number of the first entry that nobody has overwritten, since the next one may be half written.
    fn first(&self) -> u64 {
        self.written.saturating_add(1).saturating_sub(self.capacity)
    }
}

/// Reads what a scheduler has recorded; of no more entries than are left, which it takes from these. None if it
/// cannot be read.
pub fn read(
    memory: &dyn Memory,
    table: &Table,
    scheduler: &Scheduler,
    entries_left: &mut u64,
) -> Option<Recorded> {
    let (lost, entries) = (0..ATTEMPTS).find_map(|_| {
        let head = Head::read(memory, table, scheduler.address).filter(Head::has_ring)?;
        let numbers = head.written.saturating_sub(head.capacity)..head.written;
        let left = entries_left.checked_sub(numbers.end - numbers.start)?;
        let mut entries = read_entries(memory, head, numbers.clone())?;
        let later = Head::read(memory, table, scheduler.address)?;
        if (later.ring, later.beginnings) != (head.ring, head.beginnings) {
            return None;
        }
        *entries_left = left;
        let first = later.first().clamp(numbers.start, numbers.end);
        entries.drain(..(first - numbers.start) as usize);
        for entry in &mut entries {
            *entry = entry.at(|ticks| scheduler.ns_of(ticks));
        }
        Some((first, entries))
    })?;
    let kinds_at = scheduler.address.wrapping_add(table.scheduler_recorder + HEAD_BYTES as u64);
    let kinds = memory.bytes_at(kinds_at, table.recorder_kinds as usize * 8)?;
    let addresses = || (0..table.recorder_kinds).map(|index| u64_in(&kinds, index * 8));
    let mut known = Kinds::default();
    known.learn(memory, addresses());
    let kinds = addresses()
        .map(|address| known.get(address).map_or_else(String::new, |kind| kind.name.to_string()))
        .collect();
    let with_name = scheduler.tasks.iter().filter(|task| !task.name().is_empty());
    let names = with_name.map(|task| (u64::from(task.number), task.name().to_vec())).collect();
    let number = scheduler.number as u32;
    Some(Recorded { title: title(scheduler), number, entries, lost, kinds, names })
}

fn read_entries(memory: &dyn Memory, head: Head, numbers: Range<u64>) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut next = numbers.start;
    while next < numbers.end {
        let place = next % head.capacity;
        let count = (numbers.end - next).min(head.capacity - place).min(PIECE);
        let at = head.ring.checked_add(place * ENTRY_BYTES as u64)?;
        let bytes = memory.bytes_at(at, count as usize * ENTRY_BYTES)?;
        let piece = bytes.chunks_exact(ENTRY_BYTES);
        entries.extend(piece.map(|entry| Entry { time: u64_in(entry, 0), word: u64_in(entry, 8) }));
        next += count;
    }
    Some(entries)
}

impl Recorded {
    /// How many tasks have had a turn: those that have ended, and those that have not.
    pub fn tasks(&self) -> usize {
        let (mut ended, mut living) = (0, HashSet::new());
        for entry in &self.entries {
            let slot = Entry::slot_of(entry.word);
            match entry.code() {
                Some(Code::Ended) => {
                    living.remove(&slot);
                    ended += 1;
                }
                Some(Code::Yielded | Code::Sleeps | Code::Waits | Code::Runs) => {
                    living.insert(slot);
                }
                _ => {}
            }
        }
        ended + living.len()
    }
}

/// What a scheduler is called.
pub fn title(scheduler: &Scheduler) -> String {
    match &scheduler.name[..] {
        [] => format!("scheduler {}", scheduler.number),
        name => format!("scheduler {} '{}'", scheduler.number, printable(name)),
    }
}

/// With what it is called in a file.
pub struct Named<'r> {
    pub of: &'r Recorded,
    pub name: String,
}

impl Recording for Named<'_> {
    fn number(&self) -> u32 {
        self.of.number
    }

    fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    fn numbers(&self) -> Range<u64> {
        0..self.of.entries.len() as u64
    }

    fn entry(&self, number: u64) -> Option<Entry> {
        self.of.entries.get(usize::try_from(number).ok()?).copied()
    }

    fn names(&self, call: &mut dyn FnMut(u64, &[u8]) -> fmt::Result) -> fmt::Result {
        self.of.names.iter().try_for_each(|(slot, name)| call(*slot, name))
    }

    fn kind(&self, index: u8, call: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        let known = self.of.kinds.get(usize::from(index)).filter(|kind| !kind.is_empty());
        call(known.map_or("something", |kind| kind))
    }
}
