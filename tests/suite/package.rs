//! The crate: the output of `cargo package`, used from another crate; the oldest supported Rust;
//! and the licences of the dependencies.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::process;
use crate::toolchain::with_tool;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::ignorable_test("package::works_from_another_crate", || {
            with_tool("cargo", works_from_another_crate)
        }),
        Trial::ignorable_test("package::is_in_a_program_once", || {
            with_tool("cargo", in_a_program_once)
        }),
        Trial::ignorable_test("package::names_the_systems_that_it_runs_on", || {
            with_tool("rustc", names_the_systems)
        }),
        Trial::ignorable_test("package::has_documentation_without_warnings", || {
            with_tool("rustdoc", documentation)
        }),
        Trial::test("package::is_of_one_version", one_version),
        Trial::ignorable_test("package::is_tested_with_the_oldest_rust", oldest_rust),
        Trial::ignorable_test("package::depends_on_licences_that_fit", || {
            with_tool("cargo", licences_fit)
        }),
    ]
}

/// Cargo in the project's own directory.
fn cargo(temp_dir: &TempDir, arguments: &[&str]) -> Result<String, Failed> {
    run(library::cargo(&temp_dir.path().join("target")).args(arguments), temp_dir)
}

fn run(command: &mut Command, temp_dir: &TempDir) -> Result<String, Failed> {
    let finished = process::run(command, Duration::from_secs(240), temp_dir.path())?;
    if finished.succeeded() {
        return Ok(finished.output);
    }
    Err(format!("{command:?} {}", finished.describe()).into())
}

/// The library's version and Rust are those of what is released with it, and of this suite; and the changelog begins
/// with the version.
fn one_version() -> Result<(), Failed> {
    let root = library::root();
    let version = concat!("\nversion = \"", env!("CARGO_PKG_VERSION"), "\"");
    let rust = concat!("\nrust-version = \"", env!("CARGO_PKG_RUST_VERSION"), "\"");
    for package in [".", "cli", "hook/rust"] {
        let manifest = fs::read_to_string(root.join(package).join("Cargo.toml"))?;
        assert!(manifest.contains(version) && manifest.contains(rust), "{package}/Cargo.toml");
    }
    let changes = fs::read_to_string(root.join("CHANGELOG.md"))?;
    let newest = changes.lines().find_map(|line| line.strip_prefix("## ")).unwrap_or_default();
    assert!(newest.starts_with(concat!(env!("CARGO_PKG_VERSION"), ", ")), "{newest}");
    Ok(())
}

/// Packaged, unpacked, added to a crate by its path, built and run.
fn works_from_another_crate() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let package = unpacked(&temp_dir)?;
    // It contains the files that the crate's documents link to, and that a C program needs.
    for file in
        ["include/majjen.h", "tools/majjen-gdb.py", "docs/c-api.md", "LICENSE-MIT", "Makefile"]
    {
        assert!(package.join(file).exists(), "{file} is not packaged");
    }
    for directory in ["tests", "c-tests", "bench"] {
        assert!(!package.join(directory).exists(), "{directory} is packaged");
    }

    let consumer = temp_dir.path().join("consumer");
    fs::create_dir_all(consumer.join("src"))?;
    fs::write(
        consumer.join("Cargo.toml"),
        format!("{CONSUMER}[lib]\nname = \"plugin\"\ncrate-type = [\"cdylib\"]\n"),
    )?;
    fs::copy(library::root().join("c-tests/install/consumer.rs"), consumer.join("src/main.rs"))?;
    fs::write(consumer.join("src/lib.rs"), "use majjen as _;\n")?;
    let target = temp_dir.path().join("target");
    for arguments in [&["add", "--path"][..], &["run", "--quiet"]] {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&consumer).env("CARGO_TARGET_DIR", &target);
        if arguments[0] == "add" {
            cargo.arg(&package);
        }
        let output = run(cargo.arg("--offline"), &temp_dir)?;
        if arguments[0] == "run" {
            assert_eq!(output, concat!("10 tasks with ", env!("CARGO_PKG_VERSION"), "\n"));
        }
    }

    // The C libraries, which take longer than everything else, are not built for it; and its own
    // shared library does not get the name of the C library.
    for file in ["libmajjen.so", "libmajjen.a"] {
        assert!(!target.join("debug/deps").join(file).exists(), "{file} is made");
    }
    let mut readelf = Command::new("readelf");
    let dynamic = run(readelf.arg("-d").arg(target.join("debug/libplugin.so")), &temp_dir)?;
    assert!(dynamic.contains("(NEEDED)") && !dynamic.contains("libmajjen"), "{dynamic}");
    Ok(())
}

/// The manifest of a crate that uses the package, without its dependencies.
const CONSUMER: &str =
    "[package]\nname = \"consumer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";

