//! gdb's view of tasks, with and without `tools/majjen-gdb.py`: in a process, in a core file that
//! gdb writes, and in one that the kernel writes; and its view of emulated programs.

mod emulated;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};
use crate::{process, toolchain};

const LIMIT: Duration = Duration::from_secs(120);

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    if toolchain::runner().is_some() {
        return vec![
            trial("shows_tasks_of_an_emulated_process", GDB_FOR_ALL, emulated::shows_a_process),
            trial("shows_tasks_of_an_emulated_core_file", GDB_FOR_ALL, emulated::shows_a_core_file),
        ];
    }
    let trial = |name, test| trial(name, GDB, test);
    vec![
        trial("a_running_task_has_a_whole_backtrace", a_running_task_has_a_whole_backtrace),
        trial("shows_tasks_of_a_process::shared", |temp_dir| {
            shows_tasks_of_a_process(Link::Shared, temp_dir)
        }),
        trial("shows_tasks_of_a_process::static", |temp_dir| {
            shows_tasks_of_a_process(Link::Static, temp_dir)
        }),
        trial("shows_tasks_of_a_core_file", shows_tasks_of_a_core_file),
        trial("shows_tasks_of_the_kernels_core_file", shows_tasks_of_the_kernels_core_file),
        trial("shows_tasks_of_another_thread", shows_tasks_of_another_thread),
        trial("shows_who_waits_for_whom::shared", |temp_dir| {
            shows_who_waits_for_whom(Link::Shared, &[], temp_dir)
        }),
        trial("shows_who_waits_for_whom::stripped", |temp_dir| {
            shows_who_waits_for_whom(Link::Static, &["-s"], temp_dir)
        }),
        trial("says_what_it_cannot_do", says_what_it_cannot_do),
        trial("probes_are_found_and_hit::shared", |temp_dir| {
            probes_are_found_and_hit(Link::Shared, temp_dir)
        }),
        trial("probes_are_found_and_hit::static", |temp_dir| {
            probes_are_found_and_hit(Link::Static, temp_dir)
        }),
    ]
}

/// gdb for this machine's programs, and for those of all architectures.
const GDB: &str = "gdb";
const GDB_FOR_ALL: &str = "gdb-multiarch";

fn trial(name: &str, gdb: &'static str, test: fn(&TempDir) -> Result<Completion, Failed>) -> Trial {
    Trial::ignorable_test(format!("debugger::{name}"), move || {
        let temp_dir = TempDir::new()?;
        if let Some(ignored) = toolchain::missing(gdb) {
            return Ok(ignored);
        }
        if !run_gdb(gdb, &temp_dir, &["python print('has Python')"], &[])?.contains("has Python") {
            return Ok(Completion::ignored_with("this gdb has no Python"));
        }
        test(&temp_dir)
    })
}

fn gdb(temp_dir: &TempDir, commands: &[&str], files: &[&Path]) -> Result<String, Failed> {
    run_gdb(GDB, temp_dir, commands, files)
}

/// Runs gdb with some commands, and returns what it printed.
fn run_gdb(
    name: &str,
    temp_dir: &TempDir,
    commands: &[&str],
    files: &[&Path],
) -> Result<String, Failed> {
    let mut gdb = Command::new(name);
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    gdb.args(files).current_dir(temp_dir.path());
    let finished = process::run(&mut gdb, LIMIT, temp_dir.path())?;
    if finished.status.is_none() {
        return Err(format!("gdb {}", finished.describe()).into());
    }
    Ok(finished.output)
}

fn build(link: Link, temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    build_fixture("tasks.c", link, temp_dir)
}

fn build_fixture(name: &str, link: Link, temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    let source = library::root().join("c-tests/debugger").join(name);
    program::compile(&source, &STRICT, link, &[], temp_dir)
}

/// The command that loads the script.
fn load_script() -> String {
    format!("source {}", library::root().join("tools/majjen-gdb.py").display())
}

const RUN_TO_THE_STOP: [&str; 2] = ["break stop_here if depth == 0", "run"];

/// The part of an output between two lines of `echo`.
fn part<'o>(output: &'o str, name: &str) -> Result<&'o str, Failed> {
    let begin = format!("<{name}>\n");
    let end = format!("</{name}>\n");
    output
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end))
        .map(|(part, _)| part)
        .ok_or_else(|| format!("gdb did not get to {name:?}:\n{output}").into())
}

/// The functions of a backtrace, the newest first.
fn functions(backtrace: &str) -> Vec<&str> {
    backtrace
        .lines()
        .filter_map(|line| {
            let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
            number.parse::<u32>().ok()?;
            let rest = rest.trim_start();
            let name = match rest.split_once(" in ") {
                Some((address, name)) if address.starts_with("0x") => name,
                _ => rest,
            };
            name.split_once(" (").map(|(name, _)| name)
        })
        .collect()
}

