//! Libraries that know nothing of Majjen, as they are packaged, on real servers: the programs in
//! `c-tests/hook/servers/`. Each runs in threads without the hooks first, and then in tasks with them. What
//! is not installed is skipped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed, Trial};

use super::link_hook;
use super::started::{self, free_port};
use crate::examples::cluster::Cluster;
use crate::examples::libpq_flags;
use crate::library::{self, TempDir};
use crate::readme::program_of_the_tutorial;
use crate::running::{PATIENCE, Running};
use crate::server::load::raise_descriptor_limit;
use crate::toolchain;
use crate::{process, program};

/// Runs a library's program, in tasks with the hooks or in threads without.
type Run = fn(bool) -> Result<Completion, Failed>;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let all: [(&str, Run); 10] = [
        ("libpq", postgresql),
        ("hiredis", redis),
        ("memcached", memcached),
        ("mariadb", mariadb),
        ("curl", curl),
        ("openssl", openssl),
        ("tls_ends", tls_ends),
        ("rabbitmq", rabbitmq),
        ("ssh2", ssh2),
        ("ticker", ticker),
    ];
    let ways = [("threads", false), ("hooked", true)];
    let trials = all.into_iter().flat_map(|(name, run)| {
        ways.map(|(way, hooked)| {
            Trial::ignorable_test(format!("hook::servers::{name}::{way}"), move || run(hooked))
        })
    });
    let examples = [
        Trial::ignorable_test("hook::servers::query_cost", query_cost),
        Trial::ignorable_test("hook::servers::query_of_the_document", query_of_the_document),
        Trial::ignorable_test("hook::servers::visits_of_the_tutorial", visits_of_the_tutorial),
        Trial::ignorable_test(
            "hook::servers::visits_of_the_tutorial_in_rust",
            visits_of_the_tutorial_in_rust,
        ),
        Trial::ignorable_test("hook::servers::postgres_pool", postgres_pool),
        Trial::ignorable_test("hook::servers::tls_echo", tls_echo),
    ];
    trials.chain(examples).collect()
}

/// Longer than the programs take, which have limits of their own.
pub const LIMIT: Duration = Duration::from_secs(240);

/// Compiles a program with the flags for its library, in tasks with the hooks or in threads without.
fn compile(
    name: &str,
    flags: &[String],
    hooked: bool,
    temp_dir: &TempDir,
) -> Result<PathBuf, Failed> {
    let program = temp_dir.path().join(name);
    let mut compiler = toolchain::c_compiler();
    compiler.args(["-O1", "-g", "-pthread", "-Wall", "-Wextra", "-Werror", "-I"]);
    compiler.arg(library::root().join("include")).arg("-I").arg(library::root().join("hook"));
    compiler.arg(library::root().join(format!("c-tests/hook/servers/{name}.c")));
    compiler.arg("-o").arg(&program).arg("-Wl,--no-as-needed");
    if hooked {
        link_hook(&mut compiler, temp_dir)?;
    }
    temp_dir.link_shared(&mut compiler)?;
    program::run_compiler(compiler.args(flags), temp_dir)?;
    Ok(program)
}

/// Runs a program until it ends, and shows the figures that it prints.
fn run(
    name: &str,
    flags: &[String],
    hooked: bool,
    arguments: &[String],
) -> Result<Completion, Failed> {
    let temp_dir = TempDir::new()?;
    let program = compile(name, flags, hooked, &temp_dir)?;
    run_until_it_ends(name, program::command(&program).args(arguments), hooked, &temp_dir)
}

/// Runs a program that is built, as [`run`] does.
pub fn run_until_it_ends(
    name: &str,
    command: &mut Command,
    hooked: bool,
    temp_dir: &TempDir,
) -> Result<Completion, Failed> {
    if !hooked {
        command.env("MAJJEN_HOOK_THREADS", "1");
    }
    let finished = process::run(command, LIMIT, temp_dir.path())?;
    for line in finished.output.lines().filter(|line| line.contains(" took ")) {
        eprintln!("{name}: {line}");
    }
    program::verdict(&finished)
}

pub fn not_installed(what: &str) -> Result<Completion, Failed> {
    Ok(Completion::ignored_with(format!("{what} is not installed")))
}

