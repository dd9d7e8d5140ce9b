//! Programs built with AddressSanitizer, ThreadSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer,
//! or run under valgrind, against the ordinary library: nothing is reported of what is right, and what
//! is wrong is, with its place. And the library itself under the same sanitizers.

mod library;
mod programs;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

pub use self::library::mutants;
use crate::library::TempDir;
use crate::program::{self, Link};
use crate::toolchain::{self, Compilers};
use crate::{library as built, process};

/// One of the compilers' sanitizers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sanitizer {
    Address,
    Thread,
    Undefined,
    Leak,
}

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Sanitizer::Address => "address",
            Sanitizer::Thread => "thread",
            Sanitizer::Undefined => "undefined",
            Sanitizer::Leak => "leak",
        }
    }

    /// The flags that enable it.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Sanitizer::Address => &["-fsanitize=address"],
            Sanitizer::Thread => &["-fsanitize=thread"],
            Sanitizer::Undefined => &["-fsanitize=undefined", "-fno-sanitize-recover=undefined"],
            Sanitizer::Leak => &["-fsanitize=leak"],
        }
    }

    /// The outcome of a test if the compiler does not have its runtime: a program with nothing else
    /// shows that.
    pub fn missing(
        self,
        compilers: &Compilers,
        temp_dir: &TempDir,
    ) -> Result<Option<Completion>, Failed> {
        let probe = temp_dir.path().join("probe.c");
        fs::write(&probe, "int main(void) { return 0; }\n")?;
        let mut compiler = compilers.of(&probe);
        compiler.args(self.flags()).arg(&probe).arg("-o").arg(temp_dir.path().join("probe"));
        let has_it = process::run(&mut compiler, LIMIT, temp_dir.path())
            .is_ok_and(|finished| finished.succeeded());
        let why = || format!("{} has no -fsanitize={}", compilers.c_name(), self.name());
        Ok((!has_it).then(|| Completion::ignored_with(why())))
    }

    /// Makes a program's reports include stacks, and leaves to the program what its tests are
    /// about: SIGSEGV, and allocations that fail. UndefinedBehaviorSanitizer's reports go to files
    /// in `reports`.
    pub fn configure(self, command: &mut Command, reports: &Path) {
        command.env("MAJJEN_SANITIZER", self.name());
        let options = "handle_segv=0:use_sigaltstack=0:allocator_may_return_null=1";
        command.env("ASAN_OPTIONS", options);
        command.env("TSAN_OPTIONS", format!("{options}:{NO_ORDER_BY_DESCRIPTORS}"));
        let path = reports.join("ubsan");
        command.env("UBSAN_OPTIONS", format!("print_stacktrace=1:log_path={}", path.display()));
    }
}

/// A tool that finds bugs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Compiler(Sanitizer),
    Valgrind,
}

const ADDRESS: Tool = Tool::Compiler(Sanitizer::Address);
const THREAD: Tool = Tool::Compiler(Sanitizer::Thread);
const UNDEFINED: Tool = Tool::Compiler(Sanitizer::Undefined);
const LEAK: Tool = Tool::Compiler(Sanitizer::Leak);

/// A program, and the tool that checks it.
struct Case {
    /// In `c-tests/sanitizers/`, or in `c-tests/`.
    program: &'static str,
    tool: Tool,
    /// Parts of the report; empty if there must be none.
    said: &'static [&'static str],
    /// Text that would show that the tool does not know the tasks' stacks.
    not_said: &'static [&'static str],
}

impl Case {
    /// A correct program.
    const fn clean(program: &'static str, tool: Tool) -> Case {
        const NOTHING: &[&str] = &["WARNING", "ERROR", "Warning", "runtime error"];
        Case { program, tool, said: &[], not_said: NOTHING }
    }
}

const LEAKS: &[&str] = &[
    "Direct leak of 4321 byte(s) in 1 object(s)",
    "in memory_of_the_ended",
    "Direct leak of 1234 byte(s) in 1 object(s)",
    "in memory_of_the_destroyed",
];