/// Checks that a backtrace has these functions, in this order, from some frame on, and then only
/// the two in which each task begins.
fn ends_with(backtrace: &str, expected: &[&str]) -> Result<(), Failed> {
    let functions = functions(backtrace);
    let wrong = || Failed::from(format!("expected ... {expected:?}, task_entry in\n{backtrace}"));
    let [first @ .., task_main, task_entry] = functions.as_slice() else { return Err(wrong()) };
    let whole = task_main.contains("task_main")
        && task_entry.contains("task_entry")
        && first.ends_with(expected)
        && !backtrace.contains("Backtrace stopped")
        && !backtrace.contains("??");
    if whole { Ok(()) } else { Err(wrong()) }
}

/// The static probes: gdb finds them as bpftrace and perf do, by their notes.
fn probes_are_found_and_hit(link: Link, temp_dir: &TempDir) -> Result<Completion, Failed> {
    let program = build(link, temp_dir)?;
    let commands = [
        "break main",
        "run",
        "delete",
        "echo <probes>\\n",
        "info probes stap majjen",
        "echo </probes>\\n",
        "set language c", // In the library it speaks Rust.
        "break -probe-stap majjen:task_start",
        "continue",
        "echo <start>\\n",
        "printf \"%lu %d\\n\", $_probe_argc, *(unsigned long *)($_probe_arg0 + 224) == $_probe_arg1",
        "echo </start>\\n",
        "delete",
        "break -probe-stap majjen:wait_begin if $_probe_arg2 != 0",
        "continue",
        "echo <wait>\\n",
        "printf \"%lu %s\\n\", $_probe_argc, *(char **)$_probe_arg2",
        "echo </wait>\\n",
    ];
    let output = gdb(temp_dir, &commands, &[&program])?;
    let probes = part(&output, "probes")?;
    for name in ["task_start", "task_end", "switch", "wait_begin", "wait_end", "long_turn", "post"]
    {
        if !probes.lines().any(|line| line.split_whitespace().nth(2) == Some(name)) {
            return Err(format!("{name} is not there:\n{probes}").into());
        }
    }
    for (place, expected) in [("start", "2 1\n"), ("wait", "4 fd\n")] {
        if !part(&output, place)?.ends_with(expected) {
            return Err(format!("not {expected:?} at {place}:\n{output}").into());
        }
    }
    Ok(Completion::Completed)
}

fn a_running_task_has_a_whole_backtrace(temp_dir: &TempDir) -> Result<Completion, Failed> {
    let program = build(Link::Shared, temp_dir)?;
    let commands = [&RUN_TO_THE_STOP[..], &["echo <running>\\n", "bt", "echo </running>\\n"]];
    let output = gdb(temp_dir, &commands.concat(), &[&program])?;
    ends_with(part(&output, "running")?, &["stop_here", "stop_here", "stop_here", "runner"])?;
    Ok(Completion::Completed)
}

/// The commands: the list of tasks, and the backtraces of some.
const LOOK: [&str; 25] = [
    "echo <tasks>\\n",
    "mj tasks",
    "echo </tasks>\\n<named>\\n",
    "mj tasks main_scheduler",
    "echo </named>\\n<sleeper>\\n",
    "mj bt 0",
    "echo </sleeper>\\n<reader>\\n",
    "mj bt #1",
    "echo </reader>\\n<joiner>\\n",
    "mj bt 2 main_scheduler",
    "echo </joiner>\\n<fresh>\\n",
    "mj bt 3",
    "echo </fresh>\\n<runner>\\n",
    "mj bt 4",
    "echo </runner>\\n",
    // A frame of the library, where gdb speaks Rust.
    "up 100",
    "down",
    "echo <library>\\n",
    "mj tasks main_scheduler",
    "echo </library>\\n",
    "mj bt 0",
    "echo <selected>\\n",
    "frame",
    "bt",
    "echo </selected>\\n",
];

