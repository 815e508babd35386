use super::*;
use proptest::prelude::*;

fn strict() -> Policy {
    Policy::callbacks(Vec::new(), false)
}

fn open_to(cidr: &str) -> Policy {
    Policy::callbacks(vec![cidr.parse().unwrap()], false)
}

fn verdict(policy: &Policy, address: IpAddr) -> Option<Reason> {
    let host = address.to_string();
    policy
        .admit(&host, 80, [SocketAddr::new(address, 80)])
        .err()
        .map(|forbidden| forbidden.reason)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Each range with its neighbours below and above, where those are public.
const RANGES: &[(&str, Reason, &str, &str)] = &[
    ("0.0.0.0/8", Reason::Reserved, "", "1.0.0.0"),
    ("10.0.0.0/8", Reason::Private, "9.255.255.255", "11.0.0.0"),
    (
        "100.64.0.0/10",
        Reason::Private,
        "100.63.255.255",
        "100.128.0.0",
    ),
    (
        "127.0.0.0/8",
        Reason::Loopback,
        "126.255.255.255",
        "128.0.0.0",
    ),
    (
        "169.254.0.0/16",
        Reason::LinkLocal,
        "169.253.255.255",
        "169.255.0.0",
    ),
    (
        "172.16.0.0/12",
        Reason::Private,
        "172.15.255.255",
        "172.32.0.0",
    ),
    (
        "192.0.0.0/24",
        Reason::Reserved,
        "191.255.255.255",
        "192.0.1.0",
    ),
    ("192.0.2.0/24", Reason::Reserved, "192.0.1.255", "192.0.3.0"),
    (
        "192.88.99.0/24",
        Reason::Reserved,
        "192.88.98.255",
        "192.88.100.0",
    ),
    (
        "192.168.0.0/16",
        Reason::Private,
        "192.167.255.255",
        "192.169.0.0",
    ),
    (
        "198.18.0.0/15",
        Reason::Reserved,
        "198.17.255.255",
        "198.20.0.0",
    ),
    (
        "198.51.100.0/24",
        Reason::Reserved,
        "198.51.99.255",
        "198.51.101.0",
    ),
    (
        "203.0.113.0/24",
        Reason::Reserved,
        "203.0.112.255",
        "203.0.114.0",
    ),
    ("224.0.0.0/4", Reason::Reserved, "223.255.255.255", ""),
    ("240.0.0.0/4", Reason::Reserved, "", ""),
    ("::1/128", Reason::Loopback, "", ""),
    ("::2/127", Reason::Reserved, "", ""),
    ("::ffff:0:0:0/96", Reason::Reserved, "", ""),
    ("::5efe:0:0/96", Reason::Reserved, "", ""),
    ("64:ff9b:1::/48", Reason::Reserved, "", ""),
    ("ff:ffff::/32", Reason::Reserved, "", ""),
    ("100::/8", Reason::Reserved, "", ""),
    ("200::/7", Reason::Reserved, "", ""),
    ("400::/6", Reason::Reserved, "", ""),
    ("1000::/4", Reason::Reserved, "", "2000::"),
    (
        "4000::/2",
        Reason::Reserved,
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "",
    ),
    ("8000::/2", Reason::Reserved, "", ""),
    ("fe00::/9", Reason::Reserved, "", ""),
    (
        "2001::/32",
        Reason::Reserved,
        "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "",
    ),
    ("2001:1::3/128", Reason::Reserved, "2001:1::2", ""),
    ("2001:2::/48", Reason::Reserved, "", ""),
    ("2001:10::/28", Reason::Reserved, "", "2001:20::"),
    ("2001:1ff:ffff::/48", Reason::Reserved, "", "2001:200::"),
    (
        "2001:db8::/32",
        Reason::Reserved,
        "2001:db7:ffff:ffff::",
        "2001:db9::",
    ),
    ("2002::/16", Reason::Reserved, "2001:ffff:ffff::", "2003::"),
    (
        "3fff::/20",
        Reason::Reserved,
        "3ffe:ffff:ffff::",
        "3fff:1000::",
    ),
    ("5f00::/16", Reason::Reserved, "", ""),
    ("fc00::/7", Reason::Private, "", ""),
    ("fe80::/10", Reason::LinkLocal, "", ""),
    ("fec0::/10", Reason::Private, "", ""),
    ("ff00::/8", Reason::Reserved, "", ""),
];

#[test]
fn every_special_range_is_refused_from_its_first_address_to_its_last_and_no_further() {
    for (range, reason, below, above) in RANGES {
        let net: IpNet = range.parse().unwrap();
        for inside in [net.network(), net.broadcast()] {
            assert_eq!(verdict(&strict(), inside), Some(*reason), "{inside}");
            assert_eq!(verdict(&open_to(range), inside), None, "{inside} opened");
            assert_eq!(
                verdict(&Policy::trusted(), inside),
                None,
                "{inside} trusted"
            );
        }
        for outside in [below, above] {
            if !outside.is_empty() {
                assert_eq!(verdict(&strict(), address(outside)), None, "{outside}");
            }
        }
    }
}

#[test]
fn public_addresses_pass() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2001:1::1",
        "2001:1::2",
        "2001:3::1",
        "2001:4:112::1",
        "2001:20::1",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
    ] {
        assert_eq!(verdict(&strict(), address(text)), None, "{text}");
    }
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_judged_as_itself() {
    for (text, reason) in [
        ("::ffff:127.0.0.1", Reason::Loopback),
        ("::ffff:10.0.0.1", Reason::Private),
        ("64:ff9b::10.0.0.1", Reason::Private),
        ("64:ff9b::127.0.0.1", Reason::Loopback),
        ("::127.0.0.1", Reason::Reserved),
        ("::ffff:0:127.0.0.1", Reason::Reserved),
        ("2002:7f00:1::1", Reason::Reserved),
    ] {
        assert_eq!(verdict(&strict(), address(text)), Some(reason), "{text}");
    }
    assert_eq!(
        verdict(&open_to("10.0.0.0/8"), address("::ffff:10.0.0.1")),
        None
    );
}

