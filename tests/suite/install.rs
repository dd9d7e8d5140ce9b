//! `make install` into an empty prefix, and programs of users who have only the installed files: in
//! C and C++, by pkg-config, CMake, Meson, and the compiler's own search paths. `c-tests/install/`
//! has their sources.

mod pages;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::toolchain::{with_tool, with_tools};
use crate::{process, server, toolchain};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("install::puts_files_in_their_places", puts_files_in_their_places),
        Trial::ignorable_test("install::works_below_paths_with_spaces_and_any_umask", || {
            with_tool("pkg-config", spaces_and_umask)
        }),
        Trial::ignorable_test("install::majjen_is_small", || Ok(majjen_is_small())),
        Trial::ignorable_test("install::consumer_by_pkg_config", || {
            with_tool("pkg-config", by_pkg_config)
        }),
        Trial::ignorable_test("install::hooked_consumer_by_pkg_config", || {
            with_tool("pkg-config", hooked_by_pkg_config)
        }),
        Trial::ignorable_test("install::consumer_by_cmake", || {
            with_tools(&["cmake", "c++"], by_cmake)
        }),
        Trial::ignorable_test("install::consumer_by_meson", || {
            with_tools(&["meson", "ninja", "pkg-config"], by_meson)
        }),
        Trial::test("install::consumer_by_dlopen_a_hundred_times", || by_dlopen("dlopen.c")),
        Trial::test("install::closed_while_a_function_runs", || by_dlopen("dlopen_pool.c")),
        Trial::test("install::server_by_the_guides_command_line", by_the_guides_command_line),
        Trial::ignorable_test("install::links_beside_another_rust_library", || {
            with_tool("rustc", beside_another_rust_library)
        }),
        Trial::ignorable_test("install::names_the_libraries_that_rustc_names", || {
            with_tool("rustc", names_the_libraries_that_rustc_names)
        }),
        Trial::ignorable_test("install::gdb_loads_the_script_by_itself", || {
            with_tool("gdb", gdb_loads_the_script)
        }),
    ];
    trials.extend(pages::trials());
    trials
}

/// The library, installed into its own directory.
pub struct Prefix {
    temp_dir: Arc<TempDir>,
}

impl Prefix {
    pub fn new() -> Result<Prefix, Failed> {
        let prefix = Prefix { temp_dir: Arc::new(TempDir::new()?) };
        prefix.make("install", &[format!("PREFIX={}", prefix.path("").display())])?;
        Ok(prefix)
    }

    /// A file in the prefix.
    pub fn path(&self, file: &str) -> PathBuf {
        self.temp_dir.path().join("prefix").join(file)
    }

    fn make(&self, goal: &str, variables: &[String]) -> Result<String, Failed> {
        self.run(make(goal).args(variables))
    }

    /// Runs a command in the temporary directory, where it finds the installed files.
    fn run(&self, command: &mut Command) -> Result<String, Failed> {
        command.env("PKG_CONFIG_PATH", self.path("lib/pkgconfig"));
        command.env("CMAKE_PREFIX_PATH", self.path(""));
        command.env("LD_LIBRARY_PATH", self.path("lib"));
        let finished = process::run(command, LIMIT, self.temp_dir.path())?;
        if finished.succeeded() {
            return Ok(finished.output);
        }
        Err(format!("{command:?} {}", finished.describe()).into())
    }

    /// A command that runs in the temporary directory.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.temp_dir.path());
        command
    }

    /// The environment by which a compiler finds the shared library.
    fn search_paths(&self) -> [OsString; 5] {
        let (include, lib) = (self.path("include"), self.path("lib"));
        ["-I".into(), include.into(), "-L".into(), lib.into(), "-lmajjen".into()]
    }

    /// Compiles a source of `c-tests/install/`, or one with an absolute path, into `program`.
    fn compile(
        &self,
        mut compiler: Command,
        source: impl AsRef<Path>,
        after: &[OsString],
    ) -> Result<(), Failed> {
        compiler.arg(source_file(source)).args(["-o", "program"]).args(after);
        self.run(compiler.current_dir(self.temp_dir.path())).map(drop)
    }

    /// Runs `program`.
    fn run_program(&self, arguments: &[&Path]) -> Result<String, Failed> {
        self.run(self.command("./program").args(arguments))
    }
}

