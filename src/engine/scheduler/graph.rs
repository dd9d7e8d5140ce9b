//! Who waits for whom, and whether tasks do so in a circle.
//!
//! A task that waits has edges to those that can end its wait, where these are known to be tasks: the kind of the
//! wait tells ([`WaitKind::holders`]). A mutex has one owner, a task that is joined is one, a group has its
//! members. Who will release a semaphore, count down a wait group or send to a channel is not known.
//!
//! The search is depth-first, and marks tasks as it goes (`Task::mark`), so it looks at each edge once. What it
//! needs is bounded: a step for each edge, and no more than [`Budget`] allows, since many tasks may wait for one
//! group of many; and a path, in memory of its own and not on a stack. Where there is none of either it ends, and
//! finds less. It writes to memory: no program code runs meanwhile, which could change the graph.
//!
//! [`WaitKind::holders`]: crate::engine::task::WaitKind::holders

use std::fmt::{self, Write};
use std::ptr::{eq, from_ref};

use super::object::Scheduler;
use crate::engine::sys::{Table, until_nul};
use crate::engine::task::{Holders, NOT_IN_HEAP, Named, Task};

/// Which circles are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Circles {
    /// Those that tasks with a timer are not in, nor those that wait for any of several tasks.
    OfARun,
    /// All: nothing will end any wait.
    AtItsEnd,
}

/// In `Task::mark`.
const UNSEEN: u8 = 0;
const ON_PATH: u8 = 1;
const DONE: u8 = 2;

/// A task on the path, and where among its holders the search is.
struct Step {
    task: *const Task,
    cursor: usize,
}

impl Step {
    fn task(&self) -> &Task {
        // SAFETY: of a scheduler, which frees none during the search.
        unsafe { &*self.task }
    }
}

/// How many steps a search may still take.
struct Budget(usize);

impl Budget {
    fn of(tasks: usize) -> Budget {
        Budget(100_000 + 16 * tasks)
    }

    fn take(&mut self, steps: usize) -> Option<()> {
        self.0 = self.0.checked_sub(steps)?;
        Some(())
    }
}

/// Text in memory of its own. What there is no memory for is left out.
pub struct Text(Table<u8>);

impl Text {
    pub fn new() -> Text {
        Text(Table::new())
    }

    pub fn get(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.reserve(text.len()).map_err(|_| fmt::Error)?;
        text.bytes().for_each(|byte| self.0.push(byte));
        Ok(())
    }
}

impl Scheduler {
    /// Writes at most `most` circles, each with `before` in front and `after` behind it.
    pub fn write_circles(
        &self,
        which: Circles,
        most: usize,
        (before, after): (&str, &str),
        out: &mut Text,
    ) {
        let mut found = 0;
        let _ = self.search(which, |circle| {
            let length = out.0.len();
            let written = write!(out, "{before}")
                .and(self.write_circle(circle, out))
                .and(write!(out, "{after}"));
            match written {
                Ok(()) => found += 1,
                Err(_) => out.0.truncate(length),
            }
            found < most
        });
    }

    /// Calls a function for each circle, until it returns false. Nothing: that, or it cannot go on.
    fn search(&self, which: Circles, mut each: impl FnMut(&[Step]) -> bool) -> Option<()> {
        let mut left = Budget::of(self.tasks.alive());
        let mut path = Table::new();
        let visit = |path: &mut Table<Step>, task: &Task| {
            path.reserve(1).ok()?;
            path.push(Step { task, cursor: 0 });
            task.mark.set(ON_PATH);
            Some(())
        };
        self.tasks.iter().for_each(|task| task.mark.set(UNSEEN));
        for start in self.tasks.iter() {
            if start.mark.get() == UNSEEN {
                visit(&mut path, start)?;
            }
            while let Some(step) = path.last_mut() {
                left.take(1)?;
                let (task, held) = (from_ref(step.task()), self.next_holder(step, which));
                match held.map(|holder| (holder, holder.mark.get())) {
                    Some((holder, UNSEEN)) => visit(&mut path, holder)?,
                    Some((holder, ON_PATH)) => {
                        left.take(path.len())?;
                        let first = path.iter().position(|step| eq(step.task, holder))?;
                        each(&path[first..]).then_some(())?;
                    }
                    Some(_) => {}
                    None => {
                        path.pop();
                        // SAFETY: as in `Step::task`.
                        unsafe { &*task }.mark.set(DONE);
                    }
                }
            }
        }
        Some(())
    }

    /// The next task that the one of a step waits for.
    fn next_holder(&self, step: &mut Step, which: Circles) -> Option<&Task> {
        let task = step.task();
        let holders = self.holders_of(task)?;
        if which == Circles::OfARun
            && (holders.one_suffices || task.heap_index.get() != NOT_IN_HEAP)
        {
            return None;
        }
        // SAFETY: the task waits for the object.
        unsafe {
            (holders.next)(self.as_ref(), task.wait.get().object(), &mut step.cursor).as_ref()
        }
    }

    /// What is known of who can end the wait of a task; nothing if it does not wait.
    fn holders_of(&self, task: &Task) -> Option<&'static Holders> {
        let waits = !task.queued.get() && !eq(self.current_task.get(), task);
        task.wait.get().kind().filter(|_| waits)?.holders
    }

    /// Writes what a task waits for, which has a wait, and the first of the tasks that hold it.
    pub fn write_wait(&self, task: &Task, out: &mut dyn Write) -> fmt::Result {
        let wait = task.wait.get();
        let Some(kind) = wait.kind() else { return Ok(()) };
        // SAFETY: the task waits for it.
        unsafe { kind.describe(wait.object(), out) }?;
        let Some(holders) = self.holders_of(task) else { return Ok(()) };
        let mut cursor = 0;
        // SAFETY: as above.
        let mut next =
            || unsafe { (holders.next)(self.as_ref(), wait.object(), &mut cursor).as_ref() };
        let (Some(first), others) = (next(), next().is_some()) else { return Ok(()) };
        write_holder(holders, first, out)?;
        out.write_str(if others { " and others" } else { "" })
    }

    fn write_circle(&self, circle: &[Step], out: &mut Text) -> fmt::Result {
        /// So many tasks are named.
        const NAMED: usize = 8;
        let mut separator = "";
        for (index, step) in circle.iter().enumerate().take(NAMED) {
            let task = step.task();
            match separator {
                "" => write!(out, "{} waits for ", Named(task))?,
                _ => write!(out, "{separator} waits for ")?,
            }
            separator = ", which";
            let wait = task.wait.get();
            let Some(kind) = wait.kind() else { return Err(fmt::Error) };
            // SAFETY: the task waits for it.
            unsafe { kind.describe(wait.object(), out) }?;
            let next = circle.get(index + 1).unwrap_or(&circle[0]);
            if let Some(holders) = kind.holders {
                write_holder(holders, next.task(), out)?;
            }
        }
        match circle.len().checked_sub(NAMED) {
            None | Some(0) => Ok(()),
            Some(_) => write!(out, ", and so on in a circle of {} tasks", circle.len()),
        }
    }
}

/// Writes who holds what has just been described.
fn write_holder(holders: &Holders, task: &Task, out: &mut dyn Write) -> fmt::Result {
    let name = task.name.get();
    match (holders.words, until_nul(&name)) {
        ("", []) => Ok(()),
        // The description names the task by its id.
        ("", name) => write!(out, " \"{}\"", name.escape_ascii()),
        (words, _) => write!(out, " {words} {}", Named(task)),
    }
}
