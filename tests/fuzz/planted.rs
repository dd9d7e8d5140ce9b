//! That the fuzzing notices bugs: each of these is planted in a copy of the library, and the same
//! random programs must find it that pass otherwise. Part of `make torture`, since each takes a build.

#[path = "../support/planted.rs"]
mod sources;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};
use sources::{Bug, Sources};

const BUGS: [Bug; 12] = [
    Bug {
        name: "lost_wake_up",
        file: "src/reactor.rs",
        right: "        if self.stage == Stage::Settled {\n            fresh.push",
        wrong: "        if self.stage == Stage::Settled && !self.registered {\n            fresh.push",
    },
    Bug {
        name: "two_queues",
        file: "src/parking.rs",
        right: "        self.leave_list(task);\n        self.cancel_timer(task);\n",
        wrong: "        self.cancel_timer(task);\n",
    },
    Bug {
        name: "wrong_counter",
        file: "src/parking.rs",
        right: "            metrics::add(&self.metrics.timer_cancellations, 1);\n",
        wrong: "",
    },
    Bug {
        name: "timer_order",
        file: "src/timer_heap.rs",
        right: "u128::from(self.deadline_ns) << 64 | u128::from(self.serial)",
        wrong: "u128::from(self.deadline_ns) << 64 | u128::from(!self.serial)",
    },
    Bug {
        name: "early_timer",
        file: "src/timer_heap.rs",
        right: "if key.deadline_ns <= now_ns {",
        wrong: "if key.deadline_ns <= now_ns.saturating_add(1000) {",
    },
    Bug {
        name: "heap_order",
        file: "src/timer_heap.rs",
        right: "for which in (0..count).rev() {",
        wrong: "for which in 0..count {",
    },
    Bug {
        name: "cancel_ends_no_wait",
        file: "src/parking.rs",
        right: "            self.ready(task, Outcome::Canceled);\n",
        wrong: "",
    },
    Bug {
        name: "slot_freed_in_the_queue",
        file: "src/turn.rs",
        right: "        if task.queued.get() {\n            // Somebody has",
        wrong: "        if false {\n            // Somebody has",
    },
    Bug {
        name: "descriptor_left_open",
        file: "src/reactor.rs",
        right: "        sys::close(self.epoll_fd);\n",
        wrong: "",
    },
    Bug {
        name: "permits_kept_from_those_behind",
        file: "src/parking.rs",
        right: "            unsafe { (*semaphore).serve(self) };\n",
        wrong: "",
    },
    Bug {
        name: "close_wakes_no_receiver",
        file: "src/primitives/channel.rs",
        right: "for waiters in [&self.senders, &self.receivers] {",
        wrong: "for waiters in [&self.senders] {",
    },
    Bug {
        name: "mutex_of_two_owners",
        file: "src/primitives/mutex.rs",
        right: "        self.own(task);\n        let outcome",
        wrong: "        self.owner.set(0);\n        let outcome",
    },
];

/// The trials of this module; the long one for `make torture`.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("fuzz::planted_bugs_have_their_place", find_places)];
    if env::var_os("MAJJEN_TORTURE").is_some() {
        trials.push(Trial::test("fuzz::planted_bugs", find_all));
    }
    trials
}

/// Changes of the source that would leave the long one without a bug are noticed early.
fn find_places() -> Result<(), Failed> {
    BUGS.iter().try_for_each(|bug| bug.place().map(drop)).map_err(Failed::from)
}

fn find_all() -> Result<(), Failed> {
    let sources = Sources::copy_to(&target().join("planted-sources"))?;
    if !random_programs(&sources)?.status.success() {
        return Err("the copy without a bug fails".into());
    }
    let mut missed = Vec::new();
    for bug in &BUGS {
        let output = sources.with(bug, || random_programs(&sources))??;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = text.lines().find_map(|line| line.find(super::FOUND).map(|at| &line[at..]));
        match found.filter(|_| !output.status.success()) {
            Some(found) => println!("fuzz: planted: {}: {found}", bug.name),
            None => missed.push(bug.name),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {missed:?}").into()) }
}

fn target() -> PathBuf {
    // Cargo makes `tmp` in the target directory for tests.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a directory").to_owned()
}

/// Builds the copy, which must succeed, and runs the random programs on it.
fn random_programs(sources: &Sources) -> Result<Output, Failed> {
    let cargo = |arguments: &[&str]| {
        Command::new("cargo")
            .args(["test", "--release", "--offline", "--quiet", "--test", "fuzz"])
            .args(arguments)
            .current_dir(sources.root())
            .env("CARGO_TARGET_DIR", target().join("planted"))
            .env("MAJJEN_FUZZ_SHRINK", "0")
            .env_remove("MAJJEN_TORTURE")
            .output()
    };
    let built = cargo(&["--no-run"])?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned().into());
    }
    Ok(cargo(&["--", "random_programs"])?)
}
