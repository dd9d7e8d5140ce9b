//! The clusters of the C ABI.

use std::ffi::c_void;
use std::io;
use std::time::Duration;

use super::Clusters;
use crate::c_abi::{CAbi, ns, result};
use crate::majjen_h::*;

pub struct Cluster(*mut mj_cluster);

// SAFETY: all threads may use it.
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

impl Drop for Cluster {
    fn drop(&mut self) {
        assert_eq!(mj_cluster_destroy(self.0), 0);
    }
}

type Body = Box<dyn FnOnce() + Send>;

fn open(body: *mut c_void) -> Body {
    // SAFETY: from `go`, and of the three who may open it one does.
    *unsafe { Box::from_raw(body.cast::<Body>()) }
}

extern "C" fn run(body: *mut c_void) {
    open(body)();
}

extern "C" fn abandon(body: *mut c_void) {
    drop(open(body));
}

impl Clusters for CAbi {
    type Cluster = Cluster;

    fn cluster(cores: usize) -> Result<Cluster, i32> {
        let options = mj_cluster_options { cores, ..Default::default() };
        let cluster = mj_cluster_create(&raw const options);
        if cluster.is_null() {
            return Err(io::Error::last_os_error().raw_os_error().unwrap());
        }
        Ok(Cluster(cluster))
    }

    fn start(cluster: &Cluster) -> Result<(), i32> {
        result(mj_cluster_start(cluster.0))
    }

    fn join_all(cluster: &Cluster) -> Result<(), i32> {
        result(mj_cluster_join(cluster.0))
    }

    fn stop_all(cluster: &Cluster, grace: Duration) {
        assert_eq!(mj_cluster_stop(cluster.0, ns(Some(grace))), 0);
    }

    fn size(cluster: &Cluster) -> usize {
        mj_cluster_size(cluster.0)
    }

    fn here(cluster: &Cluster) -> Option<usize> {
        usize::try_from(mj_cluster_here(cluster.0)).ok()
    }

    fn load(cluster: &Cluster, core: usize) -> usize {
        mj_cluster_load(cluster.0, core)
    }

    fn next(cluster: &Cluster) -> usize {
        mj_cluster_next(cluster.0)
    }

    fn least_loaded(cluster: &Cluster) -> usize {
        mj_cluster_least_loaded(cluster.0)
    }

    fn of_key(cluster: &Cluster, key: u64) -> usize {
        mj_cluster_of_key(cluster.0, key)
    }

    fn go(cluster: &Cluster, core: usize, body: impl FnOnce() + Send + 'static) -> Result<(), i32> {
        let body: *mut Body = Box::into_raw(Box::new(Box::new(body)));
        result(mj_cluster_go(cluster.0, core, Some(run), body.cast(), Some(abandon)))
            .inspect_err(|_| drop(open(body.cast())))
    }

    fn page(cluster: &Cluster) -> Result<String, i32> {
        let mut page = vec![0u8; 64 * 1024];
        let (place, format) = (page.as_mut_ptr().cast(), MJ_METRICS_PROMETHEUS);
        let length = mj_cluster_write_metrics(cluster.0, place, page.len(), format);
        result(length)?;
        page.truncate(length as usize);
        Ok(String::from_utf8(page).unwrap())
    }
}
