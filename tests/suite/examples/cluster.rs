//! A PostgreSQL server for the test: a new cluster in a temporary directory, on a Unix socket in
//! it.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::library::TempDir;
use crate::process::run;
use crate::running::{PATIENCE, Running};

/// A server that runs until it is stopped or dropped, and its directory.
pub struct Cluster {
    server: Running,
    programs: PathBuf,
    /// Its command line, without the program.
    arguments: Vec<OsString>,
    /// Also of the Unix socket, whose name has it.
    port: u16,
    temp_dir: Arc<TempDir>,
}

const PORT: u16 = 5432;

/// The account that runs a server, when the test runs as root: PostgreSQL refuses root.
#[derive(Clone, Copy)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Cluster {
    /// Creates and starts a cluster; `None` if PostgreSQL is not installed.
    pub fn start() -> Option<Cluster> {
        Cluster::start_with(&["listen_addresses=", "max_connections=20"], PORT, None)
    }

    /// The same with these settings, this port, and a certificate and its key, as text.
    pub fn start_with(
        settings: &[&str],
        port: u16,
        certificate: Option<[String; 2]>,
    ) -> Option<Cluster> {
        let programs = newest_programs()?;
        // In the directory for temporary files, which any user can reach.
        let temp_dir = Arc::new(TempDir::new().expect("a directory"));
        // Any process that can connect to the socket is the database's superuser.
        fs::set_permissions(temp_dir.path(), Permissions::from_mode(0o700))
            .expect("keep others out of the directory");
        let account = unprivileged_account();
        if let Some(Account { uid, gid }) = account {
            chown(temp_dir.path(), Some(uid), Some(gid))
                .expect("give the directory to the server's user");
        }

        let mut initdb = server_command(&programs, "initdb", &temp_dir);
        initdb
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"])
            .args(["--no-sync", "--pgdata=data"]);
        succeed(&mut initdb, temp_dir.path());
        for (name, text) in ["server.crt", "server.key"].iter().zip(certificate.iter().flatten()) {
            let path = temp_dir.path().join("data").join(name);
            fs::write(&path, text).expect("write a file for TLS");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("keep it secret");
            if let Some(Account { uid, gid }) = account {
                chown(&path, Some(uid), Some(gid)).expect("give it to the server's user");
            }
        }
        let mut arguments: Vec<OsString> =
            vec!["-D".into(), "data".into(), "-k".into(), temp_dir.path().into()];
        let port_setting = format!("port={port}");
        let all = ["fsync=off", "shared_buffers=16MB", &port_setting];
        arguments.extend(all.iter().chain(settings).flat_map(|it| ["-c".into(), it.into()]));
        let server = start_server(&programs, &arguments, &temp_dir);
        let cluster = Cluster { server, programs, arguments, port, temp_dir };
        cluster.wait_until_ready();
        Some(cluster)
    }

    /// Ends the server by this signal (SIGINT in order, SIGQUIT at once), and starts it again.
    pub fn restart(&mut self, signal: libc::c_int) {
        self.server.signal(signal);
        assert!(self.server.ends_within(PATIENCE), "{}", self.server.output());
        self.server = start_server(&self.programs, &self.arguments, &self.temp_dir);
        self.wait_until_ready();
    }

    /// Until what this returns is dropped, nobody who connects gets an answer, as of a machine
    /// that is gone.
    pub fn freeze(&self) -> Frozen<'_> {
        self.server.signal(libc::SIGSTOP);
        Frozen(&self.server)
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = self.client("pg_isready").stdout(Stdio::null()).status();
            if ready.expect("run pg_isready").success() {
                return;
            }
            assert!(Instant::now() < deadline, "not ready; its log:\n{}", self.server.output());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The connection string of the server, for libpq.
    pub fn connection_string(&self) -> String {
        let directory = self.temp_dir.path().display();
        format!("host={directory} port={} user=postgres dbname=postgres", self.port)
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.arg("--dbname").arg(self.connection_string());
        // The environment of the test's user does not count.
        command.env_clear().stdin(Stdio::null());
        command
    }

    /// Runs SQL commands in a new session.
    pub fn psql(&self, commands: &str) {
        let file = self.temp_dir.path().join("commands");
        fs::write(&file, commands).expect("write the commands");
        let mut psql = self.client("psql");
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]);
        psql.arg("--file").arg(&file);
        succeed(&mut psql, self.temp_dir.path());
    }

    /// Asks the database in a new session, and returns the answer: lines of values with | in between.
    pub fn ask(&self, query: &str) -> String {
        let mut psql = self.client("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", query]);
        let finished = run(&mut psql, PATIENCE, self.temp_dir.path()).expect("run psql");
        assert!(finished.succeeded(), "{query}: {}", finished.describe());
        finished.output.trim_end().to_owned()
    }

    /// Stops the server, and checks that it ends.
    pub fn stop(mut self) {
        self.server.signal(libc::SIGINT);
        assert!(self.server.ends_within(PATIENCE), "{}", self.server.output());
    }
}

/// A server that begins no sessions. Those that there are go on: each has its own process.
pub struct Frozen<'c>(&'c Running);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.signal(libc::SIGCONT);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // If it were killed, as `Running` does, it would leave its children and its shared memory
        // behind.
        if !self.server.ends_within(Duration::ZERO) {
            self.server.signal(libc::SIGQUIT);
            self.server.ends_within(Duration::from_secs(10));
        }
    }
}

/// A program of the server's, in its directory and as its user.
fn server_command(programs: &Path, name: &str, temp_dir: &TempDir) -> Command {
    let mut command = Command::new(programs.join(name));
    if let Some(Account { uid, gid }) = unprivileged_account() {
        command.uid(uid).gid(gid);
    }
    command.current_dir(temp_dir.path()).env("LC_ALL", "C");
    command
}

fn start_server(programs: &Path, arguments: &[OsString], temp_dir: &Arc<TempDir>) -> Running {
    let mut postgres = server_command(programs, "postgres", temp_dir);
    postgres.args(arguments);
    // SIGQUIT ends the server and its processes at once.
    Running::start(postgres, libc::SIGQUIT, Arc::clone(temp_dir))
}

/// Runs a command that must succeed.
fn succeed(command: &mut Command, directory: &Path) {
    let finished = run(command, PATIENCE, directory).expect("run the command");
    assert!(finished.succeeded(), "{command:?} {}", finished.describe());
}

/// The directory of the newest server's programs, which is not in Debian's PATH.
fn newest_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
    let installed = versions.filter(|path| {
        ["initdb", "postgres", "psql", "pg_isready"]
            .iter()
            .all(|program| path.join("bin").join(program).exists())
    });
    let version = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    installed.max_by_key(version).map(|path| path.join("bin"))
}

/// An account for a server, if this process runs as root: that of Debian's package, or nobody's.
pub fn unprivileged_account() -> Option<Account> {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let accounts = fs::read_to_string(Path::new("/etc/passwd")).expect("the list of accounts");
    let find = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
        Some(Account { uid: numbers.next()??, gid: numbers.next()?? })
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("an account that is not root's"))
}
