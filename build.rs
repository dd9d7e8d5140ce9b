//! Compiles the C shim.

use std::path::PathBuf;

/// Flags that stand behind those of CFLAGS, which `cc` puts last. Rust's linker cannot read what the C
/// compiler leaves for link-time optimization, and would do without its symbols. On the stacks of
/// tasks a check of the thread's stack is wrong.
const LAST_FLAGS: [&str; 2] = ["-fno-lto", "-fno-split-stack"];

fn main() {
    let is = |name, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return; // The compiler for Rust says that it does not run there, and not the one for C.
    }
    if std::env::var_os("DOCS_RS").is_some() {
        return; // Nothing is linked there, and perhaps no compiler for C knows the target.
    }
    let shim = ["cxx", "format", "hook", "log", "stream", "thread"]
        .map(|name| format!("src/shim/{name}.c"));
    for file in shim.iter().map(String::as_str).chain(["src/shim/shim.h"]) {
        println!("cargo:rerun-if-changed={file}");
    }
    let mut build = cc::Build::new();
    build.std("c99").flag("-fvisibility=hidden").warnings(true).extra_warnings(true);
    build.flag("-fexceptions"); // Those of a log callback pass through.
    let last =
        LAST_FLAGS.map(|flag| build.is_flag_supported(flag).unwrap_or(false).then_some(flag));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    for file in &shim {
        let object = out.join(file.replace('/', "-")).with_extension("o");
        let mut command = build.get_compiler().to_command();
        command.args(last.iter().flatten()).arg("-c").arg(file).arg("-o").arg(&object);
        let compiled = command.status();
        assert!(compiled.is_ok_and(|status| status.success()), "this has failed: {command:?}");
        build.object(object);
    }
    build.compile("majjen_shim");
}
