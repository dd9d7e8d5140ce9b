//! `majjen ps`: the tasks, one line each.

use std::cmp::Reverse;
use std::io::{self, Write};

use crate::look::{Look, Subject};
use crate::snapshot::{Index, Scheduler, State, Task};
use crate::style::{Color, Style};
use crate::words::{Words, add, bytes, count, printable_width, push_duration, push_printable};

/// What the lines are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// The number of the task
    #[default]
    Task,
    /// The name
    Name,
    /// How long it has been waiting, or has had its turn: the longest first
    Age,
    /// How many turns it has had: the most first
    Turns,
    /// Its share of the processor: the largest first
    Share,
    /// How much of its stack it uses: the most first
    Stack,
}

/// What the list is of.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub sort: Sort,
    /// Whether lines have ids, too.
    pub ids: bool,
    /// Only tasks with this in their line.
    pub filter: Option<String>,
}

/// The tasks of a scheduler, in an order.
pub fn sorted<'t>(look: &Look, scheduler: &'t Scheduler, sort: Sort) -> Vec<&'t Task> {
    let mut tasks: Vec<&Task> = scheduler.tasks.iter().collect();
    match sort {
        Sort::Task => {}
        Sort::Name => tasks.sort_by(|one, other| one.name().cmp(other.name())),
        Sort::Age => tasks.sort_by_key(|task| Reverse(look.age_ns(scheduler, task))),
        Sort::Turns => tasks.sort_by_key(|task| Reverse(task.turns)),
        Sort::Share => tasks.sort_by(|one, other| {
            let share = |task: &Task| look.samples.share(scheduler.address, task.id);
            share(other).total_cmp(&share(one))
        }),
        Sort::Stack => tasks.sort_by_key(|task| Reverse(task.stack_used())),
    }
    tasks
}

/// Writes the list.
pub fn write(
    out: &mut dyn Write,
    style: Style,
    subject: &Subject,
    look: &Look,
    wanted: &Wanted,
) -> io::Result<()> {
    let snapshot = &look.snapshot;
    let tasks = snapshot.schedulers.iter().map(|scheduler| scheduler.tasks.len()).sum();
    let title = format!(
        "{}: {}, {}",
        subject.target.whom(),
        count(snapshot.schedulers.len(), "scheduler"),
        count(tasks, "task")
    );
    writeln!(out, "{}", style.paint(Color::Bold, &title))?;
    let index = Index::new(snapshot);
    let words = look.words(&index);
    for scheduler in &snapshot.schedulers {
        writeln!(out, "\n{}", look.scheduler_line(scheduler))?;
        if !scheduler.tasks.is_empty() {
            write_tasks(out, style, look, &words, scheduler, wanted)?;
        }
    }
    if let Some(line) = look.dropped_line(subject) {
        writeln!(out, "\n{line}")?;
    }
    Ok(())
}

fn write_tasks(
    out: &mut dyn Write,
    style: Style,
    look: &Look,
    words: &Words<'_>,
    scheduler: &Scheduler,
    wanted: &Wanted,
) -> io::Result<()> {
    let tasks = &scheduler.tasks;
    let widest = |of: &dyn Fn(&Task) -> usize, least: usize| {
        tasks.iter().map(of).max().unwrap_or(0).max(least)
    };
    let largest = |of: &dyn Fn(&Task) -> u32| tasks.iter().max_by_key(|task| of(task));
    let label = largest(&|task| task.number).map(|task| words.label(scheduler, task).len());
    let label_width = label.unwrap_or(0).max(4);
    let name_width = widest(&|task| printable_width(task.name()), 4);
    let turns = largest(&|task| task.turns).map(|task| task.turns.to_string().len());
    let turns_width = turns.unwrap_or(0).max(5);
    let id_width = if wanted.ids { 20 } else { 0 };
    let head = format!(
        "{:>label_width$}  {:<id_width$}{:<name_width$}  {:<8}  {:>7}  {:>turns_width$}  {:>5}  {:>5}  DOES",
        "TASK",
        if wanted.ids { "ID" } else { "" },
        "NAME",
        "STATE",
        "FOR",
        "TURNS",
        "SHARE",
        "STACK"
    );
    writeln!(out, "{}", style.paint(Color::Dim, &head))?;
    let used = label_width + id_width + name_width + turns_width + 8 + 7 + 5 + 5 + 14;
    let mut line = String::new();
    for task in sorted(look, scheduler, wanted.sort) {
        line.clear();
        right(&mut line, label_width, |line| words.push_label(line, scheduler, task));
        line.push_str("  ");
        if wanted.ids {
            left(&mut line, id_width, |line| add(line, format_args!("{:#x}", task.id)));
        }
        left(&mut line, name_width, |line| push_name(line, task));
        line.push_str("  ");
        let state_at = line.len();
        left(&mut line, 8, |line| line.push_str(task.state.word()));
        let after_at = line.len();
        line.push_str("  ");
        right(&mut line, 7, |line| match look.age_ns(scheduler, task) {
            Some(ns) => push_duration(line, ns),
            None => line.push('-'),
        });
        line.push_str("  ");
        right(&mut line, turns_width, |line| add(line, format_args!("{}", task.turns)));
        line.push_str("  ");
        right(&mut line, 5, |line| match look.samples.share(scheduler.address, task.id) {
            share if share > 0.0 => add(line, format_args!("{:.0}%", share * 100.0)),
            _ => line.push('-'),
        });
        line.push_str("  ");
        right(&mut line, 5, |line| match task.stack_used() {
            Some(used) => line.push_str(&bytes(used)),
            None => line.push('-'),
        });
        line.push_str("  ");
        let does_at = line.len();
        look.push_doing(&mut line, words, scheduler, task);
        if wanted.filter.as_ref().is_some_and(|filter| !line.contains(filter.as_str())) {
            continue;
        }
        if style.colors {
            out.write_all(&line.as_bytes()[..state_at])?;
            write!(out, "{}", style.paint(color(task.state), &line[state_at..after_at]))?;
        } else {
            out.write_all(&line.as_bytes()[..after_at])?;
        }
        if style.width.is_some() {
            let does = style.cut(&line[does_at..], used);
            line.truncate(does_at);
            line.push_str(&does);
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        out.write_all(&line.as_bytes()[after_at..])?;
    }
    Ok(())
}

/// Adds a text to a line, with spaces behind it up to a width.
fn left(line: &mut String, width: usize, push: impl FnOnce(&mut String)) {
    let start = line.len();
    push(line);
    let missing = width.saturating_sub(line[start..].chars().count());
    line.extend(std::iter::repeat_n(' ', missing));
}

/// The same with the spaces in front of it.
fn right(line: &mut String, width: usize, push: impl FnOnce(&mut String)) {
    const SPACES: &str = "                                ";
    let start = line.len();
    push(line);
    let missing = width.saturating_sub(line.len() - start).min(SPACES.len());
    line.insert_str(start, &SPACES[..missing]);
}

/// The name of a task in a column.
pub fn shown_name(task: &Task) -> String {
    let mut text = String::new();
    push_name(&mut text, task);
    text
}

fn push_name(text: &mut String, task: &Task) {
    match task.name() {
        [] => text.push('-'),
        name => push_printable(text, name),
    }
}

pub fn color(state: State) -> Color {
    match state {
        State::Running | State::Busy => Color::Green,
        State::Ready => Color::Yellow,
        State::Sleeping | State::Waiting => Color::Blue,
        State::Parked => Color::Dim,
    }
}
