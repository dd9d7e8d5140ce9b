//! `majjen bt` and `majjen stacks`: where tasks are.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::core_file::CoreFile;
use crate::look::{Look, Subject, age};
use crate::memory::{Memory, Read, u32_in, u64_in};
use crate::problem::{Problem, Result};
use crate::process::ThreadState;
use crate::snapshot::{Index, Scheduler, State, Task};
use crate::style::{Color, Style};
use crate::symbols::{Symbol, Symbols};
use crate::table::Table;
use crate::target::Target;
use crate::unwind::{Frame, Registers, Stack, Unwinder};
use crate::words::{Words, count, duration, push_duration};

/// Of a stack no more is read: what is behind it is read word by word.
const MOST_STACK_BYTES: u64 = 1 << 20;
const ATTEMPTS: usize = 5;

/// How stacks are written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub is_json: bool,
    /// With all frames of the library.
    pub is_full: bool,
}

/// Where a task is, or why that cannot be told.
pub enum Place {
    Frames(Vec<Frame>),
    Unknown(String),
}

/// Finds out where tasks are.
pub struct Finder<'s> {
    subject: &'s Subject,
    /// Whether frames of the library are left out that say nothing of the program.
    is_short: bool,
    unwinder: Unwinder<'s>,
    symbols: Symbols<'s>,
    parts: HashMap<u64, Part>,
}

/// Whose code it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Program,
    Library,
    /// Of Rust, between the two.
    Standard,
}

