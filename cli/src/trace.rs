//! `majjen trace`: has a process record what its tasks do, and shows it.
//!
//! One word is written to the process, beside the list of its schedulers: how many entries are to be recorded, and
//! until when. src/engine/measure/recorder.rs describes it, and what is read here afterwards.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::entry::{Code, EXPONENTS, Entry, Recording, Request, write_chrome};
use crate::look::Subject;
use crate::memory::{Memory, Read, u64_in};
use crate::page;
use crate::problem::{Problem, Result};
use crate::process::Process;
use crate::snapshot::Scheduler;
use crate::table::Table;
use crate::wait::Kinds;
use crate::words::count;

/// What the user wants.
pub struct Wanted {
    pub time: Duration,
    pub output: PathBuf,
    pub events: u32,
}

/// Records, and writes a file. Says on `out` what there is.
pub fn run(out: &mut impl Write, subject: &Subject, wanted: &Wanted) -> io::Result<Result<()>> {
    let whom = subject.target.whom();
    let Some(process) = subject.target.process() else {
        return Ok(Err(Problem::new(format!(
            "{whom} cannot be made to record: it is not running. `majjen stacks` shows where its tasks were"
        ))));
    };
    let recorded = record(process, subject, wanted, &whom);
    let (schedulers, idle) = match recorded {
        Ok(recorded) => recorded,
        Err(problem) => return Ok(Err(problem)),
    };
    if schedulers.is_empty() {
        return Ok(Err(Problem::new(format!(
            "nothing was recorded of {whom}: none of its schedulers has run a task meanwhile. `majjen ps {}` \
             shows what they wait for",
            process.pid
        ))));
    }
    let title = format!("{} ({})", subject.target.name(), process.pid);
    if let Err(error) = write_file(&wanted.output, &title, &schedulers) {
        let file = wanted.output.display();
        return Ok(Err(Problem::new(format!("{file} cannot be written: {error}"))));
    }
    for name in &idle {
        writeln!(out, "{name} has slept all the time: nothing is recorded of it")?;
    }
    for scheduler in &schedulers {
        let lost = match scheduler.lost {
            0 => String::new(),
            lost => format!("; {lost} earlier ones did not fit, see --events"),
        };
        let events = count(scheduler.entries.len(), "event");
        let tasks = count(scheduler.tasks(), "task");
        writeln!(out, "{}: {events} of {tasks}{lost}", scheduler.title())?;
    }
    writeln!(out, "written to {}", wanted.output.display())?;
    Ok(Ok(()))
}

/// What is recorded of a scheduler.
struct Recorded {
    number: usize,
    name: Vec<u8>,
    /// Their times are of CLOCK_MONOTONIC.
    entries: Vec<Entry>,
    lost: u64,
    /// By the index in entries.
    kinds: Vec<String>,
    /// Slots and names of tasks that are alive.
    names: Vec<(u64, Vec<u8>)>,
}

impl Recorded {
    fn title(&self) -> String {
        title(self.number, &self.name)
    }

    /// How many tasks have had a turn: those that have ended, and those that have not.
    fn tasks(&self) -> usize {
        let (mut ended, mut living) = (0, HashSet::new());
        for entry in &self.entries {
            let slot = Entry::slot_of(entry.word);
            match entry.code() {
                Some(Code::Ended) => {
                    living.remove(&slot);
                    ended += 1;
                }
                Some(Code::Yielded | Code::Sleeps | Code::Waits) => {
                    living.insert(slot);
                }
                _ => {}
            }
        }
        ended + living.len()
    }
}

fn title(number: usize, name: &[u8]) -> String {
    match name {
        [] => format!("scheduler {number}"),
        name => format!("scheduler {number} '{}'", crate::words::printable(name)),
    }
}

/// A recorder, as it is in the process.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    is_on: bool,
    ring: u64,
    capacity: u64,
    written: u64,
    beginnings: u64,
}

/// Of the head, before the addresses of the kinds.
const HEAD_BYTES: usize = 40;
const ENTRY_BYTES: usize = 16;

