//! A PostgreSQL server for row 17: a new one in a temporary directory, on a Unix socket there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::Running;

/// It runs until it is dropped, and its directory goes with it.
pub struct Postgres {
    server: Option<Running>,
    directory: PathBuf,
}

/// What Debian has it run as, where this process is root: PostgreSQL refuses root.
const ACCOUNT: &str = "postgres";

impl Postgres {
    /// Starts one on this processor; why not, if it is not installed.
    pub fn start(processor: usize, connections: usize) -> Result<Postgres> {
        let programs = programs().ok_or("postgresql is not installed (Debian: postgresql)")?;
        let directory = std::env::temp_dir().join(format!("majjen-bench-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        // From here on the directory is removed.
        let mut postgres = Postgres { server: None, directory };
        let account = account();
        let directory = &postgres.directory;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
            .map_err(|error| error.to_string())?;
        if let Some((uid, gid)) = account {
            chown(directory, Some(uid), Some(gid)).map_err(|error| error.to_string())?;
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            if let Some((uid, gid)) = account {
                command.uid(uid).gid(gid);
            }
            command.current_dir(directory).env("LC_ALL", "C").stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut initdb = command("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--no-locale", "--no-sync"]);
        let made = initdb.arg("--pgdata=data").status();
        if !made.is_ok_and(|status| status.success()) {
            return Err("initdb has failed".to_owned());
        }
        let mut server = command("postgres");
        server.args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off", "-c"]);
        server.arg(format!("max_connections={connections}")).arg("-k").arg(directory);
        let server = Running::start(server, Some(processor))?;
        postgres.server = Some(server);
        let socket = postgres.directory.join(".s.PGSQL.5432");
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if Instant::now() >= deadline {
                return Err("postgres does not serve".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(postgres)
    }

    /// For libpq.
    pub fn connection(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.directory.display())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its processes end with it only if it is told to, and not when it is killed.
        if let Some(server) = &mut self.server {
            server.end(libc::SIGQUIT, Duration::from_secs(10));
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The directory of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
    let installed = versions.filter(|path| path.join("bin/initdb").exists());
    let version = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    installed.max_by_key(version).map(|path| path.join("bin"))
}

/// The user and the group of the server.
fn account() -> Option<(u32, u32)> {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts.lines().find(|line| line.split(':').next() == Some(ACCOUNT))?;
    let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}
