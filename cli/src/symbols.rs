//! Names of functions, and files and lines, of addresses in code: from the files that are mapped.

use std::collections::HashMap;

use addr2line::Loader;

use crate::elf::{Module, has_plausible_sections};
use crate::guard::guarded;
use crate::words::printable;

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    /// The function; with those that were inlined at this place, the innermost is first.
    pub functions: Vec<Function>,
    /// The file that the code is in, and where there.
    pub module: String,
    pub offset: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// The source file and the line.
    pub place: Option<(String, u32)>,
}

/// Looks up names.
pub struct Symbols<'m> {
    modules: &'m [Module],
    /// Through which the files of a process in another place are seen; none of a core file.
    pid: Option<i32>,
    loaders: HashMap<usize, Option<Loader>>,
    seen: HashMap<u64, Symbol>,
}

impl<'m> Symbols<'m> {
    pub fn new(modules: &'m [Module], pid: Option<i32>) -> Symbols<'m> {
        Symbols { modules, pid, loaders: HashMap::new(), seen: HashMap::new() }
    }

    pub fn find(&mut self, address: u64) -> Symbol {
        if let Some(symbol) = self.seen.get(&address) {
            return symbol.clone();
        }
        let symbol = self.look_up(address);
        self.seen.insert(address, symbol.clone());
        symbol
    }

    /// The name of the function at an address; empty if it has none.
    pub fn name(&mut self, address: u64) -> String {
        self.find(address).functions.pop().map(|function| function.name).unwrap_or_default()
    }

    fn look_up(&mut self, address: u64) -> Symbol {
        let holds = |module: &Module| (module.start..module.end).contains(&address);
        let Some(at) = self.modules.iter().position(holds) else {
            return Symbol { offset: address, ..Symbol::default() };
        };
        let module = &self.modules[at];
        let offset = address.wrapping_sub(module.bias);
        let pid = self.pid;
        let loader = self.loaders.entry(at).or_insert_with(|| load(module, pid));
        // Of a file whose tables are wrong no more is known.
        let functions = loader.as_ref().and_then(|loader| guarded(|| functions(loader, offset)));
        let name = module.path.rsplit('/').next().unwrap_or(&module.path);
        Symbol {
            functions: functions.unwrap_or_default(),
            module: printable(name.as_bytes()),
            offset,
        }
    }
}

fn functions(loader: &Loader, offset: u64) -> Vec<Function> {
    let mut functions = Vec::new();
    if let Ok(mut frames) = loader.find_frames(offset) {
        while let Ok(Some(frame)) = frames.next() {
            let Some(name) = &frame.function else { continue };
            let name = name.demangle().unwrap_or_default().into_owned();
            let place = frame.location.as_ref().and_then(|location| {
                Some((printable(location.file?.as_bytes()), location.line.unwrap_or(0)))
            });
            functions.push(Function { name: short(&name), place });
        }
    }
    if functions.is_empty()
        && let Some(name) = loader.find_symbol(offset)
    {
        let name = addr2line::demangle_auto(name.into(), None).into_owned();
        functions.push(Function { name: short(&name), place: None });
    }
    functions
}

/// A name without the hash that Rust's have.
fn short(name: &str) -> String {
    let name = match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|c| c.is_ascii_hexdigit()) => {
            name
        }
        _ => name,
    };
    printable(name.as_bytes())
}

fn load(module: &Module, pid: Option<i32>) -> Option<Loader> {
    let path = module.file(pid).filter(|path| has_plausible_sections(path))?;
    guarded(|| Loader::new(&path).ok()).flatten()
}
