//! The servers that programs talk to: started on this machine alone, and ended with their tests.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::servers::LIMIT;
use crate::examples::cluster;
use crate::library::TempDir;
use crate::running::{PATIENCE, Running};
use crate::toolchain::missing;
use crate::{process, program};

/// A server that runs until it is dropped, in a directory of its own.
pub struct Started {
    server: Running,
    temp_dir: Arc<TempDir>,
    /// What it needs beside it.
    _beside: Option<Running>,
}

impl Started {
    /// The number of its process.
    pub fn id(&self) -> String {
        self.server.id().to_string()
    }

    pub fn directory(&self) -> String {
        self.temp_dir.path().display().to_string()
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> String {
        socket_in(&self.temp_dir).display().to_string()
    }
}

fn socket_in(temp_dir: &TempDir) -> PathBuf {
    temp_dir.path().join("socket")
}

/// Whether one of these tools is missing.
fn lacks(tools: &[&str]) -> bool {
    tools.iter().any(|tool| missing(tool).is_some())
}

/// A port that nobody listens at.
pub fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Starts a server that is ready once its socket is there.
fn start(command: Command, temp_dir: Arc<TempDir>) -> Result<Started, Failed> {
    let path = socket_in(&temp_dir);
    let server = start_until(command, || UnixStream::connect(&path).is_ok(), &temp_dir)?;
    Ok(Started { server, temp_dir, _beside: None })
}

/// Starts a server that is ready once it listens at its port.
fn start_at(port: u16, command: Command, temp_dir: &Arc<TempDir>) -> Result<Running, Failed> {
    start_until(command, || TcpStream::connect(("127.0.0.1", port)).is_ok(), temp_dir)
}

fn start_until(
    mut command: Command,
    is_ready: impl Fn() -> bool,
    temp_dir: &Arc<TempDir>,
) -> Result<Running, Failed> {
    command.current_dir(temp_dir.path());
    let mut server = Running::start(command, libc::SIGKILL, Arc::clone(temp_dir));
    // One that has a virtual machine takes its time.
    let deadline = Instant::now() + 3 * PATIENCE;
    while !is_ready() {
        if Instant::now() > deadline || server.ends_within(Duration::ZERO) {
            return Err(format!("the server is not ready: {}", server.output()).into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

// Each of these returns nothing if the server is not installed.

pub fn redis() -> Result<Option<Started>, Failed> {
    if lacks(&["redis-server"]) {
        return Ok(None);
    }
    let temp_dir = Arc::new(TempDir::new()?);
    let mut server = Command::new("redis-server");
    server.args(["--port", "0", "--unixsocket", "socket", "--save", ""]);
    start(server, temp_dir).map(Some)
}

pub fn memcached() -> Result<Option<Started>, Failed> {
    if lacks(&["memcached"]) {
        return Ok(None);
    }
    let temp_dir = Arc::new(TempDir::new()?);
    let mut server = Command::new("memcached");
    server.args(["-u", "root", "-s", "socket"]);
    start(server, temp_dir).map(Some)
}

pub fn mariadb() -> Result<Option<Started>, Failed> {
    // The last one is in the client's package, and mariadb-install-db runs it.
    if lacks(&["mariadbd", "mariadb-install-db", "my_print_defaults"]) {
        return Ok(None);
    }
    let temp_dir = Arc::new(TempDir::new()?);
    let data = format!("--datadir={}", temp_dir.path().join("data").display());
    let user = "--user=root";
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    install.args([&data, user]);
    install.env("TMPDIR", temp_dir.path()); // Each has files of the same names there.
    let finished = process::run(&mut install, LIMIT, temp_dir.path())?;
    if !finished.succeeded() {
        return Err(format!("mariadb-install-db {}", finished.describe()).into());
    }
    let mut server = Command::new("mariadbd");
    server.args(["--no-defaults", "--skip-networking", "--max-connections=220", user, &data]);
    server.args(["--innodb-buffer-pool-size=8M"]).env("TMPDIR", temp_dir.path());
    server.arg(format!("--socket={}", socket_in(&temp_dir).display()));
    start(server, temp_dir).map(Some)
}

/// Not by the name on the path: that is a script which changes to the account of the package.
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// At this port.
pub fn rabbitmq(port: u16) -> Result<Option<Started>, Failed> {
    if lacks(&[RABBITMQ, "erl", "epmd"]) {
        return Ok(None);
    }
    let temp_dir = Arc::new(TempDir::new()?);
    let [peers_port, names_port] = [free_port()?, free_port()?];
    // Erlang's server of names, which RabbitMQ would start and leave running, if there were none.
    let mut names = Command::new("epmd");
    names.args(["-address", "127.0.0.1", "-port", &names_port.to_string()]);
    let names = start_at(names_port, names, &temp_dir)?;
    let mut server = Command::new(RABBITMQ);
    // So that no script stays before the server, whose process is the one that is started then.
    server.arg("-noinput").env("RABBITMQ_ALLOW_INPUT", "1");
    for (name, port) in [("NODE", port), ("DIST", peers_port)] {
        server.env(format!("RABBITMQ_{name}_PORT"), port.to_string());
    }
    server.env("ERL_EPMD_PORT", names_port.to_string());
    for name in ["CONF_ENV_FILE", "ENABLED_PLUGINS_FILE", "CONFIG_FILE"] {
        server.env(format!("RABBITMQ_{name}"), temp_dir.path().join("no-such-file"));
    }
    for name in ["MNESIA_BASE", "LOG_BASE"] {
        server.env(format!("RABBITMQ_{name}"), temp_dir.path());
    }
    server.env("RABBITMQ_NODENAME", "test@localhost").env("HOME", temp_dir.path());
    server.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1");
    let address = "-kernel inet_dist_use_interface {127,0,0,1}";
    server.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", address);
    let server = start_at(port, server, &temp_dir)?;
    Ok(Some(Started { server, temp_dir, _beside: Some(names) }))
}

/// By its path, as it asks for.
const SSHD: &str = "/usr/sbin/sshd";

/// At this port. Who has the file `key` of its directory is let in as who owns the directory.
pub fn ssh(port: u16) -> Result<Option<Started>, Failed> {
    if lacks(&[SSHD, "ssh-keygen"]) {
        return Ok(None);
    }
    let temp_dir = Arc::new(TempDir::new()?);
    let path = |name: &str| temp_dir.path().join(name);
    for name in ["host", "key"] {
        let mut generate = Command::new("ssh-keygen");
        generate.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(name));
        program::run_command(&mut generate, LIMIT, &temp_dir)?;
    }
    fs::create_dir(path("files"))?;
    let settings = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {host}\nAuthorizedKeysFile {key}\nPidFile none\n\
         StrictModes no\nUsePAM no\nMaxStartups 200\nSubsystem sftp internal-sftp\n",
        host = path("host").display(),
        key = path("key.pub").display(),
    );
    fs::write(path("settings"), settings)?;
    let mut server = Command::new(SSHD);
    server.args(["-D", "-e", "-f", "settings"]);
    // Root's would need a directory of the system; another account's lets only that one in.
    if let Some(account) = cluster::unprivileged_account() {
        server.uid(account.uid).gid(account.gid);
        for name in ["", "host", "files"] {
            chown(path(name), Some(account.uid), Some(account.gid))?;
        }
    }
    let server = start_at(port, server, &temp_dir)?;
    Ok(Some(Started { server, temp_dir, _beside: None }))
}
