//! Compiles the hooks, with the flags that `hook.mk` has for the shared library.

use std::path::PathBuf;

fn main() {
    let mut build = cc::Build::new();
    build.std("gnu11").warnings(true).extra_warnings(true).define("_GNU_SOURCE", None);
    for flag in ["-U_FORTIFY_SOURCE", "-fno-builtin", "-fexceptions", "-fvisibility=hidden"] {
        build.flag(flag);
    }
    let sources = std::fs::read_dir("../src").expect("the sources are in ../src");
    let mut sources: Vec<PathBuf> = sources.filter_map(|entry| Some(entry.ok()?.path())).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    println!("cargo:rerun-if-changed=../src");
    println!("cargo:rerun-if-changed=../majjen-hook.h");
    // All of it, also what the program itself does not call: the libraries that it is linked with do.
    build.files(sources).link_lib_modifier("+whole-archive").compile("majjen_hook");
}
