//! How much of one thing is held at the moment, bounded for all and for each client
//! address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::locks::lock;

/// A client address as bounds count it: an IPv4 address, or the first 64 bits of an
/// IPv6 one, since whoever has one of those has the network (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip => ip,
        })
    }
}

/// Which bound would be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// This address has its share.
    Address,
    /// All together have all there is.
    All,
}

/// What is held. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: u64,
    most_each: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: u64,
    by_address: HashMap<Address, u64>,
}

impl Ledger {
    /// A ledger of `most` in all and `most_each` for one address.
    #[must_use]
    pub fn new(most: u64, most_each: u64) -> Self {
        Self(Arc::new(Inner {
            most,
            most_each,
            held: Mutex::default(),
        }))
    }

    /// Takes that much for an address, until the [`Hold`] is dropped. Without an
    /// address only the bound of all counts.
    ///
    /// # Errors
    /// Which bound stands in the way; nothing is taken then.
    pub fn take(&self, address: Option<Address>, amount: u64) -> Result<Hold, Full> {
        let mut hold = Hold {
            ledger: self.clone(),
            address,
            amount: 0,
        };
        hold.grow(amount)?;
        Ok(hold)
    }

    /// The same, for what cannot be divided: whoever holds nothing may have more than
    /// one address's part, and where nobody holds anything, more than there is.
    ///
    /// # Errors
    /// Which bound stands in the way; nothing is taken then.
    pub fn take_whole(&self, address: Option<Address>, amount: u64) -> Result<Hold, Full> {
        let Inner {
            most, most_each, ..
        } = *self.0;
        let mut held = self.held();
        if held.total > 0 && held.total.saturating_add(amount) > most {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let own = held.by_address.entry(address).or_default();
            if *own > 0 && own.saturating_add(amount) > most_each {
                return Err(Full::Address);
            }
            *own = own.saturating_add(amount);
        }
        held.total = held.total.saturating_add(amount);
        Ok(Hold {
            ledger: self.clone(),
            address,
            amount,
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.0.held)
    }
}

/// What somebody has taken.
#[derive(Debug)]
pub struct Hold {
    ledger: Ledger,
    address: Option<Address>,
    amount: u64,
}

impl Hold {
    /// Takes more.
    ///
    /// # Errors
    /// Which bound stands in the way; what was taken before stays so.
    pub fn grow(&mut self, more: u64) -> Result<(), Full> {
        let Inner {
            most, most_each, ..
        } = *self.ledger.0;
        let mut held = self.ledger.held();
        if held.total.saturating_add(more) > most {
            return Err(Full::All);
        }
        if let Some(address) = self.address {
            let own = held.by_address.get(&address).copied().unwrap_or_default();
            let own = own.saturating_add(more);
            if own > most_each {
                return Err(Full::Address);
            }
            held.by_address.insert(address, own);
        }
        held.total += more;
        self.amount += more;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.ledger.held();
        held.total -= self.amount;
        let Some(address) = self.address else { return };
        if let Some(own) = held.by_address.get_mut(&address) {
            *own -= self.amount;
            if *own == 0 {
                held.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<Address> {
        Some(text.parse::<IpAddr>().unwrap().into())
    }

    #[test]
    fn an_address_has_its_share_and_leaves_the_rest_to_others() {
        let ledger = Ledger::new(10, 4);
        let (one, two, three) = (address("192.0.2.1"), address("192.0.2.2"), address("::1"));
        let first = ledger.take(one, 3).unwrap();
        assert_eq!(ledger.take(one, 2).unwrap_err(), Full::Address);
        let _second = ledger.take(two, 4).unwrap();
        assert_eq!(ledger.take(three, 4).unwrap_err(), Full::All);
        let mut third = ledger.take(three, 3).unwrap();
        assert_eq!(third.grow(1).unwrap_err(), Full::All);
        drop(first);
        third.grow(1).unwrap();
        assert_eq!(third.grow(1).unwrap_err(), Full::Address);
    }

    #[test]
    fn without_an_address_only_the_bound_of_all_counts() {
        let ledger = Ledger::new(10, 4);
        let _all = ledger.take(None, 10).unwrap();
        assert_eq!(ledger.take(None, 1).unwrap_err(), Full::All);
    }

    #[test]
    fn whoever_holds_nothing_may_take_what_cannot_be_divided() {
        let ledger = Ledger::new(10, 4);
        let (one, two) = (address("192.0.2.1"), address("192.0.2.2"));
        drop(ledger.take_whole(one, 11).unwrap());
        let _first = ledger.take_whole(one, 5).unwrap();
        assert_eq!(ledger.take_whole(one, 1).unwrap_err(), Full::Address);
        let _second = ledger.take_whole(two, 5).unwrap();
        assert_eq!(ledger.take_whole(None, 1).unwrap_err(), Full::All);
    }

    #[test]
    fn what_is_dropped_leaves_nothing_behind() {
        let ledger = Ledger::new(10, 10);
        drop(ledger.take(address("192.0.2.1"), 10));
        drop(ledger.take(address("192.0.2.1"), 11));
        let held = ledger.held();
        assert_eq!((held.total, held.by_address.len()), (0, 0));
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_one_is_ipv4() {
        let same = [
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ];
        for (one, other, are_same) in same {
            assert_eq!(address(one) == address(other), are_same, "{one} {other}");
        }
    }
}
