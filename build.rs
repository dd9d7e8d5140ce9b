//! Compiles the C shim.

fn main() {
    let is = |name, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return; // The compiler for Rust says that it does not run there, and not the one for C.
    }
    if std::env::var_os("DOCS_RS").is_some() {
        return; // Nothing is linked there, and perhaps no compiler for C knows the target.
    }
    let shim =
        ["cxx", "format", "log", "stream", "thread"].map(|name| format!("src/shim/{name}.c"));
    for file in shim.iter().map(String::as_str).chain(["src/shim/shim.h"]) {
        println!("cargo:rerun-if-changed={file}");
    }
    cc::Build::new()
        .files(&shim)
        .std("c99")
        .flag("-fvisibility=hidden")
        .flag("-fexceptions") // Those of a log callback pass through.
        .warnings(true)
        .extra_warnings(true)
        .compile("majjen_shim");
}
