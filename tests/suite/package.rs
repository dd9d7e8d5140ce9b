//! The crate: what `cargo package` makes of it, from another crate; its oldest Rust; and the
//! licences of what it depends on.

use std::fs;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, Workplace};
use crate::process;
use crate::toolchain::with_tool;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::ignorable_test("package::works_from_another_crate", || {
            with_tool("cargo", works_from_another_crate)
        }),
        Trial::ignorable_test("package::has_documentation_without_warnings", || {
            with_tool("rustdoc", documentation)
        }),
        Trial::ignorable_test("package::is_tested_with_the_oldest_rust", oldest_rust),
        Trial::ignorable_test("package::depends_on_licences_that_fit", || {
            with_tool("cargo", licences_fit)
        }),
    ]
}

/// Cargo in the project's own directory, which must not change Cargo.lock.
fn cargo(workplace: &Workplace, arguments: &[&str]) -> Result<String, Failed> {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).args(["--locked", "--offline"]).current_dir(library::root());
    cargo.env("CARGO_TARGET_DIR", workplace.path().join("target"));
    run(&mut cargo, workplace)
}

fn run(command: &mut Command, workplace: &Workplace) -> Result<String, Failed> {
    let finished = process::run(command, Duration::from_secs(240), workplace.path())?;
    if finished.succeeded() {
        return Ok(finished.output);
    }
    Err(format!("{command:?} {}", finished.describe()).into())
}

/// Packaged, unpacked, added to a crate by its path, built and run.
fn works_from_another_crate() -> Result<(), Failed> {
    let workplace = Workplace::new()?;
    let output = cargo(&workplace, &["package", "--no-verify", "--allow-dirty"])?;
    // Cargo asks for one of three addresses, and the project has none yet.
    let warnings: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("warning: "))
        .filter(|line| !line.contains("manifest has no documentation, homepage or repository"))
        .collect();
    assert_eq!(warnings, [""; 0], "warnings of cargo package");

    let name = concat!("majjen-", env!("CARGO_PKG_VERSION"));
    let archive = workplace.path().join(format!("target/package/{name}.crate"));
    let mut tar = Command::new("tar");
    run(tar.arg("-xzf").arg(archive).arg("-C").arg(workplace.path()), &workplace)?;
    // What the crate's own documents lead to, and what a C program needs, is in it.
    for file in
        ["include/majjen.h", "tools/majjen-gdb.py", "docs/c-api.md", "LICENSE-MIT", "Makefile"]
    {
        assert!(workplace.path().join(name).join(file).exists(), "{file} is not packaged");
    }

    let consumer = workplace.path().join("consumer");
    fs::create_dir_all(consumer.join("src"))?;
    fs::write(
        consumer.join("Cargo.toml"),
        "[package]\nname = \"consumer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n",
    )?;
    fs::copy(library::root().join("c-tests/install/consumer.rs"), consumer.join("src/main.rs"))?;
    for arguments in [&["add", "--path"][..], &["run", "--quiet"]] {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&consumer);
        cargo.env("CARGO_TARGET_DIR", workplace.path().join("target"));
        if arguments[0] == "add" {
            cargo.arg(workplace.path().join(name));
        }
        let output = run(cargo.arg("--offline"), &workplace)?;
        if arguments[0] == "run" {
            assert_eq!(output, concat!("10 tasks with ", env!("CARGO_PKG_VERSION"), "\n"));
        }
    }
    Ok(())
}

/// With all features, since that is what a reader of it sees.
fn documentation() -> Result<(), Failed> {
    let workplace = Workplace::new()?;
    let output = cargo(&workplace, &["doc", "--no-deps", "--all-features"])?;
    let warnings: Vec<&str> = output.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings, [""; 0], "warnings of cargo doc: {output}");
    assert!(workplace.path().join("target/doc/majjen/index.html").exists(), "{output}");
    Ok(())
}

/// The version that Cargo.toml names is the one that runs these tests: otherwise nobody knows
/// whether it works. A newer one is fine, where the tests also run with the oldest.
fn oldest_rust() -> Result<Completion, Failed> {
    let workplace = Workplace::new()?;
    let output = run(Command::new("rustc").arg("--version"), &workplace)?;
    let used = output.split_whitespace().nth(1).ok_or("no version")?;
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    if used == oldest || used.starts_with(&format!("{oldest}.")) {
        return Ok(Completion::Completed);
    }
    Ok(Completion::ignored_with(format!("this is Rust {used}, and the oldest is {oldest}")))
}

/// Licences that let the library be used as its own do.
const FREE: [&str; 5] = ["MIT", "Apache-2.0", "BSD-3-Clause", "Unicode-3.0", "Unlicense"];

/// Of a tool that is used and not shipped: the header that it makes is not under its licence.
const OF_TOOLS: [(&str, &str); 1] = [("cbindgen", "MPL-2.0")];

fn licences_fit() -> Result<(), Failed> {
    let workplace = Workplace::new()?;
    let edges = ["normal,build", "dev"];
    for edges in edges {
        let mut arguments = vec!["tree", "--prefix=none", "--format={p}|{l}", "-e"];
        arguments.push(edges);
        let tree = cargo(&workplace, &arguments)?;
        let mut count = 0;
        // Cargo's remarks, of waiting for another one for example, are indented.
        let lines = tree.lines().filter(|line| !line.is_empty() && !line.starts_with(' '));
        for line in lines.map(|line| line.trim_end_matches(" (*)")) {
            let (package, licence) = line.split_once('|').ok_or(format!("no licence: {line}"))?;
            let name = package.split(' ').next().unwrap_or_default();
            count += 1;
            let fits = is_free(licence) || edges == "dev" && OF_TOOLS.contains(&(name, licence));
            assert!(fits, "{package} is under {licence:?}");
        }
        assert!(count > 2, "the dependencies are there: {tree}");
    }
    Ok(())
}

/// Whether one of the alternatives has only licences of the list. Parentheses are only around
/// alternatives.
fn is_free(licence: &str) -> bool {
    let any =
        |text: &str| text.replace('/', " OR ").split(" OR ").any(|one| FREE.contains(&one.trim()));
    licence.split(" AND ").all(|part| any(part.trim_matches(['(', ')'])))
}
