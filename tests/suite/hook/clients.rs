//! Crates that block, as they are on crates.io: the programs of `hook/rust/clients`, which have the hooks in them.
//! Each runs in threads first, and then in tasks. What is not installed is skipped.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use libtest_mimic::{Completion, Failed, Trial};

use super::servers::{LIMIT, not_installed, pkg_config, run_until_it_ends};
use super::started;
use crate::examples::cluster::Cluster;
use crate::library::{self, TempDir};
use crate::process;

/// Runs the program of a crate, in tasks or in threads.
type Run = fn(bool) -> Result<Completion, Failed>;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let all: [(&str, Run); 4] =
        [("curl", curl), ("redis", redis), ("diesel_postgres", postgres), ("diesel_mysql", mysql)];
    let ways = [("threads", false), ("hooked", true)];
    let trials = all.into_iter().flat_map(|(name, run)| {
        ways.map(|(way, hooked)| {
            Trial::ignorable_test(format!("hook::clients::{name}::{way}"), move || run(hooked))
        })
    });
    trials.collect()
}

/// Builds a program with a feature. One after another, since they share what they are built of.
pub fn build(name: &str, feature: &str) -> Result<PathBuf, Failed> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock();
    let temp_dir = TempDir::new()?;
    let target = library::path("libmajjen.so")?.with_file_name("hook-clients");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(library::root().join("hook/rust/clients/Cargo.toml"));
    cargo.args(["--features", feature, "--bin", name]).env("CARGO_TARGET_DIR", &target);
    // It may have to fetch the crates, too.
    let finished = process::run(&mut cargo, 3 * LIMIT, temp_dir.path())?;
    if !finished.succeeded() {
        return Err(format!("cargo build {}", finished.describe()).into());
    }
    Ok(target.join("debug").join(name))
}

/// Builds a program and runs it until it ends, and shows the figures that it prints.
fn run(name: &str, hooked: bool, arguments: &[String]) -> Result<Completion, Failed> {
    let temp_dir = TempDir::new()?;
    run_until_it_ends(name, Command::new(build(name, name)?).args(arguments), hooked, &temp_dir)
}

fn curl(hooked: bool) -> Result<Completion, Failed> {
    if pkg_config("libcurl").and(pkg_config("openssl")).is_none() {
        return not_installed("libcurl4-openssl-dev or libssl-dev");
    }
    run("curl", hooked, &[])
}

fn redis(hooked: bool) -> Result<Completion, Failed> {
    let Some(server) = started::redis()? else { return not_installed("redis-server") };
    run("redis", hooked, &[server.socket()])
}

fn postgres(hooked: bool) -> Result<Completion, Failed> {
    if pkg_config("libpq").is_none() {
        return not_installed("libpq-dev");
    }
    let settings = ["listen_addresses=", "max_connections=220"];
    let Some(cluster) = Cluster::start_with(&settings, 5432, None) else {
        return not_installed("postgresql");
    };
    let result = run("postgres", hooked, &[cluster.connection_string()]);
    cluster.stop();
    result
}

fn mysql(hooked: bool) -> Result<Completion, Failed> {
    if pkg_config("libmariadb").is_none() {
        return not_installed("libmariadb-dev");
    }
    let Some(server) = started::mariadb()? else {
        return not_installed("mariadb-server or mariadb-client");
    };
    let url = format!("mysql://root@localhost/mysql?unix_socket={}", server.socket());
    run("mysql", hooked, &[url, server.id()])
}
