//! `majjen graph`: which tasks wait for which others, and which of them wait in a circle.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};

use serde_json::json;

use crate::look::{Look, Subject};
use crate::snapshot::{Index, Scheduler, State, Task};
use crate::style::{Color, Style};
use crate::wait::{Case, Wait};
use crate::words::{Words, count, duration};

/// A task by its scheduler's place and its own.
type Node = (usize, usize);

/// Who waits for whom.
pub struct Graph<'l> {
    look: &'l Look,
    words: &'l Words<'l>,
    /// For each task that waits for others: for which ones, which all have to go on first.
    waits_for: BTreeMap<Node, Vec<Node>>,
    /// The other way round.
    waited_by: BTreeMap<Node, Vec<Node>>,
}

impl<'l> Graph<'l> {
    pub fn new(look: &'l Look, words: &'l Words<'l>) -> Graph<'l> {
        let schedulers = &look.snapshot.schedulers;
        let mut members: HashMap<u64, Vec<Node>> = HashMap::new();
        let all = || {
            schedulers.iter().enumerate().flat_map(|(place, scheduler)| {
                scheduler.tasks.iter().enumerate().map(move |(at, task)| ((place, at), task))
            })
        };
        for (node, task) in all().filter(|(_, task)| task.group != 0) {
            members.entry(task.group).or_default().push(node);
        }
        let node_of = |(scheduler, task): (&Scheduler, &Task)| -> Option<Node> {
            let place = scheduler.number.checked_sub(1)?;
            let tasks = &schedulers.get(place)?.tasks;
            let at = tasks.binary_search_by_key(&task.number, |task| task.number).ok()?;
            Some((place, at))
        };
        // Many tasks may wait for one group of many.
        const MOST_WAITS: usize = 1 << 22;
        let mut left = MOST_WAITS;
        let mut waits_for = BTreeMap::new();
        let mut waited_by: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
        for (node, task) in all() {
            let others: Vec<Node> = match &task.wait {
                Wait::Mutex(mutex) => {
                    words.index.id(mutex.owner).and_then(node_of).into_iter().collect()
                }
                Wait::Task(address) => {
                    words.index.address(*address).and_then(node_of).into_iter().collect()
                }
                Wait::Group { address, .. } => {
                    let all = members.get(address).map_or(&[][..], Vec::as_slice);
                    all.iter().copied().take(left.max(1)).collect()
                }
                Wait::Cases(cases) => match cases[..] {
                    [Case::Task(id)] => words.index.id(id).and_then(node_of).into_iter().collect(),
                    _ => Vec::new(),
                },
                _ => Vec::new(),
            };
            if others.is_empty() {
                continue;
            }
            left = left.saturating_sub(others.len());
            for other in &others {
                waited_by.entry(*other).or_default().push(node);
            }
            waits_for.insert(node, others);
        }
        Graph { look, words, waits_for, waited_by }
    }

    fn task(&self, (place, at): Node) -> (&'l Scheduler, &'l Task) {
        let scheduler = &self.look.snapshot.schedulers[place];
        (scheduler, &scheduler.tasks[at])
    }

    fn who(&self, node: Node) -> String {
        let (scheduler, task) = self.task(node);
        self.words.who(scheduler, task)
    }

    fn doing(&self, node: Node) -> String {
        let (scheduler, task) = self.task(node);
        self.look.doing(self.words, scheduler, task)
    }

    /// The circles: one of each set of tasks that wait for each other. Each task waits for the next one, and the
    /// last one for the first.
    pub fn circles(&self) -> Vec<Vec<Node>> {
        let mut circles = Vec::new();
        let mut in_circles = HashSet::new();
        // 1: on the path, 2: done with.
        let mut state: HashMap<Node, u8> = HashMap::new();
        for start in self.waits_for.keys() {
            if state.contains_key(start) {
                continue;
            }
            // The path, and for each task on it which of those that it waits for is next.
            let mut path: Vec<(Node, usize)> = vec![(*start, 0)];
            state.insert(*start, 1);
            while let Some((node, next)) = path.last_mut() {
                let other = self.waits_for.get(node).and_then(|others| others.get(*next)).copied();
                *next += 1;
                match other {
                    None => {
                        state.insert(*node, 2);
                        path.pop();
                    }
                    Some(other) => match state.get(&other) {
                        None => {
                            state.insert(other, 1);
                            path.push((other, 0));
                        }
                        Some(1) => {
                            let from =
                                path.iter().position(|(node, _)| *node == other).unwrap_or(0);
                            let circle: Vec<Node> =
                                path[from..].iter().map(|(node, _)| *node).collect();
                            // One that shares a task with an earlier one says little more.
                            if circle.iter().all(|node| !in_circles.contains(node)) {
                                in_circles.extend(circle.iter().copied());
                                circles.push(circle);
                            }
                        }
                        Some(_) => {}
                    },
                }
            }
        }
        for circle in &mut circles {
            // The one that has waited longest is the last to be told of: who closed the circle is at its end.
            let first =
                circle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(at, _)| at);
            circle.rotate_left(first);
        }
        circles
    }

