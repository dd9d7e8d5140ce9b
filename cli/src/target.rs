//! Whom to look into: a process, or a core file.

use std::path::Path;

use crate::core_file::CoreFile;
use crate::descriptors::{Descriptors, NoDescriptors, OfProcess};
use crate::elf::{self, Module};
use crate::memory::Memory;
use crate::problem::{Problem, Result};
use crate::process::Process;
use crate::snapshot::Snapshot;
use crate::table::Table;

/// See the module.
pub enum Target {
    Process(Process),
    Core(CoreFile),
}

impl Target {
    /// By what the user has written: a number, or the name of a file.
    pub fn open(whom: &str) -> Result<Target> {
        match whom.parse::<i32>() {
            Ok(pid) if pid > 0 => Ok(Target::Process(Process::open(pid)?)),
            Ok(_) => Err(Problem::new(format!("{whom} is not the number of a process"))),
            Err(_) if whom.bytes().all(|byte| byte.is_ascii_digit()) && !whom.is_empty() => {
                Err(Problem::new(format!("{whom} is not the number of a process: it is too large")))
            }
            Err(_) => Ok(Target::Core(CoreFile::open(Path::new(whom))?)),
        }
    }

    pub fn memory(&self) -> &dyn Memory {
        match self {
            Target::Process(process) => process,
            Target::Core(core) => core,
        }
    }

    pub fn process(&self) -> Option<&Process> {
        match self {
            Target::Process(process) => Some(process),
            Target::Core(_) => None,
        }
    }

    pub fn pid(&self) -> i32 {
        match self {
            Target::Process(process) => process.pid,
            Target::Core(core) => core.pid,
        }
    }

    pub fn name(&self) -> String {
        match self {
            Target::Process(process) => process.name(),
            Target::Core(core) => core.name.clone(),
        }
    }

    /// What it is called in messages.
    pub fn whom(&self) -> String {
        match self {
            Target::Process(_) => format!("process {} ({})", self.pid(), self.name()),
            Target::Core(_) => format!("the core file of process {} ({})", self.pid(), self.name()),
        }
    }

    pub fn modules(&self) -> Vec<Module> {
        let mut modules = elf::modules(self.memory());
        if let Target::Core(core) = self {
            for module in &mut modules {
                module.is_file_other = !core.is_same_file(&module.path);
            }
        }
        modules
    }

    /// What is missing in a core file of what was asked for, in sentences.
    pub fn missing(&self, with_files: bool) -> Vec<String> {
        let Target::Core(core) = self else { return Vec::new() };
        let files = core.missing_files().filter(|_| with_files);
        core.missing_memory().into_iter().chain(files).collect()
    }

    pub fn tables(&self, modules: &[Module]) -> Result<Vec<Table>> {
        Table::find(self.memory(), modules, &self.whom())
    }

    pub fn descriptors(&self) -> Box<dyn Descriptors> {
        match self {
            Target::Process(process) => Box::new(OfProcess::new(process.pid)),
            Target::Core(_) => Box::new(NoDescriptors),
        }
    }

    /// CLOCK_MONOTONIC there: of a core file the latest moment that a scheduler has seen.
    pub fn now_ns(&self, snapshot: &Snapshot) -> u64 {
        match self {
            Target::Process(process) => process.monotonic_ns(),
            Target::Core(_) => {
                let latest = snapshot.schedulers.iter().map(|scheduler| scheduler.latest_ns());
                latest.max().unwrap_or(0)
            }
        }
    }
}