/// Checks the output of [`LOOK`], for a running task with these innermost functions.
fn check_look(output: &str, running: &[&str]) -> Result<(), Failed> {
    let tasks = part(output, "tasks")?;
    if tasks != part(output, "named")? || tasks != part(output, "library")? {
        return Err(format!("the tasks are the same however one asks:\n{output}").into());
    }
    let lines: Vec<&str> = tasks.lines().collect();
    let [sleeper, reader, joiner, fresh, runner] = lines.as_slice() else {
        return Err(format!("there are 5 tasks, not\n{tasks}").into());
    };
    let id = |line: &str| line.split(' ').nth(1).unwrap_or_default().to_owned();
    let joins = format!("\"joiner\" waiting for task {}, 1 turns", id(sleeper));
    for (line, expected) in [
        (sleeper, "\"sleeper\" sleeping until "),
        (sleeper, ", 2 turns"),
        (reader, "\"reader\" waiting for fd "),
        (joiner, joins.as_str()),
        (fresh, "\"fr\\x1be\\n\\\"é\" ready, 0 turns"),
        (runner, "\"runner\" running, 1 turns"),
    ] {
        if !line.contains(expected) {
            return Err(format!("{expected:?} is not in {line:?}").into());
        }
    }
    let deep = ["sleeps_at_depth"; 4];
    ends_with(part(output, "sleeper")?, &[&["mj_task_sleep_s"][..], &deep, &["sleeper"]].concat())?;
    // The saved registers of the task lead to the arguments of its functions.
    if !part(output, "sleeper")?.contains("a text on the stack") {
        return Err(format!("the arguments are not right:\n{output}").into());
    }
    ends_with(part(output, "reader")?, &["mj_task_wait_readable", "reader"])?;
    ends_with(part(output, "joiner")?, &["mj_task_join", "joiner"])?;
    if !part(output, "fresh")?.contains("It has not had its first turn.") {
        return Err(format!("the new task has no stack:\n{output}").into());
    }
    ends_with(part(output, "runner")?, running)?;
    // The selected frame stays selected, and the thread's own backtrace is unchanged.
    let selected = part(output, "selected")?;
    ends_with(selected.split_once('\n').map_or("", |(_, rest)| rest), running)?;
    if !selected.lines().next().is_some_and(|frame| frame.contains("task_main")) {
        return Err(format!("task_main was selected before:\n{selected}").into());
    }
    Ok(())
}

const STOPPED: [&str; 4] = ["stop_here", "stop_here", "stop_here", "runner"];

fn shows_tasks_of_a_process(link: Link, temp_dir: &TempDir) -> Result<Completion, Failed> {
    let program = build(link, temp_dir)?;
    let script = load_script();
    let commands = [&[script.as_str()][..], &RUN_TO_THE_STOP, &LOOK].concat();
    check_look(&gdb(temp_dir, &commands, &[&program])?, &STOPPED)?;
    Ok(Completion::Completed)
}

fn shows_tasks_of_a_core_file(temp_dir: &TempDir) -> Result<Completion, Failed> {
    let program = build(Link::Shared, temp_dir)?;
    let script = load_script();
    let core = temp_dir.path().join("written-by-gdb");
    let write = format!("mj core {}", core.display());
    let commands = [&[script.as_str()][..], &RUN_TO_THE_STOP, &[write.as_str(), "kill"]].concat();
    let written = gdb(temp_dir, &commands, &[&program])?;
    if !core.exists() {
        return Err(format!("there is no core file:\n{written}").into());
    }
    let commands = [&[script.as_str()][..], &LOOK].concat();
    check_look(&gdb(temp_dir, &commands, &[&program, &core])?, &STOPPED)?;
    Ok(Completion::Completed)
}

fn shows_tasks_of_the_kernels_core_file(temp_dir: &TempDir) -> Result<Completion, Failed> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    if pattern.starts_with(['/', '|']) {
        return Ok(Completion::ignored_with("the kernel hands core files to something else"));
    }
    let program = build(Link::Shared, temp_dir)?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited && exec \"$0\" abort"]).arg(&program);
    let finished = process::run(shell.current_dir(temp_dir.path()), LIMIT, temp_dir.path())?;
    let prefix = pattern.trim().split('%').next().unwrap_or_default();
    let core =
        fs::read_dir(temp_dir.path())?.filter_map(Result::ok).map(|entry| entry.path()).find(
            |path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)),
        );
    let Some(core) = core.filter(|_| !prefix.is_empty()) else {
        let why = "the kernel writes no core file here".to_owned();
        let aborted = finished.describe().contains("killed by signal 6");
        let failed = || format!("the program {}", finished.describe()).into();
        return if aborted { Ok(Completion::ignored_with(why)) } else { Err(failed()) };
    };
    let script = load_script();
    let commands = [&[script.as_str()][..], &LOOK].concat();
    check_look(&gdb(temp_dir, &commands, &[&program, &core])?, &["runner"])?;
    Ok(Completion::Completed)
}

