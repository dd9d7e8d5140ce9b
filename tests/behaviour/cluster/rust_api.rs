//! The clusters of the Rust API.

use std::time::Duration;

use majjen::cluster::{Builder, Cluster};
use majjen::{Error, JoinError};

use super::Clusters;
use crate::rust_api::RustApi;

fn errno(error: JoinError) -> i32 {
    Error::from(error).errno()
}

impl Clusters for RustApi {
    type Cluster = Cluster;

    fn cluster(cores: usize) -> Result<Cluster, i32> {
        Builder::new().cores(cores).build().map_err(Error::errno)
    }

    fn start(cluster: &Cluster) -> Result<(), i32> {
        cluster.start().map_err(Error::errno)
    }

    fn join_all(cluster: &Cluster) -> Result<(), i32> {
        cluster.join().map_err(errno)
    }

    fn stop_all(cluster: &Cluster, grace: Duration) {
        cluster.stop(grace);
    }

    fn size(cluster: &Cluster) -> usize {
        cluster.size()
    }

    fn here(cluster: &Cluster) -> Option<usize> {
        cluster.here()
    }

    fn load(cluster: &Cluster, core: usize) -> usize {
        cluster.load(core)
    }

    fn next(cluster: &Cluster) -> usize {
        cluster.next()
    }

    fn least_loaded(cluster: &Cluster) -> usize {
        cluster.least_loaded()
    }

    fn of_key(cluster: &Cluster, key: u64) -> usize {
        cluster.of_key(key)
    }

    fn go(cluster: &Cluster, core: usize, body: impl FnOnce() + Send + 'static) -> Result<(), i32> {
        cluster.spawn(core, body).map_err(|refused| refused.error.errno())
    }

    fn page(cluster: &Cluster) -> Result<String, i32> {
        cluster.metrics_prometheus().map_err(Error::errno)
    }
}
