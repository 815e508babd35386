//! Whose request it is where reverse proxies stand before the service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};
use ipnet::IpNet;

use super::ledger::Address;

/// The networks of `server.trusted_proxies`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// Proxies in these networks are believed.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    /// Whether whoever connects from here speaks for others.
    #[must_use]
    pub fn trust(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// Whom a trusted proxy names in `X-Forwarded-For`: the last address that is not a
    /// trusted proxy's, or the first where all are. Each proxy appends who has connected
    /// to it, so what stands before that one may be anybody's invention, and no text.
    /// `None` where there is no such address.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap) -> Option<Address> {
        let lines: Vec<_> = headers.get_all(header::X_FORWARDED_FOR).collect();
        let names = lines.iter().rev();
        let names = names.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let mut first = None;
        for name in names {
            let ip = ip(str::from_utf8(name).ok()?.trim())?;
            if !self.trust(ip) {
                return Some(ip.into());
            }
            first = Some(ip.into());
        }
        first
    }
}

/// An address, as some proxies write it with a port.
fn ip(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().map(|socket: SocketAddr| socket.ip()).ok();
    text.parse().ok().or_else(bare).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;

    #[test]
    fn a_request_is_that_of_the_last_address_that_is_no_proxys() {
        let proxies = Proxies::new(vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ]);
        let cases: &[(&[&str], Option<&str>)] = &[
            (&["192.0.2.1"], Some("192.0.2.1")),
            (&["\u{80}, 192.0.2.1"], Some("192.0.2.1")),
            (&["10.1.2.3", "10.1.2.4, fd00::7"], Some("10.1.2.3")),
            (&["203.0.113.9, 192.0.2.1"], Some("192.0.2.1")),
            (&["192.0.2.1, 10.1.2.3"], Some("192.0.2.1")),
            (&["192.0.2.1", "10.1.2.3, fd00::7"], Some("192.0.2.1")),
            (&["203.0.113.9", "192.0.2.1:5000"], Some("192.0.2.1")),
            (&["[2001:db8::1]:5000"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            // What stands before a name that says nothing is not believed.
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1,"], None),
            (&["192.0.2.1, \u{80}"], None),
            (&[], None),
        ];
        for (lines, client) in cases {
            let request = TestRequest::default();
            let request = lines.iter().fold(request, |request, line| {
                let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
                request.append_header((header::X_FORWARDED_FOR, line))
            });
            let request = request.to_http_request();
            let expected = client.map(|client| client.parse::<IpAddr>().unwrap().into());
            assert_eq!(proxies.client(request.headers()), expected, "{lines:?}");
        }
    }
}