/// The project's make. The suite may itself be run by a make with variables.
pub fn make(goal: &str) -> Command {
    let mut make = Command::new("make");
    make.arg(goal).current_dir(library::root());
    for variable in ["MAKEFLAGS", "MAKEOVERRIDES", "PREFIX", "LIBDIR", "DESTDIR"] {
        make.env_remove(variable);
    }
    make
}

const LIMIT: Duration = Duration::from_secs(120);

fn source_file(name: impl AsRef<Path>) -> PathBuf {
    library::root().join("c-tests/install").join(name)
}

fn strict_c_compiler() -> Command {
    let mut compiler = toolchain::c_compiler();
    compiler.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    compiler
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// Checks the consumer's output.
fn is_the_consumers(output: &str) -> Result<(), Failed> {
    let expected = concat!("10 tasks with ", env!("CARGO_PKG_VERSION"), "\n");
    if output == expected {
        return Ok(());
    }
    Err(format!("expected {expected:?}: {output}").into())
}

/// The files below a directory, and links with their targets.
pub fn files(directory: &Path) -> Result<Vec<String>, Failed> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next)? {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
            if kind?.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(directory)?.display().to_string();
            found.push(match fs::read_link(&path) {
                Ok(target) => format!("{name} -> {}", target.display()),
                Err(_) => name,
            });
        }
    }
    found.sort();
    Ok(found)
}

/// The program that looks into processes, which `make test-long` builds.
fn majjen_is_small() -> Completion {
    let Ok(data) = library::path("majjen").and_then(|program| Ok(fs::metadata(program)?)) else {
        return Completion::ignored_with("`make cli` has not built it");
    };
    assert!(data.len() <= 8 << 20, "{} bytes", data.len());
    Completion::Completed
}

/// As a packager installs: with a DESTDIR, and libraries in an architecture's directory.
fn puts_files_in_their_places() -> Result<(), Failed> {
    let prefix = Prefix { temp_dir: Arc::new(TempDir::new()?) };
    let root = prefix.path("");
    let variables =
        [format!("DESTDIR={}", root.display()), "PREFIX=/usr".into(), "LIBDIR=/usr/lib/x".into()];
    prefix.make("install", &variables)?;
    let (version, major) = (env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_VERSION_MAJOR"));
    let expected = [
        "usr/include/majjen-hook.h".to_owned(),
        "usr/include/majjen.h".to_owned(),
        "usr/include/majjen.hpp".to_owned(),
        "usr/lib/x/cmake/majjen/majjen-config-version.cmake".to_owned(),
        "usr/lib/x/cmake/majjen/majjen-config.cmake".to_owned(),
        "usr/lib/x/libmajjen-hook.a".to_owned(),
        format!("usr/lib/x/libmajjen-hook.so -> libmajjen-hook.so.{major}"),
        format!("usr/lib/x/libmajjen-hook.so.{major} -> libmajjen-hook.so.{version}"),
        format!("usr/lib/x/libmajjen-hook.so.{version}"),
        "usr/lib/x/libmajjen.a".to_owned(),
        format!("usr/lib/x/libmajjen.so -> libmajjen.so.{major}"),
        format!("usr/lib/x/libmajjen.so.{major} -> libmajjen.so.{version}"),
        format!("usr/lib/x/libmajjen.so.{version}"),
        "usr/lib/x/majjen-hook.wrap".to_owned(),
        "usr/lib/x/pkgconfig/majjen-hook.pc".to_owned(),
        "usr/lib/x/pkgconfig/majjen.pc".to_owned(),
        "usr/share/doc/majjen/LICENSE-APACHE".to_owned(),
        "usr/share/doc/majjen/LICENSE-MIT".to_owned(),
        format!("usr/share/gdb/auto-load/usr/lib/x/libmajjen.so.{version}-gdb.py"),
    ];
    let mut found = files(&root)?;
    found.retain(|file| !file.starts_with("usr/share/man/"));
    let (documents, found): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|file| file.starts_with("usr/share/doc/") && !file.contains("LICENSE"));
    assert_eq!(found, expected);
    has_documents(&documents)?;
    let package = fs::read_to_string(root.join("usr/lib/x/pkgconfig/majjen.pc"))?;
    assert!(package.contains("libdir=/usr/lib/x\n"), "without the DESTDIR: {package}");

    prefix.make("uninstall", &variables)?;
    assert_eq!(files(&root)?, [""; 0], "left by make uninstall");
    Ok(())
}

