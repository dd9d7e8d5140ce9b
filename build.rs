//! Compiles the C shim, and gives the shared library its SONAME.

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

    // The number of the ABI is the version's first one; docs/abi.md says when it changes.
    let number = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets it");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmajjen.so.{number}");
}
