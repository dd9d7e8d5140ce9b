//! The version, for the preprocessor and at run time.
#![allow(dead_code)] // The numbers are for the header.

use std::ffi::c_char;

/// The header's version. The first number changes when old programs may stop working, and with it
/// the library's SONAME.
pub const MJ_VERSION_MAJOR: i32 = 0;
/// Changes when something is added.
pub const MJ_VERSION_MINOR: i32 = 2;
/// Changes when something is mended.
pub const MJ_VERSION_PATCH: i32 = 0;

/// Returns the version of the library that is loaded, as "MAJOR.MINOR.PATCH": a constant string.
/// Callable from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::{MJ_VERSION_MAJOR, MJ_VERSION_MINOR, MJ_VERSION_PATCH};

    #[test]
    fn the_header_has_the_crates_version() {
        assert_eq!(
            format!("{MJ_VERSION_MAJOR}.{MJ_VERSION_MINOR}.{MJ_VERSION_PATCH}"),
            env!("CARGO_PKG_VERSION")
        );
    }
}