impl<'s> Finder<'s> {
    pub fn new(subject: &'s Subject, is_short: bool) -> Finder<'s> {
        let pid = subject.target.process().map(|process| process.pid);
        Finder {
            subject,
            is_short,
            unwinder: Unwinder::new(subject.target.memory(), &subject.modules, pid),
            symbols: Symbols::new(&subject.modules, pid),
            parts: HashMap::new(),
        }
    }

    pub fn place(&mut self, look: &Look, scheduler: &Scheduler, task: &Task) -> Place {
        let place = match task.state {
            State::Running => self.running(look, scheduler),
            _ if task.context == 0 => Place::Unknown("it has not had its first turn".to_owned()),
            _ => self.suspended(scheduler, task),
        };
        match place {
            Place::Frames(frames) if self.is_short => Place::Frames(self.shortened(frames)),
            place => place,
        }
    }

    /// Without the innermost frames of the library but for the call of the program, and without those outside of the
    /// program's outermost one.
    fn shortened(&mut self, mut frames: Vec<Frame>) -> Vec<Frame> {
        let begin = frames.iter().position(|frame| self.part(frame) == Part::Program);
        let end = frames.iter().rposition(|frame| self.part(frame) == Part::Program);
        if let (Some(begin), Some(end)) = (begin, end) {
            frames.truncate(end + 1);
            frames.drain(..begin.saturating_sub(1));
        }
        frames
    }

    /// Whose code a frame is in.
    fn part(&mut self, frame: &Frame) -> Part {
        let address = frame.lookup();
        if let Some(part) = self.parts.get(&address) {
            return *part;
        }
        let symbol = self.symbols.find(address);
        let part = match symbol.functions.last() {
            _ if symbol.module.starts_with("libmajjen") => Part::Library,
            Some(function) => {
                let name = function.name.trim_start_matches('<');
                let is_in = |folder: &str| {
                    let file = function.place.as_ref().map_or("", |(file, _)| file.as_str());
                    file.contains(folder) && file.ends_with(".rs")
                };
                if ["majjen::", "mj_"].iter().any(|start| name.starts_with(start))
                    || is_in("src/engine/")
                    || is_in("src/ffi/")
                {
                    Part::Library
                } else if ["core::", "std::", "alloc::", "__rust"]
                    .iter()
                    .any(|start| name.starts_with(start))
                {
                    Part::Standard
                } else {
                    Part::Program
                }
            }
            None => Part::Program,
        };
        self.parts.insert(address, part);
        part
    }

    /// A task that does not run: its stack says it all. Read between two looks at how many turns it has had.
    fn suspended(&mut self, scheduler: &Scheduler, task: &Task) -> Place {
        let table = &self.subject.tables[scheduler.copy];
        let memory = self.subject.target.memory();
        for _ in 0..ATTEMPTS {
            let Some(before) = Moment::read(memory, table, scheduler, task) else { break };
            if before.id != task.id {
                return Place::Unknown("it has ended".to_owned());
            }
            let end = before.top.min(before.context.saturating_add(MOST_STACK_BYTES));
            let bytes = end.saturating_sub(before.context);
            let stack = memory
                .bytes_at(before.context, bytes as usize)
                .map(|bytes| Stack { start: before.context, bytes });
            let after = Moment::read(memory, table, scheduler, task);
            if after.as_ref() != Some(&before) || before.is_running {
                continue;
            }
            let registers = stack.as_ref().and_then(|stack| Unwinder::of_context(table, stack));
            return match (stack.zip(registers), &self.subject.target) {
                // No code is there: memory that was left out is a hole in the file, and reads as this.
                (Some((_, Registers { pc: 0, .. })), Target::Core(_)) => Place::Unknown(
                    "its stack is empty in the core file: gdb leaves stacks out on Linux 6.13 and later, unless \
                     it writes the file by `mj core`"
                        .to_owned(),
                ),
                (Some((stack, registers)), _) => {
                    Place::Frames(self.unwinder.frames(registers, &stack))
                }
                (None, Target::Core(_)) => {
                    Place::Unknown("its stack is not in the core file".to_owned())
                }
                (None, Target::Process(_)) => Place::Unknown("its stack cannot be read".to_owned()),
            };
        }
        Place::Unknown(
            "it has turns so often that its stack could not be read in between".to_owned(),
        )
    }

    /// The task that runs is where its thread is. Of one that computes the kernel tells nobody, unless it is
    /// stopped.
    fn running(&mut self, look: &Look, scheduler: &Scheduler) -> Place {
        let registers = match &self.subject.target {
            Target::Core(core) => of_thread(core, scheduler.thread),
            Target::Process(_) => match look.threads.get(&scheduler.thread) {
                Some(ThreadState::InCall { sp, pc, .. }) => {
                    Some(Registers { pc: *pc, sp: *sp, ..Registers::default() })
                }
                Some(ThreadState::Runs) => {
                    let lasts = duration(look.turn_ns(scheduler));
                    return Place::Unknown(format!(
                        "it computes, for {lasts} by now: a program cannot see from outside where, without \
                         stopping it. The watchdog tells that (mj_scheduler_report_long_turns), or a \
                         debugger"
                    ));
                }
                None => return Place::Unknown("its turn has just ended".to_owned()),
                _ => None,
            },
        };
        let Some(registers) = registers else {
            return Place::Unknown("where its thread is cannot be told".to_owned());
        };
        let memory = self.subject.target.memory();
        // As far as it goes, up to a size.
        let mut bytes = Vec::new();
        while bytes.len() < MOST_STACK_BYTES as usize {
            let at = registers.sp.wrapping_add(bytes.len() as u64);
            match memory.bytes_at(at, (4096 - at % 4096) as usize) {
                Some(mut page) => bytes.append(&mut page),
                None => break,
            }
        }
        let stack = Stack { start: registers.sp, bytes };
        Place::Frames(self.unwinder.frames(registers, &stack))
    }

    /// The names of a frame: of the library's only that which the program has called.
    fn symbol(&mut self, frame: &Frame) -> Symbol {
        let mut symbol = self.symbols.find(frame.lookup());
        if self.is_short && self.part(frame) == Part::Library {
            symbol.functions.drain(..symbol.functions.len().saturating_sub(1));
            symbol.functions.iter_mut().for_each(|function| function.place = None);
        }
        symbol
    }

    /// The lines of a backtrace.
    pub fn lines(&mut self, frames: &[Frame]) -> Vec<String> {
        let mut lines = Vec::new();
        for frame in frames {
            let symbol = self.symbol(frame);
            lines.extend(lines_of(*frame, &symbol));
        }
        lines
    }

    /// The frames as JSON.
    fn json(&mut self, frames: &[Frame]) -> Vec<Value> {
        let mut all = Vec::new();
        for frame in frames {
            let symbol = self.symbol(frame);
            let functions: Vec<Value> = symbol
                .functions
                .iter()
                .map(|function| {
                    let (file, line) = function.place.clone().unzip();
                    json!({ "name": function.name, "file": file, "line": line })
                })
                .collect();
            all.push(json!({
                "address": format!("{:#x}", frame.pc),
                "module": symbol.module,
                "offset": format!("{:#x}", symbol.offset),
                "functions": functions,
            }));
        }
        all
    }
}

/// A line for each function: those that were inlined have none of their own in the code.
fn lines_of(frame: Frame, symbol: &Symbol) -> Vec<String> {
    let where_from = format!("{}+{:#x}", symbol.module, symbol.offset);
    if symbol.functions.is_empty() {
        let place = if symbol.module.is_empty() { format!("{:#x}", frame.pc) } else { where_from };
        return vec![format!("?? in {place}")];
    }
    symbol
        .functions
        .iter()
        .map(|function| match &function.place {
            Some((file, line)) => format!("{} at {file}:{line}", function.name),
            None => format!("{} in {where_from}", function.name),
        })
        .collect()
}

/// What tells one turn of a task from another.
#[derive(PartialEq)]
struct Moment {
    id: u64,
    turns: u32,
    context: u64,
    top: u64,
    is_running: bool,
}

impl Moment {
    fn read(
        memory: &dyn Memory,
        table: &Table,
        scheduler: &Scheduler,
        task: &Task,
    ) -> Option<Moment> {
        let current =
            memory.u64_at(scheduler.address.wrapping_add(table.scheduler_current_task))?;
        let slot = memory.bytes_at(task.address, table.task_bytes as usize)?;
        Some(Moment {
            id: u64_in(&slot, table.task_id),
            turns: u32_in(&slot, table.task_turns),
            context: u64_in(&slot, table.task_context),
            top: u64_in(&slot, table.task_stack_top),
            is_running: current == task.address,
        })
    }
}

fn of_thread(core: &CoreFile, thread: i32) -> Option<Registers> {
    let thread = core.threads.iter().find(|other| other.id == thread)?;
    Some(Registers { pc: thread.pc, sp: thread.sp, fp: thread.fp, lr: thread.lr, is_return: false })
}

/// The task that a user means: by its number, with the scheduler's in front if there are several, by its id, or else
/// by its name.
pub fn find<'l>(look: &'l Look, whom: &str) -> Result<(&'l Scheduler, &'l Task)> {
    let schedulers = &look.snapshot.schedulers;
    let parse = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.trim_start_matches('#').parse().ok(),
    };
    let all = || {
        schedulers
            .iter()
            .flat_map(|scheduler| scheduler.tasks.iter().map(move |task| (scheduler, task)))
    };
    let mut found: Vec<(&Scheduler, &Task)> = match whom.split_once(':') {
        Some((scheduler, task)) => {
            let (scheduler, number) = (parse(scheduler), parse(task));
            all()
                .filter(|(of, task)| {
                    Some(of.number as u64) == scheduler && Some(u64::from(task.number)) == number
                })
                .collect()
        }
        None => {
            let number = parse(whom);
            all()
                .filter(|(_, task)| {
                    number == Some(u64::from(task.number)) || number == Some(task.id)
                })
                .collect()
        }
    };
    if found.is_empty() {
        found =
            all().filter(|(_, task)| task.name() == whom.as_bytes() && !whom.is_empty()).collect();
    }
    match found[..] {
        [one] => Ok(one),
        [] => Err(Problem::new(format!(
            "no living task has the number, the id or the name {whom}: `majjen ps` tells which there are"
        ))),
        _ => {
            let number = |(of, task): &(&Scheduler, &Task)| match schedulers.len() {
                1 => task.number.to_string(),
                _ => format!("{}:{}", of.number, task.number),
            };
            let numbers: Vec<String> = found.iter().take(8).map(number).collect();
            let more = if found.len() > numbers.len() { ", ..." } else { "" };
            Err(Problem::new(format!(
                "{whom} is {}: write the number of one, or its id: {}{more}",
                count(found.len(), "task"),
                numbers.join(", ")
            )))
        }
    }
}

