//! The contenders, and how their programs are built. One whose library is not installed is left out of the
//! tables, and listed as missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::first_line_of;
use crate::{Places, Result};

/// A library that is measured.
pub struct Contender {
    pub name: &'static str,
    /// One phrase for the table of versions.
    what: &'static str,
    build: Build,
}

enum Build {
    C(C),
    /// A Go package in a folder of `contenders/`.
    Go(&'static str),
    /// A crate of this workspace, in a folder of `contenders/`.
    Crate(&'static str),
}

/// A C or C++ program: source file, a header that shows whether its library is installed, and how to link.
struct C {
    source: &'static str,
    header: &'static str,
    link: &'static [&'static str],
    /// The Debian package that contains the library.
    package: &'static str,
}

pub const MAJJEN: &str = "Majjen";
/// Of rows 12 to 14 only.
pub const SYSTEM_CALLS: &str = "system calls";

const ALL: &[Contender] = &[
    Contender {
        name: MAJJEN,
        what: "tasks with stacks",
        build: Build::C(C {
            source: "majjen.c",
            header: "majjen.h",
            link: &["-lmajjen"],
            package: "",
        }),
    },
    Contender {
        name: "libev",
        what: "callbacks",
        build: Build::C(C {
            source: "libev.c",
            header: "ev.h",
            link: &["-lev"],
            package: "libev-dev",
        }),
    },
    Contender {
        name: "libuv",
        what: "callbacks",
        build: Build::C(C {
            source: "libuv.c",
            header: "uv.h",
            link: &["-luv"],
            package: "libuv1-dev",
        }),
    },
    Contender {
        name: "libevent",
        what: "callbacks",
        build: Build::C(C {
            source: "libevent.c",
            header: "event2/event.h",
            link: &["-levent_core"],
            package: "libevent-dev",
        }),
    },
    Contender {
        name: "State Threads",
        what: "tasks with stacks, without guard pages",
        build: Build::C(C {
            source: "state_threads.c",
            header: "st.h",
            link: &["-lst"],
            package: "libst-dev",
        }),
    },
    Contender {
        name: "Boost.Fiber",
        what: "tasks with stacks, without guard pages; no sockets",
        build: Build::C(C {
            source: "boost_fiber.cpp",
            header: "boost/fiber/all.hpp",
            link: &["-lboost_fiber", "-lboost_context"],
            package: "libboost-fiber-dev",
        }),
    },
    Contender {
        name: SYSTEM_CALLS,
        what: "calls that block; no runtime",
        build: Build::C(C {
            source: "system_calls.c",
            header: "poll.h",
            link: &["-pthread"],
            package: "libc6-dev",
        }),
    },
    Contender { name: "Go", what: "tasks with growing stacks", build: Build::Go("go") },
    Contender { name: "tokio", what: "tasks without stacks", build: Build::Crate("tokio") },
    Contender { name: "may", what: "tasks with stacks", build: Build::Crate("may") },
    Contender {
        name: "corosensei",
        what: "coroutines with stacks; no runtime",
        build: Build::Crate("corosensei"),
    },
    Contender {
        name: "crossbeam",
        what: "channels between threads; no runtime",
        build: Build::Crate("crossbeam"),
    },
    Contender {
        name: "glommio",
        what: "tasks without stacks, a thread for each core, on io_uring",
        build: Build::Crate("glommio"),
    },
];

/// A contender whose program was built.
pub struct Built {
    pub name: &'static str,
    pub what: &'static str,
    pub version: String,
    pub program: PathBuf,
}

/// All contenders, Majjen first.
pub struct Field {
    pub built: Vec<Built>,
    /// Name and reason.
    pub missing: Vec<(&'static str, String)>,
    /// The guide's server, unchanged; and with its log level at WARN.
    pub guide_server: PathBuf,
    pub quiet_guide_server: PathBuf,
    /// Row 10's program, which loads libraries.
    pub loader: PathBuf,
}

impl Field {
    pub fn get(&self, name: &str) -> Option<&Built> {
        self.built.iter().find(|built| built.name == name)
    }

