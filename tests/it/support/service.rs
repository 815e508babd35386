//! The real program as a child process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};

use super::disk::Disk;
use super::http::Client;
use super::preload::library;
use super::signed::SECRET;
use super::wall::Wall;
use super::{eventually, look_until, rest};

/// What a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    All,
    Backend,
    Tts,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Backend => "backend",
            Self::Tts => "tts",
        }
    }
}

/// How a service is to be started.
#[derive(Clone)]
pub struct Setup {
    role: Role,
    settings: BTreeMap<String, String>,
    api_key: Option<String>,
    failpoint: Option<String>,
    wall: Option<Arc<Wall>>,
    names_hang: bool,
    listens_everywhere: bool,
    address: String,
}

impl Setup {
    fn new(role: Role) -> Self {
        let setup = Self {
            role,
            settings: BTreeMap::new(),
            api_key: None,
            failpoint: None,
            wall: None,
            names_hang: false,
            listens_everywhere: false,
            address: "127.0.0.1:0".to_owned(),
        };
        // Few threads and children, since many services run side by side. On a
        // machine that has no time for them nothing is to run out of it, unless
        // a test wants that.
        setup
            .set("server.workers", 1)
            .set("tts.workers", 1)
            .set("tts.test_voices", true)
            .set("tts.synthesis_base_s", 600)
            .set("callback.connect_timeout_s", 60)
            .set("callback.check_timeout_s", 60)
            .set("callback.total_timeout_s", 60)
            .set("callback.secrets", SECRET)
    }

    /// Sets a key of the configuration, such as `tts.workers`.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    /// Leaves a key to its default.
    pub fn unset(mut self, key: &str) -> Self {
        self.settings.remove(key);
        self
    }

    /// The service asks for this key, and [`Service::client`] sends it.
    pub fn api_key(mut self, key: &str) -> Self {
        self.api_key = Some(key.to_owned());
        self.set("server.api_keys", key)
    }

    /// [`Service::client`] sends this key, which the service knows already.
    pub fn known_key(mut self, key: &str) -> Self {
        self.api_key = Some(key.to_owned());
        self
    }

    /// Has the process do this at that point, as `src/failpoint.rs` has it.
    pub fn failpoint(mut self, failpoint: &str) -> Self {
        self.failpoint = Some(failpoint.to_owned());
        self
    }

    /// Its processes see this wall clock.
    pub fn wall(mut self, wall: &Arc<Wall>) -> Self {
        self.wall = Some(Arc::clone(wall));
        self
    }

    /// Whoever looks up a name under `.hangs.test` waits for ever.
    pub fn names_hang(mut self) -> Self {
        self.names_hang = true;
        self
    }

    /// It listens on all addresses, not on loopback alone.
    pub fn listening_everywhere(mut self) -> Self {
        self.listens_everywhere = true;
        self
    }

    /// It listens there, not on a port that is free.
    pub fn listening_at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.address);
        self
    }

    /// Starts it on a free port, with a new data folder, and waits until it
    /// is ready.
    #[track_caller]
    pub fn start(self) -> Service {
        self.start_on(Disk::plain())
    }

    /// The same, with its data on a disk of the test's own.
    #[track_caller]
    pub fn start_on(self, disk: Disk) -> Service {
        let mut service = Service {
            address: self.address.clone(),
            setup: self,
            disk,
            process: None,
            log: Arc::default(),
        };
        service.start();
        service
    }
}

struct Process {
    child: Child,
    log_reader: Option<JoinHandle<()>>,
}

/// A service under test. Dropped, it is killed and its folder removed.
pub struct Service {
    setup: Setup,
    disk: Disk,
    address: String,
    process: Option<Process>,
    log: Arc<Mutex<String>>,
}

impl Service {
    /// Both services in one process, which is the default.
    pub fn all() -> Setup {
        Setup::new(Role::All)
    }

    /// The Backend service alone.
    pub fn backend() -> Setup {
        Setup::new(Role::Backend)
    }

    /// The TTS service alone.
    pub fn tts() -> Setup {
        Setup::new(Role::Tts)
    }