#[test]
fn metadata_is_refused_whatever_is_configured_and_however_it_is_written() {
    let everything = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap());
    let widest = Policy::callbacks(everything.to_vec(), true);
    for text in [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",
        "fd00:c1::a9fe:a9fe",
        "fd00:100::100:200",
        "fe80::a9fe:a9fe",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
        "2001:0:1::5601:5601",
        "fe80::5efe:169.254.169.254",
        "2001:db8::200:5efe:169.254.169.254",
    ] {
        for policy in [&widest, &Policy::trusted()] {
            assert_eq!(
                verdict(policy, address(text)),
                Some(Reason::Metadata),
                "{text}"
            );
        }
        let host = match address(text) {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let url = Url::parse(&format!("http://{host}/latest")).unwrap();
        assert_eq!(
            check_url(&widest, &url).unwrap_err().reason,
            Reason::Metadata
        );
    }
}

#[test]
fn link_local_addresses_can_be_opened_but_for_metadata() {
    let policy = open_to("169.254.0.0/16");
    assert_eq!(verdict(&policy, address("169.254.1.1")), None);
    assert_eq!(
        verdict(&policy, address("169.254.169.254")),
        Some(Reason::Metadata)
    );
}

#[test]
fn loopback_passes_by_itself_only_while_no_key_is_configured() {
    let local_service = Policy::callbacks(Vec::new(), true);
    for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(verdict(&local_service, address(text)), None);
        assert_eq!(verdict(&strict(), address(text)), Some(Reason::Loopback));
    }
    assert_eq!(
        verdict(&local_service, address("0.0.0.0")),
        Some(Reason::Reserved)
    );
}

#[test]
fn one_url_is_exempt_and_none_that_differs_from_it() {
    let url = |text: &str| Url::parse(text).unwrap();
    let reports = url("http://Backend.internal:4640/base/v1/callbacks");
    let by_address = url("http://[fd12::1]/v1/callbacks");
    for (exempt, others) in [
        (
            &reports,
            ["http://10.0.0.5:4640/base/v1/callbacks"; 1].as_slice(),
        ),
        (
            &by_address,
            &[
                "http://[fd12::1]/",
                "http://[fd12::1]/v1/callbacks/",
                "http://[fd12::1]/v1/callbacks?x",
                "http://[fd12::1]/v1/callbacks#x",
                "http://[fd12::1]:81/v1/callbacks",
                "https://[fd12::1]/v1/callbacks",
                "http://user@[fd12::1]/v1/callbacks",
            ],
        ),
    ] {
        let policy = strict().exempting(exempt.clone());
        assert_eq!(check_url(&policy, exempt), Ok(()));
        assert!(check_url(&strict(), &by_address).is_err());
        for other in others {
            assert!(check_url(&policy, &url(other)).is_err(), "{other}");
        }
        // What sees an address alone exempts nothing.
        let inside = [SocketAddr::new(address("10.0.0.5"), 4640)];
        assert!(policy.admit("backend.internal", 4640, inside).is_err());
    }
}

#[test]
fn this_service_is_not_called_whatever_is_configured() {
    let everything = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap());
    let widest = |listener: &str| {
        Policy::callbacks(everything.to_vec(), true).without(listener.parse().unwrap())
    };
    let admits = |policy: &Policy, at: &str| {
        let at: SocketAddr = at.parse().unwrap();
        let outcome = policy.admit("x", at.port(), [at]);
        match outcome {
            Ok(_) => true,
            Err(forbidden) => {
                assert_eq!(forbidden.reason, Reason::Listener, "{at}");
                false
            }
        }
    };
    for (listener, refused, admitted) in [
        (
            "127.0.0.1:4640",
            ["127.0.0.1:4640", "[::ffff:127.0.0.1]:4640", "0.0.0.0:4640"],
            ["127.0.0.1:4641", "127.0.0.2:4640", "10.0.0.1:4640"],
        ),
        (
            "0.0.0.0:4640",
            ["127.0.0.1:4640", "127.0.0.2:4640", "[::1]:4640"],
            ["127.0.0.1:80", "192.0.2.1:4640", "[2001:db8::1]:4640"],
        ),
        (
            "[::]:4640",
            ["127.0.0.1:4640", "[::1]:4640", "[::]:4640"],
            ["[::1]:80", "192.0.2.1:4640", "[2001:db8::1]:4640"],
        ),
    ] {
        let policy = widest(listener);
        for at in refused {
            assert!(!admits(&policy, at), "{at} for {listener}");
        }
        for at in admitted {
            assert!(admits(&policy, at), "{at} for {listener}");
        }
    }
}

