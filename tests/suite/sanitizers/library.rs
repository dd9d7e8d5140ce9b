//! The library itself under sanitizers: it is built with instrumentation, and the programs of
//! `c-tests/`, instrumented too, are run with it. The bug of each of its mutants must be reported.
//!
//! UndefinedBehaviorSanitizer checks the library's C, `src/shim/`; it does not exist for Rust.
//! AddressSanitizer and ThreadSanitizer check Rust and C. Their passes in rustc's own LLVM are
//! enabled by hand, which stable Rust permits, and the runtime is that of this LLVM's clang. Rust's
//! standard library is not instrumented, except for what is compiled into this one.

use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::{Completion, Failed, Trial};

use super::{LIMIT, Sanitizer, programs};
use crate::library::{self, TempDir};
use crate::process;
use crate::sources::{Mutant, Sources, delete, mutant, words};
use crate::toolchain::{self, Compilers};

/// A sanitizer for the library.
struct Instrumented {
    sanitizer: Sanitizer,
    /// For rustc. Not for the dependencies, of which only declarations remain.
    rust_flags: &'static [&'static str],
    /// Code that is removed from the sources first.
    without: Option<Mutant>,
    cases: &'static [Case],
}

/// A mutant, and a program whose report contains these words.
struct Case {
    mutant: Mutant,
    program: &'static str,
    said: &'static [&'static str],
}

const SHIM: Instrumented = Instrumented {
    sanitizer: Sanitizer::Undefined,
    rust_flags: &["-Clink-arg=-fsanitize=undefined"],
    without: None,
    cases: &[Case {
        // The length of a message, in a type that is too small.
        mutant: mutant(
            "overflow",
            "majjen_shim_vlog",
            words("(size_t)length + 1", "(size_t)(length + 2147483647 - 1100) + 1"),
        ),
        program: "log",
        said: &["signed integer overflow", "majjen_shim_vlog"],
    }],
};

const MEMORY: Instrumented = Instrumented {
    sanitizer: Sanitizer::Address,
    rust_flags: &["-Cpasses=asan", "-Cllvm-args=-force-attribute=sanitize_address"],
    without: None,
    cases: &[
        Case {
            mutant: mutant(
                "timer heap too small",
                "TimerHeap::resize",
                words("allocate_table(bytes)", "allocate_table(bytes / 2)"),
            ),
            program: "equal_deadlines",
            said: &["heap-buffer-overflow", "timer_heap.rs"],
        },
        Case {
            mutant: mutant(
                "long line freed before it is delivered",
                "majjen_shim_vlog",
                words("if (heap != NULL) {", "$ free(heap);"),
            ),
            program: "log",
            said: &["heap-use-after-free", "majjen_shim_vlog"],
        },
    ],
};

const THREADS: Instrumented = Instrumented {
    sanitizer: Sanitizer::Thread,
    rust_flags: &[
        "-Cpasses=tsan-module function(tsan)",
        "-Cllvm-args=-force-attribute=sanitize_thread",
        // A switch leaves a function in another task than the one that entered it.
        "-Cllvm-args=-tsan-instrument-func-entry-exit=0",
    ],
    // With this the ordinary library announces the ordering of its atomics. Here the atomics are
    // instrumented, and have to establish the order themselves.
    without: Some(mutant("no word about order", "synchronize", delete("hook.known"))),
    cases: &[
        Case {
            mutant: mutant(
                "settings published without order",
                "SettingsLock::set",
                words("(1), Release", "(1), Relaxed"),
            ),
            program: "sanitizers/callback",
            said: &["data race", "majjen::engine::log::deliver"],
        },
        Case {
            mutant: mutant("a stop without order", "Mailbox::end_run", words("AcqRel", "Relaxed")),
            program: "sanitizers/stops",
            said: &["data race", "runs"],
        },
    ],
};

/// For `make test`, with the shim: the programs that log. `make torture` has all.
const LOGGING: [&str; 4] = ["log", "log_format", "log_memory", "log_threads"];

/// All mutants of this module.
pub fn mutants() -> impl Iterator<Item = &'static Mutant> {
    const ALL: &[Instrumented] = &[SHIM, MEMORY, THREADS];
    ALL.iter().flat_map(|instrumented| {
        instrumented.without.iter().chain(instrumented.cases.iter().map(|case| &case.mutant))
    })
}

/// The trials of this module. Two are only for `make torture`, since they need clang.
pub fn trials() -> Vec<Trial> {
    let mut all = vec![SHIM];
    if toolchain::torture() {
        all.extend([MEMORY, THREADS]);
    }
    let trial = |instrumented: Instrumented| {
        let name = format!("sanitizers::library::{}", instrumented.sanitizer.name());
        Trial::ignorable_test(name, move || instrumented.run())
    };
    all.into_iter().map(trial).collect()
}

impl Instrumented {
    fn run(&self) -> Result<Completion, Failed> {
        let temp_dir = TempDir::new()?;
        let compilers = match self.sanitizer {
            Sanitizer::Undefined => Compilers::Usual,
            _ => Compilers::of_rustc()?,
        };
        if let Some(ignored) = self.sanitizer.missing(&compilers, &temp_dir)? {
            return Ok(ignored);
        }
        if let Some(ignored) = toolchain::missing("cargo") {
            return Ok(ignored);
        }
        let sources = Sources::copy_to(&temp_dir.path().join("sources"))?;
        if let Some(part) = &self.without {
            sources.mutate(part)?;
        }
        let build = || self.build(&sources, &compilers, &temp_dir);
        let built = build()?;
        for source in programs::sources(self.sanitizer, Some(&built))? {
            let is_one = |name: &&str| source.file_stem().is_some_and(|stem| stem == *name);
            if toolchain::torture() || LOGGING.iter().any(is_one) {
                programs::run(&source, self.sanitizer, &compilers, Some(&built))?.verdict()?;
            }
        }

        for Case { mutant, program, said } in self.cases {
            let built = sources.with(mutant, build)??;
            let source = library::root().join(format!("c-tests/{program}.c"));
            let ran = programs::run(&source, self.sanitizer, &compilers, Some(&built))?;
            if ran.finished.succeeded() || !said.iter().all(|part| ran.says(part)) {
                let end = ran.finished.describe();
                return Err(format!("{}: is not reported: the program {end}", mutant.name).into());
            }
        }
        Ok(Completion::Completed)
    }

    /// Builds the shared library with the sanitizer, and returns its directory.
    fn build(
        &self,
        sources: &Sources,
        compilers: &Compilers,
        temp_dir: &TempDir,
    ) -> Result<PathBuf, Failed> {
        let target = temp_dir.path().join("target");
        let mut cargo = Command::new("cargo");
        // Without optimization no attribute would be forced, and no Rust code instrumented.
        cargo.args(["rustc", "--release", "--lib", "--crate-type=cdylib", "--offline"]);
        cargo.current_dir(sources.root()).env("CARGO_TARGET_DIR", &target);
        let flags = self.sanitizer.flags().join(" ");
        cargo.env("CC", compilers.c_name());
        cargo.env("CFLAGS", format!("-g -fno-omit-frame-pointer {flags}"));
        cargo.arg("--").args(self.rust_flags);
        let finished = process::run(&mut cargo, LIMIT, temp_dir.path())?;
        if finished.succeeded() {
            return Ok(target.join("release"));
        }
        Err(format!("cargo {}", finished.describe()).into())
    }
}
