//! Which URLs and addresses may be called, and which links hold. The whole input is a
//! URL; its end is an address as well, and behind a `?` it is the query of a link.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

use awc::http::Uri;
use hoiam::http::links::{Links, Signed};
use hoiam::http::request::check_callback_url;
use hoiam::outbound::{Policy, Reason, check_url};
use hoiam_api::signature::{Received, Secret, verify};
use hoiam_api::{FieldErrors, Service};
use hoiam_supervision::clock::Clock;
use url::{Host, Position, Url};
use uuid::Uuid;

/// The longest URL of a request (`hoiam_api::create`).
const MOST_CHARACTERS: usize = 2_048;

pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let policy = Policy::callbacks(Vec::new(), false);
    if text.chars().count() <= MOST_CHARACTERS {
        url_that_is_allowed_leads_outside(&policy, &text);
    }
    if let Some(last) = data.last_chunk::<16>() {
        address_that_is_admitted_is_public(&policy, IpAddr::V6(Ipv6Addr::from(*last)));
    }
    if let Some(last) = data.last_chunk::<4>() {
        let address = Ipv4Addr::from(*last);
        address_that_is_admitted_is_public(&policy, IpAddr::V4(address));
        for prefix in ["::ffff", "64:ff9b:", ":"] {
            let mapped = format!("{prefix}:{address}").parse();
            address_that_is_admitted_is_public(&policy, IpAddr::V6(mapped.unwrap()));
        }
    }
    link_holds_only_as_it_was_made(&text);
    callback_without_a_signature_is_refused(&text, data);
}

fn url_that_is_allowed_leads_outside(policy: &Policy, text: &str) {
    let mut errors = FieldErrors::default();
    check_callback_url(policy, Some(text), &mut errors);
    let Ok(()) = errors.into_result() else {
        return;
    };
    let url = Url::parse(text).expect("a URL");
    check_url(policy, &url).expect("allowed");
    assert!(matches!(url.scheme(), "http" | "https"), "{url}");
    assert_eq!((url.username(), url.password()), ("", None));
    let port = url.port_or_known_default().expect("a port");
    assert_ne!(port, 0);
    match url.host().expect("a host") {
        Host::Ipv4(address) => assert!(is_public(address.into()), "{url}"),
        Host::Ipv6(address) => assert!(is_public(address.into()), "{url}"),
        Host::Domain(name) => name_is_no_address(name),
    }
    // What is connected to is what was looked at.
    let host = &url[Position::BeforeHost..Position::AfterHost];
    let path = &url[Position::BeforePath..Position::AfterQuery];
    if let Ok(target) = format!("http://{host}:{port}{path}").parse::<Uri>() {
        assert_eq!(target.host(), Some(host));
        assert_eq!(target.port_u16(), Some(port));
        let authority = target.authority().expect("an authority").as_str();
        assert!(!authority.contains('@'), "{url}");
    }
    let again = Url::parse(url.as_str()).expect("a URL");
    assert_eq!(again, url, "it means the same once it was kept");
}

/// Nor does the system's resolver take it for one.
fn name_is_no_address(name: &str) {
    let bare = name.trim_end_matches('.').to_ascii_lowercase();
    assert!(
        bare != "localhost" && !bare.ends_with(".localhost"),
        "{name}"
    );
    assert!(bare.parse::<IpAddr>().is_err(), "{name}");
    for name in [name, name.strip_suffix('.').unwrap_or(name)] {
        if let Some(address) = read_by_the_system(name) {
            assert!(is_public(address), "{name} is {address}");
        }
    }
}

/// Names are not looked up.
#[expect(unsafe_code, reason = "std asks for names as well")]
fn read_by_the_system(name: &str) -> Option<IpAddr> {
    let name = CString::new(name).ok()?;
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are null or to what lives until the call is over; the list is
    // read before it is freed, and its first entry has an address of the family asked for.
    unsafe {
        let mut hints: libc::addrinfo = std::mem::zeroed();
        hints.ai_flags = libc::AI_NUMERICHOST;
        hints.ai_family = libc::AF_INET;
        if libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut found) != 0 {
            return None;
        }
        let address = (*found)
            .ai_addr
            .cast::<libc::sockaddr_in>()
            .read_unaligned();
        libc::freeaddrinfo(found);
        Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
    }
}

fn address_that_is_admitted_is_public(policy: &Policy, address: IpAddr) {
    let socket = SocketAddr::new(address, 80);
    match policy.admit("x", 80, [socket]) {
        Ok(admitted) => {
            assert_eq!(admitted, [socket]);
            assert!(is_public(address), "{address}");
        }
        // A translation of a metadata service's address may lie among public ones.
        Err(forbidden) => {
            assert_eq!(forbidden.address, Some(address));
            assert!(
                !is_public(address) || forbidden.reason == Reason::Metadata,
                "{address}"
            );
        }
    }
    if let Err(forbidden) = Policy::trusted().admit("x", 80, [socket]) {
        assert_eq!(forbidden.reason, Reason::Metadata);
    }
}

/// By the tables of IANA, written down a second time.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            // Azure's own channel to its machines.
            | [168, 63, 129, 16]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        [0x2001, 1, 0, 0, 0, 0, 0, 1 | 2] => true,
        [0x2001, 3 | 0x20..=0x2f, ..] | [0x2001, 4, 0x112, ..] => true,
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

/// Without the secret nobody makes one, or a longer one of a real one.
fn link_holds_only_as_it_was_made(text: &str) {
    let (clock, _) = Clock::manual(1_700_000_000_000);
    let secrets = vec![secret(1)].into();
    let base = Url::parse("https://voices.example/").expect("a URL");
    let links = Links::new(base, secrets, 60, clock);
    let id = Uuid::from_u128(7);
    let recording = serde_json::json!({
        "format": "mp3", "sample_rate_hz": 22050, "channels": 1, "duration_ms": 1000,
        "bytes": 10, "sha256": "00", "segments": [],
    });
    let recording = serde_json::from_value(recording).expect("a recording");
    let made = Url::parse(&links.of(Service::Tts, id, recording).words).expect("a URL");
    let (path, query) = (made.path(), made.query().expect("a signature"));
    assert_eq!(links.signed(path, query), Signed::Yes);
    let (foreign_path, foreign_query) = text.split_once('?').unwrap_or(("", text));
    assert_ne!(links.signed(foreign_path, foreign_query), Signed::Yes);
    assert_ne!(links.signed(path, foreign_query), Signed::Yes);
    if foreign_path != path {
        assert_ne!(links.signed(foreign_path, query), Signed::Yes);
        assert_ne!(links.signed(&format!("{path}{text}x"), query), Signed::Yes);
    }
    let later = query.replacen("expires=1", "expires=2", 1);
    assert_ne!(links.signed(path, &later), Signed::Yes);
}

fn callback_without_a_signature_is_refused(text: &str, body: &[u8]) {
    let mut lines = text.lines();
    let received = Received {
        id: lines.next(),
        timestamp: lines.next(),
        signature: lines.next(),
        body,
    };
    assert!(verify(&[secret(1), secret(2)], &received, 1_700_000_000).is_err());
}

fn secret(number: u8) -> Secret {
    let base64 = format!("{number}hoiam00").repeat(5);
    Secret::parse(&format!("whsec_{base64}")).expect("a secret")
}
