//! Recorders that say what cannot be: whatever the place and the size of the ring are said to be, and how much was
//! written, the reader ends, and keeps no more than there is.

use std::cell::RefCell;
use std::io::sink;
use std::time::Instant;

use majjen_cli::elf;
use majjen_cli::memory::{Map, Memory};
use majjen_cli::process::Process;
use majjen_cli::recorded::{self, MOST_ENTRIES};
use majjen_cli::snapshot::Reader;
use majjen_cli::table::Table;
use majjen_cli::trace;

use crate::forged::{MOST_TIME, most_kept};
use crate::hostile::{Faults, recording_program};
use crate::support::Link;

crate::support::trials! {
    no_head_does_harm,
    no_more_is_read_than_was_said,
}

const HEAD_WORDS: usize = 5;
const RING: usize = 1;
const CAPACITY: usize = 2;
const WRITTEN: usize = 3;

/// A process whose recorder says other things at each look.
struct Forged<'p> {
    process: &'p Process,
    head_at: u64,
    head: [u64; HEAD_WORDS],
    faults: RefCell<Faults>,
}

impl Memory for Forged<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        if !self.process.read(address, into) {
            return false;
        }
        if address == self.head_at && into.len() == HEAD_WORDS * 8 {
            let mut head = self.head;
            let faults = &mut *self.faults.borrow_mut();
            for word in [CAPACITY, WRITTEN] {
                if faults.next().is_multiple_of(4) {
                    head[word] = other(head[word], faults);
                }
            }
            into.chunks_mut(8).zip(head).for_each(|(place, word)| {
                place.copy_from_slice(&word.to_le_bytes());
            });
        }
        true
    }

    fn maps(&self) -> &[Map] {
        self.process.maps()
    }
}

fn other(word: u64, faults: &mut Faults) -> u64 {
    match faults.next() % 8 {
        0 => 0,
        1 => u64::MAX - faults.next() % 2,
        2 => word.wrapping_add(1),
        3 => word.wrapping_sub(1),
        4 => word ^ 1 << (faults.next() % 64),
        5 => 1 << (faults.next() % 64),
        6 => word.wrapping_add(faults.next() % (1 << 27)),
        _ => faults.next(),
    }
}

fn no_head_does_harm() {
    let program = recording_program(Link::Shared);
    let process = Process::open(program.pid().parse().unwrap()).unwrap();
    let tables = Table::find(&process, &elf::modules(&process), "the test").unwrap();
    let snapshot = Reader::new(&process, &tables).read();
    let (scheduler, table) = (&snapshot.schedulers[0], &tables[0]);
    let head_at = scheduler.address + table.scheduler_recorder;
    let mut head = [0; HEAD_WORDS * 8];
    assert!(process.read(head_at, &mut head));
    let head = std::array::from_fn(|at| {
        u64::from_le_bytes(std::array::from_fn(|byte| head[at * 8 + byte]))
    });
    let rounds = if std::env::var_os("MAJJEN_TORTURE").is_some() { 100_000 } else { 2000 };
    let mut found = 0;
    let kept = most_kept(|| {
        for round in 0..rounds {
            let mut faults = Faults { state: 0x9e37_79b9_7f4a_7c15 ^ (round + 1), one_of: 1 };
            let mut forged =
                Forged { process: &process, head_at, head, faults: RefCell::default() };
            if faults.next().is_multiple_of(4) {
                forged.head[RING] = other(head[RING], &mut faults);
            }
            forged.faults = RefCell::new(faults);
            let begun = Instant::now();
            let mut entries_left = MOST_ENTRIES;
            if let Some(read) = recorded::read(&forged, table, scheduler, &mut entries_left) {
                found += usize::from(!read.entries.is_empty());
                trace::write_json(&mut sink(), "the test", &[read]).unwrap();
            }
            assert!(begun.elapsed() < MOST_TIME, "round {round} took {:?}", begun.elapsed());
        }
    });
    assert!(found > rounds as usize / 4, "{found} of {rounds} records have entries");
    assert!(kept < 64 << 20, "{kept} bytes");
}

/// Of many schedulers, which may be none at all, that have one ring.
fn no_more_is_read_than_was_said() {
    let program = recording_program(Link::Shared);
    let process = Process::open(program.pid().parse().unwrap()).unwrap();
    let tables = Table::find(&process, &elf::modules(&process), "the test").unwrap();
    let snapshot = Reader::new(&process, &tables).read();
    let read = |left: &mut u64| {
        let read = recorded::read(&process, &tables[0], &snapshot.schedulers[0], left);
        read.map(|read| read.entries.len() as u64)
    };
    let mut left = MOST_ENTRIES;
    let count = read(&mut left).unwrap();
    assert!(count > 16 && left == MOST_ENTRIES - count);
    let mut left = 2 * count + count / 2;
    assert_eq!(
        [read(&mut left), read(&mut left), read(&mut left)],
        [Some(count), Some(count), None]
    );
    assert_eq!(left, count / 2);
}