/// What pkg-config says of a library; nothing if it does not know it.
pub fn pkg_config(library: &str) -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(["--cflags", "--libs", library]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.split_whitespace().map(str::to_owned).collect())
}

fn postgresql(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = libpq_flags() else { return not_installed("libpq-dev") };
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = [key.cert.pem(), key.signing_key.serialize_pem()];
    let port = free_port()?;
    let settings = ["listen_addresses=127.0.0.1", "max_connections=220", "ssl=on"];
    let Some(cluster) = Cluster::start_with(&settings, port, Some(certificate)) else {
        return not_installed("postgresql");
    };
    let socket = cluster.connection_string();
    let tcp = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let ways = [socket, format!("{tcp} sslmode=disable"), format!("{tcp} sslmode=require")];
    let result = run("libpq", &flags, hooked, &ways);
    cluster.stop();
    result
}

fn redis(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("hiredis") else { return not_installed("libhiredis-dev") };
    let Some(server) = started::redis()? else { return not_installed("redis-server") };
    run("hiredis", &flags, hooked, &[server.socket()])
}

fn memcached(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("libmemcached") else { return not_installed("libmemcached-dev") };
    let Some(server) = started::memcached()? else { return not_installed("memcached") };
    run("memcached", &flags, hooked, &[server.socket(), server.id()])
}

fn mariadb(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("libmariadb") else { return not_installed("libmariadb-dev") };
    let Some(server) = started::mariadb()? else {
        return not_installed("mariadb-server or mariadb-client");
    };
    run("mariadb", &flags, hooked, &[server.socket(), server.id()])
}

fn tls_ends(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("openssl") else { return not_installed("libssl-dev") };
    run("tls_ends", &flags, hooked, &[])
}

fn rabbitmq(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("librabbitmq") else { return not_installed("librabbitmq-dev") };
    let port = free_port()?;
    let Some(server) = started::rabbitmq(port)? else { return not_installed("rabbitmq-server") };
    run("rabbitmq", &flags, hooked, &[port.to_string(), server.id()])
}

fn ssh2(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("libssh2") else { return not_installed("libssh2-1-dev") };
    let port = free_port()?;
    let Some(server) = started::ssh(port)? else { return not_installed("openssh-server") };
    run("ssh2", &flags, hooked, &[port.to_string(), server.id(), server.directory()])
}

fn curl(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("libcurl") else { return not_installed("libcurl4-openssl-dev") };
    run("curl", &flags, hooked, &[])
}

fn openssl(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("openssl") else { return not_installed("libssl-dev") };
    run("openssl", &flags, hooked, &[])
}

/// How late a task is beside others that wait: for PostgreSQL, for a reader, and for names.
fn ticker(hooked: bool) -> Result<Completion, Failed> {
    let Some(flags) = libpq_flags() else { return not_installed("libpq-dev") };
    let Some(cluster) = Cluster::start() else { return not_installed("postgresql") };
    let temp_dir = TempDir::new()?;
    let names = temp_dir.path().join("dead_names.so");
    let mut compiler = toolchain::c_compiler();
    compiler.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]);
    compiler.arg(library::root().join("c-tests/hook/parts/dead_names.c")).arg("-o").arg(&names);
    program::run_compiler(&mut compiler, &temp_dir)?;
    let mut all = vec![names.display().to_string()];
    all.extend(flags);
    let result = run("ticker", &all, hooked, &[cluster.connection_string()]);
    cluster.stop();
    result
}

/// What a query costs by blocking calls in tasks, beside the other ways.
fn query_cost() -> Result<Completion, Failed> {
    let Some(flags) = libpq_flags() else { return not_installed("libpq-dev") };
    let settings = ["listen_addresses=", "max_connections=80"];
    let Some(cluster) = Cluster::start_with(&settings, free_port()?, None) else {
        return not_installed("postgresql");
    };
    let rounds = if toolchain::torture() { 25 } else { 3 };
    let arguments = [cluster.connection_string(), rounds.to_string()];
    let result = run("query_cost", &flags, true, &arguments);
    cluster.stop();
    result
}

