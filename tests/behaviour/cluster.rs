//! Clusters, tested through both APIs: `mj_cluster` and `Cluster`. Connections, set-ups and signals are in
//! `c-tests/cluster.c` and `tests/rust_cluster.rs`, since the APIs differ in what they give there.

mod c_abi;
mod rust_api;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::{Api, HOUR, MS};

/// One API of clusters. Errors are errno values. A cluster that has ended, or was not started, may be dropped.
trait Clusters: Api {
    type Cluster: Send + Sync + 'static;

    fn cluster(cores: usize) -> Result<Self::Cluster, i32>;
    fn start(cluster: &Self::Cluster) -> Result<(), i32>;
    fn join_all(cluster: &Self::Cluster) -> Result<(), i32>;
    fn stop_all(cluster: &Self::Cluster, grace: Duration);
    fn size(cluster: &Self::Cluster) -> usize;
    fn here(cluster: &Self::Cluster) -> Option<usize>;
    fn load(cluster: &Self::Cluster, core: usize) -> usize;
    fn next(cluster: &Self::Cluster) -> usize;
    fn least_loaded(cluster: &Self::Cluster) -> usize;
    fn of_key(cluster: &Self::Cluster, key: u64) -> usize;
    /// The closure is dropped when it is refused, and when it has not begun at the end.
    fn go(
        cluster: &Self::Cluster,
        core: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), i32>;
    /// The counters as Prometheus reads them.
    fn page(cluster: &Self::Cluster) -> Result<String, i32>;
}

behaviours!(
    a_cluster_has_at_least_one_core_and_at_most_1024,
    work_is_done_by_the_core_that_it_was_given_to,
    work_of_a_thread_begins_in_order,
    a_cluster_goes_on_while_its_cores_have_work,
    calls_are_refused_before_the_start_in_its_tasks_and_after_the_end,
    tasks_that_are_left_after_the_grace_are_canceled,
    tasks_that_end_in_their_grace_are_not,
    work_that_has_not_begun_is_dropped_once,
    the_least_loaded_core_is_found,
    keys_have_the_same_core_in_both_apis,
    counters_are_summed,
);

/// A cluster that tasks have too.
fn shared<D: Clusters>(cores: usize) -> Arc<D::Cluster> {
    Arc::new(D::cluster(cores).unwrap())
}

fn run_to_its_end<D: Clusters>(cluster: &D::Cluster) {
    D::start(cluster).unwrap();
    D::join_all(cluster).unwrap();
}

/// Counts drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn a_cluster_has_at_least_one_core_and_at_most_1024<D: Clusters>() {
    for cores in [0, 1025] {
        assert_eq!(D::cluster(cores).err(), Some(libc::EINVAL));
    }
    assert_eq!(D::size(&D::cluster(3).unwrap()), 3);
}

fn work_is_done_by_the_core_that_it_was_given_to<D: Clusters>() {
    let cluster = shared::<D>(3);
    let done = Arc::new(AtomicUsize::new(0));
    for number in 0..30 {
        let core = D::next(&cluster);
        assert_eq!(core, number % 3);
        let (of_task, done) = (cluster.clone(), done.clone());
        let body = move || {
            assert_eq!(D::here(&of_task), Some(core));
            D::yield_now().unwrap();
            assert!(D::load(&of_task, core) >= 1);
            done.fetch_add(1, SeqCst);
        };
        D::go(&cluster, core, body).unwrap();
    }
    assert_eq!(D::here(&cluster), None);
    assert_eq!([0, 1, 2, 3].map(|core| D::load(&cluster, core)), [10, 10, 10, 0]);
    run_to_its_end::<D>(&cluster);
    assert_eq!((done.load(SeqCst), D::load(&cluster, 0)), (30, 0));
}

fn work_of_a_thread_begins_in_order<D: Clusters>() {
    let cluster = shared::<D>(2);
    let begun: Arc<[Mutex<Vec<usize>>; 2]> = Arc::default();
    D::start(&cluster).unwrap();
    for number in 0..2000 {
        let begun = begun.clone();
        let body = move || {
            begun[number % 2].lock().unwrap().push(number / 2);
            if number % 5 == 0 {
                let _ = D::yield_now();
            }
        };
        D::go(&cluster, number % 2, body).unwrap();
    }
    D::join_all(&cluster).unwrap();
    for of_core in begun.iter() {
        assert_eq!(*of_core.lock().unwrap(), (0..1000).collect::<Vec<_>>());
    }
}

fn a_cluster_goes_on_while_its_cores_have_work<D: Clusters>() {
    fn relay<D: Clusters>(cluster: Arc<D::Cluster>, left: usize, end: mpsc::Sender<usize>) {
        let here = D::here(&cluster).unwrap();
        match left {
            0 => end.send(here).unwrap(),
            _ => {
                let of_next = cluster.clone();
                let body = move || relay::<D>(of_next, left - 1, end);
                D::go(&cluster, 1 - here, body).unwrap();
            }
        }
    }
    let cluster = shared::<D>(2);
    let (sender, end) = mpsc::channel();
    let first = cluster.clone();
    D::go(&cluster, 0, move || relay::<D>(first, 501, sender)).unwrap();
    run_to_its_end::<D>(&cluster);
    assert_eq!(end.try_recv(), Ok(1));
}

