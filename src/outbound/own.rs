//! Which addresses are this machine's own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::ptr;

/// The discard protocol's (RFC 863); nothing is sent.
const ANY_PORT: u16 = 9;

/// Whether this machine has the address now: by a route of type `local`, or on an
/// interface. The route does not show a secondary address, whose source is the primary
/// one, and no interface has what load balancers route to a machine. What is routed to
/// it from another source, as IPv6 does where it may choose, is not seen.
///
/// A bind to the address would be simpler, but succeeds for all where
/// `net.ipv4.ip_nonlocal_bind` is set.
///
/// # Errors
/// When there is no descriptor or no memory to find out.
pub fn is_own(address: IpAddr) -> io::Result<bool> {
    let by_route = source_towards(address)
        .map(|source| source.is_some_and(|source| source == address || source.is_loopback()))
        .or_else(passing)?;
    Ok(by_route || is_on_an_interface(address).or_else(passing)?)
}

/// Keeps what may be otherwise the next moment; else there is nothing to be known.
fn passing(error: io::Error) -> io::Result<bool> {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Err(error),
        _ => Ok(false),
    }
}

/// From where the kernel would send there; `None` where there is no way.
fn source_towards(address: IpAddr) -> io::Result<Option<IpAddr>> {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    if socket.connect((address, ANY_PORT)).is_err() {
        return Ok(None);
    }
    Ok(Some(socket.local_addr()?.ip()))
}

#[expect(unsafe_code, reason = "std does not tell the interfaces' addresses")]
fn is_on_an_interface(address: IpAddr) -> io::Result<bool> {
    let mut first: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: it is given a place for the pointer that it writes.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut entry = first;
    let mut found = false;
    // SAFETY: `entry` walks the list that getifaddrs has made, up to the null at its
    // end, and the list is freed after the last look at it.
    unsafe {
        while let Some(this) = entry.as_ref() {
            found |= ip_of(this.ifa_addr) == Some(address);
            entry = this.ifa_next;
        }
        libc::freeifaddrs(first);
    }
    Ok(found)
}

/// # Safety
/// `address` is null, or points to a socket address as long as its family needs.
#[expect(unsafe_code, reason = "std does not read socket addresses of C")]
unsafe fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: by the caller's word, for the family that is looked at first.
    unsafe {
        match i32::from(address.as_ref()?.sa_family) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_own_and_what_is_for_documents_is_not() {
        for own in ["127.0.0.1", "127.9.9.9"] {
            assert!(is_own(own.parse().unwrap()).unwrap(), "{own}");
        }
        for foreign in ["192.0.2.1", "2001:db8::1"] {
            assert!(!is_own(foreign.parse().unwrap()).unwrap(), "{foreign}");
        }
        assert!(is_on_an_interface(Ipv4Addr::LOCALHOST.into()).unwrap());
        assert!(!is_on_an_interface(Ipv4Addr::BROADCAST.into()).unwrap());
    }
}