    pub fn majjen(&self) -> &Built {
        &self.built[0]
    }
}

pub fn build_all(places: &Places) -> Result<Field> {
    let mut field = Field {
        built: Vec::new(),
        missing: Vec::new(),
        guide_server: PathBuf::new(),
        quiet_guide_server: PathBuf::new(),
        loader: PathBuf::new(),
    };
    for contender in ALL {
        eprintln!("building {}", contender.name);
        match contender.build(places) {
            Ok((program, version)) => field.built.push(Built {
                name: contender.name,
                what: contender.what,
                version,
                program,
            }),
            Err(reason) if contender.name == MAJJEN => return Err(reason),
            Err(reason) => {
                eprintln!("{} is missing: {reason}", contender.name);
                field.missing.push((contender.name, reason));
            }
        }
    }
    let majjen = &["-lmajjen"];
    // With the guide's own flags, as in `make run`.
    let guide = places.root.join("examples-c/http_server.c");
    field.guide_server =
        compile(places, &guide, "guide_server", &["-std=c99", "-O2", "-w"], majjen)?;
    let quiet = places.contender("quiet_guide_server.c");
    field.quiet_guide_server =
        compile(places, &quiet, "quiet_guide_server", &["-std=c99", "-O2", "-w"], majjen)?;
    field.loader = compile(places, &places.contender("loader.c"), "loader", C_FLAGS, &["-ldl"])?;
    Ok(field)
}

pub const C_FLAGS: &[&str] = &["-std=gnu11", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE"];
const CPP_FLAGS: &[&str] = &["-std=c++17", "-O2", "-Wall", "-Wextra"];

impl Contender {
    /// The program and the version of the measured library, or why there is none.
    fn build(&self, places: &Places) -> Result<(PathBuf, String)> {
        match &self.build {
            Build::C(c) => {
                let flags = if c.source.ends_with(".cpp") { CPP_FLAGS } else { C_FLAGS };
                if !has_header(places, c) {
                    return Err(format!("not installed (Debian: {})", c.package));
                }
                let stem = c.source.split('.').next().unwrap_or(c.source);
                let program = compile(places, &places.contender(c.source), stem, flags, c.link)?;
                let version = version_of(&program);
                Ok((program, version))
            }
            Build::Go(folder) => {
                if first_line_of("go", &["version"]).is_none() {
                    return Err("not installed (Debian: golang-go)".to_owned());
                }
                let program = places.build.join("go");
                let mut command = Command::new("go");
                command.args(["build", "-o"]).arg(&program).arg(".");
                command.current_dir(places.contender(folder));
                run(command)?;
                let version = version_of(&program);
                Ok((program, version))
            }
            Build::Crate(folder) => {
                let package = format!("bench-{folder}");
                let mut command = Command::new("cargo");
                command.args(["build", "--release", "--locked", "--package", &package]);
                command.arg("--manifest-path").arg(places.bench.join("Cargo.toml"));
                command.arg("--target-dir").arg(places.build.join("crates"));
                run(command).map_err(|error| format!("cannot be built: {error}"))?;
                let program = places.build.join("crates/release").join(package);
                Ok((program, locked_version(places, folder)))
            }
        }
    }
}

/// Compiles and links one source file.
pub fn compile(
    places: &Places,
    source: &Path,
    name: &str,
    flags: &[&str],
    link: &[&str],
) -> Result<PathBuf> {
    let program = places.build.join(name);
    let mut command = compiler(source);
    command.args(flags).arg(source).arg("-o").arg(&program);
    command.arg("-I").arg(places.root.join("include")).arg("-L").arg(&places.library).args(link);
    if link.contains(&"-lmajjen") {
        let mut rpath = OsString::from("-Wl,-rpath,");
        rpath.push(&places.library);
        command.arg(rpath);
    }
    run(command)?;
    Ok(program)
}

fn compiler(source: &Path) -> Command {
    let (variable, default) = match source.extension() {
        Some(extension) if extension == "cpp" => ("CXX", "c++"),
        _ => ("CC", "cc"),
    };
    let words = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(default));
    command.args(words);
    command
}

fn has_header(places: &Places, c: &C) -> bool {
    let mut command = compiler(Path::new(c.source));
    command.arg("-I").arg(places.root.join("include"));
    command.args(["-fsyntax-only", "-include", c.header, "-x"]);
    command.arg(if c.source.ends_with(".cpp") { "c++" } else { "c" }).arg("/dev/null");
    run(command).is_ok()
}

fn run(mut command: Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        if !said.is_empty() && program != "cargo" && program != "go" {
            eprint!("{said}");
        }
        return Ok(());
    }
    let line = said.lines().find(|line| line.contains("error")).or(said.lines().last());
    Err(format!("{program}: {}", line.unwrap_or("failed")))
}

fn version_of(program: &Path) -> String {
    first_line_of(&program.to_string_lossy(), &["version"])
        .and_then(|line| Some(line.strip_prefix("version=")?.to_owned()))
        .unwrap_or_default()
}

/// The version of a crate in this workspace's lock file.
fn locked_version(places: &Places, name: &str) -> String {
    let lock = std::fs::read_to_string(places.bench.join("Cargo.lock")).unwrap_or_default();
    let version = lock.split("[[package]]").find_map(|package| {
        let field = |field: &str| {
            package
                .lines()
                .find_map(|line| Some(line.strip_prefix(field)?.trim_matches([' ', '=', '"'])))
        };
        (field("name") == Some(name)).then(|| field("version")).flatten()
    });
    version.unwrap_or_default().to_owned()
}
