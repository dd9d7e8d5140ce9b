//! The Debian packages: built, checked by lintian, installed into an empty tree, used, and removed.
//! The machine's own packages are not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::library::{self, TempDir};
use crate::toolchain::with_tools;
use crate::{install, process, toolchain};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let tools = ["dpkg-buildpackage", "dh", "lintian", "fakeroot", "pkg-config"];
    let mut trials =
        vec![Trial::ignorable_test("debian::packages_are_clean_and_work", move || {
            with_tools(&tools, packages_are_clean_and_work)
        })];
    // Everything is built for it once more: that takes minutes.
    if toolchain::torture() {
        let tools =
            ["dpkg-buildpackage", "dh", "fakeroot", "pkg-config", AARCH64_CC, "qemu-aarch64"];
        trials.push(Trial::ignorable_test("debian::arm64_packages_work_emulated", move || {
            with_tools(&tools, arm64_packages_work)
        }));
    }
    trials
}

const AARCH64_CC: &str = "aarch64-linux-gnu-gcc";
/// As in the Makefile: programs for arm64 find their loader and the C library there.
const AARCH64_ROOT: &str = "/usr/aarch64-linux-gnu";

fn packages_are_clean_and_work() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let run = |command: &mut Command| run(command, &temp_dir);
    let built = temp_dir.path().join("deb");
    run(install::make("deb").arg(format!("deb_dir={}", built.display())))?;

    // The package contains its lintian overrides, each with its reason.
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--display-info", "--pedantic"]);
    lintian.arg("--fail-on=error,warning,info,pedantic");
    // The name contains the ABI's number.
    let shared = concat!("libmajjen", env!("CARGO_PKG_VERSION_MAJOR"), "_");
    let hooks = concat!("libmajjen-hook", env!("CARGO_PKG_VERSION_MAJOR"), "_");
    let files = [
        package(shared, &built)?,
        package("libmajjen-dev_", &built)?,
        package(hooks, &built)?,
        package("libmajjen-hook-dev_", &built)?,
        package("majjen-tools_", &built)?,
    ];
    let complaints = run(lintian.args(&files))?;
    assert_eq!(complaints, "", "lintian");

    let tree = empty_tree(&temp_dir)?;
    let dpkg = |action: &str, packages: &[PathBuf]| dpkg(&tree, &[action], packages, &temp_dir);
    dpkg("--install", &files)?;
    use_what_is_installed(&tree, toolchain::c_compiler(), &[], &temp_dir)?;

    let names = [
        PathBuf::from(shared.trim_end_matches('_')),
        "libmajjen-dev".into(),
        hooks.trim_end_matches('_').into(),
        "libmajjen-hook-dev".into(),
        "majjen-tools".into(),
    ];
    dpkg("--purge", &names)?;
    let mut left = install::files(&tree)?;
    left.retain(|file| !file.starts_with("var/lib/dpkg/"));
    assert_eq!(left, [""; 0], "left by dpkg --purge");
    Ok(())
}

/// The same packages for arm64, installed in a tree and used by the emulator.
fn arm64_packages_work() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let built = temp_dir.path().join("deb");
    run(install::make("deb-arm64").arg(format!("deb_dir={}", built.display())), &temp_dir)?;
    let files: Vec<PathBuf> = install::files(&built)?
        .iter()
        .filter(|name| name.ends_with(".deb") && !name.contains("-dbgsym"))
        .map(|name| built.join(name))
        .collect();
    assert_eq!(files.len(), 5, "{files:?}");
    for file in &files {
        let field =
            run(Command::new("dpkg").arg("--field").arg(file).arg("Architecture"), &temp_dir)?;
        assert_eq!(field.trim(), "arm64", "{}", file.display());
    }
    let tree = empty_tree(&temp_dir)?;
    fs::write(tree.join("var/lib/dpkg/arch"), "amd64\narm64\n")?;
    // libc6-dev is missing: the cross compiler has a C library of its own. What else is needed is checked for amd64.
    dpkg(&tree, &["--force-depends", "--install"], &files, &temp_dir)?;
    let emulator = ["qemu-aarch64", "-L", AARCH64_ROOT];
    use_what_is_installed(&tree, Command::new(AARCH64_CC), &emulator, &temp_dir)
}