/// `majjen bt`.
pub fn backtrace(
    out: &mut dyn Write,
    style: Style,
    subject: &Subject,
    whom: &str,
    form: Form,
) -> Result<io::Result<()>> {
    let look = subject.look(&mut subject.reader(), 0);
    let (scheduler, task) = find(&look, whom)?;
    let index = Index::new(&look.snapshot);
    let words = look.words(&index);
    let mut finder = Finder::new(subject, !form.is_full);
    let place = finder.place(&look, scheduler, task);
    if form.is_json {
        let mut all = crate::json::object_of_task(&look, &words, scheduler, task);
        match place {
            Place::Frames(frames) => all["frames"] = finder.json(&frames).into(),
            Place::Unknown(why) => all["no_frames"] = why.into(),
        }
        return Ok(writeln!(out, "{all}"));
    }
    let title = title_of(&look, &words, scheduler, task);
    let mut write = |out: &mut dyn Write| {
        writeln!(out, "{}", style.paint(Color::Bold, &title))?;
        match &place {
            Place::Unknown(why) => writeln!(out, "  {why}"),
            Place::Frames(frames) => {
                let lines = finder.lines(frames);
                let width = lines.len().to_string().len() + 1;
                for (number, line) in lines.iter().enumerate() {
                    let number = format!("#{number}");
                    writeln!(out, "  {number:<width$} {line}")?;
                }
                Ok(())
            }
        }
    };
    Ok(write(out))
}

