//! Which addresses callbacks reach: the real program in a network of its own, where
//! every address there is leads to one listener. Reached is what that listener has seen.

use std::collections::BTreeSet;
use std::io::{BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::support::http::Message;
use super::support::{Client, Service, eventually};

/// Set for the process that runs inside.
const INSIDE: &str = "HOIAM_TEST_INSIDE_OWN_NETWORK";
const KEY: &str = "a-key-of-enough-length";

/// Everything is routed here, from an address of its own, so that to the service it
/// looks like another machine. What the machine has as its own: addresses, a secondary
/// one, and a route such as load balancers make.
const NETWORK: &str = "
    set -e
    ip link set lo up
    ip addr add 10.77.0.1/32 dev lo
    ip -6 addr add fd77::1/128 dev lo nodad
    ip route add local 0.0.0.0/0 dev lo src 10.77.0.1
    ip -6 route add local ::/0 dev lo src fd77::1
    ip addr add 11.1.1.1/24 dev lo
    ip addr add 11.1.1.2/24 dev lo
    ip route add local 11.2.2.2/32 dev lo
    ip -6 addr add 2a00:1::1/128 dev lo nodad
    ip -6 addr add 2a00:2::2/128 dev lo nodad
    mount --bind \"$1\" /etc/hosts
";

/// IPv4 addresses that no callback may reach.
const HOSTILE_V4: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.1.2.3",
    "169.254.0.23",
    "169.254.1.1",
    "169.254.42.42",
    "169.254.169.253",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "100.100.100.200",
    "168.63.129.16",
];

/// IPv6 addresses that no callback may reach.
const HOSTILE_V6: &[&str] = &[
    "::",
    "::1",
    "::2",
    "::7f00:1",
    "::ffff:0:7f00:1",
    "64:ff9b:1::a00:1",
    "64:ff9b:2::1",
    "100::1",
    "100:0:0:1::1",
    "1ff::1",
    "200::1",
    "3ff::1",
    "400::1",
    "800::1",
    "1000::1",
    "1fff:ffff::1",
    "2001::1",
    "2001:0:a9fe:a9fe::1",
    "2001:2::1",
    "2001:10::1",
    "2001:1ff::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "6000::1",
    "8000::1",
    "a000::1",
    "c000::1",
    "e000::1",
    "f000::1",
    "f800::1",
    "fc00::1",
    "fd00::1",
    "fd77::1",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "fd00:c1::a9fe:a9fe",
    "fd00:100::100:200",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe00::1",
    "fe7f::1",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
];

/// Public, and this machine's own.
const OWN: &[&str] = &["11.1.1.1", "11.1.1.2", "11.2.2.2", "2a00:1::1", "2a00:2::2"];

/// Public, and of other machines.
const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "11.1.2.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1::2",
    "3ffe::1",
    "64:ff9b::808:808",
];

/// Every way to write an address that a reader of URLs knows.
fn notations(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(v4) => notations_of_v4(v4),
        IpAddr::V6(v6) => {
            let groups = v6.segments().map(|group| format!("{group:04X}"));
            vec![format!("[{v6}]"), format!("[{}]", groups.join(":"))]
        }
    }
}

fn notations_of_v4(address: Ipv4Addr) -> Vec<String> {
    let bits = u32::from(address);
    let [a, b, c, d] = address.octets();
    let wide = |text: &str| -> String {
        let wide = |c: char| match c {
            '0'..='9' => char::from_u32(u32::from(c) - 0x30 + 0xff10).unwrap(),
            _ => '。',
        };
        text.chars().map(wide).collect()
    };
    let escaped: String = address
        .to_string()
        .bytes()
        .map(|b| format!("%{b:02x}"))
        .collect();
    let nat64 = Ipv6Addr::from((0x0064_ff9b_u128 << 96) | u128::from(bits));
    vec![
        address.to_string(),
        format!("{address}."),
        bits.to_string(),
        format!("0x{bits:x}"),
        format!("0{bits:o}"),
        format!("{a}.{}", bits & 0x00ff_ffff),
        format!("0x{a:x}.0{b:o}.{}", u16::from(c) << 8 | u16::from(d)),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        wide(&address.to_string()),
        escaped,
        format!("[::ffff:{address}]"),
        format!("[{nat64}]"),
    ]
}

