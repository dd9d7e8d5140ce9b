//! `majjen trace`: has a process record what its tasks do, and shows it.
//!
//! One word is written to the process, beside the list of its schedulers: how many entries are to be recorded, and
//! until when. src/engine/measure/entry.rs describes it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::entry::{Code, EXPONENTS, Entry, Recording, Request, write_chrome};
use crate::look::Subject;
use crate::memory::{Memory, Read, u64_in};
use crate::page;
use crate::problem::{Problem, Result};
use crate::process::Process;
use crate::recorded::{self, Head, MOST_ENTRIES, Named, Recorded};
use crate::snapshot::Scheduler;
use crate::table::Table;
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
    // Before all that is recorded would be lost.
    let file = match Output::open(&wanted.output) {
        Ok(file) => file,
        Err(error) => return Ok(Err(cannot_be_written(&wanted.output, &error))),
    };
    let recorded = record(process, subject, wanted, &whom);
    let Found { schedulers, idle, unreadable } = match recorded {
        Ok(found) => found,
        Err(problem) => return Ok(Err(problem)),
    };
    if schedulers.is_empty() {
        if !unreadable.is_empty() {
            return Ok(Err(Problem::new(format!("of {whom} {}", what_is_unreadable(&unreadable)))));
        }
        return Ok(Err(Problem::new(format!(
            "nothing was recorded of {whom}: no task has ended a turn meanwhile. `majjen ps {}` shows what they \
             wait for, or which one keeps its thread",
            process.pid
        ))));
    }
    let title = format!("{} ({})", subject.target.name(), process.pid);
    if let Err(error) = file.write(&title, &schedulers) {
        return Ok(Err(cannot_be_written(&wanted.output, &error)));
    }
    for name in &idle {
        writeln!(out, "{name}: nothing is recorded, since no task has ended a turn meanwhile")?;
    }
    if !unreadable.is_empty() {
        writeln!(out, "{}", what_is_unreadable(&unreadable))?;
    }
    for scheduler in &schedulers {
        let lost = match scheduler.lost {
            0 => String::new(),
            lost => format!("; {lost} earlier ones did not fit, see --events"),
        };
        let events = count(scheduler.entries.len(), "event");
        let tasks = count(scheduler.tasks(), "task");
        writeln!(out, "{}: {events} of {tasks}{lost}", scheduler.title)?;
    }
    writeln!(out, "written to {}", wanted.output.display())?;
    Ok(Ok(()))
}

/// What there is after a recording.
#[derive(Default)]
struct Found {
    schedulers: Vec<Recorded>,
    /// What those are called that have not recorded anything, and those whose record cannot be read.
    idle: Vec<String>,
    unreadable: Vec<String>,
}

fn what_is_unreadable(titles: &[String]) -> String {
    let titles = titles.join(", ");
    format!(
        "what {titles} recorded cannot be read: the program has begun another record meanwhile, or has overwritten it, \
         or all are of more than {MOST_ENTRIES} events"
    )
}

/// Has all schedulers record, and reads it.
fn record(process: &Process, subject: &Subject, wanted: &Wanted, whom: &str) -> Result<Found> {
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
    let (mut found, mut entries_left) = (Found::default(), MOST_ENTRIES);
    for scheduler in &snapshot.schedulers {
        let title = || recorded::title(scheduler);
        let Some(now) = head_of(scheduler) else { continue };
        let earlier = before.iter().find(|(address, _)| *address == scheduler.address);
        let has_begun = match earlier {
            Some((_, Some(head))) => head.is_on || now.beginnings != head.beginnings,
            _ => now.beginnings > 0,
        };
        if !has_begun {
            found.idle.push(title());
            continue;
        }
        let table = &subject.tables[scheduler.copy];
        match recorded::read(memory, table, scheduler, &mut entries_left) {
            Some(read) if read.entries.is_empty() => found.idle.push(title()),
            Some(mut read) => {
                if head_of(scheduler).is_some_and(|head| head.is_on) {
                    read.entries.extend(running(process, memory, table, scheduler));
                }
                found.schedulers.push(read);
            }
            None => found.unreadable.push(title()),
        }
    }
    Ok(found)
}

/// The entry of a turn that has gone on since before the ring was read.
fn running(
    process: &Process,
    memory: &dyn Memory,
    table: &Table,
    scheduler: &Scheduler,
) -> Option<Entry> {
    let word = |at: u64| Some(u64_in(&memory.bytes_at(scheduler.address.wrapping_add(at), 8)?, 0));
    let task = scheduler.tasks.iter().find(|task| task.address == scheduler.current_task)?;
    let is_same = word(table.scheduler_current_task)? == task.address
        && word(table.scheduler_turn_began)? == scheduler.turn_began;
    is_same.then(|| Entry { time: process.monotonic_ns(), word: Code::Runs.word(task.id) })
}

fn cannot_be_written(path: &Path, error: &io::Error) -> Problem {
    Problem::new(format!("{} cannot be written: {error}", path.display()))
}

/// The file to write. If nothing is written to it, it is as it was before.
struct Output<'p> {
    path: &'p Path,
    file: File,
    is_new: bool,
}

impl Output<'_> {
    fn open(path: &Path) -> io::Result<Output<'_>> {
        let is_new = !path.exists();
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        Ok(Output { path, file, is_new })
    }

    /// A page if the name says so, else JSON.
    fn write(mut self, title: &str, schedulers: &[Recorded]) -> io::Result<()> {
        self.is_new = false;
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        let mut file = BufWriter::new(&self.file);
        let ending = self.path.extension();
        if ending.is_some_and(|ending| ending == "html" || ending == "htm") {
            write_page(&mut file, title, schedulers)?;
        } else {
            write_json(&mut file, title, schedulers)?;
        }
        file.flush()
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_file(self.path);
        }
    }
}

/// Writes what was recorded of a process as a page.
pub fn write_page(file: &mut impl Write, title: &str, schedulers: &[Recorded]) -> io::Result<()> {
    page::write(file, title, &for_page(schedulers))
}

/// With times since the first entry of all.
fn for_page(schedulers: &[Recorded]) -> Vec<page::Recorded> {
    let timed = |entry: &&Entry| entry.code().is_some_and(|code| code != Code::Text);
    let entries = schedulers.iter().flat_map(|of| &of.entries);
    let began = entries.filter(timed).map(|entry| entry.time).min().unwrap_or(0);
    let one = |of: &Recorded| page::Recorded {
        name: of.title.clone(),
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

/// The same as JSON.
pub fn write_json(file: &mut impl Write, title: &str, schedulers: &[Recorded]) -> io::Result<()> {
    let named: Vec<Named<'_>> =
        schedulers.iter().map(|of| Named { of, name: format!("{title} {}", of.title) }).collect();
    let recordings: Vec<&dyn Recording> =
        named.iter().map(|named| named as &dyn Recording).collect();
    let mut out = Text { file, error: None };
    match write_chrome(&mut out, &recordings) {
        Ok(()) => Ok(()),
        Err(fmt::Error) => Err(out.error.unwrap_or_else(|| io::Error::other("it has no format"))),
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
