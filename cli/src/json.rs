//! `--json`: the same for programs. Numbers of 64 bits that are names, such as ids and addresses, are texts.
//! Written task by task, since there may be a million.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::look::{Look, Subject};
use crate::snapshot::{Index, Scheduler, Task};
use crate::wait::{Case, Wait};
use crate::words::{Words, printable};

/// Writes all of a look.
pub fn write(out: &mut dyn Write, subject: &Subject, look: &Look) -> io::Result<()> {
    let snapshot = &look.snapshot;
    let head = json!({
        "pid": subject.target.pid(),
        "name": subject.target.name(),
        "is_core_file": subject.target.process().is_none(),
        "monotonic_ns": look.now_ns,
        "samples": look.samples.count,
        "read_again": snapshot.read_again,
        "left_out": snapshot.dropped,
        "missing": subject.target.missing(false),
    });
    let head = head.to_string();
    writeln!(out, "{},\"schedulers\":[", head.trim_end_matches('}'))?;
    let index = Index::new(snapshot);
    let words = look.words(&index);
    for (place, scheduler) in snapshot.schedulers.iter().enumerate() {
        let separator = if place == 0 { "" } else { "," };
        let object = object_of_scheduler(look, scheduler).to_string();
        writeln!(out, "{separator}{},\"tasks\":[", object.trim_end_matches('}'))?;
        for (place, task) in scheduler.tasks.iter().enumerate() {
            let separator = if place == 0 { "" } else { "," };
            writeln!(out, "{separator}{}", object_of_task(look, &words, scheduler, task))?;
        }
        writeln!(out, "]}}")?;
    }
    writeln!(out, "]}}")
}

fn hex(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

fn object_of_scheduler(look: &Look, scheduler: &Scheduler) -> Value {
    json!({
        "number": scheduler.number,
        "name": printable(&scheduler.name),
        "address": hex(scheduler.address),
        "library": scheduler.copy,
        "thread": (scheduler.thread != 0).then_some(scheduler.thread),
        "has_own_clock": scheduler.has_own_clock,
        "no_task_share": look.samples.no_task(scheduler.address),
    })
}

/// A task.
pub fn object_of_task(look: &Look, words: &Words<'_>, scheduler: &Scheduler, task: &Task) -> Value {
    let left_ns = task
        .wake_time_ns
        .filter(|_| task.waits() && !scheduler.has_own_clock)
        .map(|at_ns| at_ns.saturating_sub(look.now_ns));
    json!({
        "number": task.number,
        "id": hex(task.id),
        "name": printable(task.name()),
        "state": task.state.word(),
        "for_ns": look.age_ns(scheduler, task),
        "turns": task.turns,
        "share": look.samples.share(scheduler.address, task.id),
        "stack_bytes": task.stack_used(),
        "does": look.doing(words, scheduler, task),
        "waits_for": waits_for(words, &task.wait),
        "left_ns": left_ns,
        "is_canceled": task.is_canceled,
        "is_daemon": task.is_daemon,
        "mutexes": task.locks,
    })
}

fn waits_for(words: &Words<'_>, wait: &Wait) -> Value {
    let id_at = |address: &u64| words.index.address(*address).map(|(_, task)| hex(task.id));
    match wait {
        Wait::None => Value::Null,
        Wait::Unknown => json!({ "kind": "unknown" }),
        Wait::Descriptor { fd, events } => json!({ "kind": "fd", "fd": fd, "events": events }),
        Wait::Descriptors(all) => {
            let fds: Vec<Value> =
                all.iter().map(|(fd, events)| json!({ "fd": fd, "events": events })).collect();
            json!({ "kind": "fds", "fds": fds })
        }
        Wait::Task(address) => json!({ "kind": "task", "task": id_at(address) }),
        Wait::Mutex(mutex) => {
            json!({ "kind": "mutex", "address": hex(mutex.address), "owner": hex(mutex.owner) })
        }
        Wait::Condition { address, mutex } => {
            json!({ "kind": "condition", "address": hex(*address), "mutex": hex(*mutex) })
        }
        Wait::Semaphore { address, wanted, available } => json!({
            "kind": "semaphore", "address": hex(*address), "wanted": wanted, "available": available,
        }),
        Wait::WaitGroup { address, left } => {
            json!({ "kind": "wait group", "address": hex(*address), "left": left })
        }
        Wait::Group { address, taken } => {
            json!({ "kind": "group", "address": hex(*address), "members": taken })
        }
        Wait::PlaceInGroup { address, taken } => {
            json!({ "kind": "place in group", "address": hex(*address), "members": taken })
        }
        Wait::Cases(cases) => {
            let cases: Vec<Value> = cases.iter().map(case).collect();
            json!({ "kind": "select", "cases": cases })
        }
        Wait::Other(name) => json!({ "kind": &**name }),
    }
}

fn case(case: &Case) -> Value {
    match case {
        Case::Send(channel) => json!({ "kind": "send", "channel": hex(*channel) }),
        Case::Receive(channel) => json!({ "kind": "receive", "channel": hex(*channel) }),
        Case::SendOut(channel) => {
            json!({ "kind": "send between threads", "channel": hex(*channel) })
        }
        Case::ReceiveFromOutside(channel) => {
            json!({ "kind": "receive between threads", "channel": hex(*channel) })
        }
        Case::Descriptor { fd, events } => json!({ "kind": "fd", "fd": fd, "events": events }),
        Case::Task(id) => json!({ "kind": "task", "task": hex(*id) }),
        Case::Deadline(at_ns) => json!({ "kind": "deadline", "at_ns": at_ns }),
        Case::Nothing => json!({ "kind": "nothing" }),
    }
}
