//! The list of tasks as text.

use std::fmt::{self, Write};
use std::ptr;

use crate::engine::context::Stack;
use crate::engine::log::Counted;
use crate::engine::scheduler::{Circles, Scheduler, Text};
use crate::engine::sys::{TruncatingWriter, until_nul};
use crate::engine::task::{NOT_IN_HEAP, State, Task};
use crate::engine::time::Ratio;

/// Writes one line for each task, and one for each circle of tasks that wait for each other.
pub fn dump(scheduler: &Scheduler, out: &mut dyn Write) -> fmt::Result {
    let clock = &scheduler.time.clock;
    let now = Now { ns: clock.now_ns(), ratio: clock.ratio(), ticks: clock.ticks() };
    scheduler.tasks.iter().try_for_each(|task| dump_task(scheduler, task, &now, out))?;
    dump_circles(scheduler, out)
}

fn dump_circles(scheduler: &Scheduler, out: &mut dyn Write) -> fmt::Result {
    /// Many tasks may wait for those in one circle, but few are in one.
    const MOST: usize = 16;
    let mut circles = Text::new();
    scheduler.write_circles(Circles::OfARun, MOST, ("deadlock: ", "\n"), &mut circles);
    if circles.get().is_empty() { Ok(()) } else { out.write_str(circles.get()) }
}

/// The moment of a dump.
struct Now {
    /// By the clock of deadlines.
    ns: u64,
    /// By the counter, and what converts it.
    ticks: u64,
    ratio: Ratio,
}

fn dump_task(scheduler: &Scheduler, task: &Task, now: &Now, out: &mut dyn Write) -> fmt::Result {
    let name = task.name.get();
    let name = until_nul(&name);
    write!(out, "task {:#x} \"{}\" ", task.id.get(), name.escape_ascii())?;
    let running = ptr::eq(scheduler.current_task.get(), task);
    match task.wait.get().kind() {
        _ if running => out.write_str("running")?,
        _ if task.queued.get() => out.write_str("ready")?,
        None if task.is(State::Sleeping) && task.heap_index.get() != NOT_IN_HEAP => {
            out.write_str("sleeping")?;
        }
        None => out.write_str("parked")?,
        Some(_) => {
            // A copy: the task may run while a program's stream suspends.
            let mut text = [0u8; 240];
            let mut copy = TruncatingWriter::new(&mut text);
            scheduler.write_wait(task, &mut copy)?;
            write!(out, "waiting for {}", String::from_utf8_lossy(copy.written()))?;
        }
    }
    if task.heap_index.get() != NOT_IN_HEAP && !running {
        let left_ns = task.wake_time_ns.get().saturating_sub(now.ns);
        write!(out, " until {} ns (in {left_ns} ns)", task.wake_time_ns.get())?;
    }
    if task.is_parked() && !task.queued.get() && !running && task.turns.get() > 0 {
        let ns = now.ratio.ns_between(task.waits_since_ticks.get(), now.ticks);
        write!(out, ", for {}.{:06} s", ns / 1_000_000_000, ns / 1000 % 1_000_000)?;
    }
    match task.locks.get() {
        0 => {}
        count => write!(out, ", holds {}", Counted(count as usize, "mutex", "mutexes"))?,
    }
    if !task.group.get().is_null() {
        write!(out, ", member of group {:p}", task.group.get())?;
    }
    let daemon = if task.daemon.get() { ", daemon" } else { "" };
    write!(out, "{daemon}, {} turns, ", task.turns.get())?;
    match task.stack.get() {
        Stack::NONE => out.write_str("no stack yet\n"),
        _ if running => out.write_str("stack in use\n"),
        stack => {
            let used = stack.top as usize - task.context.get() as usize;
            writeln!(out, "{used} bytes of stack used")
        }
    }
}
