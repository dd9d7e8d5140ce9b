//! `majjen ps`: the tasks, one line each.

use std::cmp::Reverse;
use std::io::{self, Write};

use crate::look::{Look, Subject, age};
use crate::snapshot::{Index, Scheduler, State, Task};
use crate::style::{Color, Style};
use crate::words::{Words, bytes, count, printable};

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
    let label_width = widest(&|task| words.label(scheduler, task).len(), 4);
    let name_width = widest(&|task| shown_name(task).chars().count(), 4);
    let turns_width = widest(&|task| task.turns.to_string().len(), 5);
    let id_width = if wanted.ids { 20 } else { 0 };
    let ids = if wanted.ids { format!("{:<20}", "ID") } else { String::new() };
    let head = format!(
        "{:>label_width$}  {ids}{:<name_width$}  {:<8}  {:>7}  {:>turns_width$}  {:>5}  {:>5}  DOES",
        "TASK", "NAME", "STATE", "FOR", "TURNS", "SHARE", "STACK"
    );
    writeln!(out, "{}", style.paint(Color::Dim, &head))?;
    let used = label_width + id_width + name_width + turns_width + 8 + 7 + 5 + 5 + 14;
    for task in sorted(look, scheduler, wanted.sort) {
        let share = look.samples.share(scheduler.address, task.id);
        let name = shown_name(task);
        let pad = " ".repeat(name_width.saturating_sub(name.chars().count()));
        let ids = if wanted.ids { format!("{:<#20x}", task.id) } else { String::new() };
        let before = format!("{:>label_width$}  {ids}{name}{pad}", words.label(scheduler, task));
        let state = format!("{:<8}", task.state.word());
        let after = format!(
            "{:>7}  {:>turns_width$}  {:>5}  {:>5}",
            age(look.age_ns(scheduler, task)),
            task.turns,
            if share > 0.0 { format!("{:.0}%", share * 100.0) } else { "-".to_owned() },
            task.stack_used().map_or_else(|| "-".to_owned(), bytes),
        );
        let does = look.doing(words, scheduler, task);
        if let Some(filter) = &wanted.filter
            && !format!("{before}  {state}  {after}  {does}").contains(filter.as_str())
        {
            continue;
        }
        let state = style.paint(color(task.state), &state);
        let does = style.cut(&does, used);
        let line = format!("{before}  {state}  {after}  {does}");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The name of a task in a column.
pub fn shown_name(task: &Task) -> String {
    match task.name() {
        [] => "-".to_owned(),
        name => printable(name),
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
