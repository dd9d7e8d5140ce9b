//! That the sweeps of faults and the simulation notice bugs: each of these is planted in a copy of the
//! library, and a test that passes with the copy as it is must fail, and say why. Part of
//! `make torture`, since each takes a build.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::library::Workplace;
use crate::process::{self, Finished};
use crate::sources::{Bug, Sources};
use crate::toolchain::torture;

const ALLOCATIONS: &str = "faults::allocations";
const SYSTEM_CALLS: &str = "faults::system_calls";
const SIMULATION: &str = "c_programs::simulation::shared";

/// What a sweep and the simulation say of any failure.
const A_RUN: &str = "for a debugger: sweep one";
const SEED: &str = "seed ";

/// A bug, the test that must notice it, and a part of what that says.
struct Planted {
    test: &'static str,
    said: &'static str,
    bug: Bug,
}

const fn planted(
    test: &'static str,
    said: &'static str,
    name: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
) -> Planted {
    Planted { test, said, bug: Bug { name, file, right, wrong } }
}

const PLANTED: [Planted; 19] = [
    planted(
        ALLOCATIONS,
        "killed by signal 6",
        "descriptors' table grows or aborts",
        "src/reactor.rs",
        "self.table.try_reserve(more).map_err(|_| Error::OutOfMemory)?;",
        "self.table.reserve(more);",
    ),
    planted(
        ALLOCATIONS,
        "killed by signal 6",
        "tasks' table grows or aborts",
        "src/task_object.rs",
        "self.by_address.try_reserve(1).map_err(|_| Error::OutOfMemory)?;",
        "",
    ),
    planted(
        ALLOCATIONS,
        "live_mappings",
        "arenas not unmapped",
        "src/sys/memory.rs",
        "libc::munmap(memory.cast(), bytes)",
        "0",
    ),
    planted(
        ALLOCATIONS,
        "live_blocks",
        "timer heap not freed",
        "src/timer_heap.rs",
        "sys::free(self.slots.get().cast())",
        "()",
    ),
    planted(
        ALLOCATIONS,
        "open_descriptors",
        "epoll set not closed",
        "src/reactor.rs",
        "sys::close(self.epoll_fd);",
        "",
    ),
    planted(
        ALLOCATIONS,
        "killed by signal 11",
        "malloc of a long log line not checked",
        "src/shim/log.c",
        "if (heap != NULL) {",
        "if (1) {",
    ),
    planted(
        ALLOCATIONS,
        A_RUN,
        "waiter left in its list when its timer has no memory",
        "src/suspend.rs",
        "scheduler.leave_list(task);",
        "",
    ),
    planted(
        SYSTEM_CALLS,
        "written",
        "failure of a guard ignored",
        "src/stack.rs",
        "guard(first)?;",
        "let _ = guard(first);",
    ),
    planted(
        SYSTEM_CALLS,
        A_RUN,
        "no fallback from epoll_pwait2",
        "src/sys/descriptor.rs",
        "libc::ENOSYS | libc::EPERM",
        "libc::ENODATA",
    ),
    planted(
        SYSTEM_CALLS,
        A_RUN,
        "an interruption taken for an error",
        "src/reactor.rs",
        "Err(Error::Os(libc::EINTR)) => 0,",
        "",
    ),
    planted(
        SYSTEM_CALLS,
        A_RUN,
        "passing failure of the clock not retried",
        "src/sys/time.rs",
        "unwrap_or_else(|_| read_clock_again())",
        "unwrap_or(0)",
    ),
    planted(
        SYSTEM_CALLS,
        A_RUN,
        "task without a stack not tried again",
        "src/scheduler.rs",
        "if !self.held_back.is_empty() && now.ns >=",
        "if false && now.ns >=",
    ),
    planted(
        SIMULATION,
        "simulated_ns >= deadline",
        "timers 1 us early",
        "src/scheduler.rs",
        "self.clock.deadline_now_ns()\n",
        "self.clock.deadline_now_ns() + 1000\n",
    ),
    planted(
        SIMULATION,
        "parent->wake_time_ns",
        "heap does not sift up after a removal",
        "src/timer_heap.rs",
        "index > 0 && key <",
        "false && key <",
    ),
    planted(
        SIMULATION,
        SEED,
        "waiter left in its list when its time is over",
        "src/parking.rs",
        "self.leave_list(task);\n        self.cancel",
        "if outcome != Outcome::TimedOut { self.leave_list(task) }\n        self.cancel",
    ),
    planted(
        SIMULATION,
        SEED,
        "timer left in the heap by a cancel",
        "src/parking.rs",
        "if task.heap_index.get() != NOT_IN_HEAP",
        "if task.heap_index.get() != NOT_IN_HEAP && !task.canceled.get()",
    ),
    planted(SIMULATION, SEED, "cancel forgotten", "src/parking.rs", "task.canceled.set(true);", ""),
    planted(
        SIMULATION,
        SEED,
        "how a wait ended lost when the task is taken out of the queue",
        "src/parking.rs",
        "self.ready(task, task.outcome.get());",
        "self.ready(task, Outcome::Interrupted);",
    ),
    planted(
        SIMULATION,
        SEED,
        "descriptor that was armed before not armed again",
        "src/reactor.rs",
        "if self.stage == Stage::Settled {",
        "if self.stage == Stage::Settled && !self.registered {",
    ),
];

