//! Where names were last found to lead, for who shares out calls by address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};

use url::{Host, Url};

use crate::locks::lock;

/// So many names are remembered.
const MANY: usize = 8192;

/// The network of each name that was called.
#[derive(Default)]
pub struct Networks(Mutex<HashMap<String, IpAddr>>);

impl Networks {
    /// A name leads to this address.
    pub fn note(&self, host: &str, address: IpAddr) {
        if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return;
        }
        let mut known = self.known();
        if known.len() >= MANY && !known.contains_key(host) {
            // They are learnt again.
            known.clear();
        }
        known.insert(host.to_owned(), network(address));
    }

    /// The network that an origin (scheme, host and port) was last called at, or names
    /// itself: an address of IPv4, the first 64 bits of one of IPv6.
    #[must_use]
    pub fn of(&self, origin: &str) -> Option<IpAddr> {
        match Url::parse(origin).ok()?.host()? {
            Host::Ipv4(address) => Some(network(address.into())),
            Host::Ipv6(address) => Some(network(address.into())),
            Host::Domain(name) => self.known().get(name).copied(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, IpAddr>> {
        lock(&self.0)
    }
}

/// Who has one address of IPv6 has 2^64 of them (RFC 6177), so that is one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(prefix).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(networks: &Networks, url: &str) -> Option<String> {
        let network = networks.of(url);
        network.map(|network| network.to_string())
    }

    #[test]
    fn a_literal_names_its_network_and_a_name_leads_where_it_led_last() {
        let networks = Networks::default();
        assert_eq!(of(&networks, "http://127.1:80").unwrap(), "127.0.0.1");
        assert_eq!(
            of(&networks, "http://[2001:db8::1:2]").unwrap(),
            "2001:db8::"
        );
        assert_eq!(
            of(&networks, "http://[::ffff:192.0.2.1]").unwrap(),
            "192.0.2.1"
        );
        assert_eq!(of(&networks, "http://a.test"), None);
        networks.note("a.test", "192.0.2.1".parse().unwrap());
        networks.note("a.test", "2001:db8:0:1::5".parse().unwrap());
        assert_eq!(
            of(&networks, "https://a.test:99").unwrap(),
            "2001:db8:0:1::"
        );
    }

    #[test]
    fn no_more_names_than_so_many_are_remembered() {
        let networks = Networks::default();
        for number in 0..=MANY {
            networks.note(&number.to_string(), "192.0.2.1".parse().unwrap());
        }
        networks.note("[::1]", "::1".parse().unwrap());
        assert_eq!(networks.known().len(), 1);
    }
}
