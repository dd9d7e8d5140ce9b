//! `majjen top`: the tasks and schedulers on a screen, again and again.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table, TableState};

use crate::columns::{fitting, lengths};
use crate::guard;
use crate::histogram::{quantile, since};
use crate::look::{INTERVAL, Look, Subject, age};
use crate::problem::{Problem, Result};
use crate::ps::{Sort, shown_name, sorted};
use crate::sample::Samples;
use crate::signals;
use crate::snapshot::{Index, Scheduler, State};
use crate::stacks::{Finder, Place, find};
use crate::words::{bytes, count, duration, printable};

/// How far apart the looks at who runs are.
const SAMPLE: Duration = Duration::from_millis(10);
/// From fewer no share is told.
const LEAST_SAMPLES: usize = 20;

/// Runs until the user has seen enough.
pub fn run(subject: &Subject, interval: Duration) -> Result<()> {
    if subject.target.process().is_none() {
        return Err(Problem::new("a core file does not change: `majjen ps` shows what is in it"));
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Problem::new("top needs a terminal: `majjen ps` writes to anything"));
    }
    signals::catch();
    let mut terminal = ratatui::try_init().map_err(no_screen)?;
    // Once more: what `try_init` does at a panic is not for those that are guarded.
    guard::install();
    let result = show(subject, interval, &mut terminal);
    if is_terminal_gone_after(Duration::ZERO) {
        // There is nothing to put back, and nobody to tell: what tries to panics.
        signals::end_if_seen();
        std::process::exit(1);
    }
    ratatui::restore();
    drop(terminal); // It shows the cursor again.
    signals::end_if_seen();
    result
}

fn no_screen(error: io::Error) -> Problem {
    Problem::new(format!("the screen cannot be used: {error}"))
}

/// Waits for input. Returns whether the terminal has been closed: of one that is not the process's own no signal tells,
/// and who reads it for events would read its end again and again.
fn is_terminal_gone_after(wait: Duration) -> bool {
    // SAFETY: no preconditions.
    let fd = if unsafe { libc::isatty(0) } == 1 { 0 } else { 1 };
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as said.
    unsafe { libc::poll(&mut poll, 1, wait.as_millis() as libc::c_int) };
    poll.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
}

fn show(
    subject: &Subject,
    interval: Duration,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<()> {
    let mut reader = subject.reader();
    let colors = crate::style::Style::of_stdout().colors;
    let mut screen = Screen::new(subject, colors);
    let mut samples = Samples::default();
    let mut schedulers = reader.schedulers();
    // The first look comes soon.
    let mut next = Instant::now() + interval.min(Duration::from_millis(200));
    while signals::seen().is_none() {
        // There is something to look at before it can be paused.
        let goes_on = !screen.is_paused || screen.look.is_none();
        if goes_on {
            samples.look(subject.target.memory(), &subject.tables, &schedulers);
        }
        if Instant::now() >= next && goes_on {
            // On a machine that is busy there may have been time for few looks: more of them, then.
            let missing = LEAST_SAMPLES.saturating_sub(samples.count);
            let (memory, tables) = (subject.target.memory(), &subject.tables);
            samples.take(memory, tables, &schedulers, (missing, INTERVAL));
            let snapshot = reader.read();
            if snapshot.schedulers.is_empty() && !subject.is_alive() {
                return Err(Problem::new(format!("process {} has ended", subject.target.pid())));
            }
            schedulers = reader.schedulers();
            screen.update(subject.after(snapshot, std::mem::take(&mut samples)));
            next = Instant::now() + interval;
        }
        if screen.is_changed {
            screen.is_changed = false;
            terminal.draw(|frame| screen.draw(frame)).map_err(no_screen)?;
        }
        if is_terminal_gone_after(SAMPLE) {
            return Ok(());
        }
        if event::poll(Duration::ZERO).map_err(no_screen)? {
            match event::read().map_err(no_screen)? {
                Event::Key(key) if key.kind != KeyEventKind::Release && screen.key(key) => {
                    return Ok(());
                }
                _ => screen.is_changed = true,
            }
        }
    }
    Ok(())
}

/// What is on the screen.
struct Screen<'s> {
    subject: &'s Subject,
    look: Option<Look>,
    read_at: Instant,
    /// Of the look before, when it was, and how many turns each task had had.
    before: Option<Before>,
    /// How many turns a second each task has, by its id.
    rates: HashMap<u64, f64>,
    rows: Vec<SchedulerRow>,
    sort: Sort,
    filter: String,
    is_filtering: bool,
    is_paused: bool,
    colors: bool,
    /// The task whose line is marked, by its label; and the place of the mark.
    table: TableState,
    labels: Vec<String>,
    /// The backtrace that is shown.
    popup: Option<Vec<String>>,
    is_changed: bool,
}

