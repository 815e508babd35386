//! `hoiam listen`: a receiver for development. It shows the callbacks that come,
//! verifies their signatures, answers the handshake, and fails on demand.

mod line;
mod plan;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard};

use actix_web::dev::Extensions;
use actix_web::http::{Method, StatusCode, header};
use actix_web::rt::time::sleep;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use clap::Args;
use hoiam_api::DeliveryType;
use hoiam_api::signature::{Received, Secret, verify};
use hoiam_supervision::clock::{Clock, Millis};
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::line::Line;
use self::plan::{Ending, Plan, Reaction};
use super::error::CliError;
use super::{EXIT_FAILED, EXIT_USAGE, Globals};
use crate::locks::lock;
use crate::secrets::file::{Filed, read_rotation, rotation_path};

/// More than any callback of ours (20 kB), and what a client of ours may send.
const MAX_BODY_BYTES: usize = 2 << 20;

/// How long answers under way may take once the command ends.
const SHUTDOWN_S: u64 = 2;

/// The flags of `hoiam listen`.
#[derive(Args, Clone, Debug)]
pub struct ListenArgs {
    /// Port to listen on; 0 takes any free one and prints it
    #[arg(long, default_value_t = 4650)]
    pub port: u16,

    /// Address to listen on; 0.0.0.0 lets other machines call
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,

    /// Verify signatures with this secret (whsec_…); may be repeated
    #[arg(long, value_name = "SECRET", value_parser = Secret::parse)]
    pub secret: Vec<Secret>,

    /// Verify signatures with the secrets in this file, one a line; may be repeated
    ///
    /// It is read at the start. With data/callback.secret, the one before it is taken too if it
    /// is in force then.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Vec<PathBuf>,

    /// Save the body of each callback in this folder
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,

    /// End once N different callbacks (webhook-ids) have been accepted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub exit_after: Option<u64>,

    /// What goes wrong.
    #[command(flatten)]
    pub plan: Plan,
}

