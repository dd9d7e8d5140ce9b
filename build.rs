//! Compiles the C shim.

fn main() {
    let shim =
        ["cxx", "format", "log", "stream", "thread"].map(|name| format!("src/shim/{name}.c"));
    for file in shim.iter().map(String::as_str).chain(["src/shim/shim.h"]) {
        println!("cargo:rerun-if-changed={file}");
    }
    cc::Build::new()
        .files(&shim)
        .std("c99")
        .flag("-fvisibility=hidden")
        .warnings(true)
        .extra_warnings(true)
        .compile("majjen_shim");
}