/// An empty tree, except for the list of packages that are installed here, for the dependencies.
fn empty_tree(temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    let tree = temp_dir.path().join("tree");
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(tree.join("var/lib/dpkg").join(directory))?;
    }
    fs::copy("/var/lib/dpkg/status", tree.join("var/lib/dpkg/status"))?;
    Ok(tree)
}

fn dpkg(
    tree: &Path,
    action: &[&str],
    packages: &[PathBuf],
    temp_dir: &TempDir,
) -> Result<String, Failed> {
    let mut dpkg = Command::new("fakeroot");
    dpkg.args(["dpkg", "--log=/dev/null", "--force-script-chrootless"]);
    dpkg.arg(format!("--root={}", tree.display())).args(action).args(packages);
    run(&mut dpkg, temp_dir)
}

fn use_what_is_installed(
    tree: &Path,
    mut compiler: Command,
    emulator: &[&str],
    temp_dir: &TempDir,
) -> Result<(), Failed> {
    let libraries = install::files(tree)?
        .into_iter()
        .find_map(|file| Some(tree.join(file.strip_suffix("/libmajjen.a")?)))
        .ok_or("no libmajjen.a is installed")?;
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.args(["--cflags", "--libs", "majjen"]).env("PKG_CONFIG_SYSROOT_DIR", tree);
    pkg_config.env("PKG_CONFIG_LIBDIR", libraries.join("pkgconfig"));
    // The directories are the system's, which pkg-config omits by default.
    pkg_config.env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1");
    pkg_config.env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1");
    let flags = run(&mut pkg_config, temp_dir)?;
    let program = temp_dir.path().join("program");
    compiler.arg(library::root().join("c-tests/install/consumer.c")).arg("-o").arg(&program);
    run(compiler.args(flags.split_whitespace()), temp_dir)?;
    let start = |program: &Path| match emulator {
        [] => {
            let mut command = Command::new(program);
            command.env("LD_LIBRARY_PATH", &libraries);
            command
        }
        [emulator, arguments @ ..] => {
            let path = format!("LD_LIBRARY_PATH={AARCH64_ROOT}/lib:{}", libraries.display());
            let mut command = Command::new(emulator);
            command.args(arguments).args(["-E", &path]).arg(program);
            command
        }
    };
    run(&mut start(&program), temp_dir)?;
    let version = run(start(&tree.join("usr/bin/majjen")).arg("--version"), temp_dir)?;
    assert_eq!(version, concat!("majjen ", env!("CARGO_PKG_VERSION"), "\n"));
    // As they are, so that links lead to them.
    for document in ["docs/tutorial.md", "examples-c/chat.c", "examples/chat.rs"] {
        let path = tree.join("usr/share/doc/libmajjen-dev").join(document);
        assert!(path.exists(), "{document}");
    }
    for page in [
        "man3/mj_create_task.3.gz",
        "man3/MJ_INFO.3.gz",
        "man7/majjen.7.gz",
        "man7/majjen-hook.7.gz",
        "man1/majjen.1.gz",
    ] {
        assert!(tree.join("usr/share/man").join(page).exists(), "{page}");
    }
    Ok(())
}

/// The package whose file name begins like that.
fn package(start: &str, directory: &Path) -> Result<PathBuf, Failed> {
    let files = install::files(directory)?;
    let found = files.iter().find(|name| name.starts_with(start) && name.ends_with(".deb"));
    Ok(directory.join(found.ok_or(format!("no {start}*.deb, but {files:?}"))?))
}

fn run(command: &mut Command, temp_dir: &TempDir) -> Result<String, Failed> {
    let finished = process::run(command, Duration::from_secs(600), temp_dir.path())?;
    if finished.succeeded() {
        return Ok(finished.output);
    }
    Err(format!("{command:?} {}", finished.describe()).into())
}
