//! The reader with memory that was made to harm it: torn, overwritten, cut off, or in circles.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::sink;
use std::process::Command;

use majjen_cli::descriptors::NoDescriptors;
use majjen_cli::elf;
use majjen_cli::graph::Graph;
use majjen_cli::look::Look;
use majjen_cli::memory::{Map, Memory, Read};
use majjen_cli::process::Process;
use majjen_cli::recorded::{self, MOST_ENTRIES, Recorded};
use majjen_cli::snapshot::{Index, Reader, Snapshot};
use majjen_cli::style::Style;
use majjen_cli::table::Table;
use majjen_cli::trace;
use majjen_cli::unwind::{Registers, Stack, Unwinder};

use crate::support::{Hanging, Link, build};

crate::support::trials! {
    no_memory_does_harm,
}

/// Remembers what was read of a process.
pub struct Recording<'p> {
    pub process: &'p Process,
    pub pages: RefCell<BTreeMap<u64, Vec<u8>>>,
}

pub const PAGE: u64 = 4096;

impl Memory for Recording<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let pages = address / PAGE..=(address.saturating_add(into.len() as u64)) / PAGE;
        for page in pages {
            let mut bytes = vec![0; PAGE as usize];
            if self.process.read(page * PAGE, &mut bytes) {
                self.pages.borrow_mut().insert(page, bytes);
            }
        }
        self.process.read(address, into)
    }

    fn maps(&self) -> &[Map] {
        self.process.maps()
    }
}

/// The same again, with faults.
pub struct Replay<'r> {
    pub pages: &'r BTreeMap<u64, Vec<u8>>,
    pub maps: &'r [Map],
    pub faults: RefCell<Faults>,
}

/// A sequence of numbers (xorshift), and how often something goes wrong.
#[derive(Default)]
pub struct Faults {
    pub state: u64,
    pub one_of: u64,
}

impl Faults {
    pub fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

impl Memory for Replay<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        for (at, byte) in into.iter_mut().enumerate() {
            let Some(place) = address.checked_add(at as u64) else { return false };
            match self.pages.get(&(place / PAGE)) {
                Some(page) => *byte = page[(place % PAGE) as usize],
                None => return false,
            }
        }
        let mut faults = self.faults.borrow_mut();
        if into.is_empty() || !faults.next().is_multiple_of(faults.one_of) {
            return true;
        }
        let at = faults.next() as usize % into.len();
        match faults.next() % 6 {
            0 => return false,
            1 => into[at] ^= 1 << (faults.next() % 8),
            2 => into[at..].fill(0),
            3 => into[at..].fill(0xff),
            4 => {
                // Another place of the same memory: a pointer where it does not belong.
                let pages: Vec<&u64> = self.pages.keys().collect();
                let page = pages[faults.next() as usize % pages.len()];
                let pointer = page * PAGE + faults.next() % PAGE;
                let at = at / 8 * 8;
                let end = (at + 8).min(into.len());
                into[at..end].copy_from_slice(&pointer.to_le_bytes()[..end - at]);
            }
            _ => {
                for byte in &mut into[at..] {
                    *byte = faults.next() as u8;
                }
            }
        }
        true
    }

    fn maps(&self) -> &[Map] {
        self.maps
    }
}

/// How much was seen.
#[derive(Debug, Default, PartialEq)]
pub struct Seen {
    pub tasks: usize,
    /// Of recorders.
    pub entries: usize,
}

/// Reads, and makes words of what was read.
pub fn look(memory: &dyn Memory) -> Seen {
    let modules = elf::modules(memory);
    let Ok(tables) = Table::find(memory, &modules, "the test") else { return Seen::default() };
    let snapshot = Reader::new(memory, &tables).read();
    let tasks = snapshot.schedulers.iter().map(|scheduler| scheduler.tasks.len()).sum();
    let mut unwinder = Unwinder::new(memory, &modules, None);
    for scheduler in &snapshot.schedulers {
        for task in scheduler.tasks.iter().filter(|task| task.context != 0) {
            let bytes = task.stack_top.saturating_sub(task.context).min(1 << 16);
            let Some(bytes) = memory.bytes_at(task.context, bytes as usize) else { continue };
            let stack = Stack { start: task.context, bytes };
            if let Some(registers) = Unwinder::of_context(&tables[scheduler.copy], &stack) {
                unwinder.frames(registers, &stack);
                unwinder.frames(Registers { fp: 0, is_return: false, ..registers }, &stack);
            }
        }
    }
    let mut entries_left = MOST_ENTRIES;
    let recorded: Vec<Recorded> = snapshot
        .schedulers
        .iter()
        .filter_map(|of| recorded::read(memory, &tables[of.copy], of, &mut entries_left))
        .collect();
    trace::write_json(&mut sink(), "the test", &recorded).unwrap();
    trace::write_page(&mut sink(), "the test", &recorded).unwrap();
    describe(snapshot);
    Seen { tasks, entries: recorded.iter().map(|of| of.entries.len()).sum() }
}

fn describe(snapshot: Snapshot) {
    let look = Look::of(snapshot, 1_000_000, Box::new(NoDescriptors));
    let index = Index::new(&look.snapshot);
    let words = look.words(&index);
    for scheduler in &look.snapshot.schedulers {
        for task in &scheduler.tasks {
            look.doing(&words, scheduler, task);
            look.age_ns(scheduler, task);
        }
    }
    let style = Style { width: Some(80), colors: false };
    Graph::new(&look, &words).write(&mut sink(), style).unwrap();
}

/// A program of which all kinds of waits can be read, and what it has recorded.
pub fn recording_program(link: Link) -> Hanging {
    let mut program = Command::new(build("hang", link));
    Hanging::start_command(program.arg("waits").env("MAJJEN_TRACE", "/dev/null"))
}

fn no_memory_does_harm() {
    majjen_cli::guard::install();
    let process = recording_program(Link::Shared);
    let process = Process::open(process.pid().parse().unwrap()).unwrap();
    let recording = Recording { process: &process, pages: RefCell::default() };
    let whole = look(&recording);
    assert!(whole.tasks == 16 && whole.entries > 16, "{whole:?}");
    assert!(recording.pages.borrow().len() > 20);
    let pages = recording.pages.into_inner();
    let rounds = if std::env::var_os("MAJJEN_TORTURE").is_some() { 50_000 } else { 500 };
    let (mut tasks, mut entries) = (0, 0);
    for round in 0..rounds {
        let faults = Faults { state: 0x9e37_79b9_7f4a_7c15 ^ (round + 1), one_of: 2 + round % 200 };
        let replay = Replay { pages: &pages, maps: process.maps(), faults: RefCell::new(faults) };
        let seen = look(&replay);
        (tasks, entries) = (tasks + seen.tasks, entries + seen.entries);
    }
    // Many of the faults are in places that do not matter.
    let seen = tasks.min(entries);
    assert!(seen > rounds as usize, "{tasks} tasks and {entries} entries in {rounds} rounds");
}
