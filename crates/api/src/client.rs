//! Clients by name, and how a hand-over says whose task it carries.

/// The header by which the Backend names the client of what it hands over. It is
/// believed of the Backend's own key only.
pub const CLIENT_HEADER: &str = "hoiam-client";

/// What the header says for the Backend's first client, who is kept without a name.
const FIRST: &str = "-";

/// Whose the alerts are: the operator's, and no key's. Neither a key nor the header
/// can name it.
pub const OPERATOR: &str = "operator:";

/// A name that `keys add` takes: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or
/// a digit.
#[must_use]
pub fn is_client_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes.next().is_some_and(is_plain)
        && bytes.all(|byte| is_plain(byte) || b"._-".contains(&byte))
}

/// The name of a key of `server.api_keys`, which has none of its own: it says nothing
/// of the key, stays when keys are moved, and no other key can be named so.
#[must_use]
pub fn name_by_hash(short_hash: &str) -> String {
    format!("key:{short_hash}")
}

/// The header's value for a client as it is kept.
#[must_use]
pub fn to_header(client: &str) -> &str {
    if client.is_empty() { FIRST } else { client }
}

/// The client whom the header's value names: empty for the first one, `None` for
/// what is no name.
#[must_use]
pub fn from_header(value: &str) -> Option<&str> {
    if value == FIRST {
        return Some("");
    }
    let of_hash = |hash: &str| {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        hash.len() == 12 && hash.bytes().all(is_hex)
    };
    let is_name = is_client_name(value) || value.strip_prefix("key:").is_some_and(of_hash);
    is_name.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_carries_every_client_and_nothing_else() {
        let hashed = name_by_hash("0123456789ab");
        let longest = "a".repeat(64);
        for client in ["", "a", "0", "web.shop-1_x", &longest, &hashed] {
            assert_eq!(from_header(to_header(client)), Some(client));
        }
        let too_long = "a".repeat(65);
        for other in [
            "",
            "A",
            "-a",
            ".",
            "a b",
            "ä",
            "a/b",
            OPERATOR,
            "key:",
            "key:0123456789AB",
            "key:0123456789abc",
            &too_long,
        ] {
            assert_eq!(from_header(other), None, "{other}");
        }
        for no_name in ["-", &hashed, OPERATOR] {
            assert!(!is_client_name(no_name), "{no_name}");
        }
    }
}
