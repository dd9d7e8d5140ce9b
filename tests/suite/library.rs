//! The built libraries, and a directory where programs find them as if they were installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{env, fs, process};
use std::{io, os::unix::fs::symlink};

use libtest_mimic::Failed;

/// The root of the repository.
pub fn root() -> &'static Path {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR"));
    suite.ancestors().nth(2).expect("it is in tests/suite/")
}

/// Cargo for the library's package: without a network, without a change of Cargo.lock, and with its output here.
pub fn cargo(target: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["--locked", "--offline"]).current_dir(root()).env("CARGO_TARGET_DIR", target);
    cargo
}

/// One of the built libraries: `libmajjen.so` or `libmajjen.a`.
pub fn path(file: &str) -> Result<PathBuf, Failed> {
    let directory = match env::var_os("MAJJEN_LIB_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => match env::var_os("CARGO_TARGET_DIR") {
            Some(target) => PathBuf::from(target).join("release"),
            None => root().join("target/release"),
        },
    };
    // Programs link with it from another directory.
    directory.join(file).canonicalize().map_err(|error| {
        let directory = directory.display();
        Failed::from(format!("{file} is not in {directory} ({error}); `make` builds it"))
    })
}

/// The names of the global symbols that one of the libraries defines, according to `nm` with these
/// flags.
pub fn symbols(file: &str, flags: &[&str]) -> Result<BTreeSet<String>, Failed> {
    let output = Command::new("nm").args(flags).arg("--defined-only").arg(path(file)?).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    // Each line is an address, a letter, and a name, which may have a version after an `@`. The
    // names of an archive's members are single words.
    Ok(String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(|symbol| symbol.split('@').next().unwrap_or_default().to_owned())
        .collect())
}

/// A directory for one test, removed at its end. In it the shared library has the names that the
/// linker and the loader look for.
pub struct TempDir {
    directory: PathBuf,
}

impl TempDir {
    pub fn new() -> io::Result<TempDir> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("majjen-suite-{}-{number}", process::id());
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        Ok(TempDir { directory })
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Makes a compiler link with the shared library.
    pub fn link_shared(&self, compiler: &mut Command) -> Result<(), Failed> {
        let library = path("libmajjen.so")?;
        for name in ["libmajjen.so", "libmajjen.so.0"] {
            symlink(&library, self.directory.join(name))?;
        }
        compiler.arg("-L").arg(&self.directory).arg("-lmajjen");
        compiler.arg(format!("-Wl,-rpath,{}", self.directory.display())).args(SYSTEM_LIBRARIES);
        Ok(())
    }

    /// Makes a compiler link with the static library.
    pub fn link_static(&self, compiler: &mut Command) -> Result<(), Failed> {
        compiler.arg(path("libmajjen.a")?).args(SYSTEM_LIBRARIES);
        Ok(())
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Files that cannot be removed stay in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The libraries that the static library needs, as `rustc --print native-static-libs` prints them;
/// the test programs also use threads and the math library themselves.
const SYSTEM_LIBRARIES: [&str; 3] = ["-pthread", "-ldl", "-lm"];