    /// Starts it again, on the same port and the same folder.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        // Another test may have been given the port in the meantime, and
        // gives it back sooner or later.
        eventually("the service starts", || self.try_start().then_some(()));
        let client = self.client();
        let ready = look_until(|| {
            let answer = client.try_send("GET", "/health/ready", &[], &[]);
            answer.ok().filter(|answer| answer.status == 200)
        });
        assert!(ready.is_some(), "it never became ready");
    }

    /// Starts it where it is to die before it is ready, and waits until it has.
    #[track_caller]
    pub fn start_and_die(&mut self) -> ExitStatus {
        self.spawn();
        self.wait()
    }

    /// Whether it came as far as listening; what else goes wrong is a failure.
    #[track_caller]
    fn try_start(&mut self) -> bool {
        let line = self.spawn();
        if let Some(url) = line.trim().strip_prefix("listening on http://") {
            self.address = url.replace("0.0.0.0", "127.0.0.1");
            return true;
        }
        let status = self.wait();
        let port_is_taken = self.log().contains("cannot be listened on");
        assert!(port_is_taken, "it did not start, {status}: {}", self.log());
        false
    }

    /// Starts the process and gives the first line that it prints.
    fn spawn(&mut self) -> String {
        let mut command = self.disk.command(env!("CARGO_BIN_EXE_hoiam"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOIAM")) {
            command.env_remove(name);
        }
        for (key, value) in &self.setup.settings {
            let name = key.replace('.', "__").to_uppercase();
            command.env(format!("HOIAM__{name}"), value);
        }
        if let Some(failpoint) = &self.setup.failpoint {
            command.env("HOIAM_FAILPOINT", failpoint);
        }
        if let Some(wall) = &self.setup.wall {
            wall.show(&mut command);
        }
        if self.setup.names_hang {
            command.env("LD_PRELOAD", library("hanging_names"));
        }
        let listen = match self.setup.listens_everywhere {
            true => self.address.replace("127.0.0.1", "0.0.0.0"),
            false => self.address.clone(),
        };
        let mut child = command
            .args(["serve", "--role", self.setup.role.as_str()])
            .args(["--listen", &listen])
            .arg("--data-dir")
            .arg(self.disk.folder_of_service())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let log_reader = keep_log(&mut child, &self.log);
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        self.process = Some(Process {
            child,
            log_reader: Some(log_reader),
        });
        line
    }

    /// The `host:port` it listens on.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The URL it listens on.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client that sends the service's own key, if it has one.
    pub fn client(&self) -> Client {
        Client::new(&self.address, self.setup.api_key.as_deref())
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.setup = self.setup.clone().set(key, value);
    }

    /// Does this at that point from the next start on.
    pub fn set_failpoint(&mut self, failpoint: &str) {
        self.setup.failpoint = Some(failpoint.to_owned());
    }

    /// Has no failpoint from the next start on.
    pub fn heal(&mut self) {
        self.setup.failpoint = None;
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.disk.folder()
    }

    /// A connection to the Backend's database, which waits while the service has it.
    pub fn backend_database(&self) -> SqliteConnection {
        let path = self.folder().join("backend.db");
        let mut other = SqliteConnection::establish(&path.to_string_lossy()).expect("a connection");
        let patience = "PRAGMA busy_timeout = 60000";
        other.batch_execute(patience).expect(patience);
        other
    }

    /// What the data folder is on.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").child.id()
    }

    /// What it has logged over all its starts.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Ends it at once, as `kill -9` does.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process().child.kill().expect("a kill");
        self.wait();
    }

    /// Asks it to end and waits until it has.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.wait()
    }

    /// Sends `-TERM` or `-INT`, and does not wait.
    #[track_caller]
    pub fn signal(&mut self, signal: &str) {
        // It may be ready a moment before it listens for signals.
        let number = if signal == "-INT" { 2 } else { 15 };
        eventually("it listens for signals", || {
            (self.has_ended() || catches(self.pid(), number)).then_some(())
        });
        if self.has_ended() {
            return;
        }
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("kill").success());
    }

    /// Whether it has ended by itself; [`Self::wait`] still says how.
    #[track_caller]
    pub fn has_ended(&mut self) -> bool {
        let ended = self.process().child.try_wait().expect("a wait");
        ended.is_some()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.process().child;
        let status = eventually("the process ends", || child.try_wait().expect("a wait"));
        let mut ended = self.process.take().expect("it ran");
        if let Some(log_reader) = ended.log_reader.take() {
            log_reader.join().expect("the log's reader");
        }
        status
    }

    #[track_caller]
    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }
}

/// Whether the process has a handler of its own for this signal.
fn catches(pid: u32, signal: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

fn keep_log(child: &mut Child, log: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let (mut stderr, log) = (child.stderr.take().expect("its errors"), Arc::clone(log));
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut buffer) {
            log.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    })
}

impl Drop for Service {
    /// Whatever a test was about: what it leaves behind must not lie there.
    fn drop(&mut self) {
        let fails = std::thread::panicking();
        let runs = self.process.is_some() && !self.has_ended();
        let client = self.client();
        let rests = fails || !runs || catch_unwind(|| rest::nothing_lies(&client)).is_ok();
        if let Some(process) = &mut self.process {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        if fails || !rests {
            let role = self.setup.role.as_str();
            eprintln!("--- the log of {role} ({}):\n{}", self.address, self.log());
        }
        assert!(rests, "a service did not come to rest");
    }
}