/// All documents and examples, in the places that they have here, and nothing else.
fn has_documents(found: &[String]) -> Result<(), Failed> {
    let mut expected = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    for directory in ["docs", "docs/images", "examples-c", "examples"] {
        for entry in fs::read_dir(library::root().join(directory))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                expected.push(format!("{directory}/{}", entry.file_name().display()));
            }
        }
    }
    expected.sort();
    let start = "usr/share/doc/majjen/";
    let mut found: Vec<&str> = found.iter().filter_map(|file| file.strip_prefix(start)).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    Ok(())
}

/// What is installed can be read by all, and is removed again, whatever the directories are called.
fn spaces_and_umask() -> Result<(), Failed> {
    let prefix = Prefix { temp_dir: Arc::new(TempDir::new()?) };
    let (top, root) = (prefix.path("../a root"), "/opt/a prefix");
    let variables = [format!("DESTDIR={}", top.display()), format!("PREFIX={root}")];
    let mut with_umask = prefix.command("sh");
    with_umask.args(["-c", "umask 077 && exec \"$0\" \"$@\""]);
    let install = make("install");
    with_umask.arg(install.get_program()).args(install.get_args()).args(&variables);
    with_umask.current_dir(library::root());
    for (variable, value) in install.get_envs() {
        match value {
            Some(value) => with_umask.env(variable, value),
            None => with_umask.env_remove(variable),
        };
    }
    prefix.run(&mut with_umask)?;
    let mut unreadable = prefix.command("find");
    unreadable.arg(&top).args(["-not", "-type", "l", "-not", "-perm", "-444"]);
    assert_eq!(prefix.run(&mut unreadable)?, "", "what not everybody may read");

    let installed = top.join(root.trim_start_matches('/'));
    let mut pkg_config = prefix.command("pkg-config");
    pkg_config.args(["--cflags", "--libs", "majjen"]).env("PKG_CONFIG_SYSROOT_DIR", &top);
    pkg_config.env("PKG_CONFIG_LIBDIR", installed.join("lib/pkgconfig"));
    let finished = process::run(&mut pkg_config, LIMIT, prefix.temp_dir.path())?;
    let flags = finished.output.trim();
    // As a shell takes them: what pkg-config writes is quoted for one.
    let mut compiler = prefix.command("sh");
    compiler.arg("-c").arg(format!("exec cc \"$0\" -o program {flags}"));
    prefix.run(compiler.arg(source_file("consumer.c")))?;
    let mut program = prefix.command("./program");
    program.env("LD_LIBRARY_PATH", installed.join("lib"));
    let ran = process::run(&mut program, LIMIT, prefix.temp_dir.path())?;
    is_the_consumers(&ran.output)?;

    prefix.make("uninstall", &variables)?;
    assert_eq!(files(&top)?, [""; 0], "left by make uninstall");
    Ok(())
}

fn by_pkg_config() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let flags = |options: &[&str]| {
        let output = prefix.run(Command::new("pkg-config").args(options).arg("majjen"))?;
        Ok::<_, Failed>(words(&output))
    };
    flags(&["--validate"])?;
    assert_eq!(flags(&["--modversion"])?, [env!("CARGO_PKG_VERSION")]);
    let shared = flags(&["--cflags", "--libs"])?;
    prefix.compile(strict_c_compiler(), "consumer.c", &shared)?;
    is_the_consumers(&prefix.run_program(&[])?)?;

    let cxx = |dialect: &str| {
        let (program, arguments) = toolchain::cxx_compiler();
        let mut compiler = Command::new(program);
        compiler.args(arguments).args([dialect, "-Wall", "-Wextra", "-Werror", "-x", "c++"]);
        compiler
    };
    if toolchain::find(&toolchain::cxx_compiler().0).is_some() {
        prefix.compile(cxx("-std=c++11"), "consumer.c", &shared)?;
        is_the_consumers(&prefix.run_program(&[])?)?;
        let hello = library::root().join("examples-c/hello.cc");
        prefix.compile(cxx("-std=c++17"), hello, &shared)?;
        let greetings = prefix.run_program(&[])?;
        assert_eq!(greetings.matches("Hello, ").count(), 5, "{greetings}");
    }

    // With the C library in the program as well: the loader has nothing to load.
    let mut all_static = flags(&["--cflags", "--libs", "--static"])?;
    all_static.push("-static".into());
    prefix.compile(strict_c_compiler(), "consumer.c", &all_static)?;
    // With only the archive: the program runs without the shared library.
    is_the_consumers(&prefix.run_program(&[])?)?;
    let only_archive = [
        vec!["-Wl,-Bstatic".into()],
        flags(&["--cflags", "--libs"])?,
        vec!["-Wl,-Bdynamic".into()],
        flags(&["--libs-only-l", "--static"])?.split_off(1),
    ];
    prefix.compile(strict_c_compiler(), "consumer.c", &only_archive.concat())?;
    fs::remove_file(prefix.path(concat!("lib/libmajjen.so.", env!("CARGO_PKG_VERSION_MAJOR"))))?;
    is_the_consumers(&prefix.run_program(&[])?)
}

