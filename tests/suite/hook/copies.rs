//! Which copy of Majjen the library belongs to: that which runs the task.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::{link_hook, preload};
use crate::library::{self as built, TempDir};
use crate::program;
use crate::rust_api;
use crate::toolchain::with_tool;

const LIMIT: Duration = Duration::from_secs(60);

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("hook::copies::two_in_one_process", two_copies),
        Trial::test("hook::copies::none_at_all", no_copy),
        Trial::test("hook::copies::a_plugin_blocks", plugin),
        Trial::test("hook::copies::a_plugin_brings_it", plugin_with_hooks),
        Trial::test("hook::copies::behind_the_c_library", behind),
        Trial::ignorable_test("hook::copies::in_a_rust_program", || {
            with_tool("rustc", rust_program)
        }),
    ]
}

fn part(name: &str) -> PathBuf {
    built::root().join(format!("c-tests/hook/parts/{name}.c"))
}

/// A program in Rust has the crate in it; the library is preloaded, or linked by an attribute.
fn rust_program() -> Result<(), Failed> {
    let source = fs::read_to_string(built::root().join("c-tests/hook/parts/std.rs"))?;
    for linked in [false, true] {
        let temp_dir = TempDir::new()?;
        let mut rustc = rust_api::rustc(&temp_dir, &source)?;
        rustc.args(["-O", "--check-cfg", "cfg(linked)"]);
        if linked {
            // Its arguments for the linker come last, behind the C library: so only the attribute
            // puts the library before that.
            link_hook(&mut Command::new("cc"), &temp_dir)?;
            let directory = temp_dir.path().display();
            rustc.args(["--cfg", "linked", "-L", &format!("native={directory}")]);
            rustc.arg(format!("-Clink-arg=-Wl,-rpath,{directory}"));
        }
        program::run_compiler(&mut rustc, &temp_dir)?;
        let mut command = Command::new(temp_dir.path().join("main"));
        if !linked {
            preload(&mut command, &built::path("libmajjen-hook.so")?);
        }
        program::run_command(&mut command, LIMIT, &temp_dir)?;
    }
    Ok(())
}

/// A compiler for one of the parts.
fn compiler(name: &str, output: &str, temp_dir: &TempDir) -> Command {
    let mut compiler = crate::toolchain::c_compiler();
    compiler.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    for directory in ["include", "hook"] {
        compiler.arg("-I").arg(built::root().join(directory));
    }
    compiler.arg(part(name)).arg("-o").arg(temp_dir.path().join(output));
    compiler
}

/// A program has the archive in it, and opens a plugin that is linked with the shared library. Each runs
/// schedulers, also one in a task of the other's.
fn two_copies() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let mut plugin = compiler("copy", "plugin.so", &temp_dir);
    plugin.args(["-shared", "-fPIC", "-DPLUGIN"]);
    temp_dir.link_shared(&mut plugin)?;
    program::run_compiler(&mut plugin, &temp_dir)?;
    let mut main = compiler("copy", "program", &temp_dir);
    link_hook(&mut main, &temp_dir)?;
    temp_dir.link_static(&mut main)?;
    program::run_compiler(&mut main, &temp_dir)?;
    let mut command = Command::new(temp_dir.path().join("program"));
    program::run_command(command.arg(temp_dir.path().join("plugin.so")), LIMIT, &temp_dir)?;
    Ok(())
}

/// A program without any.
fn no_copy() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    program::run_compiler(&mut compiler("without", "program", &temp_dir), &temp_dir)?;
    let mut command = Command::new(temp_dir.path().join("program"));
    let library = built::path("libmajjen-hook.so")?;
    let alone = program::run_command(&mut command, LIMIT, &temp_dir)?;
    preload(&mut command, &library);
    assert_eq!(alone, program::run_command(&mut command, LIMIT, &temp_dir)?);
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo one | cat | { read line; echo $line; }; sleep 0; echo two >&2"]);
    preload(&mut shell, &library);
    assert_eq!(program::run_command(&mut shell, LIMIT, &temp_dir)?, "one\ntwo\n");
    Ok(())
}

/// A library that knows nothing of Majjen, opened for itself alone: its calls suspend the task. Opened with
/// RTLD_DEEPBIND it finds the C library's first: it blocks the thread, and nothing worse.
fn plugin() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let mut plugin = compiler("blocks", "blocks.so", &temp_dir);
    program::run_compiler(plugin.args(["-shared", "-fPIC"]), &temp_dir)?;
    for preloaded in [false, true] {
        let temp = TempDir::new()?;
        let mut main = compiler("opens", "program", &temp);
        if !preloaded {
            link_hook(&mut main, &temp)?;
        }
        temp.link_shared(&mut main)?;
        program::run_compiler(&mut main, &temp)?;
        let mut command = Command::new(temp.path().join("program"));
        if preloaded {
            preload(&mut command, &built::path("libmajjen-hook.so")?);
        }
        command.arg(temp_dir.path().join("blocks.so"));
        program::run_command(&mut command, LIMIT, &temp_dir)?;
    }
    Ok(())
}

/// A plugin is linked with the library, and the program that opens it knows nothing of it. The loader looks in
/// what the program has first, so calls are only hooked if the plugin's own come first, or it is preloaded.
fn plugin_with_hooks() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let mut plugin = compiler("copy", "plugin.so", &temp_dir);
    plugin.args(["-shared", "-fPIC", "-DPLUGIN", "-Wl,--no-as-needed"]);
    link_hook(&mut plugin, &temp_dir)?;
    temp_dir.link_shared(&mut plugin)?;
    program::run_compiler(&mut plugin, &temp_dir)?;
    program::run_compiler(&mut compiler("hosts", "program", &temp_dir), &temp_dir)?;
    for (preloaded, flags, suspensions) in
        [(false, "plain", "0"), (false, "deep", "10"), (true, "plain", "10")]
    {
        let mut command = Command::new(temp_dir.path().join("program"));
        command.arg(temp_dir.path().join("plugin.so")).args([flags, suspensions]);
        if preloaded {
            preload(&mut command, &built::path("libmajjen-hook.so")?);
        }
        program::run_command(&mut command, LIMIT, &temp_dir)?;
    }
    Ok(())
}

/// Behind the C library nothing is hooked, which is told once; and nothing worse.
fn behind() -> Result<(), Failed> {
    for is_behind in [false, true] {
        let temp_dir = TempDir::new()?;
        let mut main = compiler("behind", "program", &temp_dir);
        if is_behind {
            main.args(["-Wl,--no-as-needed", "-lc"]);
        }
        link_hook(&mut main, &temp_dir)?;
        temp_dir.link_shared(&mut main)?;
        program::run_compiler(&mut main, &temp_dir)?;
        let mut command = Command::new(temp_dir.path().join("program"));
        let told = program::run_command(&mut command, LIMIT, &temp_dir)?;
        let times = told.matches("comes after the C library").count();
        let hooked = told.lines().last();
        let expected = if is_behind { (1, Some("0")) } else { (0, Some("2")) };
        assert_eq!((times, hooked), expected, "{told}");
    }
    Ok(())
}