#[test]
fn forbidden_addresses_are_left_out_and_ipv4_comes_first() {
    let at = |text: &str| SocketAddr::new(address(text), 443);
    let admitted = strict()
        .admit(
            "mixed.example",
            443,
            ["fd00::1", "2606::1", "10.0.0.1", "8.8.8.8", "8.8.4.4"].map(at),
        )
        .unwrap();
    assert_eq!(admitted, ["8.8.8.8", "8.8.4.4", "2606::1"].map(at));
    let none_left = strict()
        .admit("inner.example", 443, ["10.0.0.1", "127.0.0.1"].map(at))
        .unwrap_err();
    assert_eq!(none_left.reason, Reason::Private);
    assert_eq!(none_left.address, Some(address("10.0.0.1")));
    let told = none_left.to_string();
    assert!(told.contains("inner.example"), "{told}");
    assert!(told.contains("callback.allow_cidrs"), "{told}");
    assert!(!told.contains("10.0.0.1"), "{told}");
}

#[test]
fn every_spelling_of_an_address_is_seen_through() {
    let v4 = "127.0.0.0/8";
    let v6 = "::1/128";
    for (spelling, way_out) in [
        ("127.0.0.1", v4),
        ("127.1", v4),
        ("2130706433", v4),
        ("0x7f000001", v4),
        ("0x7f.1", v4),
        ("0177.0.0.1", v4),
        ("017700000001", v4),
        ("127.0.0.1.", v4),
        ("%31%32%37.0.0.1", v4),
        ("１２７.0.0.1", v4),
        ("127。0。0。1", v4),
        ("[::ffff:7f00:1]", v4),
        ("[::ffff:127.0.0.1]", v4),
        ("[::1]", v6),
        ("[0:0:0:0:0:0:0:1]", v6),
        ("localhost", v4),
        ("LOCALHOST", v6),
        ("localhost.", v4),
        ("api.localhost", v6),
    ] {
        let url = Url::parse(&format!("http://{spelling}:8080/x")).unwrap();
        let forbidden = check_url(&strict(), &url).unwrap_err();
        assert_eq!(forbidden.reason, Reason::Loopback, "{spelling}");
        assert_eq!(forbidden.code(), "callback_url_forbidden");
        assert_eq!(check_url(&open_to(way_out), &url), Ok(()), "{spelling}");
    }
}

#[test]
fn what_a_url_shows_is_checked_at_submission() {
    for (text, expected) in [
        ("ftp://example.com/", Some(Reason::Scheme)),
        ("file:///etc/passwd", Some(Reason::Scheme)),
        ("unix:/run/x", Some(Reason::Scheme)),
        ("http://user@example.com/", Some(Reason::Credentials)),
        ("http://:pass@example.com/", Some(Reason::Credentials)),
        ("http://a\"b.example/", Some(Reason::Host)),
        ("http://under_score.internal/", None),
        ("http://example.com:0/", Some(Reason::Port)),
        ("http://10.0.0.1/", Some(Reason::Private)),
        ("http://169.254.1.1/", Some(Reason::LinkLocal)),
        ("http://0/", Some(Reason::Reserved)),
        ("http://notlocalhost/", None),
        ("https://example.com/hook?x=1#part", None),
        ("http://example.com:8080", None),
        ("https://xn--hi-m-8va.example/", None),
    ] {
        let url = Url::parse(text).unwrap();
        let reason = check_url(&strict(), &url).err().map(|f| f.reason);
        assert_eq!(reason, expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_mapped_or_translated_form_passes_where_the_plain_address_does_not(bits: u32) {
        let plain = Ipv4Addr::from(bits);
        let expected = verdict(&strict(), IpAddr::V4(plain));
        let mapped = IpAddr::V6(plain.to_ipv6_mapped());
        prop_assert_eq!(verdict(&strict(), mapped), expected);
        let [a, b, c, d] = plain.octets();
        let nat64 = IpAddr::V6(Ipv6Addr::from([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]));
        prop_assert_eq!(verdict(&strict(), nat64), expected);
    }

    #[test]
    fn the_url_check_and_the_guard_agree_on_literals(bits: u32, loopback: bool) {
        let policy = Policy::callbacks(Vec::new(), loopback);
        let url = Url::parse(&format!("http://{bits}/")).unwrap();
        let at_submission = check_url(&policy, &url).err().map(|f| f.reason);
        prop_assert_eq!(at_submission, verdict(&policy, IpAddr::V4(Ipv4Addr::from(bits))));
    }
}
