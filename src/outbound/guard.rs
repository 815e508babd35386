//! Which addresses a URL from outside may lead us to.
//!
//! A caller who may name a callback URL could otherwise make this machine call
//! its own neighbours (server-side request forgery). There are two checks:
//! [`check_url`] at submission, for what the URL itself shows; and
//! [`Policy::admit`] between name resolution and connect, the one that counts:
//! it sees every address, literal or resolved, at the moment of use, so a name
//! that resolves differently the second time gains nothing.
//!
//! Of IPv4 everything is public but the ranges that the IANA registry calls not
//! globally reachable
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>). Of IPv6 nothing
//! is but 2000::/3, the only block that addresses are given out of
//! (<https://www.iana.org/assignments/ipv6-address-space>), less its own special
//! ranges (<https://www.iana.org/assignments/iana-ipv6-special-registry>) and the
//! ways in which it can carry an IPv4 address. An address of this machine is no
//! public one: what listens on all of its addresses often expects only neighbours.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use super::own::is_own;

/// What may be reached.
#[derive(Debug, Clone)]
pub struct Policy {
    reach: Reach,
    exempt: Option<Url>,
}

#[derive(Debug, Clone)]
enum Reach {
    /// Everything but metadata services.
    Anywhere,
    /// Public addresses, and what is named here.
    Public {
        allow_cidrs: Vec<IpNet>,
        loopback_allowed: bool,
        listener: Option<SocketAddr>,
    },
}

impl Policy {
    /// For URLs that callers name.
    ///
    /// `allow_cidrs` is `callback.allow_cidrs`; an IPv4 range covers the IPv6 forms
    /// that stand for its addresses, too. `loopback_allowed` holds only
    /// while no API key is configured, that is for a service that serves this
    /// machine alone; it opens the machine's other addresses as well.
    #[must_use]
    pub fn callbacks(allow_cidrs: Vec<IpNet>, loopback_allowed: bool) -> Self {
        Self {
            reach: Reach::Public {
                allow_cidrs,
                loopback_allowed,
                listener: None,
            },
            exempt: None,
        }
    }

    /// For `backend.tts_url`: the operator named it, so it may lie in any range.
    #[must_use]
    pub fn trusted() -> Self {
        Self {
            reach: Reach::Anywhere,
            exempt: None,
        }
    }

    /// Never calls the listener of this service: no caller has a reason to have it
    /// call itself, and it would do so from where more may be open than to him.
    #[must_use]
    pub fn without(mut self, address: SocketAddr) -> Self {
        if let Reach::Public { listener, .. } = &mut self.reach {
            *listener = Some(address);
        }
        self
    }

    /// Lets through exactly this URL, wherever it leads, as [`Policy::trusted`] would:
    /// where this process reports to itself.
    #[must_use]
    pub fn exempting(mut self, url: Url) -> Self {
        self.exempt = Some(url);
        self
    }

    /// The URL of [`Policy::exempting`]. [`Policy::admit`], which sees no more than a
    /// host and a port, does not know it; the client has connections of its own for it.
    #[must_use]
    pub fn exempt(&self) -> Option<&Url> {
        self.exempt.as_ref()
    }