    /// When a circle ends by itself, since a wait in it has a limit: the soonest, in nanoseconds.
    fn ends_in_ns(&self, circle: &[Node]) -> Option<u64> {
        let limit = |node: &Node| {
            let (scheduler, task) = self.task(*node);
            task.wake_time_ns.filter(|_| !scheduler.has_own_clock)
        };
        let at_ns = circle.iter().filter_map(limit).min()?;
        Some(at_ns.saturating_sub(self.look.now_ns))
    }

    /// Writes it for people. Returns whether there is a circle that nothing ends.
    pub fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<bool> {
        let circles = self.circles();
        let mut is_deadlock = false;
        for circle in &circles {
            let tasks = count(circle.len(), "task");
            let title = match (self.ends_in_ns(circle), circle.len()) {
                (Some(ns), _) => {
                    format!(
                        "circle: {tasks} wait for each other, for at most {} more",
                        duration(ns)
                    )
                }
                (None, 1) => "deadlock: a task waits for itself".to_owned(),
                (None, _) => format!("deadlock: {tasks} wait for each other"),
            };
            is_deadlock |= self.ends_in_ns(circle).is_none();
            writeln!(out, "\n{}", style.paint(Color::Red, &title))?;
            for node in circle {
                writeln!(out, "  {} waits for {}", self.who(*node), self.doing(*node))?;
            }
        }
        self.write_trees(out, style, &circles)?;
        self.write_objects(out, style)?;
        Ok(is_deadlock)
    }

    /// Those who wait, below those for whom they wait. Below those in a circle, who waits for the circle.
    fn write_trees(
        &self,
        out: &mut dyn Write,
        style: Style,
        circles: &[Vec<Node>],
    ) -> io::Result<()> {
        const MOST_WAITERS: usize = 20;
        let in_circle: HashSet<Node> = circles.iter().flatten().copied().collect();
        let roots = self
            .waited_by
            .keys()
            .filter(|node| in_circle.contains(node) || !self.waits_for.contains_key(node));
        let mut is_first = true;
        for root in roots {
            let waiters = |node: &Node| -> Vec<Node> {
                let all = self.waited_by.get(node).cloned().unwrap_or_default();
                all.into_iter().filter(|node| !in_circle.contains(node)).collect()
            };
            let first = waiters(root);
            if first.is_empty() {
                continue;
            }
            if std::mem::take(&mut is_first) {
                writeln!(out, "\n{}", style.paint(Color::Bold, "who waits for whom"))?;
            }
            let (scheduler, task) = self.task(*root);
            let does = self.look.doing(self.words, scheduler, task);
            let does = match task.state {
                State::Sleeping => does,
                state if does.is_empty() => state_word(state).to_owned(),
                state => format!("{}: {does}", state_word(state)),
            };
            let line = format!("{} {does}", self.who(*root));
            writeln!(out, "  {}", style.cut(&line, 2))?;
            // Each with its depth, in the order of lines. A task in a group waits for one thing only, so that
            // nobody is below two tasks but those who wait for a group.
            let mut stack: Vec<(Node, usize)> = Vec::new();
            let push = |stack: &mut Vec<(Node, usize)>, nodes: Vec<Node>, depth: usize| {
                stack.extend(nodes.into_iter().rev().map(|node| (node, depth)));
            };
            push(&mut stack, first, 1);
            let mut lines = 0;
            while let Some((node, depth)) = stack.pop() {
                lines += 1;
                if lines > MOST_WAITERS {
                    writeln!(out, "    and more: {}", count(stack.len() + 1, "waiting task"))?;
                    break;
                }
                let indent = "  ".repeat(depth.min(12) + 1);
                let (scheduler, task) = self.task(node);
                let since = self.look.age_ns(scheduler, task);
                let since = since.map_or_else(String::new, |ns| format!(" for {}", duration(ns)));
                let line = format!("{} has waited{since}: {}", self.who(node), self.doing(node));
                writeln!(out, "{indent}{}", style.cut(&line, indent.len()))?;
                push(&mut stack, waiters(&node), depth + 1);
            }
        }
        Ok(())
    }