/// Compiles an example with the hooks.
pub fn compile_example(
    name: &str,
    flags: &[String],
    temp_dir: &Arc<TempDir>,
) -> Result<PathBuf, Failed> {
    let source = library::root().join(format!("examples-c/{name}.c"));
    compile_hooked(&source, name, flags, temp_dir)
}

fn compile_hooked(
    source: &Path,
    name: &str,
    flags: &[String],
    temp_dir: &TempDir,
) -> Result<PathBuf, Failed> {
    let program = temp_dir.path().join(name);
    let mut compiler = toolchain::c_compiler();
    compiler.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    compiler.arg(library::root().join("include"));
    compiler.arg(source).arg("-o").arg(&program);
    link_hook(compiler.arg("-Wl,--no-as-needed"), temp_dir)?;
    temp_dir.link_shared(&mut compiler)?;
    program::run_compiler(compiler.args(flags), temp_dir)?;
    Ok(program)
}

/// The program of docs/hook.md.
fn query_of_the_document() -> Result<Completion, Failed> {
    let Some(flags) = libpq_flags() else { return not_installed("libpq-dev") };
    let Some(cluster) = Cluster::start() else { return not_installed("postgresql") };
    let page = fs::read_to_string(library::root().join("docs/hook.md"))?;
    let block = page.split("```c\n").nth(1).and_then(|rest| rest.split("```\n").next());
    let temp_dir = TempDir::new()?;
    let source = temp_dir.path().join("query.c");
    fs::write(&source, block.ok_or("docs/hook.md has no program")?)?;
    let program = compile_hooked(&source, "query", &flags, &temp_dir)?;
    let mut command = program::command(&program);
    let began = Instant::now();
    let said = program::run_command(command.arg(cluster.connection_string()), PATIENCE, &temp_dir)?;
    let took = began.elapsed();
    cluster.stop();
    // A query that fails is told there; one after the other they take 2 s.
    assert!(said.lines().all(|line| line.contains("[INFO]")), "{said}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    Ok(Completion::Completed)
}

/// The program of docs/tutorial.md, and that of docs/tutorial-rust.md.
fn visits_of_the_tutorial() -> Result<Completion, Failed> {
    let Some(flags) = libpq_flags() else { return not_installed("libpq-dev") };
    let temp_dir = TempDir::new()?;
    let source = temp_dir.path().join("visits.c");
    fs::write(&source, program_of_the_tutorial("visits.c")?)?;
    counts_visits(&compile_hooked(&source, "visits", &flags, &temp_dir)?)
}

fn visits_of_the_tutorial_in_rust() -> Result<Completion, Failed> {
    if pkg_config("libpq").is_none() {
        return not_installed("libpq-dev");
    }
    counts_visits(&super::clients::build("visits", "postgres")?)
}

/// A server counts visits of clients, and tells when the database takes too long, or has gone.
fn counts_visits(program: &Path) -> Result<Completion, Failed> {
    let Some(cluster) = Cluster::start() else { return not_installed("postgresql") };
    let port = free_port()?;
    let mut command = program::command(program);
    command.args([&port.to_string(), &cluster.connection_string()]);
    let mut server = Running::start(command, libc::SIGKILL, Arc::new(TempDir::new()?));
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "it does not serve: {}", server.output());
        std::thread::sleep(Duration::from_millis(5));
    }
    let connect = || -> Result<BufReader<TcpStream>, Failed> {
        let client = TcpStream::connect(("127.0.0.1", port))?;
        client.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(client))
    };
    let mut clients = (0..5).map(|_| connect()).collect::<Result<Vec<_>, Failed>>()?;
    let ask = |client: &mut BufReader<TcpStream>, name: &str| -> Result<String, Failed> {
        writeln!(client.get_mut(), "{name}")?;
        let mut line = String::new();
        client.read_line(&mut line)?;
        Ok(line)
    };
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(ask(client, "Ada")?, format!("hello Ada, visit {}\n", number + 1));
        assert_eq!(ask(client, "O'Hara")?, format!("hello O'Hara, visit {}\n", number + 1));
    }
    // An answer is late, and a session does not begin. The next questions have their own answers.
    cluster.psql(
        "create function late() returns trigger language plpgsql as
           $$ begin if new.name = 'late' then perform pg_sleep(7); end if; return new; end $$;
         create trigger late before insert on visits for each row execute function late();",
    );
    {
        let _frozen = cluster.freeze();
        clients.push(connect()?);
        writeln!(clients[5].get_mut(), "Ada")?;
        let answer = ask(&mut clients[0], "late")?;
        assert!(answer.starts_with("sorry: "), "{answer}");
        let mut answer = String::new();
        clients[5].read_line(&mut answer)?;
        assert!(answer.starts_with("sorry: "), "{answer}");
    }
    for (client, visit) in [(0, 6), (5, 7), (0, 8)] {
        assert_eq!(ask(&mut clients[client], "Ada")?, format!("hello Ada, visit {visit}\n"));
    }
    cluster.stop();
    let answer = ask(&mut clients[0], "Ada")?;
    assert!(answer.starts_with("sorry: "), "{answer}");
    drop(clients);
    server.signal(libc::SIGTERM);
    assert!(server.ends_within(PATIENCE), "{}", server.output());
    Ok(Completion::Completed)
}

