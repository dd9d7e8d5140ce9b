//! The library, built with the flags that distributions and users set: it is one that a program can
//! be linked with, or there is none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::install;
use crate::library::{self, TempDir};
use crate::process::{self, Finished};
use crate::toolchain::{self, with_tool};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::ignorable_test("build_flags::work_or_fail", || with_tool("cargo", work_or_fail)),
        Trial::ignorable_test("build_flags::of_sanitizers_work_in_programs_with_them", || {
            match toolchain::missing("cargo") {
                Some(ignored) => Ok(ignored),
                None => sanitizers(),
            }
        }),
        Trial::test("build_flags::without_debhelper_make_deb_says_so", deb_without_its_tools),
    ]
}

/// Variables for make; and whether a program needs the flags too.
struct Build {
    variables: &'static [&'static str],
    program: &'static [&'static str],
}

const BUILDS: [Build; 4] = [
    Build { variables: &["CFLAGS=-O2 -flto"], program: &[] },
    Build { variables: &["CFLAGS=-flto=auto -ffat-lto-objects"], program: &["-flto"] },
    Build {
        variables: &["CFLAGS=-Werror -pedantic -std=c11 -O0", "LDFLAGS=-Wl,-z,now -Wl,-z,relro"],
        program: &[],
    },
    // A word before the compiler's name, and arguments behind it: here a program that counts.
    Build { variables: &["CC=./ccache cc -g", "CFLAGS="], program: &[] },
];

struct Builds {
    temp_dir: TempDir,
}

impl Builds {
    fn target(&self) -> PathBuf {
        self.temp_dir.path().join("target")
    }

    /// `make build`, into a directory of its own. Without optimization, which takes the time.
    fn make(&self, variables: &[&str]) -> Result<Finished, Failed> {
        let mut make = install::make("build");
        let ccache = self.temp_dir.path().join("ccache").display().to_string();
        make.args(variables.iter().map(|variable| variable.replace("./ccache", &ccache)));
        make.env("CARGO_TARGET_DIR", self.target());
        for variable in ["CC", "CFLAGS", "LDFLAGS", "RUSTFLAGS"] {
            make.env_remove(variable);
        }
        make.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        make.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        Ok(process::run(&mut make, Duration::from_secs(300), self.temp_dir.path())?)
    }

    /// Links a program with the shared library, and one with the static one, and runs them.
    fn link_and_run(&self, flags: &[&str]) -> Result<(), Failed> {
        let built = self.target().join("release");
        for link in ["-lmajjen", "-l:libmajjen.a"] {
            let program = self.temp_dir.path().join("program");
            let mut compiler = Command::new("cc");
            compiler.args(flags).arg(library::root().join("c-tests/install/consumer.c"));
            compiler.arg("-I").arg(library::root().join("include")).arg("-o").arg(&program);
            compiler.arg("-L").arg(&built).arg(link).args(["-pthread", "-lm", "-ldl"]);
            self.run(&mut compiler)?;
            let mut command = Command::new(&program);
            toolchain::allow_preloaded(&mut command);
            self.run(command.env("LD_LIBRARY_PATH", &built))?;
        }
        Ok(())
    }

    fn run(&self, command: &mut Command) -> Result<(), Failed> {
        let finished = process::run(command, Duration::from_secs(60), self.temp_dir.path())?;
        if finished.succeeded() {
            return Ok(());
        }
        Err(format!("{command:?} {}", finished.describe()).into())
    }
}

fn work_or_fail() -> Result<(), Failed> {
    let builds = Builds { temp_dir: TempDir::new()? };
    let (ccache, used) = ("ccache", builds.temp_dir.path().join("used"));
    let ccache = builds.temp_dir.path().join(ccache);
    fs::write(&ccache, format!("#!/bin/sh\necho >>'{}'\nexec \"$@\"\n", used.display()))?;
    fs::set_permissions(&ccache, fs::Permissions::from_mode(0o755))?;
    for Build { variables, program } in BUILDS {
        let built = builds.make(variables)?;
        assert!(built.succeeded(), "{variables:?}: {}", built.describe());
        builds
            .link_and_run(program)
            .map_err(|failed| format!("{variables:?}: {}", failed.message().unwrap_or_default()))?;
    }
    assert!(used.exists(), "the compiler's wrapper was not called");

    // What runs in tasks may not compare with the thread's stack.
    let built = builds.make(&["CFLAGS=-fsplit-stack"])?;
    assert!(built.succeeded(), "-fsplit-stack: {}", built.describe());
    for name in ["libmajjen.so", "libmajjen.a", "libmajjen-hook.so", "libmajjen-hook.a"] {
        let library = fs::read(builds.target().join("release").join(name))?;
        let splits = library.windows(11).any(|word| word == b"__morestack");
        assert!(!splits, "{name} is built with -fsplit-stack");
    }

    // A function that is nowhere, and a flag that the linker refuses: both must have been passed on.
    for variables in [
        ["CFLAGS=-w -Dstrchrnul=majjen_test_nowhere", "LDFLAGS="],
        ["CFLAGS=", "LDFLAGS=-Wl,--majjen-test-nonsense"],
    ] {
        let built = builds.make(&variables)?;
        assert!(!built.succeeded(), "{variables:?}: it was built");
        let said = built.output.contains("majjen_test_nowhere")
            || built.output.contains("majjen-test-nonsense");
        assert!(said, "{variables:?}: {}", built.describe());
    }
    Ok(())
}

/// Their functions are the program's, and the library alone has not got them.
fn sanitizers() -> Result<Completion, Failed> {
    const FLAG: &str = "-fsanitize=address,undefined";
    let builds = Builds { temp_dir: TempDir::new()? };
    let mut compiler = Command::new("cc");
    let probe = builds.temp_dir.path().join("probe.c");
    fs::write(&probe, "int main(void) { return 0; }\n")?;
    compiler.arg(FLAG).arg(&probe).arg("-o").arg(builds.temp_dir.path().join("probe"));
    if builds.run(&mut compiler).is_err() {
        return Ok(Completion::ignored_with(format!("cc has no {FLAG}")));
    }
    let built = builds.make(&[&format!("CFLAGS={FLAG}")])?;
    assert!(built.succeeded(), "{}", built.describe());
    builds.link_and_run(&[FLAG]).map(|()| Completion::Completed)
}

/// On a PATH with only what comes before.
fn deb_without_its_tools() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    for tool in ["sh", "make", "sed", "date", "awk", "cat"] {
        let path = toolchain::find(tool).ok_or(format!("there is no {tool}"))?;
        std::os::unix::fs::symlink(path, temp_dir.path().join(tool))?;
    }
    let mut make = install::make("deb");
    make.env("PATH", temp_dir.path()).arg("--no-print-directory");
    let finished = process::run(&mut make, Duration::from_secs(60), temp_dir.path())?;
    assert!(!finished.succeeded());
    let lines: Vec<&str> = finished.output.lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("apt install debhelper"), "{lines:#?}");
    Ok(())
}