const CASES: [Case; 20] = [
    Case::clean("clean", ADDRESS),
    Case::clean("clean", THREAD),
    Case::clean("clean", UNDEFINED),
    Case { not_said: &["Warning"], ..Case::clean("clean", Tool::Valgrind) },
    Case::clean("stops", THREAD),
    Case::clean("callback", THREAD),
    Case::clean("log_threads", THREAD),
    Case::clean("cluster", THREAD),
    Case::clean("cluster_call", THREAD),
    Case { not_said: &["WARNING: ThreadSanitizer"], ..Case::clean("cluster_edges", THREAD) },
    Case::clean("clean", LEAK),
    Case::clean("held", ADDRESS),
    Case::clean("held", LEAK),
    Case { program: "leaked", tool: ADDRESS, said: LEAKS, not_said: &["in stops"] },
    Case { program: "leaked", tool: LEAK, said: LEAKS, not_said: &["in stops"] },
    Case {
        program: "overrun",
        tool: ADDRESS,
        said: &["stack-buffer-overflow", "writes_past_the_end", "in works"],
        not_said: &[],
    },
    Case {
        program: "race",
        tool: THREAD,
        said: &["data race", "writes_without_a_lock", "works"],
        not_said: &["yields_in_a_call", "is_elsewhere"],
    },
    Case {
        program: "undefined",
        tool: UNDEFINED,
        said: &["signed integer overflow", "in overflows", "in works"],
        not_said: &[],
    },
    Case {
        program: "freed",
        tool: Tool::Valgrind,
        said: &["Invalid read", ": reads (", ": works_later (", ": frees (", ": works ("],
        not_said: &["yields_in_a_call", "is_elsewhere", "client switching stacks"],
    },
    Case {
        program: "unset",
        tool: Tool::Valgrind,
        said: &["depends on uninitialised", ": decides (", ": works ("],
        not_said: &[": fills (", "client switching stacks"],
    },
];

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let trial = |case: Case| {
        let tool = match case.tool {
            Tool::Compiler(sanitizer) => sanitizer.name(),
            Tool::Valgrind => "valgrind",
        };
        let name = format!("sanitizers::{}::{tool}", case.program);
        Trial::ignorable_test(name, move || run(&case))
    };
    CASES.into_iter().map(trial).chain(library::trials()).chain(programs::trials()).collect()
}

const LIMIT: Duration = Duration::from_secs(300);

/// By default ThreadSanitizer orders a write to a descriptor before all reads from it, and crashes
/// (SyncClock::Resize, called by FdRelease) when one thread writes to a number while another one
/// puts a new file under it, which the log does when its file changes. Without this ordering it
/// also finds more: a stop has to be ordered by more than the descriptor that wakes the loop.
const NO_ORDER_BY_DESCRIPTORS: &str = "io_sync=0";

/// Runs a program as a user would: with the sanitizer's default settings.
fn run(case: &Case) -> Result<Completion, Failed> {
    let temp_dir = TempDir::new()?;
    let mut flags = vec!["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];
    let missing = match case.tool {
        Tool::Valgrind => toolchain::missing("valgrind"),
        Tool::Compiler(sanitizer) => {
            flags.extend(sanitizer.flags());
            sanitizer.missing(&Compilers::Usual, &temp_dir)?
        }
    };
    if let Some(ignored) = missing {
        return Ok(ignored);
    }
    let source = ["c-tests/sanitizers", "c-tests"]
        .map(|directory| built::root().join(format!("{directory}/{}.c", case.program)))
        .into_iter()
        .find(|source| source.exists())
        .ok_or_else(|| format!("there is no program {}", case.program))?;
    let program = program::compile(&source, &flags, Link::Shared, &[], &temp_dir)?;
    let mut command = match case.tool {
        Tool::Compiler(sanitizer) => {
            let mut command = program::command(&program);
            command.env("MAJJEN_SANITIZER", sanitizer.name());
            command
        }
        Tool::Valgrind => {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--error-exitcode=99", "--leak-check=full", "--fair-sched=try"]);
            valgrind.arg(&program);
            valgrind
        }
    };
    // With the stack of each report.
    command.env("UBSAN_OPTIONS", "print_stacktrace=1");
    command.env("TSAN_OPTIONS", NO_ORDER_BY_DESCRIPTORS);
    // LeakSanitizer alone does not know that stacks change, and reports nothing of which it cannot tell
    // from where it is.
    command.env("LSAN_OPTIONS", "fast_unwind_on_malloc=0");
    toolchain::allow_preloaded(&mut command);
    let finished = process::run(&mut command, LIMIT, temp_dir.path())?;
    let output = &finished.output;
    let missing: Vec<_> = case.said.iter().filter(|part| !output.contains(**part)).collect();
    let surplus: Vec<_> = case.not_said.iter().filter(|part| output.contains(**part)).collect();
    if finished.succeeded() == case.said.is_empty() && missing.is_empty() && surplus.is_empty() {
        return Ok(Completion::Completed);
    }
    let end = finished.describe();
    Err(format!("the program {end}\nmissing: {missing:?}, too much: {surplus:?}").into())
}
