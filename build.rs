//! Compiles the C shim, and gives the shared library its SONAME.

fn main() {
    let shim = ["cxx", "log", "stream", "thread"].map(|name| format!("src/shim/{name}.c"));
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

    // The number changes with the ABI: while it is 0, with every minor version that breaks it.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmajjen.so.0");
}