fn calls_are_refused_before_the_start_in_its_tasks_and_after_the_end<D: Clusters>() {
    let cluster = shared::<D>(1);
    assert_eq!(D::join_all(&cluster), Err(libc::EINVAL));
    assert_eq!(D::go(&cluster, 1, || ()), Err(libc::EINVAL));
    let (own, (sender, results)) = (cluster.clone(), mpsc::channel());
    D::go(&cluster, 0, move || sender.send(D::join_all(&own)).unwrap()).unwrap();
    D::start(&cluster).unwrap();
    assert_eq!(D::start(&cluster), Err(libc::EBUSY));
    D::join_all(&cluster).unwrap();
    assert_eq!(D::join_all(&cluster), Ok(()));
    assert_eq!(results.try_recv(), Ok(Err(libc::EBUSY)));
    assert_eq!(D::go(&cluster, 0, || ()), Err(libc::EPIPE));
}

fn tasks_that_are_left_after_the_grace_are_canceled<D: Clusters>() {
    for grace in [Duration::ZERO, 10 * MS] {
        let cluster = shared::<D>(2);
        let (sender, told) = mpsc::channel();
        for core in 0..2 {
            let sender = sender.clone();
            let body = move || {
                sender.send(Ok(())).unwrap();
                sender.send(D::sleep(HOUR)).unwrap();
            };
            D::go(&cluster, core, body).unwrap();
        }
        drop(sender);
        D::start(&cluster).unwrap();
        assert_eq!((told.recv(), told.recv()), (Ok(Ok(())), Ok(Ok(()))));
        D::stop_all(&cluster, grace);
        D::join_all(&cluster).unwrap();
        assert_eq!(told.iter().collect::<Vec<_>>(), [Err(libc::ECANCELED); 2]);
    }
}

fn tasks_that_end_in_their_grace_are_not<D: Clusters>() {
    let cluster = shared::<D>(2);
    let (sender, told) = mpsc::channel();
    for core in 0..2 {
        let sender = sender.clone();
        D::go(&cluster, core, move || sender.send(D::sleep(10 * MS)).unwrap()).unwrap();
    }
    drop(sender);
    D::stop_all(&cluster, HOUR);
    run_to_its_end::<D>(&cluster);
    assert_eq!(told.iter().collect::<Vec<_>>(), [Ok(()); 2]);
}

fn work_that_has_not_begun_is_dropped_once<D: Clusters>() {
    let (cluster, drops) = (shared::<D>(2), Arc::new(AtomicUsize::new(0)));
    for number in 0..10 {
        let counted = Counted(drops.clone());
        let body = move || {
            let _counted = counted;
            unreachable!("it has not been started");
        };
        D::go(&cluster, number % 2, body).unwrap();
    }
    assert_eq!(drops.load(SeqCst), 0);
    drop(cluster);
    assert_eq!(drops.load(SeqCst), 10);
}

fn the_least_loaded_core_is_found<D: Clusters>() {
    let cluster = shared::<D>(5);
    for core in [0, 1, 2, 4] {
        D::go(&cluster, core, || ()).unwrap();
    }
    assert!((0..20).all(|_| D::least_loaded(&cluster) == 3));
    run_to_its_end::<D>(&cluster);
}

fn keys_have_the_same_core_in_both_apis<D: Clusters>() {
    let cluster = shared::<D>(4);
    // Also in every later version, since programs keep what belongs to a key on its core.
    let cores = [0, 1, 2, 3, 42, u64::MAX].map(|key| D::of_key(&cluster, key));
    assert_eq!(cores, KEYS);
    let mut counts = [0; 4];
    (0..4000).for_each(|key| counts[D::of_key(&cluster, key)] += 1);
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

/// The cores of some keys, in a cluster of four.
const KEYS: [usize; 6] = [0, 2, 0, 0, 2, 1];

fn counters_are_summed<D: Clusters>() {
    let cluster = shared::<D>(2);
    for number in 0..5 {
        D::go(&cluster, usize::from(number == 0), || ()).unwrap();
    }
    run_to_its_end::<D>(&cluster);
    let page = D::page(&cluster).unwrap();
    for (label, count) in [("{scheduler=\"core-0\"}", 4), ("{scheduler=\"core-1\"}", 1)] {
        assert!(page.contains(&format!("\nmajjen_tasks_exited_total{label} {count}\n")), "{page}");
    }
    assert!(page.contains("\nmajjen_cluster_tasks_exited_total 5\n"), "{page}");
}