/// Receives until Ctrl-C, or until enough has come. Exit code 1 when it was
/// ended before that.
pub fn run(args: ListenArgs, globals: Globals) -> ExitCode {
    match actix_web::rt::System::new().block_on(listen(args, globals.json)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            super::tell_error(error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Whether all came that was waited for.
async fn listen(args: ListenArgs, json: bool) -> Result<bool, CliError> {
    let clock = Clock::resume(None);
    let secrets = read_secrets(&args, clock.wall().timestamp_millis())?;
    if let Some(folder) = &args.save {
        std::fs::create_dir_all(folder).map_err(CliError::io("make the folder", folder))?;
    }
    let (address, port) = (args.address, args.port);
    let endless = args.exit_after.is_none();
    let receiver = Data::new(Receiver {
        args,
        secrets,
        json,
        clock,
        seen: Mutex::default(),
        done: Notify::new(),
    });
    let shared = receiver.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .default_service(web::to(receive))
    })
    .on_connect(keep_socket)
    .workers(1)
    .shutdown_timeout(SHUTDOWN_S)
    .bind((address, port))
    .map_err(|error| CliError::plain(format!("cannot listen on {address} port {port}: {error}")))?;
    if let Some(bound) = server.addrs().first() {
        let url = format!("http://{bound}");
        receiver.print(&if json {
            json!({ "listening": url }).to_string()
        } else {
            format!("listening on {url} (callback_url may have any path); Ctrl-C ends")
        });
    }
    let server = server.run();
    let handle = server.handle();
    let stop_when_done = {
        let receiver = receiver.clone();
        actix_web::rt::spawn(async move {
            receiver.done.notified().await;
            handle.stop(true).await;
        })
    };
    let served = server.await;
    stop_when_done.abort();
    served.map_err(|error| CliError::plain(format!("the receiver stopped: {error}")))?;
    Ok(endless || receiver.is_done())
}

fn read_secrets(args: &ListenArgs, wall: Millis) -> Result<Vec<Secret>, CliError> {
    let mut secrets = args.secret.clone();
    for path in &args.secret_file {
        let text = std::fs::read_to_string(path).map_err(CliError::io("read", path))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let parse = |line| {
            Secret::parse(line)
                .map_err(|error| CliError::plain(format!("{}: {error}", path.display())))
        };
        let mut found = lines.map(parse).collect::<Result<Vec<_>, _>>()?;
        // A service that has not looked yet signs with the one before.
        let rotation = read_rotation(&rotation_path(path))?;
        if let Some(current) = found.first().cloned() {
            let filed = Filed { current, rotation };
            found.extend(filed.in_force(wall).into_iter().skip(1));
        }
        secrets.append(&mut found);
    }
    Ok(secrets)
}

/// A second handle of the connection's socket, to hang up with.
struct Socket(TcpStream);

fn keep_socket(connection: &dyn Any, data: &mut Extensions) {
    let handle = connection
        .downcast_ref::<actix_web::rt::net::TcpStream>()
        .and_then(|stream| stream.as_fd().try_clone_to_owned().ok());
    if let Some(handle) = handle {
        data.insert(Socket(TcpStream::from(handle)));
    }
}

struct Receiver {
    args: ListenArgs,
    secrets: Vec<Secret>,
    json: bool,
    clock: Clock,
    seen: Mutex<Seen>,
    done: Notify,
}

/// What has come so far.
#[derive(Default)]
struct Seen {
    callbacks: u64,
    attempts: HashMap<String, u32>,
    accepted: HashSet<String>,
    /// The number in the name of the last file saved.
    saved: u64,
}

async fn receive(request: HttpRequest, body: Bytes, receiver: Data<Receiver>) -> HttpResponse {
    match *request.method() {
        Method::POST => receiver.callback(&request, &body).await,
        Method::OPTIONS => receiver.handshake(&request),
        _ => {
            receiver.show(&receiver.line(&request, StatusCode::METHOD_NOT_ALLOWED.as_u16()));
            HttpResponse::MethodNotAllowed()
                .insert_header((header::ALLOW, "OPTIONS, POST"))
                .finish()
        }
    }
}

impl Receiver {
    /// Consents to deliveries as CloudEvents asks for it (HTTP 1.1 Web Hooks,
    /// section 4.2), unless it is to act as if it were not there.
    fn handshake(&self, request: &HttpRequest) -> HttpResponse {
        if let Some(status) = self.args.plan.options {
            self.show(&self.line(request, status));
            return answer(status, None);
        }
        let origin = text_header(request, "webhook-request-origin").unwrap_or("*");
        self.show(&self.line(request, StatusCode::OK.as_u16()));
        HttpResponse::Ok()
            .insert_header((header::ALLOW, "OPTIONS, POST"))
            .insert_header(("webhook-allowed-origin", origin))
            .insert_header(("webhook-allowed-rate", "*"))
            .finish()
    }

    async fn callback(&self, request: &HttpRequest, body: &Bytes) -> HttpResponse {
        let id = text_header(request, "webhook-id").map(str::to_owned);
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        let kind = parsed
            .as_ref()
            .and_then(|body| body.get("type")?.as_str())
            .map(str::to_owned);
        let is_check = kind.as_deref() == Some(DeliveryType::CallbackCheck.as_str());
        let (reaction, attempt) = if is_check {
            (self.args.plan.check_reaction(), None)
        } else {
            self.count(id.as_ref())
        };
        let saved = self.save(kind.as_deref(), body);
        let line = Line {
            kind,
            attempt,
            signature: Some(self.signature(request, body)),
            answer: reaction.ending.status(),
            saved,
            body: parsed,
            ..self.line(request, 0)
        };
        sleep(reaction.delay).await;
        self.show(&line);
        if !is_check && reaction.ending.accepts() {
            self.accepted(id);
        }
        match reaction.ending {
            Ending::Answer {
                status,
                retry_after,
            } => answer(status, retry_after),
            Ending::HangUp => hang_up(request),
        }
    }

    /// What to do with one more callback, and how often its id has come.
    fn count(&self, id: Option<&String>) -> (Reaction, Option<u32>) {
        let mut seen = self.seen();
        seen.callbacks += 1;
        let attempt = id.map(|id| {
            let attempts = seen.attempts.entry(id.clone()).or_default();
            *attempts += 1;
            *attempts
        });
        (self.args.plan.reaction(seen.callbacks), attempt)
    }

    fn accepted(&self, id: Option<String>) {
        self.seen().accepted.extend(id);
        if self.is_done() {
            self.done.notify_one();
        }
    }

    fn is_done(&self) -> bool {
        let accepted = self.seen().accepted.len();
        self.args
            .exit_after
            .is_some_and(|wanted| u64::try_from(accepted).is_ok_and(|n| n >= wanted))
    }

    fn signature(&self, request: &HttpRequest, body: &[u8]) -> &'static str {
        if self.secrets.is_empty() {
            return "unchecked";
        }
        let received = Received {
            id: text_header(request, "webhook-id"),
            timestamp: text_header(request, "webhook-timestamp"),
            signature: text_header(request, "webhook-signature"),
            body,
        };
        match verify(&self.secrets, &received, self.clock.wall().timestamp()) {
            Ok(()) => "valid",
            Err(error) => error.code(),
        }
    }

    /// Saves a body under the next free number; nothing of what came from outside
    /// gets into the name but a type that we know.
    fn save(&self, kind: Option<&str>, body: &[u8]) -> Option<String> {
        let folder = self.args.save.as_deref()?;
        let kind = kind
            .and_then(DeliveryType::parse)
            .map_or("callback", DeliveryType::as_str);
        match save_as_next(folder, kind, body, &mut self.seen().saved) {
            Ok(path) => Some(path.display().to_string()),
            Err(error) => {
                super::tell_error(format_args!("cannot save in {}: {error}", folder.display()));
                None
            }
        }
    }

    /// A line of which only the request and the answer are known.
    fn line(&self, request: &HttpRequest, status: u16) -> Line {
        Line {
            at: self.clock.wall(),
            method: request.method().to_string(),
            kind: None,
            webhook_id: text_header(request, "webhook-id").map(str::to_owned),
            attempt: None,
            signature: None,
            answer: Some(status),
            saved: None,
            body: None,
        }
    }

    fn show(&self, line: &Line) {
        self.print(&if self.json {
            line.as_json()
        } else {
            line.as_text()
        });
    }

    /// Prints a line at once; when nobody reads any more, there is nothing to do.
    fn print(&self, line: &str) {
        let mut out = io::stdout().lock();
        let line = super::without_controls(line);
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            self.done.notify_one();
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn text_header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn answer(status: u16, retry_after: Option<u32>) -> HttpResponse {
    // The command line takes no other status than a valid one.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    if let Some(seconds) = retry_after {
        answer.insert_header((header::RETRY_AFTER, seconds));
    }
    answer.finish()
}

/// Closes the connection; the answer that is returned never gets onto the wire.
fn hang_up(request: &HttpRequest) -> HttpResponse {
    if let Some(Socket(socket)) = request.conn_data::<Socket>() {
        // An error means that the other side was quicker.
        let _ = socket.shutdown(Shutdown::Both);
    }
    HttpResponse::NoContent().force_close().finish()
}

fn save_as_next(folder: &Path, kind: &str, body: &[u8], last: &mut u64) -> io::Result<PathBuf> {
    loop {
        *last += 1;
        let path = folder.join(format!("{:06}-{kind}.json", *last));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(body)?;
                return Ok(path);
            }
            // A file of an earlier run.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