/// A task, and what it does.
fn title_of(look: &Look, words: &Words<'_>, scheduler: &Scheduler, task: &Task) -> String {
    let mut text = format!("{} {}", words.who(scheduler, task), task.state.word());
    if let Some(ns) = look.age_ns(scheduler, task) {
        text.push_str(" for ");
        push_duration(&mut text, ns);
    }
    let does = look.doing(words, scheduler, task);
    if !does.is_empty() {
        text.push_str(": ");
        text.push_str(&does);
    }
    text
}

/// `majjen stacks`: all tasks, those together that are at the same place, the most first.
pub fn all(out: &mut dyn Write, style: Style, subject: &Subject, form: Form) -> io::Result<()> {
    let look = subject.look(&mut subject.reader(), 0);
    let index = Index::new(&look.snapshot);
    let words = look.words(&index);
    let mut finder = Finder::new(subject, !form.is_full);
    let mut by_stack: BTreeMap<(Vec<u64>, String), Group> = BTreeMap::new();
    for scheduler in &look.snapshot.schedulers {
        for task in &scheduler.tasks {
            let (frames, why) = match finder.place(&look, scheduler, task) {
                Place::Frames(frames) => (frames, String::new()),
                Place::Unknown(why) => (Vec::new(), why),
            };
            let key = (frames.iter().map(|frame| frame.pc).collect(), why);
            let group = by_stack.entry(key).or_insert_with(|| Group { frames, tasks: Vec::new() });
            group.tasks.push((scheduler, task));
        }
    }
    let mut groups: Vec<(String, Group)> =
        by_stack.into_iter().map(|((_, why), group)| (why, group)).collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.tasks.len()));
    if form.is_json {
        let mut all = Vec::new();
        for (why, group) in &groups {
            let ids: Vec<String> =
                group.tasks.iter().map(|(_, task)| format!("{:#x}", task.id)).collect();
            let frames = finder.json(&group.frames);
            let why = (!why.is_empty()).then_some(why);
            all.push(json!({ "tasks": ids, "frames": frames, "no_frames": why }));
        }
        return writeln!(out, "{}", json!({ "pid": subject.target.pid(), "stacks": all }));
    }
    let tasks = groups.iter().map(|(_, group)| group.tasks.len()).sum();
    let title = format!(
        "{}: {} at {}",
        subject.target.whom(),
        count(tasks, "task"),
        count(groups.len(), "place")
    );
    writeln!(out, "{}", style.paint(Color::Bold, &title))?;
    for (why, group) in &groups {
        const MOST_NAMES: usize = 6;
        let mut names: Vec<String> = group
            .tasks
            .iter()
            .take(MOST_NAMES)
            .map(|(scheduler, task)| {
                let who = words.who(scheduler, task);
                who.strip_prefix("task ").unwrap_or(&who).to_owned()
            })
            .collect();
        if group.tasks.len() > MOST_NAMES {
            names.push(format!("{} more", group.tasks.len() - MOST_NAMES));
        }
        let oldest = group.tasks.iter().filter_map(|(of, task)| look.age_ns(of, task)).max();
        let line = match group.tasks[..] {
            [(scheduler, task)] => title_of(&look, &words, scheduler, task),
            _ => format!("{}: {}", count(group.tasks.len(), "task"), names.join(", ")),
        };
        writeln!(out, "\n{}", style.paint(Color::Bold, &line))?;
        if group.tasks.len() > 1 && oldest.is_some() {
            writeln!(out, "  the first one has waited for {}", age(oldest))?;
        }
        if !why.is_empty() {
            writeln!(out, "  {why}")?;
        }
        for line in finder.lines(&group.frames) {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

/// The tasks at one place.
struct Group<'l> {
    frames: Vec<Frame>,
    tasks: Vec<(&'l Scheduler, &'l Task)>,
}
