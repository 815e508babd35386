//! `hoiam check-callback`: would a service accept this callback URL?

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hoiam_api::callback_headers::{header_name, header_value};
use hoiam_api::signature::Secret;
use hoiam_api::{CallbackHeaders, CheckState};
use hoiam_supervision::clock::Clock;
use serde::Serialize;
use url::Url;

use super::error::{ArgError, CliError};
use super::{EXIT_FAILED, Globals, ServiceArgs};
use crate::app::{callback_policy, outgoing_timeouts};
use crate::config::Config;
use crate::delivery::attempt::Sender;
use crate::delivery::check::{Finding, Report, Step, probe_alone};
use crate::outbound::{Client, OutboundError, check_url, tls};
use crate::secrets::CallbackSecrets;
use crate::secrets::file::secret_path;

/// The flags of `hoiam check-callback`.
#[derive(Args, Clone, Debug)]
pub struct CheckCallbackArgs {
    /// The URL to check
    #[arg(value_parser = url)]
    pub url: Url,

    /// A header that the receiver wants, such as `Authorization: Bearer …`; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,

    /// What the service is started with.
    #[command(flatten)]
    pub service: ServiceArgs,
}

fn url(text: &str) -> Result<Url, ArgError> {
    Ok(Url::parse(text)?)
}

fn header(text: &str) -> Result<(String, String), ArgError> {
    let (name, value) = text.split_once(':').ok_or(ArgError::Header)?;
    let name = header_name(name.trim()).map_err(ArgError::HeaderName)?;
    let value = header_value(value.trim()).map_err(ArgError::HeaderValue)?;
    Ok((name, value))
}

/// Checks. Exit code 0 when the URL is open, 1 when it is not.
pub fn run(args: CheckCallbackArgs, globals: Globals) -> ExitCode {
    let config = match globals.load_or_explain(&args.service) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let checked = actix_web::rt::System::new().block_on(check(&args, &config));
    let told = checked.and_then(|answer| {
        super::print(&if globals.json {
            super::pretty(&answer)?
        } else {
            answer.for_people()
        })?;
        Ok(answer.check == CheckState::Open)
    });
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => super::exit(Err(error)),
    }
}

/// What is told; the first three fields are those of `POST /v1/callback-checks`.
#[derive(Serialize)]
struct Answer {
    url: String,
    check: CheckState,
    steps: Vec<Step>,
    /// What it means and what to do.
    advice: String,
}

async fn check(args: &CheckCallbackArgs, config: &Config) -> Result<Answer, CliError> {
    let headers: BTreeMap<String, String> = args.headers.iter().cloned().collect();
    let report = report(config, &args.url, headers.into()).await?;
    Ok(Answer {
        url: args.url.to_string(),
        check: report.finding.state(),
        advice: advice(&report.finding, config),
        steps: report.steps,
    })
}

/// Asks a URL as a service with this configuration would, with these headers of the
/// receiver's own. What keeps it from being asked at all is the error.
pub(super) async fn report(
    config: &Config,
    url: &Url,
    headers: CallbackHeaders,
) -> Result<Report, CliError> {
    let policy = callback_policy(config);
    if let Err(forbidden) = check_url(&policy, url) {
        return Ok(Report {
            steps: Vec::new(),
            finding: Finding::Forbidden(OutboundError::Forbidden(forbidden)),
        });
    }
    let roots = tls::system_roots()?;
    let clock = Clock::resume(None);
    let sender = Sender {
        client: Client::new(policy, outgoing_timeouts(config), roots),
        secrets: secrets(config, &clock)?,
        origin: config
            .server
            .public_url
            .host_str()
            .unwrap_or("localhost")
            .to_owned(),
        clock,
        headers: headers.over(&config.callback.default_headers),
    };
    let timeout = Duration::from_secs(config.callback.check_timeout_s);
    Ok(probe_alone(&sender, url, timeout).await)
}

/// The service's own, so that a receiver that verifies is content. Where no
/// service has been started yet there is none, and a check makes none: it
/// signs with a secret that nobody knows.
fn secrets(config: &Config, clock: &Clock) -> Result<CallbackSecrets, CliError> {
    let configured = &config.callback.secrets;
    if configured.is_empty() && !secret_path(&config.data_dir).exists() {
        return Secret::generate()
            .map(|secret| vec![secret].into())
            .map_err(|_| CliError::plain("the system gives no random bytes to make a secret of"));
    }
    let own = CallbackSecrets::open(configured, &config.data_dir, clock.clone())?;
    Ok(own)
}

fn advice(finding: &Finding, config: &Config) -> String {
    match finding {
        Finding::Open => "A job with this callback_url is accepted and spoken.".to_owned(),
        Finding::NotFound { status } => format!(
            "Two signed POSTs were answered by {status}, so a job would fail with \
             callback_not_found before it is spoken. Correct the path, or have the route answer POST with another \
             status. callback_check: false in the request leaves the check out."
        ),
        Finding::Forbidden(error) => {
            format!("A service with this configuration does not call this URL. {error}")
        }
        Finding::Unreachable(error) => format!(
            "{error} A job would wait {} s for the receiver and then fail with \
             callback_unreachable. {}",
            config.callback.hold_s,
            way_to_reach(error)
        ),
    }
}

pub(super) fn way_to_reach(error: &OutboundError) -> &'static str {
    if error.is_untrusted_issuer() {
        "If the receiver's certificate comes from an authority of your own, name a PEM file with \
         all authorities to be trusted in the environment of the service and of this command: \
         SSL_CERT_FILE=/path/to/authorities.pem. It takes the place of the system's list."
    } else if error.was_sent() {
        "The receiver took the connection and gave no answer to a POST: look at its log, and at \
         what stands in front of it."
    } else {
        "Start the receiver, and look at the name, the port and the firewall."
    }
}

impl Answer {
    fn for_people(&self) -> String {
        let rows: Vec<[String; 3]> = self
            .steps
            .iter()
            .map(|step| {
                let duration = format!("{} ms", step.duration_ms);
                [step.step.clone(), duration, step.detail.clone()]
            })
            .collect();
        format!("{}{}: {}\n", super::columns(&rows), self.check, self.advice)
    }
}