    /// The objects of which it is not known who will end the wait.
    fn write_objects(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let mut objects: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        let mut add = |what: String, node: Node| objects.entry(what).or_default().push(node);
        for (place, scheduler) in self.look.snapshot.schedulers.iter().enumerate() {
            for (at, task) in scheduler.tasks.iter().enumerate() {
                let node = (place, at);
                match &task.wait {
                    Wait::Condition { address, .. } => {
                        add(format!("a signal of condition {address:#x}"), node)
                    }
                    Wait::Semaphore { address, .. } => {
                        add(format!("permits of semaphore {address:#x}"), node)
                    }
                    Wait::WaitGroup { address, .. } => {
                        add(format!("the end of wait group {address:#x}"), node)
                    }
                    Wait::PlaceInGroup { address, .. } => {
                        add(format!("a place in group {address:#x}"), node)
                    }
                    Wait::Cases(cases) => cases.iter().for_each(|case| match case {
                        Case::Send(channel) => add(format!("room in channel {channel:#x}"), node),
                        Case::Receive(channel) => {
                            add(format!("an element of channel {channel:#x}"), node)
                        }
                        Case::SendOut(channel) => {
                            add(format!("room in channel {channel:#x} between threads"), node);
                        }
                        Case::ReceiveFromOutside(channel) => {
                            add(
                                format!("an element of channel {channel:#x} between threads"),
                                node,
                            );
                        }
                        _ => {}
                    }),
                    _ => {}
                }
            }
        }
        if objects.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{}", style.paint(Color::Bold, "waits that any task may end"))?;
        for (what, nodes) in objects {
            const MOST: usize = 5;
            let mut names: Vec<String> =
                nodes.iter().take(MOST).map(|node| self.who(*node)).collect();
            if nodes.len() > MOST {
                names.push(format!("{} more", nodes.len() - MOST));
            }
            let verb = if nodes.len() == 1 { "waits" } else { "wait" };
            let line =
                format!("{} {verb} for {what}: {}", count(nodes.len(), "task"), names.join(", "));
            writeln!(out, "  {}", style.cut(&line, 2))?;
        }
        Ok(())
    }

    /// Writes it as JSON.
    pub fn write_json(&self, out: &mut dyn Write, subject: &Subject) -> io::Result<bool> {
        let id = |node: &Node| format!("{:#x}", self.task(*node).1.id);
        let circles = self.circles();
        let waits: Vec<_> = self
            .waits_for
            .iter()
            .map(|(node, others)| {
                let others: Vec<String> = others.iter().map(id).collect();
                json!({ "task": id(node), "does": self.doing(*node), "waits_for": others })
            })
            .collect();
        let shown: Vec<_> = circles
            .iter()
            .map(|circle| {
                let tasks: Vec<String> = circle.iter().map(id).collect();
                json!({ "tasks": tasks, "ends_in_ns": self.ends_in_ns(circle) })
            })
            .collect();
        let all = json!({ "pid": subject.target.pid(), "circles": shown, "waits": waits });
        writeln!(out, "{all}")?;
        Ok(circles.iter().any(|circle| self.ends_in_ns(circle).is_none()))
    }

    /// Writes it for Graphviz.
    pub fn write_dot(&self, out: &mut dyn Write) -> io::Result<bool> {
        let quoted = |text: &str| format!("\"{}\"", text.replace(['"', '\\'], "_"));
        writeln!(out, "digraph majjen {{\n  node [shape=box];")?;
        for (node, others) in &self.waits_for {
            for other in others {
                writeln!(out, "  {} -> {};", quoted(&self.who(*node)), quoted(&self.who(*other)))?;
            }
        }
        writeln!(out, "}}")?;
        Ok(self.circles().iter().any(|circle| self.ends_in_ns(circle).is_none()))
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Running => "runs",
        State::Ready => "is ready",
        State::Busy => "is busy",
        State::Sleeping => "sleeps",
        State::Waiting => "waits",
        State::Parked => "is parked",
    }
}

/// `majjen graph`.
pub fn run(out: &mut dyn Write, style: Style, subject: &Subject, form: Form) -> io::Result<bool> {
    let look = subject.look(&mut subject.reader(), 0);
    let index = Index::new(&look.snapshot);
    let words = look.words(&index);
    let graph = Graph::new(&look, &words);
    match form {
        Form::Json => graph.write_json(out, subject),
        Form::Dot => graph.write_dot(out),
        Form::Text => {
            let waiting = graph.waits_for.len();
            let title = format!(
                "{}: {} for other tasks",
                subject.target.whom(),
                if waiting == 1 {
                    "1 task waits".to_owned()
                } else {
                    format!("{waiting} tasks wait")
                }
            );
            writeln!(out, "{}", style.paint(Color::Bold, &title))?;
            let is_deadlock = graph.write(out, style)?;
            if let Some(line) = look.dropped_line(subject) {
                writeln!(out, "\n{line}")?;
            }
            Ok(is_deadlock)
        }
    }
}

/// How the graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
    Dot,
}