    /// Keeps the addresses of `host` that may be reached, IPv4 before IPv6.
    ///
    /// A forbidden address among good ones is left out and does not spoil them:
    /// only what is kept is ever connected to, so a mixed answer gains its author
    /// nothing, and hosts that publish a private IPv6 address beside their public
    /// IPv4 one stay reachable. IPv4 comes first because the connector tries one
    /// address after another within one time limit, and IPv6 that leads nowhere
    /// is the more common fault.
    ///
    /// # Errors
    ///
    /// [`Forbidden`] for the first address when none is left.
    pub fn admit(
        &self,
        host: &str,
        port: u16,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Forbidden> {
        let mut admitted = Vec::new();
        let mut refused = None;
        for address in addresses {
            match self.refuses(port, address.ip()) {
                Ok(None) => admitted.push(address),
                Ok(Some(reason)) => {
                    refused.get_or_insert((address.ip(), reason));
                }
                // It cannot be told just now: no verdict, and no connection.
                Err(_) => {}
            }
        }
        match refused {
            Some((address, reason)) if admitted.is_empty() => Err(Forbidden {
                host: host.to_owned(),
                address: Some(address),
                reason,
            }),
            _ => {
                admitted.sort_by_key(SocketAddr::is_ipv6);
                Ok(admitted)
            }
        }
    }

    fn refuses(&self, port: u16, address: IpAddr) -> io::Result<Option<Reason>> {
        let address = carried_by(address);
        if is_metadata(address) {
            return Ok(Some(Reason::Metadata));
        }
        let Reach::Public {
            allow_cidrs,
            loopback_allowed,
            listener,
        } = &self.reach
        else {
            return Ok(None);
        };
        if let Some(listener) = listener
            && listener.port() == port
            && hears(listener.ip(), address)?
        {
            return Ok(Some(Reason::Listener));
        }
        if allow_cidrs.iter().any(|net| net.contains(&address)) {
            return Ok(None);
        }
        match special_range(address) {
            None | Some(Reason::Loopback) if *loopback_allowed => Ok(None),
            None => Ok(is_own(address)?.then_some(Reason::Own)),
            reason => Ok(reason),
        }
    }
}

/// Whether what listens at `listener` hears what is sent to `address` from here.
fn hears(listener: IpAddr, address: IpAddr) -> io::Result<bool> {
    let listener = listener.to_canonical();
    if address.is_unspecified() || listener == address {
        return Ok(true);
    }
    Ok(listener.is_unspecified() && (address.is_loopback() || is_own(address)?))
}

/// Checks at submission what can be known without resolving a name: the scheme,
/// the absence of a user name, the port, and an address where the host is one.
///
/// `Url` has already read every spelling of an IPv4 address (`0x7f000001`,
/// `2130706433`, `0177.1`) into the same address, so there is nothing to decode.
///
/// # Errors
///
/// [`Forbidden`], whose code is `callback_url_forbidden`.
pub fn check_url(policy: &Policy, url: &Url) -> Result<(), Forbidden> {
    if policy.exempt() == Some(url) {
        return Ok(());
    }
    let host_text = url.host_str().unwrap_or_default();
    let refuse = |address, reason| {
        Err(Forbidden {
            host: host_text.to_owned(),
            address,
            reason,
        })
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse(None, Reason::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(None, Reason::Credentials);
    }
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return refuse(None, Reason::Host);
    };
    if matches!(host, Host::Domain(name) if !is_host_name(name)) {
        return refuse(None, Reason::Host);
    }
    if port == 0 {
        return refuse(None, Reason::Port);
    }
    let known: &[IpAddr] = match host {
        Host::Ipv4(address) => &[IpAddr::V4(address)],
        Host::Ipv6(address) => &[IpAddr::V6(address)],
        Host::Domain(name) if is_localhost(name) => &[
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ],
        Host::Domain(_) => &[],
    };
    let known = known.iter().map(|address| SocketAddr::new(*address, port));
    policy.admit(host_text, port, known).map(|_| ())
}

/// A URL that must not be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    /// The host as the URL names it.
    pub host: String,
    /// The address that was refused; for the log, since the message must not
    /// tell a caller what our name server knows.
    pub address: Option<IpAddr>,
    /// Which rule refuses it.
    pub reason: Reason,
}