/// Answers 204 to everything, on every address, and notes on which.
#[derive(Clone)]
struct Everywhere {
    port: u16,
    seen: Arc<Mutex<Vec<(IpAddr, String)>>>,
}

impl Everywhere {
    fn start() -> Self {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let this = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
        };
        let seen = Arc::clone(&this.seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let at = stream.local_addr().unwrap().ip().to_canonical();
                // A connection without a request has been reached, too.
                seen.lock().unwrap().push((at, String::new()));
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    if let Ok(Some(mut head)) = Message::read_head(&mut reader) {
                        let _ = head.read_body(&mut reader, false);
                        seen.lock().unwrap().push((at, head.start));
                        let _ = stream
                            .write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
                    }
                });
            }
        });
        this
    }

    fn seen(&self) -> Vec<(IpAddr, String)> {
        self.seen.lock().unwrap().clone()
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/hook", self.port)
    }
}

/// A name for an address, as `/etc/hosts` has it.
fn name_of(address: &str) -> String {
    let letters = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let told: String = address.chars().map(letters).collect();
    format!("n{told}n.example")
}

/// A name for a public and a private address.
const MIXED: &str = "mixed.example";

fn hosts() -> String {
    let all = [HOSTILE_V4, HOSTILE_V6, OWN, PUBLIC].concat();
    let mut hosts: String = all
        .iter()
        .map(|address| (address, name_of(address)))
        .map(|(address, name)| format!("{address} {name} {name}.\n"))
        .collect();
    hosts += &format!("127.0.0.1 localhost\n10.0.0.1 {MIXED}\n8.8.8.8 {MIXED}\n");
    hosts
}

