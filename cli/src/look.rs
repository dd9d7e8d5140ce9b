//! One look at a process: everything that the commands show is made of.

use std::collections::HashMap;
use std::time::Duration;

use crate::calls;
use crate::descriptors::Descriptors;
use crate::elf::Module;
use crate::memory::Read;
use crate::problem::{Problem, Result};
use crate::process::ThreadState;
use crate::sample::Samples;
use crate::snapshot::{Index, Reader, Scheduler, Snapshot, State, Task};
use crate::table::Table;
use crate::target::Target;
use crate::words::{Words, add, duration, printable};

/// How often who runs is looked at, and how far apart.
pub const SAMPLES: usize = 50;
pub const INTERVAL: Duration = Duration::from_millis(2);

/// A process that is looked at, perhaps again and again.
pub struct Subject {
    pub target: Target,
    pub modules: Vec<Module>,
    pub tables: Vec<Table>,
}

impl Subject {
    pub fn open(whom: &str) -> Result<Subject> {
        let target = Target::open(whom)?;
        let modules = target.modules();
        let with_missing = |text: String, target: &Target| {
            let sentences: Vec<String> = [text].into_iter().chain(target.missing(true)).collect();
            Problem::new(sentences.join("; "))
        };
        let tables = target.tables(&modules);
        let tables = tables.map_err(|problem| with_missing(problem.to_string(), &target))?;
        let subject = Subject { target, modules, tables };
        if let Target::Core(core) = &subject.target {
            core.forget_missing();
            // Without the memory that has them it must not look as if there had been none.
            let found = subject.reader().schedulers();
            if found.schedulers.is_empty() && found.dropped > 0 {
                let text = format!("the schedulers in {} cannot be read", subject.target.whom());
                return Err(with_missing(text, &subject.target));
            }
        }
        Ok(subject)
    }

    /// Whether it still runs; a core file always does.
    pub fn is_alive(&self) -> bool {
        let mut bytes = [0; 4];
        self.modules.is_empty()
            || self.modules.iter().any(|module| self.target.memory().read(module.start, &mut bytes))
    }

    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self.target.memory(), &self.tables)
    }

    /// Looks, after so many samples.
    pub fn look(&self, reader: &mut Reader<'_>, samples: usize) -> Look {
        let mut seen = Samples::default();
        if samples > 0 && self.target.process().is_some() {
            let schedulers = reader.schedulers();
            seen.take(self.target.memory(), &self.tables, &schedulers, (samples, INTERVAL));
        }
        let snapshot = reader.read();
        self.after(snapshot, seen)
    }

    /// Whether the task that ran has the same turn.
    fn has_same_turn(&self, scheduler: &Scheduler) -> bool {
        let table = &self.tables[scheduler.copy];
        let word = |at: u64| self.target.memory().u64_at(scheduler.address.wrapping_add(at));
        word(table.scheduler_current_task) == Some(scheduler.current_task)
            && word(table.scheduler_turn_began) == Some(scheduler.turn_began)
    }

    /// What else belongs to a snapshot.
    pub fn after(&self, snapshot: Snapshot, samples: Samples) -> Look {
        let now_ns = self.target.now_ns(&snapshot);
        let threads = self.target.process().map_or_else(HashMap::new, |process| {
            let running =
                snapshot.schedulers.iter().filter(|of| of.thread != 0 && of.current_task != 0);
            let state = |of: &Scheduler| (of.thread, process.thread_state(of.thread));
            let states = running.map(|of| (of, state(of)));
            // Unless the turn has ended meanwhile: then it is not that of the task.
            states.filter(|(of, _)| self.has_same_turn(of)).map(|(_, state)| state).collect()
        });
        let descriptors = self.target.descriptors();
        Look { snapshot, samples, now_ns, threads, descriptors }
    }
}

/// See the module.
pub struct Look {
    pub snapshot: Snapshot,
    pub samples: Samples,
    /// CLOCK_MONOTONIC of the process.
    pub now_ns: u64,
    pub threads: HashMap<i32, ThreadState>,
    descriptors: Box<dyn Descriptors>,
}