impl Forbidden {
    /// The stable code for a refusal at submission: `callback_url_forbidden`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "callback_url_forbidden"
    }

    /// What can be done about it.
    #[must_use]
    pub fn way_out(&self) -> &'static str {
        match self.reason {
            Reason::Scheme => "Use an http or https URL.",
            Reason::Credentials => "Leave them out; callbacks prove themselves by their signature.",
            Reason::Host => {
                "Name the host that takes the callback: letters, digits, hyphens, dots."
            }
            Reason::Port => "Use a port from 1 to 65535.",
            Reason::Metadata | Reason::Listener => "No setting allows this address.",
            Reason::Loopback
            | Reason::Own
            | Reason::Private
            | Reason::LinkLocal
            | Reason::Reserved => {
                "If the service is meant to reach it, its operator adds the range to callback.allow_cidrs."
            }
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, reason, .. } = self;
        match reason {
            Reason::Scheme => write!(f, "The URL is neither http nor https."),
            Reason::Credentials => write!(f, "The URL holds a user name or a password."),
            Reason::Host => write!(f, "The URL names no usable host."),
            Reason::Port => write!(f, "The URL names port 0, which does not exist."),
            Reason::Metadata => write!(f, "{host} is a cloud metadata service."),
            Reason::Loopback => write!(f, "{host} is this machine itself (loopback)."),
            Reason::Own => write!(f, "{host} is this machine itself."),
            Reason::Listener => write!(f, "{host} at this port is this service itself."),
            Reason::Private => write!(f, "{host} lies in a private network."),
            Reason::LinkLocal => write!(f, "{host} has an address of the local link only."),
            Reason::Reserved => write!(f, "{host} has an address that is reserved."),
        }?;
        write!(f, " {}", self.way_out())
    }
}

impl std::error::Error for Forbidden {}

/// Which rule refuses a URL or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Neither `http` nor `https`.
    Scheme,
    /// A user name or a password in the URL.
    Credentials,
    /// No host, or one that is not a host name.
    Host,
    /// Port 0.
    Port,
    /// A cloud's metadata service, which hands out credentials to whoever calls
    /// from the machine.
    Metadata,
    /// This machine.
    Loopback,
    /// This machine, by an address that others know it by.
    Own,
    /// This service.
    Listener,
    /// A private network, carrier-grade address translation included.
    Private,
    /// The local link.
    LinkLocal,
    /// Everything else that no public service can have.
    Reserved,
}

/// The address that is really meant: IPv6 forms that the system or the network
/// translates to IPv4 are judged as that IPv4 address (mapped `::ffff:0:0/96`,
/// RFC 4291; NAT64 `64:ff9b::/96`, RFC 6052, without which hosts behind NAT64
/// could reach nothing that has IPv4 alone).
fn carried_by(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if NAT64.contains(&v6) => IpAddr::V4(low_bits(v6)),
        canonical => canonical,
    }
}

const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// True for the metadata services that are known, also where an IPv6 address
/// carries theirs by one of the older translations.
fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => METADATA_V4.iter().any(|net| net.contains(&v4)),
        IpAddr::V6(v6) => {
            METADATA_V6.iter().any(|net| net.contains(&v6))
                || embedded(v6)
                    .iter()
                    .any(|v4| METADATA_V4.iter().any(|net| net.contains(v4)))
        }
    }
}

/// Every place where a translation puts an IPv4 address: the low 32 bits
/// (compatible `::/96`, SIIT, ISATAP, NAT64 of local use, RFC 8215, and the client
/// of Teredo, whose bits are inverted), bits 16 to 48 (6to4, RFC 3056),
/// bits 32 to 64 (the server of Teredo, RFC 4380).
///
/// It may see an IPv4 address where none is meant. That does no harm: only the
/// few metadata addresses are compared, and only in prefixes of translations.
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let groups = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let inverted = Ipv4Addr::from(!u32::from(low_bits(address)));
    if groups[0] == 0x2002 {
        vec![pair(groups[1], groups[2])]
    } else if groups[..2] == [0x2001, 0] {
        vec![pair(groups[2], groups[3]), inverted]
    } else if groups[0] == 0 || groups[..2] == [0x64, 0xff9b] || groups[5] == 0x5efe {
        vec![low_bits(address)]
    } else {
        Vec::new()
    }
}

