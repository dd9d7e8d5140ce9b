//! The metrics of all cores on one page.

use std::fmt::{self, Write};

use super::object::Cluster;
use crate::engine::inspect::{Format, write_counters_of_all};
use crate::engine::measure::Metrics;
use crate::engine::sys::{Error, Result};
use crate::engine::task::Name;

/// Writes the counters of all cores, each under the name of its scheduler, and their sums. After its end those of a
/// core are as they were then.
pub fn write_page(cluster: &Cluster, format: Format, out: &mut dyn Write) -> Result<fmt::Result> {
    let cores = cluster.cores();
    let mut all: Vec<(Metrics, Name)> = Vec::new();
    all.try_reserve_exact(cores.len()).map_err(|_| Error::OutOfMemory)?;
    for core in cores {
        let name = core.remote()?.name();
        all.push((core.counters()?, name));
    }
    Ok(write_counters_of_all(&all, format, out))
}
