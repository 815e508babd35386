//! Why a request came to nothing, as a value that can be stored and shown.

use std::fmt;

use super::guard::Forbidden;

/// How far a request had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Looking up the host's addresses.
    Dns,
    /// Opening the connection.
    Connect,
    /// Agreeing on encryption.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for the status and the headers of the answer.
    Answer,
    /// Reading the answer's body.
    Body,
}

impl Phase {
    /// The word used in attempts and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Send => "send",
            Self::Answer => "answer",
            Self::Body => "body",
        }
    }
}

/// The reason of [`OutboundError::TlsFailed`] where only a root is missing.
pub(super) const UNTRUSTED_ISSUER: &str = "the certificate's issuer is not trusted here";

/// Why a request came to nothing.
///
/// The messages are made for the people at both ends: they hold no address that
/// a name resolved to, no file path and no library's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundError {
    /// The request cannot be put on the wire: a URL too long, a header with a
    /// line break.
    InvalidRequest(&'static str),
    /// The guard does not let us reach any address of the host.
    Forbidden(Forbidden),
    /// The host has no address, or no name server answered.
    DnsFailed {
        /// The host of the URL.
        host: String,
    },
    /// No address of the host accepted the connection.
    ConnectFailed(&'static str),
    /// The connection could not be encrypted, or the certificate is not trusted.
    TlsFailed(&'static str),
    /// Time ran out.
    TimedOut {
        /// What was under way.
        phase: Phase,
        /// The answer's status, when only its body was outstanding.
        status: Option<u16>,
    },
    /// The other side closed the connection before a whole head of an answer came.
    Closed {
        /// What was under way.
        phase: Phase,
    },
    /// What came is not an answer in HTTP/1.1, or only a part of one.
    Protocol {
        /// What was under way.
        phase: Phase,
        /// The answer's status, when only its body was outstanding.
        status: Option<u16>,
        /// What was wrong, as a half-sentence.
        reason: &'static str,
    },
    /// A download grew beyond its limit.
    TooLarge {
        /// The answer's status.
        status: u16,
        /// The limit, in bytes.
        limit: u64,
    },
}

impl OutboundError {
    /// The stable code: `invalid_request`, `forbidden_address`, `dns_failed`,
    /// `connect_failed`, `tls_failed`, `timed_out`, `protocol_error`, `too_large`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::Forbidden(_) => "forbidden_address",
            Self::DnsFailed { .. } => "dns_failed",
            Self::ConnectFailed(_) => "connect_failed",
            Self::TlsFailed(_) => "tls_failed",
            Self::TimedOut { .. } => "timed_out",
            Self::Closed { .. } | Self::Protocol { .. } => "protocol_error",
            Self::TooLarge { .. } => "too_large",
        }
    }

    /// How far the request had come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::InvalidRequest(_) | Self::Forbidden(_) | Self::DnsFailed { .. } => Phase::Dns,
            Self::ConnectFailed(_) => Phase::Connect,
            Self::TlsFailed(_) => Phase::Tls,
            Self::TimedOut { phase, .. }
            | Self::Closed { phase }
            | Self::Protocol { phase, .. } => *phase,
            Self::TooLarge { .. } => Phase::Body,
        }
    }

    /// Whether the request may have reached the other side. If so, nobody knows
    /// what became of it, and only asking can tell; if not, it certainly had no
    /// effect there.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.phase() >= Phase::Send
    }

    /// Whether the certificate comes from an authority that is not among the
    /// trusted ones.
    #[must_use]
    pub fn is_untrusted_issuer(&self) -> bool {
        *self == Self::TlsFailed(UNTRUSTED_ISSUER)
    }

    /// The answer's status, when it had come and only its body failed.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::TimedOut { status, .. } | Self::Protocol { status, .. } => *status,
            Self::TooLarge { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for OutboundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidRequest(reason) => write!(f, "The request cannot be sent: {reason}."),
            Self::Forbidden(forbidden) => forbidden.fmt(f),
            Self::DnsFailed { host } => {
                write!(f, "The name {host} could not be resolved to an address.")
            }
            Self::ConnectFailed(reason) => write!(f, "No connection: {reason}."),
            Self::TlsFailed(reason) => write!(f, "No encrypted connection: {reason}."),
            Self::TimedOut { phase, .. } => f.write_str(match phase {
                Phase::Dns => "Time ran out while the name was being resolved.",
                Phase::Connect => "Time ran out before the connection was accepted.",
                Phase::Tls => "Time ran out while encryption was being agreed on.",
                Phase::Send | Phase::Answer => "Time ran out before an answer came.",
                Phase::Body => "Time ran out before the answer was complete.",
            }),
            Self::Closed { .. } => f.write_str("The connection was closed before an answer came."),
            Self::Protocol { reason, .. } => write!(f, "The exchange failed: {reason}."),
            Self::TooLarge { limit, .. } => {
                write!(f, "The answer is larger than the {limit} bytes allowed.")
            }
        }
    }
}

impl std::error::Error for OutboundError {}