fn low_bits(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// The range that keeps an address from being a public one, if there is any.
fn special_range(address: IpAddr) -> Option<Reason> {
    match address {
        IpAddr::V4(v4) => RANGES_V4
            .iter()
            .find(|(net, _)| net.contains(&v4))
            .map(|(_, reason)| *reason),
        IpAddr::V6(v6) if PUBLIC_V6.iter().any(|net| net.contains(&v6)) => None,
        IpAddr::V6(v6) => RANGES_V6
            .iter()
            .find(|(net, _)| net.contains(&v6))
            .map(|(_, reason)| *reason)
            .or((!UNICAST_V6.contains(&v6)).then_some(Reason::Reserved)),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(groups: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = groups;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// Where clouds put what they tell to the machine itself. The rest of
/// 169.254.0.0/16 is ordinary link-local, which `allow_cidrs` can open.
const METADATA_V4: &[Ipv4Net] = &[
    v4(169, 254, 169, 0, 24), // .254 nearly everywhere; .253 and .123 at Amazon
    v4(169, 254, 170, 0, 24), // containers at Amazon: .2 and .23
    v4(169, 254, 0, 23, 32),  // Tencent
    v4(169, 254, 42, 42, 32), // Scaleway
    v4(100, 100, 100, 200, 32), // Alibaba
    v4(168, 63, 129, 16, 32), // Azure's own channel to its machines
    v4(192, 0, 0, 192, 32),   // Oracle, first generation
];

const METADATA_V6: &[Ipv6Net] = &[
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),        // Amazon
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),    // Google
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128),     // Scaleway
    v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1], 128), // Hetzner and others, after IPv4's
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), // Oracle
    v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128), // Alibaba
    v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), // OpenStack
];

const RANGES_V4: &[(Ipv4Net, Reason)] = &[
    (v4(0, 0, 0, 0, 8), Reason::Reserved), // 0.0.0.0 connects to this machine
    (v4(10, 0, 0, 0, 8), Reason::Private),
    (v4(100, 64, 0, 0, 10), Reason::Private),
    (v4(127, 0, 0, 0, 8), Reason::Loopback),
    (v4(169, 254, 0, 0, 16), Reason::LinkLocal),
    (v4(172, 16, 0, 0, 12), Reason::Private),
    (v4(192, 0, 0, 0, 24), Reason::Reserved),
    (v4(192, 0, 2, 0, 24), Reason::Reserved),
    (v4(192, 88, 99, 0, 24), Reason::Reserved),
    (v4(192, 168, 0, 0, 16), Reason::Private),
    (v4(198, 18, 0, 0, 15), Reason::Reserved),
    (v4(198, 51, 100, 0, 24), Reason::Reserved),
    (v4(203, 0, 113, 0, 24), Reason::Reserved),
    (v4(224, 0, 0, 0, 4), Reason::Reserved),
    (v4(240, 0, 0, 0, 4), Reason::Reserved),
];

/// Global unicast. Everything else is reserved by the IETF, or has an entry below.
const UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The exceptions in [`UNICAST_V6`], and what outside of it has a name.
const RANGES_V6: &[(Ipv6Net, Reason)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Reason::Loopback),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Reason::Reserved), // Teredo is in it
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Reason::Reserved),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Reason::Reserved),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Reason::Reserved),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Reason::Private),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Reason::LinkLocal),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Reason::Private), // site-local, RFC 3879
];

/// The public islands inside 2001::/23.
const PUBLIC_V6: &[Ipv6Net] = &[
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28),
];

/// Letters, digits, hyphens and dots (RFC 1123, section 2.1), and the underscore
/// that names inside of networks have. `Url` lets more pass, which no HTTP
/// request can carry.
fn is_host_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Names under `localhost` are this machine, whatever a name server says
/// (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