/// The trials of this module; the long one for `make torture`.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("planted::bugs_have_their_place", find_places)];
    if torture() {
        trials.push(Trial::test("planted::bugs_are_noticed", find_all));
    }
    trials
}

/// Changes of the source that would leave the long one without a bug are noticed early.
fn find_places() -> Result<(), Failed> {
    PLANTED.iter().try_for_each(|planted| planted.bug.place().map(drop)).map_err(Failed::from)
}

fn find_all() -> Result<(), Failed> {
    let copy = Copy { sources: Sources::copy_to(&target().join("planted-sources-suite"))? };
    for test in [ALLOCATIONS, SYSTEM_CALLS, SIMULATION] {
        let finished = copy.run(test)?;
        if !finished.succeeded() {
            return Err(format!("without a bug, {test} {}", finished.describe()).into());
        }
    }
    let mut missed = Vec::new();
    for Planted { test, said, bug } in &PLANTED {
        let finished = copy.sources.with(bug, || copy.run(test))??;
        // It has run, and it alone.
        let failed = finished.output.contains("0 passed; 1 failed");
        match finished.output.lines().find(|line| line.contains(said)) {
            Some(line) if failed => println!("planted: {}: {test}: {}", bug.name, line.trim()),
            _ => missed.push(format!("{}: {test} {}", bug.name, finished.describe())),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\n\n").into()) }
}

fn target() -> PathBuf {
    // Cargo makes `tmp` in the target directory for tests.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a directory").to_owned()
}

/// A copy of the sources, which is built for each test.
struct Copy {
    sources: Sources,
}

impl Copy {
    /// Builds the library, and runs one test of this suite against it, in its short form.
    fn run(&self, test: &str) -> Result<Finished, Failed> {
        const LIMIT: Duration = Duration::from_secs(600);
        let workplace = Workplace::new()?;
        let target = target().join("planted-suite");
        let mut cargo = Command::new("cargo");
        cargo.args(["rustc", "--release", "--lib", "--crate-type=cdylib", "--offline"]);
        cargo.current_dir(self.sources.root()).env("CARGO_TARGET_DIR", &target);
        let built = process::run(&mut cargo, LIMIT, workplace.path())?;
        if !built.succeeded() {
            return Err(format!("cargo {}", built.describe()).into());
        }
        let mut suite = Command::new(env::current_exe()?);
        suite.args(["--exact", test]).env("MAJJEN_LIB_DIR", target.join("release"));
        // Cargo sets it for tests, and it comes before the programs' own path.
        suite.env_remove("LD_LIBRARY_PATH").env_remove("MAJJEN_TORTURE");
        Ok(process::run(&mut suite, LIMIT, workplace.path())?)
    }
}
