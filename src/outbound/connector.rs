//! Resolve, guard, connect, encrypt: the only way from here to another machine.
//!
//! Encryption lies below [`FilteredStream`], which must see what is said and not
//! how it is hidden. So `awc`, which believes to speak plain text, is given one
//! connector for each scheme.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_service::{IntoService as _, Service};
use actix_tls::connect::rustls_0_23::TlsConnector;
use actix_tls::connect::tcp::TcpConnector;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Resolver};
use awc::http::Uri;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::{OutboundError, Phase, UNTRUSTED_ISSUER};
use super::guard::Policy;
use super::networks::Networks;
use super::stream::FilteredStream;

tokio::task_local! {
    /// How far the request of this task has come; set by the connector, which
    /// `awc` runs within the task that sends.
    pub static PROGRESS: Rc<Progress>;
}

/// `None` as long as the connector has not been asked: while that is so, a kept
/// connection is in use.
#[derive(Default)]
pub struct Progress(Cell<Option<Phase>>);

impl Progress {
    /// Whether no connection had to be opened.
    pub fn over_kept_connection(&self) -> bool {
        self.0.get().is_none()
    }

    /// What ran out of time. Once there is a connection, what may have been sent
    /// counts as sent.
    pub fn timed_out(&self) -> OutboundError {
        let phase = match self.0.get() {
            Some(phase @ (Phase::Dns | Phase::Connect | Phase::Tls)) => phase,
            _ => Phase::Answer,
        };
        OutboundError::TimedOut {
            phase,
            status: None,
        }
    }
}

fn enter(phase: Phase) {
    // Outside of a request there is nobody to tell.
    let _ = PROGRESS.try_with(|progress| progress.0.set(Some(phase)));
}

/// What a connector works with.
#[derive(Clone)]
pub struct Connect {
    /// Whom may it reach?
    pub policy: Rc<Policy>,
    /// Looks up names.
    pub resolver: Resolver,
    /// Hears where names lead.
    pub networks: Arc<Networks>,
    /// Encrypts by this; `None` for plain text.
    pub tls: Option<Arc<ClientConfig>>,
    /// For resolving and connecting together; as long again for encryption.
    pub limit: Duration,
}

impl Connect {
    /// The service that `awc` asks for connections. Its error is always a boxed
    /// [`OutboundError`], in the only one of `awc`'s errors that can carry it.
    pub fn into_connector(
        self,
    ) -> impl Service<
        ConnectInfo<Uri>,
        Response = Connection<Uri, FilteredStream>,
        Error = ConnectError,
    > + Clone
    + 'static {
        let connect = move |wanted| {
            let this = self.clone();
            async move {
                let opened = this.open(wanted).await;
                opened.map_err(|error| ConnectError::Resolver(Box::new(error)))
            }
        };
        connect.into_service()
    }

    async fn open(
        self,
        wanted: ConnectInfo<Uri>,
    ) -> Result<Connection<Uri, FilteredStream>, OutboundError> {
        enter(Phase::Dns);
        let plain = within(self.limit, self.connected(wanted)).await?;
        let opened = match &self.tls {
            None => filtered(plain),
            Some(tls) => {
                enter(Phase::Tls);
                let handshake = TlsConnector::service(Arc::clone(tls)).call(plain);
                filtered(
                    within(self.limit, async { handshake.await.map_err(not_encrypted) }).await?,
                )
            }
        };
        enter(Phase::Send);
        Ok(opened)
    }

    async fn connected(
        &self,
        wanted: ConnectInfo<Uri>,
    ) -> Result<Connection<Uri, TcpStream>, OutboundError> {
        let host = wanted.hostname().to_owned();
        let resolved = self.resolver.service().call(wanted).await;
        let resolved = resolved.map_err(|_| OutboundError::DnsFailed { host: host.clone() })?;
        let admitted = self
            .policy
            .admit(&host, resolved.port(), resolved.addrs())
            .map_err(OutboundError::Forbidden)?;
        // The first is the first that is tried.
        if let Some(first) = admitted.first() {
            self.networks.note(&host, first.ip());
        }
        enter(Phase::Connect);
        let connection = TcpConnector::default()
            .service()
            .call(resolved.set_addrs(admitted))
            .await
            .map_err(|error| not_connected(&error, host.clone()))?;
        if let Ok(peer) = connection.io_ref().peer_addr() {
            self.networks.note(&host, peer.ip());
        }
        // Head and body are short: do not wait for more to send.
        let prompt = connection.io_ref().set_nodelay(true);
        prompt.map_err(|error| OutboundError::ConnectFailed(connect_reason(&error)))?;
        Ok(connection)
    }
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, OutboundError>>,
) -> Result<T, OutboundError> {
    let timed_out = |_| {
        let progress = PROGRESS.try_with(Rc::clone).unwrap_or_default();
        progress.timed_out()
    };
    timeout(limit, step).await.map_err(timed_out)?
}

fn filtered<Io>(connection: Connection<Uri, Io>) -> Connection<Uri, FilteredStream>
where
    Io: super::stream::Transport + 'static,
{
    let (io, rest) = connection.replace_io(());
    rest.replace_io(FilteredStream::new(io)).1
}

fn not_connected(error: &ConnectError, host: String) -> OutboundError {
    match error {
        ConnectError::NoRecords | ConnectError::Unresolved => OutboundError::DnsFailed { host },
        ConnectError::Io(error) => OutboundError::ConnectFailed(connect_reason(error)),
        _ => OutboundError::ConnectFailed("the connection could not be opened"),
    }
}

fn connect_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens at that address and port",
        io::ErrorKind::HostUnreachable => "the host cannot be reached",
        io::ErrorKind::NetworkUnreachable => "there is no way to that network",
        io::ErrorKind::ConnectionReset => "the connection was reset while it was being opened",
        io::ErrorKind::TimedOut => "the host does not answer",
        _ => "the connection could not be opened",
    }
}

fn not_encrypted(error: io::Error) -> OutboundError {
    OutboundError::TlsFailed(tls_reason(&error))
}

fn tls_reason(error: &io::Error) -> &'static str {
    use rustls::{CertificateError, Error};
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
    match cause {
        Some(Error::InvalidCertificate(problem)) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => UNTRUSTED_ISSUER,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name"
            }
            CertificateError::Revoked => "the certificate has been revoked",
            _ => "the certificate is not valid",
        },
        Some(Error::AlertReceived(_)) => "the other side refused the handshake",
        Some(Error::InvalidMessage(_)) => "the other side does not speak TLS at this port",
        _ => "the handshake failed",
    }
}