struct Before {
    at: Instant,
    turns: HashMap<u64, u32>,
    lateness: HashMap<u64, Vec<u64>>,
}

/// A scheduler's line.
struct SchedulerRow {
    cells: [String; 8],
}

const SORTS: [Sort; 6] = [Sort::Share, Sort::Turns, Sort::Age, Sort::Task, Sort::Name, Sort::Stack];

impl<'s> Screen<'s> {
    fn new(subject: &'s Subject, colors: bool) -> Screen<'s> {
        Screen {
            subject,
            look: None,
            read_at: Instant::now(),
            before: None,
            rates: HashMap::new(),
            rows: Vec::new(),
            sort: Sort::Share,
            filter: String::new(),
            is_filtering: false,
            is_paused: false,
            colors,
            table: TableState::default().with_selected(0),
            labels: Vec::new(),
            popup: None,
            is_changed: true,
        }
    }

    fn update(&mut self, look: Look) {
        let now = Instant::now();
        let mut turns = HashMap::new();
        let mut lateness = HashMap::new();
        self.rates.clear();
        self.rows.clear();
        let before = self.before.take();
        let seconds = before.as_ref().map(|before| (now - before.at).as_secs_f64());
        for scheduler in &look.snapshot.schedulers {
            let mut all_turns = 0.0;
            for task in &scheduler.tasks {
                turns.insert(task.id, task.turns);
                // A task that is new has had all its turns since.
                if let (Some(before), Some(seconds)) = (&before, seconds) {
                    let earlier = before.turns.get(&task.id).copied().unwrap_or(0);
                    let rate = f64::from(task.turns.saturating_sub(earlier)) / seconds;
                    all_turns += rate;
                    self.rates.insert(task.id, rate);
                }
            }
            let earlier =
                before.as_ref().and_then(|before| before.lateness.get(&scheduler.address));
            let new = since(&scheduler.lateness, earlier.map_or(&[], Vec::as_slice));
            lateness.insert(scheduler.address, scheduler.lateness.clone());
            let parts = self.subject.tables[scheduler.copy].histogram_parts;
            let late =
                |percent| quantile(&new, parts, percent).map_or_else(|| "-".into(), duration);
            let ready = |state| scheduler.tasks.iter().filter(|task| task.state == state).count();
            let busy = 1.0 - look.samples.no_task(scheduler.address);
            self.rows.push(SchedulerRow {
                cells: [
                    scheduler_label(scheduler),
                    if scheduler.thread == 0 { "-".into() } else { scheduler.thread.to_string() },
                    scheduler.tasks.len().to_string(),
                    (ready(State::Ready) + ready(State::Running) + ready(State::Busy)).to_string(),
                    if scheduler.thread == 0 {
                        "-".into()
                    } else {
                        format!("{:.0}%", busy * 100.0)
                    },
                    rate_text(seconds.map(|_| all_turns)),
                    late(50),
                    late(99),
                ],
            });
        }
        self.before = Some(Before { at: now, turns, lateness });
        self.read_at = now;
        self.look = Some(look);
        self.is_changed = true;
    }

    /// Whether to stop.
    fn key(&mut self, key: KeyEvent) -> bool {
        self.is_changed = true;
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return true;
        }
        if self.popup.take().is_some() {
            return false;
        }
        if self.is_filtering {
            match key.code {
                KeyCode::Enter => self.is_filtering = false,
                KeyCode::Esc => {
                    self.is_filtering = false;
                    self.filter.clear();
                }
                KeyCode::Backspace => _ = self.filter.pop(),
                KeyCode::Char(c) => self.filter.push(c),
                _ => {}
            }
            return false;
        }
        match key.code {
            KeyCode::Char('q') => return true,
            KeyCode::Esc if self.filter.is_empty() => return true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.is_filtering = true,
            KeyCode::Char('s') => {
                let at = SORTS.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                self.sort = SORTS[(at + 1) % SORTS.len()];
            }
            KeyCode::Up | KeyCode::Char('k') => self.table.select_previous(),
            KeyCode::Down | KeyCode::Char('j') => self.table.select_next(),
            KeyCode::PageUp => self.table.scroll_up_by(20),
            KeyCode::PageDown => self.table.scroll_down_by(20),
            KeyCode::Home => self.table.select_first(),
            KeyCode::End => self.table.select_last(),
            KeyCode::Enter => self.show_backtrace(),
            _ => {}
        }
        false
    }