/// A program that blocks, with the hooks shared, preloaded, and linked with nothing shared.
fn hooked_by_pkg_config() -> Result<(), Failed> {
    const EXPECTED: &str = "10 tasks have slept, 0 pinned\n";
    let prefix = Prefix::new()?;
    let flags = |options: &[&str]| {
        let output = prefix.run(Command::new("pkg-config").args(options).arg("majjen-hook"))?;
        Ok::<_, Failed>(words(&output))
    };
    // The hooks stand in front, also with a linker that leaves out what the program itself does not call.
    let mut shared = vec!["-Wl,--as-needed".into()];
    shared.extend(flags(&["--cflags", "--libs"])?);
    prefix.compile(strict_c_compiler(), "hooked.c", &shared)?;
    assert_eq!(prefix.run_program(&[])?, EXPECTED);

    let mut all_static = flags(&["--cflags", "--libs", "--static"])?;
    all_static.push("-static".into());
    prefix.compile(strict_c_compiler(), "hooked.c", &all_static)?;
    assert_eq!(prefix.run_program(&[])?, EXPECTED);
    Ok(())
}

fn by_cmake() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    // Moved together, the files still find each other.
    let moved = prefix.path("../elsewhere");
    fs::rename(prefix.path(""), &moved)?;
    let configure = |build: &str, wanted: &str| {
        let mut cmake = prefix.command("cmake");
        cmake.arg("-S").arg(source_file("")).args(["-B", build]);
        cmake.arg(format!("-DMAJJEN_WANTED={wanted}"));
        cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", moved.display()));
        prefix.run(&mut cmake)
    };
    let output = configure("build", "0.1")?;
    let found = concat!("majjen_VERSION is ", env!("CARGO_PKG_VERSION"));
    assert!(output.contains(found), "{output}");
    prefix.run(prefix.command("cmake").args(["--build", "build", "--parallel", "2"]))?;
    for program in ["shared", "static", "shared_cxx", "static_cxx"] {
        is_the_consumers(&prefix.run(&mut prefix.command(format!("build/{program}")))?)?;
    }
    for program in ["hooked", "hooked_static", "hooked_by_library"] {
        let output = prefix.run(&mut prefix.command(format!("build/{program}")))?;
        assert_eq!(output, "10 tasks have slept, 0 pinned\n", "{program}");
    }
    // A version newer than this one, and another ABI.
    for wanted in ["0.999", "999.0"] {
        let Err(failed) = configure(wanted, wanted) else {
            return Err(format!("version {wanted} was found").into());
        };
        let message = failed.message().unwrap_or_default();
        assert!(
            message.contains("not considered") || message.contains("not accepted"),
            "{message}"
        );
    }
    Ok(())
}

fn by_meson() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let sources = prefix.path("../sources");
    fs::create_dir(&sources)?;
    for file in ["meson.build", "consumer.c"] {
        fs::copy(source_file(file), sources.join(file))?;
    }
    prefix.run(prefix.command("meson").args(["setup", "build", "sources"]))?;
    prefix.run(prefix.command("ninja").args(["-C", "build"]))?;
    for program in ["shared", "static"] {
        is_the_consumers(&prefix.run(&mut prefix.command(format!("build/{program}")))?)?;
    }
    Ok(())
}