/// Starts this test again in a network of its own; `None` where there is none to be had.
fn inside(test: &str) -> Option<Output> {
    let folder = tempfile::tempdir().unwrap();
    let hosts_file = folder.path().join("hosts");
    std::fs::write(&hosts_file, hosts()).unwrap();
    let run = |script: &str| {
        Command::new("unshare")
            .args([
                "--map-root-user",
                "--net",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(&hosts_file)
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .env(INSIDE, "1")
            .output()
    };
    let tried = run(NETWORK);
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        // Past the harness, which keeps what a test that passes prints to itself.
        let _ = writeln!(
            std::io::stderr(),
            "\n*** SKIPPED: {test}: no network of its own to be had here (unshare, ip, mount): {tried:?}"
        );
        return None;
    }
    let script = format!("{NETWORK}\nexec \"$2\" --exact \"$3\" --nocapture");
    Some(run(&script).unwrap())
}

#[test]
fn no_notation_of_any_address_reaches_what_it_must_not() {
    if std::env::var_os(INSIDE).is_some() {
        return look_from_inside();
    }
    let Some(output) = inside("addresses::no_notation_of_any_address_reaches_what_it_must_not")
    else {
        return;
    };
    let told = [&output.stdout[..], &output.stderr[..]].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}

/// Has a URL checked; the word for what was found.
fn checked(client: &Client, url: &str) -> String {
    let answer = client.post("/v1/callback-checks", &json!({ "url": url }));
    match answer.status {
        422 => answer.json()["errors"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned(),
        _ => answer.expect(200).json()["check"]
            .as_str()
            .unwrap()
            .to_owned(),
    }
}

/// What became of the callback of a speech or task that is to tell this URL, unasked.
fn told(client: &Client, collection: &str, url: &str) -> Value {
    let mut body = json!({ "text": "Hi.", "voice": "test/silence", "callback_url": url });
    if collection == "speech" {
        body["callback_check"] = json!(false);
    }
    let answer = client.post(&format!("/v1/{collection}"), &body);
    if answer.status == 422 {
        return json!("refused");
    }
    let id = answer.expect(202).json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/{collection}/{id}");
    eventually("its callback ends", || {
        let status = client.get(&path).json()["callback"]["status"].clone();
        (status == "aborted" || status == "delivered").then_some(status)
    })
}

fn look_from_inside() {
    let everywhere = Everywhere::start();
    // Without this nothing would be shown by what was not seen.
    let is_reachable = |address: &&str| {
        let address: IpAddr = address.parse().unwrap();
        std::net::TcpStream::connect(SocketAddr::new(address, everywhere.port)).is_ok()
    };
    let all = [HOSTILE_V4, HOSTILE_V6, OWN].concat();
    let count = all.iter().filter(|address| is_reachable(address)).count();
    assert!(count > 75, "only {count} of {} lead here", all.len());
    eventually("all are seen", || {
        (everywhere.seen().len() >= count).then_some(())
    });
    everywhere.seen.lock().unwrap().clear();

    let service = Service::all().api_key(KEY).start();
    let client = service.client();
    let own_port = service.address().rsplit_once(':').unwrap().1.to_owned();
    let mut urls = BTreeSet::new();
    for address in &all {
        let ip: IpAddr = address.parse().unwrap();
        let names = [name_of(address), format!("{}.", name_of(address))];
        for host in notations(ip).into_iter().chain(names) {
            urls.insert(everywhere.url(&host));
        }
    }
    for host in ["localhost", "LOCALHOST", "localhost.", "a.localhost"] {
        urls.insert(everywhere.url(host));
    }
    for path in [
        "",
        "/",
        "/anything",
        "/v1/tasks",
        "/v1/callbacks/",
        "/v1/callbacks?x",
    ] {
        urls.insert(format!("{}{path}", service.url()));
        urls.insert(format!("http://localhost:{own_port}{path}"));
    }
    assert!(urls.len() >= 234, "{}", urls.len());
    let refused = ["callback_url_forbidden", "forbidden"];
    let found = urls.iter().map(|url| (url, checked(&client, url)));
    let wrong: Vec<_> = found
        .filter(|(_, found)| !refused.contains(&found.as_str()))
        .collect();
    let seen: BTreeSet<IpAddr> = everywhere.seen().iter().map(|(at, _)| *at).collect();
    assert!(
        wrong.is_empty() && seen.is_empty(),
        "{} of {} URLs are not refused: {wrong:#?}, reached are {seen:?}",
        wrong.len(),
        urls.len()
    );
    // Names pass the look at the URL; it is the dispatchers that refuse them.
    for address in &all {
        let url = everywhere.url(&name_of(address));
        assert_eq!(told(&client, "speech", &url), "aborted", "{url}");
    }
    for url in [
        everywhere.url(&name_of("10.0.0.1")),
        everywhere.url(&name_of("2a00:1::1")),
        format!("http://{}:{own_port}/v1/callbacks", name_of("127.0.0.1")),
    ] {
        assert_eq!(told(&client, "tasks", &url), "aborted", "{url}");
    }
    // The Backend's own dispatcher has no exemption.
    let own = format!("{}/v1/callbacks", service.url());
    assert_eq!(told(&client, "tasks", &own), "refused");
    assert_eq!(everywhere.seen(), [], "{} hostile URLs", urls.len());

    for address in PUBLIC {
        for host in [
            name_of(address),
            notations(address.parse().unwrap()).swap_remove(0),
        ] {
            let url = everywhere.url(&host);
            assert_eq!(checked(&client, &url), "open", "{url}");
        }
        let seen = everywhere.seen();
        let address: IpAddr = address.parse().unwrap();
        assert!(seen.iter().any(|(at, _)| *at == address), "{address}");
    }
    assert_eq!(checked(&client, &everywhere.url(MIXED)), "open");
    for collection in ["speech", "tasks"] {
        let url = everywhere.url("8.8.8.8");
        assert_eq!(told(&client, collection, &url), "delivered");
    }
    let of_others: BTreeSet<IpAddr> = PUBLIC.iter().map(|a| a.parse().unwrap()).collect();
    for (at, request) in everywhere.seen() {
        assert!(of_others.contains(&at), "{at}: {request}");
    }

    let service = Service::all()
        .api_key(KEY)
        .set(
            "callback.allow_cidrs",
            "11.1.1.2,2a00:2::/64,10.0.0.0/8,127.0.0.0/8",
        )
        .start();
    let client = service.client();
    for (address, found) in [
        ("11.1.1.2", "open"),
        ("2a00:2::2", "open"),
        ("10.0.0.1", "open"),
        ("127.0.0.1", "open"),
        ("11.1.1.1", "forbidden"),
        ("2a00:1::1", "forbidden"),
        ("fd77::1", "forbidden"),
    ] {
        let url = everywhere.url(&name_of(address));
        assert_eq!(checked(&client, &url), found, "{address}");
    }
    // No range opens this service to itself.
    let own = format!("{}/anything", service.url());
    assert_eq!(checked(&client, &own), "callback_url_forbidden");
    println!("{} hostile URLs, none reached", urls.len());
}