impl Head {
    /// None if it cannot be read.
    fn read(memory: &dyn Memory, table: &Table, scheduler: u64) -> Option<Head> {
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

    /// The numbers of the entries that nobody has overwritten when a later look says this.
    fn first(&self) -> u64 {
        // The next one may be half written.
        (self.written + 1).saturating_sub(self.capacity)
    }
}

/// Has all schedulers record, and reads it. Also the names of those that have not recorded anything.
fn record(
    process: &Process,
    subject: &Subject,
    wanted: &Wanted,
    whom: &str,
) -> Result<(Vec<Recorded>, Vec<String>)> {
    let memory = subject.target.memory();
    let head_of = |scheduler: &Scheduler| {
        Head::read(memory, &subject.tables[scheduler.copy], scheduler.address)
    };
    let before = subject.reader().schedulers();
    let before: Vec<(u64, Option<Head>)> =
        before.schedulers.iter().map(|of| (of.address, head_of(of))).collect();

    let exponent = wanted.events.next_power_of_two().trailing_zeros().max(*EXPONENTS.start());
    let until_ns = process.monotonic_ns().saturating_add(wanted.time.as_nanos() as u64);
    let request = Request::new(exponent, until_ns).word();
    for table in &subject.tables {
        let at = table.head().wrapping_add(table.living_request);
        process.write_u64(at, request).map_err(|error| {
            Problem::new(format!(
                "{whom} cannot be told to record: {error}; `majjen ps` needs less"
            ))
        })?;
    }
    let end = Instant::now() + wanted.time;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(20).min(end.saturating_duration_since(Instant::now())));
        if !subject.is_alive() {
            return Err(Problem::new(format!(
                "{whom} has ended while it was recorded: started with MAJJEN_TRACE=FILE, it writes FILE itself"
            )));
        }
    }

    let snapshot = subject.reader().read();
    let (mut recorded, mut idle) = (Vec::new(), Vec::new());
    for scheduler in &snapshot.schedulers {
        let table = &subject.tables[scheduler.copy];
        let Some(now) = head_of(scheduler) else { continue };
        let earlier = before.iter().find(|(address, _)| *address == scheduler.address);
        let has_begun = match earlier {
            Some((_, Some(head))) => head.is_on || now.beginnings != head.beginnings,
            _ => now.beginnings > 0,
        };
        let read = has_begun.then(|| read_ring(memory, table, scheduler, now)).flatten();
        match read {
            Some(read) if !read.entries.is_empty() => recorded.push(read),
            _ => idle.push(title(scheduler.number, &scheduler.name)),
        }
    }
    Ok((recorded, idle))
}

fn read_ring(
    memory: &dyn Memory,
    table: &Table,
    scheduler: &Scheduler,
    head: Head,
) -> Option<Recorded> {
    if !head.has_ring() {
        return None;
    }
    let used = head.written.min(head.capacity) as usize;
    let bytes = memory.bytes_at(head.ring, used * ENTRY_BYTES)?;
    let later = Head::read(memory, table, scheduler.address)?;
    if (later.ring, later.beginnings) != (head.ring, head.beginnings) {
        return None;
    }
    let first = later.first().min(head.written);
    let entries = (first..head.written)
        .map(|number| {
            let at = (number % head.capacity) * ENTRY_BYTES as u64;
            Entry { time: u64_in(&bytes, at), word: u64_in(&bytes, at + 8) }
                .at(|ticks| scheduler.ns_of(ticks))
        })
        .collect();
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
    let (number, name) = (scheduler.number, scheduler.name.clone());
    Some(Recorded { number, name, entries, lost: first, kinds, names })
}

/// A page if the name says so, else JSON.
fn write_file(path: &Path, title: &str, schedulers: &[Recorded]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    if path.extension().is_some_and(|ending| ending == "html" || ending == "htm") {
        page::write(&mut file, title, &for_page(schedulers))?;
    } else {
        write_json(&mut file, title, schedulers)?;
    }
    file.flush()
}

/// With times since the first entry of all.
fn for_page(schedulers: &[Recorded]) -> Vec<page::Recorded> {
    let timed = |entry: &&Entry| entry.code().is_some_and(|code| code != Code::Text);
    let entries = schedulers.iter().flat_map(|of| &of.entries);
    let began = entries.filter(timed).map(|entry| entry.time).min().unwrap_or(0);
    let one = |of: &Recorded| page::Recorded {
        name: of.title(),
        lost: of.lost,
        kinds: of.kinds.clone(),
        names: of
            .names
            .iter()
            .map(|(slot, name)| (*slot as u32, crate::words::printable(name)))
            .collect(),
        entries: of
            .entries
            .iter()
            .map(|entry| entry.at(|ns| ns.saturating_sub(began)))
            .map(|Entry { time, word }| [time, word])
            .collect(),
    };
    schedulers.iter().map(one).collect()
}

fn write_json(file: &mut impl Write, title: &str, schedulers: &[Recorded]) -> io::Result<()> {
    let named: Vec<Named<'_>> =
        schedulers.iter().map(|of| Named { of, name: format!("{title} {}", of.title()) }).collect();
    let recordings: Vec<&dyn Recording> =
        named.iter().map(|named| named as &dyn Recording).collect();
    let mut out = Text { file, error: None };
    match write_chrome(&mut out, &recordings) {
        Ok(()) => Ok(()),
        Err(fmt::Error) => Err(out.error.unwrap_or_else(|| io::Error::other("it has no format"))),
    }
}

/// With what it is called in the file.
struct Named<'r> {
    of: &'r Recorded,
    name: String,
}

impl Recording for Named<'_> {
    fn number(&self) -> u32 {
        self.of.number as u32
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

/// Formatted text into a file. Keeps its error.
struct Text<'f, W> {
    file: &'f mut W,
    error: Option<io::Error>,
}

impl<W: Write> fmt::Write for Text<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.file.write_all(text.as_bytes()).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}