fn by_dlopen(program: &str) -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let mut include = OsString::from("-I");
    include.push(prefix.path("include"));
    let mut compiler = toolchain::c_compiler();
    compiler.args(["-std=gnu99", "-Wall", "-Wextra", "-Werror"]);
    prefix.compile(compiler, program, &[include, "-ldl".into()])?;
    prefix.run_program(&[&prefix.path("lib/libmajjen.so")]).map(drop)
}

/// `gcc -std=c99 -O2 -o http_server http_server.c majjen.c -I.`, with the library in place of
/// majjen.c, and installed where the compiler and the loader search by default.
fn by_the_guides_command_line() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    fs::copy(library::root().join("examples-c/http_server.c"), prefix.path("../http_server.c"))?;
    let mut compiler = toolchain::c_compiler();
    compiler.args(words("-std=c99 -O2 -o http_server http_server.c -lmajjen -I."));
    compiler.current_dir(prefix.temp_dir.path());
    prefix.run(
        compiler.env("CPATH", prefix.path("include")).env("LIBRARY_PATH", prefix.path("lib")),
    )?;
    let mut command = Command::new(prefix.path("../http_server"));
    command.env("LD_LIBRARY_PATH", prefix.path("lib"));
    server::serves(command, Arc::clone(&prefix.temp_dir));
    Ok(())
}

/// Both archives contain Rust's standard library, here of the same release. All members are linked,
/// although the linker would by default take only the first with a given name.
fn beside_another_rust_library() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let mut rustc = prefix.command("rustc");
    rustc.args(["--edition=2024", "--crate-type=staticlib", "-O", "-o", "libother.a"]);
    prefix.run(rustc.arg(source_file("other.rs")))?;
    let archive = prefix.path("lib/libmajjen.a");
    let include = prefix.path("include");
    for [first, second] in
        [[Path::new("libother.a"), &archive], [&archive, Path::new("libother.a")]]
    {
        let mut after = vec!["-I".into(), include.clone().into(), "-Wl,--whole-archive".into()];
        after.extend([first, second].map(OsString::from));
        after.extend(words("-Wl,--no-whole-archive -lutil -lrt -lpthread -lm -ldl"));
        prefix.compile(strict_c_compiler(), "other.c", &after)?;
        prefix.run_program(&[])?;
    }
    Ok(())
}

/// The libraries that a program needs which links the archive: `Libs.private` in `majjen.pc`.
fn names_the_libraries_that_rustc_names() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    fs::write(prefix.path("../empty.rs"), "")?;
    let mut rustc = prefix.command("rustc");
    rustc.args(["--crate-type=staticlib", "--print=native-static-libs", "empty.rs"]);
    let output = prefix.run(&mut rustc)?;
    let (_, libraries) =
        output.split_once("native-static-libs: ").ok_or("rustc names no libraries")?;
    // Every C compiler adds these two by itself; one of them has no static form.
    let expected: Vec<OsString> = words(libraries.lines().next().unwrap_or_default())
        .into_iter()
        .filter(|library| library != "-lgcc_s" && library != "-lc")
        .collect();
    let package = fs::read_to_string(prefix.path("lib/pkgconfig/majjen.pc"))?;
    let private = package.lines().find_map(|line| line.strip_prefix("Libs.private: "));
    assert_eq!(words(private.unwrap_or_default()), expected, "{package}");
    Ok(())
}

/// gdb searches its auto-load directories for a script with the library's path.
fn gdb_loads_the_script() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let mut compiler = strict_c_compiler();
    compiler.arg("-g");
    prefix.compile(compiler, "consumer.c", &prefix.search_paths())?;
    let auto_load = prefix.path("share/gdb/auto-load");
    let mut gdb = prefix.command("gdb");
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    for setting in ["add-auto-load-scripts-directory", "add-auto-load-safe-path"] {
        gdb.arg("-iex").arg(format!("{setting} {}", auto_load.display()));
    }
    gdb.args(["-ex", "break sleeper", "-ex", "run", "-ex", "mj tasks", "./program"]);
    let output = prefix.run(&mut gdb)?;
    let listed = output.lines().filter(|line| line.contains("ready") || line.contains("running"));
    assert!(listed.count() >= 10, "the ten tasks: {output}");
    Ok(())
}
