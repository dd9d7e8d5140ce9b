//! Bugs that are planted in a copy of the sources, for a test to prove that it notices them.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// One bug: a piece of a source file that there is exactly once, and what stands there instead.
pub struct Bug {
    pub name: &'static str,
    pub file: &'static str,
    pub right: &'static str,
    pub wrong: &'static str,
}

/// The repository, with a copy of `src/`; all else are links.
pub struct Sources {
    root: PathBuf,
}

impl Sources {
    /// Makes the copy, in the place of one that is there already.
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

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Calls `test` while there is a bug.
    pub fn with<R>(&self, bug: &Bug, test: impl FnOnce() -> R) -> Result<R, String> {
        self.plant(bug)?;
        let result = test();
        self.write(bug, &bug.place()?)?;
        Ok(result)
    }

    /// Plants a bug for good.
    pub fn plant(&self, bug: &Bug) -> Result<(), String> {
        self.write(bug, &bug.place()?.replace(bug.right, bug.wrong))
    }

    fn write(&self, bug: &Bug, text: &str) -> Result<(), String> {
        fs::write(self.root.join(bug.file), text).map_err(|error| error.to_string())
    }
}

impl Bug {
    /// The text of the source file, which has what is right once.
    pub fn place(&self) -> Result<String, String> {
        let text = fs::read_to_string(original().join(self.file)).map_err(|e| e.to_string())?;
        match text.matches(self.right).count() {
            1 => Ok(text),
            count => Err(format!("{}: {} has its line {count} times", self.name, self.file)),
        }
    }
}

fn original() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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
