use super::*;
use proptest::prelude::*;

/// What `awc` gets of an answer that comes in these pieces and then ends.
fn filtered<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, HeadTooLarge> {
    let (mut filter, mut out) = (HeadFilter::default(), BytesMut::new());
    for piece in pieces {
        filter.feed(piece, &mut out)?;
    }
    filter.end(&mut out);
    Ok(out.to_vec())
}

fn of(text: &str) -> String {
    String::from_utf8(filtered([text.as_bytes()]).unwrap()).unwrap()
}

const FINAL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_plain_answer_passes_as_it_is() {
    for text in [
        FINAL,
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.0 500\r\n\r\nsome\r\n\r\nmore",
        "HTTP/1.1 200 OK\r\nX:  1 \r\nY:\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ] {
        assert_eq!(of(text), text);
    }
}

#[test]
fn interim_answers_are_left_out() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 100\r\n\r\n",
        "HTTP/1.1 100 Continue\n\n",
        "HTTP/1.0 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>;\r\n rel=preload\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 199 Whatever\r\n\r\n\r\n",
    ] {
        for count in [1, 2, 1_000] {
            assert_eq!(of(&(interim.repeat(count) + FINAL)), FINAL, "{interim}");
        }
        assert_eq!(of(interim), "", "and nothing is left of it at the end");
    }
}

#[test]
fn what_only_looks_like_an_interim_answer_passes() {
    for text in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n\x01\x02",
        "HTTP/1.1 1000 What\r\n\r\n",
        "HTTP/1.1 10x What\r\n\r\n",
        "HTTP/1.1  100 What\r\n\r\n",
        "HTTP/1.1 200 100\r\n\r\n",
    ] {
        assert_eq!(of(text), text);
    }
}

#[test]
fn an_answer_that_ends_within_its_head_passes_to_its_end() {
    for text in ["HTT", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\nx: y\r\n"] {
        assert_eq!(of(text), text);
        assert_eq!(of(&format!("HTTP/1.1 100 Continue\r\n\r\n{text}")), text);
    }
}

#[test]
fn what_is_not_http_passes_at_once() {
    let (mut filter, mut out) = (HeadFilter::default(), BytesMut::new());
    filter.feed(b"SS", &mut out).unwrap();
    assert_eq!(&out[..], b"SS");
    filter.feed(b"H-2.0-OpenSSH\r\n", &mut out).unwrap();
    assert_eq!(&out[..], b"SSH-2.0-OpenSSH\r\n");
    assert!(filter.is_past_head());
}

#[test]
fn a_folded_header_is_one_line() {
    assert_eq!(
        of("HTTP/1.1 200 OK\r\na: 1\r\n 2\r\n\t 3 \r\n \r\nb: 4\r\n\r\n"),
        "HTTP/1.1 200 OK\r\na: 1 2 3 \r\nb: 4\r\n\r\n"
    );
    // There is nothing before it that it could go on with.
    let odd = "HTTP/1.1 200 OK\r\n a: 1\r\n\r\n";
    assert_eq!(of(odd), odd);
}

#[test]
fn equal_lengths_are_one_and_unequal_ones_stay() {
    let with = |lengths: &str| format!("HTTP/1.1 200 OK\r\n{lengths}x: y\r\n\r\nok");
    let one = "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\n\r\nok";
    for equal in [
        "Content-Length: 2\r\ncontent-length:2\r\n",
        "Content-Length : 2\r\nCONTENT-LENGTH: 2 \r\nContent-Length: 2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2,\r\n 2\r\ncontent-length: 2\r\n",
    ] {
        assert_eq!(of(&with(equal)), one);
    }
    for other in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2\r\ncontent-length: 02\r\n",
        "content-length: 2\r\ncontent-length: \r\n",
        "content-length: 2, 3\r\n",
        "content-length:  2\r\n",
    ] {
        assert_eq!(of(&with(other)), with(other));
    }
}

#[test]
fn of_many_headers_those_that_are_read_here_are_kept() {
    let many: String = (0..500).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let answer = format!("HTTP/1.1 503 No\r\n{many}Retry-After: 7\r\nContent-Length: 0\r\n\r\n");
    let kept = of(&answer);
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(lines.len(), 1 + MAX_HEADERS + 1);
    assert_eq!(lines[1], "x-0: 0");
    assert_eq!(lines[MAX_HEADERS - 1], "Retry-After: 7");
    assert_eq!(lines[MAX_HEADERS], "Content-Length: 0");
}

#[test]
fn a_head_has_a_bound_and_a_body_has_none() {
    let head = |length: usize| {
        let frame = "HTTP/1.1 200 OK\r\nx: \r\n\r\n".len();
        format!(
            "HTTP/1.1 200 OK\r\nx: {}\r\n\r\n",
            "y".repeat(length - frame)
        )
    };
    assert_eq!(of(&head(MAX_HEAD)), head(MAX_HEAD));
    assert_eq!(filtered([head(MAX_HEAD + 1).as_bytes()]), Err(HeadTooLarge));
    let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"x: y\r\n".repeat(MAX_HEAD);
    assert_eq!(filtered([endless.as_bytes()]), Err(HeadTooLarge));
    let long = FINAL.to_owned() + &"x".repeat(2 * MAX_HEAD);
    assert_eq!(of(&long), long);
}

/// What answers are made of, so that nonsense is often nearly an answer.
fn parts() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "HTTP/1.1 100 Continue\r\n",
            "HTTP/1.1 103 Early Hints\r\n",
            "HTTP/1.1 101 Switching\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 404 No\n",
            "\r\n",
            "\n",
            "x: y\r\n",
            " folded\r\n",
            "content-length: 5\r\n",
            "content-length: 5, 5\r\n",
            "transfer-encoding: chunked\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_passes_does_not_depend_on_the_pieces(
        bytes in parts(),
        cuts in prop::collection::vec(0_usize..200, 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(filtered(pieces), filtered([&bytes[..]]));
    }

    #[test]
    fn interim_answers_change_nothing_of_what_follows(
        bytes in parts(),
        interim in prop::collection::vec(100_u16..200, 0..5),
    ) {
        let mut all = Vec::new();
        for code in interim.iter().filter(|code| **code != 101) {
            all.extend_from_slice(format!("HTTP/1.1 {code} Wait\r\nx: y\r\n\r\n").as_bytes());
        }
        all.extend_from_slice(&bytes);
        prop_assert_eq!(filtered([&all[..]]), filtered([&bytes[..]]));
    }

    #[test]
    fn what_awc_can_read_is_not_changed_by_a_second_pass(bytes in parts()) {
        let once = filtered([&bytes[..]]).unwrap();
        prop_assert_eq!(filtered([&once[..]]), Ok(once));
    }
}
