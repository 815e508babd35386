//! Starting and stopping the services that are measured.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::http::{self, Connection};
use crate::{Options, Outcome};

/// Signs the callbacks of every service; it guards nothing but a measurement.
pub const SECRET: &str = "whsec_bWVhc3VyZWQgd2l0aCBhIHNlY3JldCBvZiAzMiBieXQ=";

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");
const PEERS_ARE_SET_UP: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/peers/venv/installed.txt"
);
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// True once `benches/peers/setup.sh` has done its work.
pub fn peers_are_set_up() -> bool {
    Path::new(PEERS_ARE_SET_UP).exists()
}

/// A script of `benches/peers/`.
pub fn peer_script(name: &str) -> Command {
    Command::new(format!("{PEERS}/{name}"))
}

/// Which half of hoiam runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Both.
    All,
    /// The Backend service alone.
    Backend,
    /// The TTS service alone.
    Tts,
}

/// A running service. When this is dropped before [`Service::stop`], hoiam is
/// killed, and the peer's script finds its standard input closed and cleans up.
pub struct Service {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it accepts a speech; for the Backend and for both roles, a task.
    pub path: &'static str,
    process: Child,
}

impl Service {
    /// Starts hoiam on a free port with a new data folder. `settings` are
    /// environment variables on top of those that every measurement needs.
    pub async fn hoiam(options: &Options, role: Role, settings: &[(&str, &str)]) -> Outcome<Self> {
        let folder = new_folder(options)?;
        let address = free_address()?;
        let log_path = folder.join("log.txt");
        let log = fs::File::create(&log_path)?;
        let mut command = Command::new(&options.binary);
        command.arg("serve");
        match role {
            Role::All => &mut command,
            Role::Backend => command.args(["--role", "backend"]),
            Role::Tts => command.args(["--role", "tts"]),
        };
        forget_settings_of_this_shell(&mut command);
        let mut process = command
            .env("HOIAM__SERVER__LISTEN", address.to_string())
            .env("HOIAM__SERVER__SHUTDOWN_GRACE_S", "5")
            .env("HOIAM__DATA_DIR", folder.join("data"))
            .env("HOIAM__TTS__TEST_VOICES", "true")
            .env("HOIAM__TTS__WORKERS", "2")
            .env("HOIAM__QUEUE__MAX_JOBS", "1000000")
            // What is measured is the work, and texts are the same again and again.
            .env("HOIAM__CACHE__MAX_BYTES", "0")
            .env("HOIAM__CALLBACK__SECRETS", SECRET)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", options.binary.display()))?;
        if let Err(error) = until_ready(&mut process, address).await {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            return Err(format!("hoiam: {error}; its log:\n{log}").into());
        }
        Ok(Self {
            address,
            path: if role == Role::Tts {
                "/v1/speech"
            } else {
                "/v1/tasks"
            },
            process,
        })
    }

    /// Starts the FastAPI + Celery peer.
    pub async fn fastapi_celery() -> Outcome<Self> {
        let mut process = peer_script("run.sh")
            .env("PEER_SECRET", SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("run.sh has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START_LIMIT, lines.next_line()).await??;
        let url = line.ok_or("run.sh ended before the peer was ready")?;
        Ok(Self {
            address: url.trim_start_matches("http://").parse()?,
            path: "/speech",
            process,
        })
    }

    /// The process that was started; the service's other processes are below it.
    pub fn id(&self) -> Outcome<u32> {
        Ok(self.process.id().ok_or("the service has ended")?)
    }

    /// Asks the service to end and waits for it. One that does not end in time is
    /// killed.
    pub async fn stop(mut self) -> Outcome<()> {
        match self.process.stdin.take() {
            // run.sh stops the peer when its standard input ends.
            Some(stdin) => drop(stdin),
            None => terminate(self.id()?).await?,
        }
        let ended = tokio::time::timeout(STOP_LIMIT, self.process.wait()).await;
        if ended.is_err() {
            eprintln!("the service did not stop within {STOP_LIMIT:?}; killed");
            self.process.kill().await?;
        }
        Ok(())
    }
}

/// A new folder for one process. It is removed with all others at the end of the
/// run: ext4 avoids inodes that were freed within the last minutes, and looks at
/// each of them whenever it makes a file.
fn new_folder(options: &Options) -> Outcome<PathBuf> {
    static FOLDERS: AtomicU32 = AtomicU32::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let folder = options.data.join(number.to_string());
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// By the command, since a signal of our own would need unsafe code.
async fn terminate(process: u32) -> Outcome<()> {
    let process = process.to_string();
    Command::new("kill")
        .args(["-TERM", &process])
        .status()
        .await?;
    Ok(())
}

fn forget_settings_of_this_shell(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOIAM__") {
            command.env_remove(name);
        }
    }
}

fn free_address() -> Outcome<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn until_ready(process: &mut Child, address: SocketAddr) -> Outcome<()> {
    let give_up_at = tokio::time::Instant::now() + START_LIMIT;
    while !is_ready(address).await {
        if let Some(status) = process.try_wait()? {
            return Err(format!("ended at its start with {status}").into());
        }
        if tokio::time::Instant::now() > give_up_at {
            return Err(format!("not ready after {START_LIMIT:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else {
        return false;
    };
    let answer = connection.exchange(&http::get("/health/ready")).await;
    answer.is_ok_and(|answer| answer.status() == 200)
}
