//! Row 18: reverse proxies.

use std::fs;
use std::path::PathBuf;

use super::nginx;
use super::wrk_load::{self, Taken, body_of};
use super::{Bench, words};
use crate::Result;
use crate::contenders::{MAJJEN, compile};
use crate::load::PORT;
use crate::process::{Running, start_server, start_server_at};
use crate::report::{Row, Table, Target};
use crate::sample::Spread;

const PROXY_PORT: u16 = PORT + 1;
const MOST: f64 = 1.0;

/// A proxy, and the command that starts it.
struct Proxy {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

pub fn measure(bench: &Bench) -> Result<Row> {
    let row = Row {
        number: 18,
        title: "Reverse proxies",
        work: "`examples-c/proxy.c`, unchanged, haproxy and nginx, each on one thread and with kept connections on both \
               sides, before an nginx that serves files. wrk keeps so many connections going. Microseconds of the \
               proxy's processor time for each request.",
        leaves_out: "What the upstream and wrk take, which share the other processor, and what the kernel does for the \
                     proxy there. All that haproxy and nginx can do besides: they are set to no log, no limits of rates \
                     and no headers of their own, but look at each request for more than `proxy.c` does.",
        ..Row::default()
    };
    Ok(row.filled_by(|row| add(bench, row)))
}

fn add(bench: &Bench, row: &mut Row) -> Result<()> {
    wrk_load::is_installed()?;
    let nginx = find("nginx").ok_or("nginx is not installed (Debian: nginx-light)")?;
    let places = Directory::make()?;
    let files = places.0.join("files");
    fs::create_dir_all(&files).map_err(|error| error.to_string())?;
    for (name, bytes) in [("small", 13), ("large", 100 << 10)] {
        let contents: Vec<u8> = (0..bytes).map(|index: usize| (index * 7) as u8).collect();
        fs::write(files.join(name), contents).map_err(|error| error.to_string())?;
    }
    let upstream = places.nginx(
        "upstream",
        &format!("server {{ listen 127.0.0.1:{PORT}; root {}; }}", files.display()),
    )?;
    let _upstream = start_server(&nginx, &upstream, Some(bench.processors.driver))?;
    let proxies = proxies(bench, &places, nginx)?;

    let (repeats, seconds) = (bench.plan.size(7, 1), bench.plan.size(4, 1));
    let mut table = Table::new("us of the proxy's processor time for each request", ["proxy"]);
    table.caption = format!("{}: median (least..most) of {repeats} turns", table.caption);
    table.lines = proxies.iter().map(|proxy| vec![proxy.name.to_owned()]).collect();
    for (path, clients) in [("/small", 64), ("/small", 1000), ("/large", 64)] {
        let size = if path == "/large" { "100 KiB" } else { "13 bytes" };
        let what = format!("{size}, {clients} connections");
        table.head.push(what.clone());
        let mut taken: Vec<Taken> = proxies.iter().map(|_| Taken::default()).collect();
        for _ in 0..repeats {
            for (proxy, taken) in proxies.iter().zip(&mut taken) {
                let running = proxy.start(bench.processors.contender)?;
                let is_right = body_of(PROXY_PORT, path)? == body_of(PORT, path)?;
                if !is_right {
                    return Err(format!("{}: another answer than the upstream's", proxy.name));
                }
                taken
                    .add_turn(&running, PROXY_PORT, path, clients, seconds)
                    .map_err(|error| format!("{}: {error}", proxy.name))?;
            }
        }
        for (line, taken) in table.lines.iter_mut().zip(&taken) {
            line.push(taken.cells()[0].clone());
        }
        for (proxy, others) in proxies.iter().zip(&taken).skip(1) {
            let ratio = Spread::of_pairs(&taken[0].us, &others.us).map(|spread| spread.median);
            let text = format!("{what}, processor time of {}'s, by pairs", proxy.name);
            row.targets.push(Target::at_most(&text, ratio, MOST, "x"));
        }
        let peers = proxies.iter().zip(&taken).skip(1);
        let peers: Vec<_> =
            peers.map(|(proxy, taken)| (proxy.name, Spread::of(&taken.us))).collect();
        row.add_ratio(&format!("proxy, {what}"), "us", Spread::of(&taken[0].us), peers);
    }
    row.tables.push(table);
    if let [.., last] = &proxies[..]
        && last.name != "haproxy"
    {
        row.targets.push(Target::at_most("haproxy (Debian: haproxy)", None, MOST, "x"));
    }
    Ok(())
}

/// Majjen's first.
fn proxies(bench: &Bench, places: &Directory, nginx: PathBuf) -> Result<Vec<Proxy>> {
    let example = bench.places.root.join("examples-c/proxy.c");
    let flags = &["-std=c99", "-O2"];
    let program = compile(bench.places, &example, "proxy", flags, &["-lmajjen"])?;
    let arguments = words(&format!("127.0.0.1 {PROXY_PORT} 127.0.0.1 {PORT} max=4000"));
    let mut all = vec![Proxy { name: MAJJEN, program, arguments }];
    let arguments = places.nginx("proxy", &format!(
        "upstream files {{ server 127.0.0.1:{PORT}; keepalive 1000; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{PROXY_PORT};\n\
         location / {{ proxy_pass http://files; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_max_temp_file_size 0; }} }}"
    ))?;
    all.push(Proxy { name: "nginx", program: nginx, arguments });
    if let Some(program) = find("haproxy") {
        let path = places.write(
            "haproxy",
            &format!(
                "global\n nbthread 1\n maxconn 8000\ndefaults\n mode http\n timeout connect 5s\n \
                 timeout client 60s\n timeout server 60s\n http-reuse always\nfrontend clients\n \
                 bind 127.0.0.1:{PROXY_PORT}\n default_backend files\nbackend files\n \
                 server one 127.0.0.1:{PORT} pool-max-conn 1000\n"
            ),
        )?;
        let arguments = vec!["-db".to_owned(), "-q".to_owned(), "-f".to_owned(), path];
        all.push(Proxy { name: "haproxy", program, arguments });
    }
    Ok(all)
}

impl Proxy {
    fn start(&self, processor: usize) -> Result<Running> {
        start_server_at(&self.program, &self.arguments, Some(processor), PROXY_PORT)
            .map_err(|error| format!("{}: {error}", self.name))
    }
}

/// A program, also where only root's PATH has it.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(name)).find(|file| file.exists())
}

const SETTINGS: &str = "worker_processes 1;\nworker_rlimit_nofile 16384;\nerror_log stderr;\n\
                        events { worker_connections 8000; }";

/// A directory that is removed.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Directory> {
        let path = std::env::temp_dir().join(format!("majjen-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Directory(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// Arguments for an nginx that does this.
    fn nginx(&self, name: &str, http: &str) -> Result<Vec<String>> {
        let http =
            format!("access_log off;\ntcp_nopush on;\nkeepalive_requests 1000000000;\n{http}");
        nginx::arguments(&self.0.join(name), SETTINGS, &http)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