fn shows_tasks_of_another_thread(temp_dir: &TempDir) -> Result<Completion, Failed> {
    const LOOK: [&str; 7] = [
        "mj tasks",
        "echo <sleeper>\\n",
        "mj bt 0 other_scheduler",
        "echo </sleeper>\\n<runner>\\n",
        "mj bt 1 other_scheduler",
        "echo </runner>\\n",
        "thread",
    ];
    let program = build_fixture("threads.c", Link::Shared, temp_dir)?;
    let script = load_script();
    let core = temp_dir.path().join("written-by-gdb");
    let write = format!("mj core {}", core.display());
    let stop = ["break stop_here", "run", "up"];
    let other = [write.as_str(), "thread 2", "echo <other>\\n", "mj bt 0", "echo </other>\\n"];
    let live = [&[script.as_str()][..], &stop, &LOOK, &other].concat();
    let live = gdb(temp_dir, &live, &[&program])?;
    ends_with(part(&live, "other")?, &["mj_task_sleep_s", "sleeper"])?;
    let dead = [&[script.as_str()][..], &LOOK].concat();
    for output in [live, gdb(temp_dir, &dead, &[&program, &core])?] {
        ends_with(part(&output, "sleeper")?, &["mj_task_sleep_s", "sleeper"])?;
        ends_with(part(&output, "runner")?, &["runner"])?;
        for expected in ["mj: no scheduler runs on this thread", "[Current thread is 1 "] {
            if !output.contains(expected) {
                return Err(format!("expected {expected:?} in\n{output}").into());
            }
        }
    }
    Ok(Completion::Completed)
}

/// Also without symbols: the table is found by the note, and the scheduler of the thread in the list of all.
fn shows_who_waits_for_whom(
    link: Link,
    flags: &[&str],
    temp_dir: &TempDir,
) -> Result<Completion, Failed> {
    let source = library::root().join("c-tests/debugger/graph.c");
    let flags = [&STRICT[..], flags].concat();
    let program = program::compile(&source, &flags, link, &[], temp_dir)?;
    let script = load_script();
    let core = temp_dir.path().join("written-by-gdb");
    let write = format!("mj core {}", core.display());
    let look = ["echo <graph>\\n", "mj graph", "echo </graph>\\n<tasks>\\n", "mj tasks"];
    let look = [&look[..], &["echo </tasks>\\n<stack>\\n", "mj bt 0", "echo </stack>\\n"]].concat();
    let live = [&[script.as_str(), "run"][..], &look, &[write.as_str(), "kill"]].concat();
    let dead = [&[script.as_str()][..], &look].concat();
    for output in [gdb(temp_dir, &live, &[&program])?, gdb(temp_dir, &dead, &[&program, &core])?] {
        let graph = part(&output, "graph")?;
        // Without the ids and addresses.
        let words = graph.split_whitespace().filter(|word| !word.starts_with("0x"));
        let words: Vec<&str> = words.collect();
        let reader = "\"read\\x1ber\\\"\"";
        let expected = format!(
            "deadlock: 2 tasks wait for each other \
             #0 {reader} waits for mutex #1 \"writer\" #1 \"writer\" waits for mutex #0 {reader} \
             #2 \"joiner\" waits for task #1 \"writer\" #3 \"selector\" waits for select: #1 \"writer\" \
             #4 \"boss\" waits for group #6 \"member\""
        );
        if words.join(" ") != expected {
            return Err(format!("expected\n{expected}\nin\n{output}").into());
        }
        let tasks = part(&output, "tasks")?;
        if tasks.lines().count() != 7 || !tasks.contains("\"\" running, 1 turns") {
            return Err(format!("there are 7 tasks, not\n{tasks}").into());
        }
        let stack = part(&output, "stack")?;
        let is_whole = flags.contains(&"-s") || functions(stack).contains(&"locks");
        if stack.lines().count() < 5 || !is_whole {
            return Err(format!("no whole backtrace:\n{stack}").into());
        }
    }
    Ok(Completion::Completed)
}

fn says_what_it_cannot_do(temp_dir: &TempDir) -> Result<Completion, Failed> {
    let program = build(Link::Shared, temp_dir)?;
    let script = load_script();
    for (commands, expected) in [
        (&["mj tasks"][..], "mj: the program is not running"),
        (&["break main", "run", "mj tasks"], "mj: no scheduler runs on this thread"),
        (&["break main", "run", "mj tasks 0"], "mj: the scheduler is NULL"),
        (&["break main", "run", "mj tasks 8"], "mj: the memory at "),
        (&["break stop_here", "run", "mj bt 77"], "mj: no living task has the number or id 77"),
        (&["break stop_here", "run", "mj bt"], "mj bt: which task?"),
    ] {
        let commands = [&[script.as_str()][..], commands].concat();
        let output = gdb(temp_dir, &commands, &[&program])?;
        if !output.contains(expected) || output.contains("Traceback") {
            return Err(format!("expected {expected:?} in\n{output}").into());
        }
    }
    Ok(Completion::Completed)
}