impl Look {
    /// Without a process.
    pub fn of(snapshot: Snapshot, now_ns: u64, descriptors: Box<dyn Descriptors>) -> Look {
        let (samples, threads) = (Samples::default(), HashMap::new());
        Look { snapshot, samples, now_ns, threads, descriptors }
    }

    pub fn words<'l>(&'l self, index: &'l Index<'l>) -> Words<'l> {
        Words {
            snapshot: &self.snapshot,
            index,
            descriptors: &*self.descriptors,
            now_ns: self.now_ns,
        }
    }

    /// How long a task has been waiting, or has had its turn; `None` if it cannot be told.
    pub fn age_ns(&self, scheduler: &Scheduler, task: &Task) -> Option<u64> {
        let since_ns = match task.state {
            State::Running => scheduler.turn_since_ns(),
            _ => scheduler.waits_since_ns(task)?,
        };
        Some(self.now_ns.saturating_sub(since_ns))
    }

    /// How long the running task has had its turn.
    pub fn turn_ns(&self, scheduler: &Scheduler) -> u64 {
        self.now_ns.saturating_sub(scheduler.turn_since_ns())
    }

    /// What a task does or waits for.
    pub fn doing(&self, words: &Words<'_>, scheduler: &Scheduler, task: &Task) -> String {
        let mut text = String::new();
        self.push_doing(&mut text, words, scheduler, task);
        text
    }

    /// See [`Look::doing`].
    pub fn push_doing(
        &self,
        text: &mut String,
        words: &Words<'_>,
        scheduler: &Scheduler,
        task: &Task,
    ) {
        match task.state {
            State::Running => self.push_running(text, scheduler),
            State::Ready if task.turns == 0 => text.push_str("has had no turn yet"),
            _ => words.push_doing(text, scheduler, task),
        }
    }

    fn push_running(&self, text: &mut String, scheduler: &Scheduler) {
        match self.threads.get(&scheduler.thread) {
            Some(ThreadState::Runs) => text.push_str("computes"),
            Some(ThreadState::InCall { number, first, .. }) => {
                let (name, has_descriptor) = calls::name(*number);
                add(text, format_args!("blocks its thread in {name}"));
                if has_descriptor {
                    let fd = *first as i32;
                    text.push_str(" of ");
                    self.descriptors.describe(fd).push_noun(text, fd);
                }
            }
            Some(ThreadState::Waits) => text.push_str("keeps its thread, which waits"),
            Some(ThreadState::Gone) => text.push_str("its thread is gone"),
            None => {}
        }
    }

    /// A line on a scheduler.
    pub fn scheduler_line(&self, scheduler: &Scheduler) -> String {
        let mut counts = [0; State::ALL.len()];
        for task in &scheduler.tasks {
            counts[task.state as usize] += 1;
        }
        let some = State::ALL.iter().zip(counts).filter(|(_, count)| *count > 0);
        let states: Vec<String> =
            some.map(|(state, count)| format!("{count} {}", state.word())).collect();
        let tasks = crate::words::count(scheduler.tasks.len(), "task");
        let states =
            if states.is_empty() { String::new() } else { format!(": {}", states.join(", ")) };
        let name = match &scheduler.name[..] {
            [] => String::new(),
            name => format!(" '{}'", printable(name)),
        };
        let thread = match scheduler.thread {
            0 => "not running".to_owned(),
            thread => format!("thread {thread}"),
        };
        let idle = if self.samples.count > 0 && scheduler.thread != 0 {
            format!(
                ", no task ran in {:.0}% of the time",
                self.samples.no_task(scheduler.address) * 100.0
            )
        } else {
            String::new()
        };
        format!("scheduler {}{name}, {thread}: {tasks}{states}{idle}", scheduler.number)
    }

    /// What was not read, if anything.
    pub fn dropped_line(&self, subject: &Subject) -> Option<String> {
        let dropped = self.snapshot.dropped;
        let things = crate::words::count(dropped, "thing");
        let why = match subject.target.process() {
            Some(_) => "which came or went while it was read",
            None => "which cannot be read",
        };
        (dropped > 0).then(|| format!("left out: {things}, {why}"))
    }
}

/// An age for a column.
pub fn age(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), duration)
}
