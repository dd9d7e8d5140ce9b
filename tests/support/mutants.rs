//! Mutants: copies of the library with one bug each. A test must notice the bug.
//!
//! A mutant names a function and a part of it, by syntax: the function's place in `src/`, its
//! formatting, and comments make no difference. There must be exactly one such part, so that a
//! mutant whose code has changed is reported, and not applied somewhere else.
#![allow(dead_code)] // None of the tests uses all kinds of edits.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::Command;

mod functions;

use functions::{Functions, Part};

/// One bug.
pub struct Mutant {
    pub name: &'static str,
    function: &'static str,
    edit: Edit,
    /// The place of its definition.
    table: &'static Location<'static>,
}

/// The replacement of a part.
pub struct Edit {
    part: Part,
    by: &'static str,
}

/// A mutant of a function: see [`Functions::named`] for the name.
#[track_caller]
pub const fn mutant(name: &'static str, function: &'static str, edit: Edit) -> Mutant {
    Mutant { name, function, edit, table: Location::caller() }
}

/// Deletes the innermost statement that contains the words.
pub const fn delete(words: &'static str) -> Edit {
    replace(words, "")
}

/// Replaces the innermost statement that contains the words. Here and below, `$` stands for the
/// original text.
pub const fn replace(words: &'static str, by: &'static str) -> Edit {
    Edit { part: Part::Statement(words), by }
}

/// Replaces a call, receiver and arguments included.
pub const fn call(called: &'static str, by: &'static str) -> Edit {
    Edit { part: Part::Call(called), by }
}

/// Replaces the condition, of an `if` or a `while`, that contains the words.
pub const fn condition(words: &'static str, by: &'static str) -> Edit {
    Edit { part: Part::Condition(words), by }
}

/// Deletes the arm of a `match` whose pattern contains the words.
pub const fn delete_arm(words: &'static str) -> Edit {
    Edit { part: Part::Arm(words), by: "" }
}

/// Replaces the words. For everything else, and for C.
pub const fn words(words: &'static str, by: &'static str) -> Edit {
    Edit { part: Part::Words(words), by }
}

/// A part of a source file.
struct Place {
    /// Relative to the repository.
    file: PathBuf,
    bytes: Range<usize>,
}

/// The repository, with a copy of `src/`; everything else is links.
pub struct Sources {
    root: PathBuf,
}

impl Sources {
    /// Makes the copy, replacing a previous one.
    pub fn copy_to(root: &Path) -> io::Result<Sources> {
        match fs::remove_dir_all(root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(root)?,
        }
        for entry in fs::read_dir(original())? {
            let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
            match name.to_str() {
                Some("src") => copy_directory(&path, &root.join(name))?,
                Some("target" | ".git") => {}
                _ => symlink(path, root.join(name))?,
            }
        }
        Ok(Sources { root: root.to_owned() })
    }

    /// The files below `root/src`.
    pub fn in_directory(root: &Path) -> Sources {
        Sources { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo in the copy, without a network. A mutant is run for seconds, so building it has to be quick.
    pub fn cargo(&self, target: &Path) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", target);
        cargo.env("CARGO_NET_OFFLINE", "true").env("CARGO_INCREMENTAL", "1");
        cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        cargo
    }

    /// Calls `test` while the copy is a mutant.
    pub fn with<R>(&self, mutant: &Mutant, test: impl FnOnce() -> R) -> Result<R, String> {
        let (file, before) = self.mutate(mutant)?;
        let result = test();
        write(&file, &before)?;
        Ok(result)
    }

    /// Turns the copy into a mutant. Returns the changed file, and its original text.
    pub fn mutate(&self, mutant: &Mutant) -> Result<(PathBuf, String), String> {
        let Place { file, bytes } = mutant.place(&Functions::read(&self.root)?)?;
        let file = self.root.join(file);
        let before = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let by = mutant.edit.by.replace('$', &before[bytes.clone()]);
        write(&file, &[&before[..bytes.start], &by, &before[bytes.end..]].concat())?;
        Ok((file, before))
    }
}

/// Checks that each mutant has its place in the current sources.
pub fn find_places<'a>(mutants: impl IntoIterator<Item = &'a Mutant>) -> Result<(), String> {
    let functions = Functions::read(original())?;
    let missing = mutants.into_iter().filter_map(|mutant| mutant.place(&functions).err());
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
}

impl Mutant {
    fn place(&self, functions: &Functions) -> Result<Place, String> {
        let Mutant { name, function, edit: Edit { part, .. }, table } = self;
        let fail = |why: String| Err(format!("{table}: mutant \"{name}\": {why}"));
        let named = functions.named(function);
        if named.is_empty() {
            let alike = match functions.alike(function) {
                alike if alike.is_empty() => String::new(),
                alike => format!(" (but {})", alike.join(", ")),
            };
            return fail(format!(
                "src/ has no function `{function}`{alike}; if it has another name now, rename it in \
                 this table"
            ));
        }
        let mut places = Vec::new();
        for function in &named {
            let found = match function.places(*part) {
                Ok(found) => found,
                Err(why) => return fail(why),
            };
            places.extend(
                found.into_iter().map(|bytes| Place { file: function.file.clone(), bytes }),
            );
        }
        let names: Vec<String> = named.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        match places.len() {
            1 => Ok(places.remove(0)),
            0 => fail(format!("{names} has no {part}; say in this table what makes the bug now")),
            count => fail(format!("{names} has {count} times a {part}; say in this table which")),
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| error.to_string())
}

/// The root of the project. The package that this is compiled into may be in a directory below.
fn original() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|it| it.join("CHANGELOG.md").exists()).expect("the project")
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