/// The C ABI's symbols, and their state, exist once in a process. Two versions in one program would
/// each define them, so cargo refuses to build it, with its own message.
fn in_a_program_once() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let root = library::root();
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let version = concat!("\nversion = \"", env!("CARGO_PKG_VERSION"), "\"\n");
    assert_eq!(manifest.matches(version).count(), 1, "the version is in a line of its own");
    // Nothing is built, so the sources need not exist.
    for (name, version_line) in [("one", version), ("other", "\nversion = \"99.0.0\"\n")] {
        let copy = temp_dir.path().join(name);
        fs::create_dir_all(copy.join("src"))?;
        fs::write(copy.join("build.rs"), "fn main() {}\n")?;
        fs::write(copy.join("src/lib.rs"), "")?;
        let lines = manifest.split("\n\n").filter(|part| !part.starts_with("# Forks"));
        let lines: Vec<&str> = lines.collect();
        fs::write(copy.join("Cargo.toml"), lines.join("\n\n").replace(version, version_line))?;
    }
    let tree = |manifest: String| -> Result<process::Finished, Failed> {
        let consumer = temp_dir.path().join("consumer");
        fs::create_dir_all(consumer.join("src"))?;
        fs::write(consumer.join("src/main.rs"), "fn main() {}\n")?;
        fs::write(consumer.join("Cargo.toml"), manifest)?;
        let mut cargo = Command::new("cargo");
        cargo.args(["tree", "--offline", "--edges=normal"]).current_dir(&consumer);
        process::run(&mut cargo, Duration::from_secs(60), temp_dir.path()).map_err(Failed::from)
    };
    let one = "one = { package = \"majjen\", path = \"../one\" }\n";
    let other = "other = { package = \"majjen\", path = \"../other\" }\n";
    let alone = tree(format!("{CONSUMER}[dependencies]\n{one}"))?;
    assert!(alone.succeeded() && alone.output.contains("majjen v"), "{}", alone.describe());
    let both = tree(format!("{CONSUMER}[dependencies]\n{one}{other}"))?;
    let says = |part: &str| both.output.contains(part);
    let refused = !both.succeeded() && says("links") && says("`majjen`") && says("99.0.0");
    assert!(refused, "two versions in one program: {}", both.describe());
    Ok(())
}

/// `lib.rs` names the supported systems in one line; on others there would be many errors. Rust's
/// standard library for other systems is not installed here, so the condition is compiled alone,
/// with other names in it.
fn names_the_systems() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let text = fs::read_to_string(library::root().join("src/lib.rs"))?;
    let start = text.find("#[cfg(not(all(target_os").ok_or("no condition")?;
    let condition = text[start..].split("\n\n").next().unwrap_or_default();
    for (from, to, compiles) in [("", "", true), ("linux", "macos", false), ("gnu", "musl", false)]
    {
        let file = temp_dir.path().join("lib.rs");
        fs::write(&file, condition.replacen(from, to, 1))?;
        let mut rustc = Command::new("rustc");
        rustc.args(["--crate-type=lib", "--emit=metadata"]).arg(&file);
        rustc.current_dir(temp_dir.path());
        let finished = process::run(&mut rustc, Duration::from_secs(60), temp_dir.path())?;
        let says = finished.output.contains("Majjen runs on Linux with glibc");
        assert!(
            finished.succeeded() == compiles && says != compiles,
            "{to}: {}",
            finished.describe()
        );
    }
    Ok(())
}

/// The output of `cargo package`, unpacked.
fn unpacked(temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    let output = cargo(temp_dir, &["package", "--no-verify", "--allow-dirty"])?;
    // Cargo asks for one of three URLs, and the project has none yet; and it reports each test that
    // is not packaged.
    let warnings: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("warning: "))
        .filter(|line| !line.starts_with("warning: ignoring test "))
        .filter(|line| !line.contains("manifest has no documentation, homepage or repository"))
        .collect();
    assert_eq!(warnings, [""; 0], "warnings of cargo package");

    let name = concat!("majjen-", env!("CARGO_PKG_VERSION"));
    let archive = temp_dir.path().join(format!("target/package/{name}.crate"));
    let mut tar = Command::new("tar");
    run(tar.arg("-xzf").arg(archive).arg("-C").arg(temp_dir.path()), temp_dir)?;
    Ok(temp_dir.path().join(name))
}

/// With all features, as docs.rs shows it.
fn documentation() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let metadata = fs::read_to_string(library::root().join("Cargo.toml"))?;
    assert!(metadata.contains("[package.metadata.docs.rs]\nall-features = true\n"));
    let output = cargo(&temp_dir, &["doc", "--no-deps", "--all-features"])?;
    let warnings: Vec<&str> = output.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings, [""; 0], "warnings of cargo doc: {output}");
    assert!(temp_dir.path().join("target/doc/majjen/index.html").exists(), "{output}");
    Ok(())
}

/// Cargo.toml names the version of Rust that runs these tests: otherwise nothing shows that it
/// works. A newer one is accepted where the tests also run with the oldest.
fn oldest_rust() -> Result<Completion, Failed> {
    let temp_dir = TempDir::new()?;
    let output = run(Command::new("rustc").arg("--version"), &temp_dir)?;
    let used = output.split_whitespace().nth(1).ok_or("no version")?;
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    if used == oldest || used.starts_with(&format!("{oldest}.")) {
        return Ok(Completion::Completed);
    }
    Ok(Completion::ignored_with(format!("this is Rust {used}, and the oldest is {oldest}")))
}

/// Licences that permit the same uses as the library's own.
const FREE: [&str; 5] = ["MIT", "Apache-2.0", "BSD-3-Clause", "Unicode-3.0", "Unlicense"];

/// Licences of tools that are used and not shipped: the header that cbindgen generates is not under
/// its licence.
const OF_TOOLS: [(&str, &str); 1] = [("cbindgen", "MPL-2.0")];

fn licences_fit() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let edges = ["normal,build", "dev"];
    for edges in edges {
        let mut arguments = vec!["tree", "--prefix=none", "--format={p}|{l}", "-e"];
        arguments.push(edges);
        let tree = cargo(&temp_dir, &arguments)?;
        let mut count = 0;
        // Cargo's messages, for example that it waits for a lock, are indented.
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

/// Whether one of the alternatives has only licences of the list. Parentheses enclose only
/// alternatives.
fn is_free(licence: &str) -> bool {
    let any =
        |text: &str| text.replace('/', " OR ").split(" OR ").any(|one| FREE.contains(&one.trim()));
    licence.split(" AND ").all(|part| any(part.trim_matches(['(', ')'])))
}
