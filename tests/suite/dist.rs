//! The source archive of `make dist`: made, unpacked, and what cargo finds in it without a network and without a cache.
//! With `MAJJEN_TORTURE` set it is made twice, and everything is built of it. And the recipe of a container: its steps,
//! without a container, each in the directory that it would have there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::server::Server;
use crate::toolchain::{missing, torture};
use crate::{install, process};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::ignorable_test("dist::builds_without_a_network", builds_without_a_network),
        Trial::test("dist::steps_of_the_container_work", || {
            let built = library::path("libmajjen.a")?;
            container_serves(library::root(), built.parent().ok_or("a directory")?, &[])
        }),
    ]
}

const NAME: &str = concat!("majjen-", env!("CARGO_PKG_VERSION"));
const LIMIT: Duration = Duration::from_secs(3600);

fn builds_without_a_network() -> Result<Completion, Failed> {
    for tool in ["git", "tar", "gzip", "cargo"] {
        if let Some(ignored) = missing(tool) {
            return Ok(ignored);
        }
    }
    if !library::root().join(".git").exists() {
        return Ok(Completion::ignored_with("these sources are not in a git repository"));
    }
    let temp_dir = TempDir::new()?;
    let run = |command: &mut Command| run(command, &temp_dir);
    let made = temp_dir.path().join("made");
    let dist = |directory: &Path| {
        let mut make = install::make("dist");
        make.arg(format!("dist_dir={}", directory.display()));
        make
    };
    // Crates for other systems are not in everybody's cache, and a test fetches nothing.
    let mut first = dist(&made);
    let finished = process::run(first.env("CARGO_NET_OFFLINE", "true"), LIMIT, temp_dir.path())?;
    if !finished.succeeded() && finished.output.contains("offline") {
        return Ok(Completion::ignored_with("cargo has not fetched all crates: `make dist` does"));
    }
    assert!(finished.succeeded(), "{}", finished.describe());
    let archive = made.join(format!("{NAME}.tar.gz"));
    let list = run(Command::new("tar").arg("-tzf").arg(&archive))?;
    for file in ["Makefile", "vendor/README.md", ".cargo/config.toml", "bench/Cargo.toml"] {
        assert!(list.lines().any(|line| line == format!("{NAME}/{file}")), "{file} is missing");
    }
    assert!(list.lines().all(|line| line.starts_with(NAME)), "all is in one directory");

    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(temp_dir.path()))?;
    let tree = temp_dir.path().join(NAME);
    let home = temp_dir.path().join("home");
    fs::create_dir(&home)?;
    let alone = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&tree).env("CARGO_HOME", &home).env("CARGO_NET_OFFLINE", "true");
        command.env("CARGO_TARGET_DIR", temp_dir.path().join("target"));
        for variable in ["MAKEFLAGS", "MAKEOVERRIDES", "MAJJEN_LIB_DIR", "RUSTFLAGS"] {
            command.env_remove(variable);
        }
        command
    };
    for manifest in manifests(&tree)? {
        let mut cargo = alone("cargo");
        cargo.args(["metadata", "--offline", "--frozen", "--format-version=1", "--quiet"]);
        let said = run(cargo.arg("--manifest-path").arg(&manifest))?;
        assert!(said.contains("\"packages\""), "{}", manifest.display());
    }
    if torture() {
        let again = temp_dir.path().join("again");
        run(dist(&again).env("TZ", "Asia/Tokyo"))?;
        let bytes = |directory: &Path| fs::read(directory.join(format!("{NAME}.tar.gz")));
        assert!(bytes(&made)? == bytes(&again)?, "the same commit makes the same bytes");
        let target = temp_dir.path().join("target");
        let variables = [("CARGO_HOME", &*home), ("CARGO_TARGET_DIR", &*target)];
        container_serves(&tree, &target.join("release"), &variables)?;
        run(alone("make").arg("cli"))?;
        for file in ["libmajjen.so", "libmajjen.a", "libmajjen-hook.so", "majjen"] {
            assert!(temp_dir.path().join("target/release").join(file).exists(), "{file}");
        }
        // The tests need more crates than the library.
        for manifest in ["Cargo.toml", "tests/suite/Cargo.toml"] {
            let mut cargo = alone("cargo");
            cargo.args(["check", "--offline", "--locked", "--all-targets", "--manifest-path"]);
            run(cargo.arg(manifest))?;
        }
    }
    Ok(Completion::Completed)
}

/// Runs the steps of packaging/Containerfile, in these sources and below another directory than /. What is built there
/// serves. Without variables the library is built already.
fn container_serves(
    sources: &Path,
    release: &Path,
    variables: &[(&str, &Path)],
) -> Result<(), Failed> {
    let temp_dir = Arc::new(TempDir::new()?);
    let root = temp_dir.path();
    let recipe = fs::read_to_string(sources.join("packaging/Containerfile"))?.replace("\\\n", "");
    let mut program = None;
    for line in recipe.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (instruction, rest) =
            line.split_once(' ').ok_or("an instruction and what it is for")?;
        match instruction {
            "RUN" if rest == "make build" && variables.is_empty() => {}
            "RUN" => {
                let step = rest.replace("/out", &root.join("out").display().to_string());
                let step = step.replace("target/release", &release.display().to_string());
                let mut shell = Command::new("sh");
                shell.args(["-ec", &step]).current_dir(sources).envs(variables.iter().copied());
                shell.env("CARGO_NET_OFFLINE", "true").env_remove("MAKEFLAGS");
                run(&mut shell, &temp_dir)?;
            }
            "COPY" if rest == ". ." => {}
            "COPY" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let ["--from=build", from, to] = words[..] else {
                    return Err(format!("{line}: not understood").into());
                };
                let to = root.join("image").join(to.trim_start_matches('/'));
                fs::create_dir_all(to.parent().ok_or("a directory")?)?;
                fs::copy(root.join(from.trim_start_matches('/')), to)?;
            }
            "CMD" => {
                let path = rest.trim_matches(['[', ']', '"']);
                program = Some(root.join("image").join(path.trim_start_matches('/')));
            }
            "FROM" | "WORKDIR" | "USER" | "EXPOSE" => {}
            _ => return Err(format!("{line}: not understood").into()),
        }
    }
    let command = Command::new(program.ok_or("the recipe has no CMD")?);
    let mut server = Server::start_compiled(command, Arc::clone(&temp_dir));
    server.request();
    server.stop(libc::SIGTERM, 1, 1);
    Ok(())
}

/// All of them but the benchmarks', whose crates are not in the archive.
fn manifests(tree: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    let mut left = vec![tree.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let is_left_out = ["vendor", "bench"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !is_left_out {
                left.push(path);
            } else if path.ends_with("Cargo.lock") {
                found.push(path.with_file_name("Cargo.toml"));
            }
        }
    }
    assert!(found.len() >= 4, "{found:?}");
    Ok(found)
}

fn run(command: &mut Command, temp_dir: &TempDir) -> Result<String, Failed> {
    let finished = process::run(command, LIMIT, temp_dir.path())?;
    if finished.succeeded() {
        return Ok(finished.output);
    }
    Err(format!("{command:?} {}", finished.describe()).into())
}