/// The example: TLS by OpenSSL's blocking calls, beside clients that say nothing.
fn tls_echo() -> Result<Completion, Failed> {
    let Some(flags) = pkg_config("openssl") else { return not_installed("libssl-dev") };
    let temp_dir = Arc::new(TempDir::new()?);
    let program = compile_example("tls_echo", &flags, &temp_dir)?;
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(temp_dir.path().join("cert.pem"), key.cert.pem())?;
    fs::write(temp_dir.path().join("key.pem"), key.signing_key.serialize_pem())?;
    let mut command = program::command(&program);
    command.args(["cert.pem", "key.pem"]).current_dir(temp_dir.path());
    let mut server = Running::start(command, libc::SIGKILL, Arc::clone(&temp_dir));
    let address = server.wait_for_line("127.0.0.1:");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let silent: Result<Vec<TcpStream>, _> = (0..20).map(|_| TcpStream::connect(&address)).collect();
    let silent = silent?;
    for number in 0..20 {
        let name = "localhost".try_into()?;
        let connection = rustls::ClientConnection::new(Arc::clone(&config), name)?;
        let stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = rustls::StreamOwned::new(connection, stream);
        let said = format!("said by {number}");
        client.write_all(said.as_bytes())?;
        let mut heard = vec![0; said.len()];
        client.read_exact(&mut heard)?;
        assert_eq!(String::from_utf8_lossy(&heard), said);
    }
    drop(silent);
    server.signal(libc::SIGINT);
    assert!(server.ends_within(PATIENCE), "{}", server.output());
    Ok(Completion::Completed)
}

/// The example: a web server before a database, with more clients than connections to the database.
fn postgres_pool() -> Result<Completion, Failed> {
    const CLIENTS: usize = 1000;
    let Some(flags) = libpq_flags() else { return not_installed("libpq-dev") };
    let Some(cluster) = Cluster::start() else { return not_installed("postgresql") };
    let temp_dir = Arc::new(TempDir::new()?);
    let program = compile_example("postgres_pool", &flags, &temp_dir)?;
    let mut command = program::command(&program);
    command.args([&cluster.connection_string(), "0", "5"]);
    raise_descriptor_limit();
    let mut server = Running::start(command, libc::SIGKILL, Arc::clone(&temp_dir));
    let address = server.wait_for_line("http://")["http://".len()..].to_owned();

    let clients: Result<Vec<TcpStream>, _> =
        (0..CLIENTS).map(|_| TcpStream::connect(&address)).collect();
    let mut clients = clients?;
    for _ in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            write!(client, "GET /?name={number} HTTP/1.1\r\nHost: here\r\n\r\n")?;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            while !answer.ends_with('\n') || !answer.contains("process") {
                let mut part = [0; 1000];
                match client.read(&mut part)? {
                    0 => return Err(format!("client {number} is cut off: {answer}").into()),
                    count => answer.push_str(&String::from_utf8_lossy(&part[..count])),
                }
            }
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.contains(&format!("hello, {number}, from")), "{answer}");
        }
    }
    drop(clients);
    server.signal(libc::SIGTERM);
    assert!(server.ends_within(PATIENCE), "{}", server.output());
    cluster.stop();
    Ok(Completion::Completed)
}