    /// The backtrace of the marked task, as it is now.
    fn show_backtrace(&mut self) {
        let Some(label) = self.table.selected().and_then(|at| self.labels.get(at)) else { return };
        let look = self.subject.look(&mut self.subject.reader(), 0);
        let mut finder = Finder::new(self.subject, true);
        let mut lines = vec![format!("task {label}")];
        match find(&look, label) {
            Err(_) => lines.push("it has ended".to_owned()),
            Ok((scheduler, task)) => match finder.place(&look, scheduler, task) {
                Place::Unknown(why) => lines.push(why),
                Place::Frames(frames) => {
                    let frames = finder.lines(&frames);
                    lines.extend(
                        frames.iter().enumerate().map(|(at, line)| format!("#{at:<3}{line}")),
                    );
                }
            },
        }
        self.popup = Some(lines);
    }

    fn color(&self, color: Color) -> Style {
        if self.colors { Style::new().fg(color) } else { Style::new() }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let schedulers = (self.rows.len().min(8) + 1) as u16;
        let [title, above, _, below, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(schedulers),
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_title(frame, title);
        self.draw_schedulers(frame, above);
        self.draw_tasks(frame, below);
        self.draw_keys(frame, keys);
        if let Some(lines) = &self.popup {
            draw_popup(frame, lines);
        }
    }

    fn draw_title(&self, frame: &mut Frame<'_>, area: Rect) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let whom = format!("majjen top: {}", self.subject.target.whom());
        let mut spans = vec![Span::styled(whom, bold)];
        if let Some(look) = &self.look {
            let tasks =
                look.snapshot.schedulers.iter().map(|scheduler| scheduler.tasks.len()).sum();
            spans.push(Span::raw(format!("  {}", count(tasks, "task"))));
            if look.snapshot.dropped > 0 {
                spans.push(Span::raw(format!(", {} left out", look.snapshot.dropped)));
            }
        }
        if self.is_paused {
            let style = self.color(Color::Yellow).add_modifier(Modifier::BOLD);
            spans.push(Span::styled("  PAUSED", style));
        }
        frame.render_widget(Line::from(spans), area);
    }

    fn draw_schedulers(&self, frame: &mut Frame<'_>, area: Rect) {
        let head =
            ["SCHEDULER", "THREAD", "TASKS", "READY", "BUSY", "TURNS/S", "LATE p50", "LATE p99"];
        let names = self.rows.iter().map(|row| row.cells[0].chars().count());
        let widths = [names.max().unwrap_or(0).clamp(9, 28), 8, 8, 8, 5, 9, 9, 9];
        let shown = fitting(widths, [1, 6, 3, 7, 5, 2, 4], area.width);
        let right = |cells: [String; 8]| {
            let cells = cells.into_iter().zip(widths).zip(shown).filter(|(_, is_shown)| *is_shown);
            Row::new(
                cells.map(|((text, width), _)| format!("{text:>width$}")).collect::<Vec<String>>(),
            )
        };
        let rows = self.rows.iter().map(|row| right(row.cells.clone()));
        let table = Table::new(rows, lengths(widths, shown)).header(
            right(head.map(str::to_owned)).style(Style::new().add_modifier(Modifier::BOLD)),
        );
        frame.render_widget(table, area);
    }

    fn draw_tasks(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let Some(look) = self.look.take() else {
            frame.render_widget("reading ...", area);
            return;
        };
        let index = Index::new(&look.snapshot);
        let words = look.words(&index);
        let mut all: Vec<_> = look
            .snapshot
            .schedulers
            .iter()
            .flat_map(|scheduler| {
                sorted(&look, scheduler, self.sort).into_iter().map(move |task| (scheduler, task))
            })
            .collect();
        // Of several schedulers, once more.
        let rate = |id: u64| self.rates.get(&id).copied().unwrap_or(0.0);
        match self.sort {
            Sort::Share => all.sort_by(|(one_of, one), (other_of, other)| {
                let share = |address, id| look.samples.share(address, id);
                let shares =
                    share(other_of.address, other.id).total_cmp(&share(one_of.address, one.id));
                shares.then(rate(other.id).total_cmp(&rate(one.id)))
            }),
            Sort::Turns => {
                all.sort_by(|(_, one), (_, other)| rate(other.id).total_cmp(&rate(one.id)))
            }
            _ => {}
        }
        const MOST_ROWS: usize = 5000;
        let has_rates = !self.rates.is_empty();
        let mut rows = Vec::new();
        let mut name_width = 4;
        self.labels.clear();
        for (scheduler, task) in all {
            if rows.len() >= MOST_ROWS {
                break;
            }
            let does = look.doing(&words, scheduler, task);
            let name = shown_name(task);
            let state = task.state.word();
            if !self.filter.is_empty()
                && ![&*name, state, &*does].iter().any(|text| text.contains(&self.filter))
            {
                continue;
            }
            let label = words.label(scheduler, task);
            let share = look.samples.share(scheduler.address, task.id);
            let color = match task.state {
                State::Running | State::Busy => Color::Green,
                State::Ready => Color::Yellow,
                State::Sleeping | State::Waiting => Color::Cyan,
                State::Parked => Color::Gray,
            };
            name_width = name_width.max(name.chars().count());
            rows.push([
                Span::raw(format!("{label:>7}")),
                Span::raw(name),
                Span::styled(state, self.color(color)),
                Span::raw(format!("{:>7}", age(look.age_ns(scheduler, task)))),
                Span::raw(format!("{:>8}", rate_text(has_rates.then(|| rate(task.id))))),
                Span::raw(format!("{:>5}", share_text(share))),
                Span::raw(format!("{:>6}", task.stack_used().map_or_else(|| "-".into(), bytes))),
                Span::raw(does),
            ]);
            self.labels.push(label);
        }
        let head = ["   TASK", "NAME", "STATE", "    FOR", " TURNS/S", "SHARE", " STACK", "DOES"];
        // What is left is for the last column, which says most: where that is little, others make room.
        const LEAST: usize = 24;
        let widths = [7, name_width.min(18), 8, 7, 8, 5, 6, LEAST];
        let shown = fitting(widths, [6, 4, 2, 3, 5], area.width);
        let of_shown = |cells: [Span<'static>; 8]| {
            let cells = cells.into_iter().zip(shown).filter(|(_, is_shown)| *is_shown);
            Row::new(cells.map(|(cell, _)| cell).collect::<Vec<Span<'static>>>())
        };
        let mut columns = lengths(widths, shown);
        if let Some(last) = columns.last_mut() {
            *last = Constraint::Fill(1);
        }
        let head = of_shown(head.map(Span::raw));
        let table = Table::new(rows.into_iter().map(of_shown), columns)
            .header(head.style(Style::new().add_modifier(Modifier::REVERSED)))
            .row_highlight_style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
        frame.render_stateful_widget(table, area, &mut self.table);
        self.look = Some(look);
    }

    fn draw_keys(&self, frame: &mut Frame<'_>, area: Rect) {
        let sort = format!("{:?}", self.sort).to_lowercase();
        let text = if self.is_filtering {
            format!("filter: {}_  (Enter: keep it, Esc: drop it)", self.filter)
        } else {
            let filter = if self.filter.is_empty() {
                String::new()
            } else {
                format!(" [filter: {}]", self.filter)
            };
            format!(
                "q quit  p pause  s sort: {sort}  / filter{filter}  Enter backtrace  arrows move"
            )
        };
        frame.render_widget(Span::styled(text, self.color(Color::Gray)), area);
    }
}

fn draw_popup(frame: &mut Frame<'_>, lines: &[String]) {
    let area = frame.area();
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) + 2;
    let width = area.width.saturating_sub(4).min(widest.max(20) as u16);
    let height = area.height.saturating_sub(2).min(lines.len() as u16 + 1);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let title = lines.first().map_or("", String::as_str);
    let text: Vec<Line<'_>> = lines.iter().skip(1).map(|line| Line::raw(line.as_str())).collect();
    let block = Block::bordered().title(format!(" {title} ")).title_bottom(" any key ");
    frame.render_widget(Paragraph::new(text).block(block), place);
}

/// The number and the name.
fn scheduler_label(scheduler: &Scheduler) -> String {
    format!("{} {}", scheduler.number, printable(&scheduler.name)).trim_end().to_owned()
}

fn rate_text(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate >= 1e6 => format!("{:.1}M", rate / 1e6),
        Some(rate) if rate >= 1e4 => format!("{:.1}k", rate / 1e3),
        Some(rate) => format!("{rate:.0}"),
    }
}

fn share_text(share: f64) -> String {
    if share > 0.0 { format!("{:.0}%", share * 100.0) } else { "-".to_owned() }
}
