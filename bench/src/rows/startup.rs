//! Row 10: starting up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Bench, words};
use crate::Result;
use crate::contenders::MAJJEN;
use crate::process::{self, Case};
use crate::report::{Row, Table, Target};

const WITH_LOOPS: &[&str] = &[MAJJEN, "libev", "libuv", "libevent", "tokio"];
/// The library that a contender's program loads.
const LIBRARIES: &[(&str, &str)] = &[
    (MAJJEN, "libmajjen.so"),
    ("libev", "libev.so"),
    ("libuv", "libuv.so"),
    ("libevent", "libevent_core"),
    ("State Threads", "libst.so"),
    ("Boost.Fiber", "libboost_fiber"),
];

pub fn measure(bench: &Bench) -> Result<Row> {
    let (count, loads) = (bench.plan.size(2000, 200), bench.plan.size(200, 20));
    let repeats = bench.plan.size(9, 3);
    let made = bench.compare(WITH_LOOPS, &format!("lifecycle count={count}"), count, repeats);

    let mut row = Row {
        number: 10,
        title: "Starting up",
        work: "Create and destroy a scheduler (an event loop, a runtime), again and again. Size of the shared library \
               without symbols. `dlopen` and `dlclose` of it in a program that has only the C library: what loading it \
               adds to a program's start, its constructors included.",
        leaves_out: "The first scheduler's reading of the kernel's clock source, which happens once in a process. \
                     Reading the library from a disk.",
        ..Row::default()
    };
    let libraries: Vec<(&str, PathBuf)> = LIBRARIES
        .iter()
        .filter_map(|(name, library)| Some((*name, find_library(bench, name, library)?)))
        .collect();
    let cases: Vec<Case> = libraries
        .iter()
        .map(|(name, path)| Case {
            name: (*name).to_owned(),
            program: bench.field.loader.clone(),
            arguments: [words(&format!("load count={loads}")), vec![path.display().to_string()]]
                .concat(),
            work: loads as f64,
            output: None,
        })
        .collect();
    let loaded = process::by_turns(&cases, repeats, Some(bench.processors.contender));

    let mut table = Table::new(
        "median (least..most)",
        ["contender", "create and destroy, us", "library, KiB", "load and unload, us"],
    );
    let names: Vec<&str> = WITH_LOOPS
        .iter()
        .chain(LIBRARIES.iter().map(|(name, _)| name).filter(|name| !WITH_LOOPS.contains(name)))
        .copied()
        .filter(|name| bench.field.get(name).is_some())
        .collect();
    let mut load_times = Vec::new();
    for name in names {
        let place = libraries.iter().position(|(library, _)| *library == name);
        let size = place.and_then(|place| stripped_kib(bench, &libraries[place].1));
        let time = place.map(|place| match &loaded[place] {
            Ok(samples) => samples.get("ns").map(|ns| ns.scaled(1e-3)).ok_or(String::new()),
            Err(reason) => Err(reason.clone()),
        });
        table.lines.push(vec![
            name.to_owned(),
            made.cell(name, "ns", 1e-3),
            size.map_or("-".to_owned(), |kib| format!("{kib:.0}")),
            match &time {
                Some(Ok(us)) => us.in_words(),
                Some(Err(reason)) => reason.clone(),
                None => "-".to_owned(),
            },
        ]);
        if name == MAJJEN {
            let made = made.median(MAJJEN, "ns").map(|ns| ns * 1e-3);
            row.targets.push(Target::at_most("create and destroy a scheduler", made, 30.0, "us"));
            row.targets.push(Target::at_most("the library without symbols", size, 512.0, "KiB"));
        }
        load_times.push((name, time.and_then(std::result::Result::ok)));
    }
    row.tables.push(table);
    let us = |name| made.get(name, "ns").map(|spread| spread.scaled(1e-3));
    let peers: Vec<_> = WITH_LOOPS[1..].iter().map(|name| (*name, us(name))).collect();
    row.add_ratio("create and destroy a scheduler", "us", us(MAJJEN), peers);
    let majjen = load_times.first().and_then(|(_, time)| *time);
    let peers = LIBRARIES[1..].iter().map(|(name, _)| {
        (*name, load_times.iter().find(|(other, _)| other == name).and_then(|(_, time)| *time))
    });
    row.add_ratio("load and unload the library", "us", majjen, peers.collect::<Vec<_>>());
    Ok(row)
}

/// The shared library that a contender's program is linked with, as the loader resolves it.
fn find_library(bench: &Bench, contender: &str, library: &str) -> Option<PathBuf> {
    if contender == MAJJEN {
        return Some(bench.places.library.join(library));
    }
    let program = &bench.field.get(contender)?.program;
    let output = Command::new("ldd").arg(program).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with(library))?;
    Some(PathBuf::from(line.split("=> ").nth(1)?.split_whitespace().next()?))
}

/// The size of a library without its symbols, in KiB.
fn stripped_kib(bench: &Bench, library: &Path) -> Option<f64> {
    let stripped = bench.places.build.join("stripped.so");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(library).status();
    let source =
        if status.is_ok_and(|status| status.success()) { stripped.as_path() } else { library };
    let bytes = fs::metadata(source).ok()?.len();
    let _ = fs::remove_file(&stripped);
    Some(bytes as f64 / 1024.0)
}
