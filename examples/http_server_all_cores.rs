//! The guide's server in Rust on all processors: [`http_server`]'s function serves each connection, as it is, in a
//! task on one of the cores, and on each core a task looks after the whole every 30 seconds. On Ctrl+C connections
//! have a time to end, and it prints its metrics.
//!
//! ```sh
//! cargo run --release --example http_server_all_cores -- 127.0.0.1:8080
//! ```

#[allow(dead_code)] // It is a program of its own.
#[path = "http_server.rs"]
pub mod http_server;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use majjen::cluster::{Builder, Cluster, Core};
use majjen::logger::{self, Level};
use majjen::{Scheduler, task};

/// How long connections have to end.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    logger::set_level(Level::Info);
    let address = std::env::args().nth(1).unwrap_or("0.0.0.0:8080".to_owned());
    let cluster = Builder::new().name("http").set_up(set_up).build()?;
    let address = listen(&cluster, &address)?;
    logger::log(Level::Info, format_args!("Listening at {address} on {} cores", cluster.size()));
    cluster.run(GRACE)?;
    println!("{}", cluster.metrics_text()?);
    Ok(())
}

/// Serves connections until the cluster is stopped.
pub fn listen(cluster: &Cluster, address: &str) -> io::Result<SocketAddr> {
    cluster.listen(address, |stream| {
        if let Err(error) = http_server::serve(&stream) {
            logger::log(Level::Debug, format_args!("Connection closed: {error}"));
        }
    })
}

/// Gives a core a task that tells every so often how many connections it has.
pub fn set_up(scheduler: &Scheduler, core: &Core) -> majjen::Result<()> {
    let core = core.clone();
    let cleanup = move || {
        for iteration in 1.. {
            let open = core.cluster().load(core.index());
            let text = format_args!("Cleanup task iteration {iteration}: {open} open");
            logger::log(Level::Info, text);
            if task::sleep(http_server::PATIENCE).is_err() {
                return;
            }
        }
    };
    // It keeps no core going.
    let cleanup = task::Builder::new().name("cleanup").daemon(true).spawn_on(scheduler, cleanup);
    cleanup.map(drop)
}
