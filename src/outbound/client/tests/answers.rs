//! Answers as receivers give them, and not only as `awc` reads them.

use super::*;

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\ncontent-length: 9\r\n\r\n";

/// Answers every request by these pieces, each sent alone as far as that lies
/// with the sender.
async fn saying(pieces: Vec<String>) -> Server {
    let pieces = Rc::new(pieces);
    Server::start(move |mut peer| {
        let pieces = Rc::clone(&pieces);
        async move {
            peer.stream.set_nodelay(true).unwrap();
            while peer.request().await.is_some() {
                for piece in pieces.iter() {
                    peer.say(piece).await;
                    tokio::task::yield_now().await;
                }
            }
        }
    })
    .await
}

fn with(method: Method, url: Url) -> Outgoing {
    let body = match method {
        Method::POST => Bytes::from_static(b"{}"),
        _ => Bytes::new(),
    };
    Outgoing {
        method,
        body,
        ..post(url)
    }
}

#[actix_rt::test]
async fn any_number_of_interim_answers_is_read_before_the_final_one() {
    let byte_by_byte = |text: String| text.chars().map(String::from).collect();
    for pieces in [
        vec![format!("{CONTINUE}{OK}")],
        vec![CONTINUE.to_owned(), OK.to_owned()],
        vec![
            format!("{CONTINUE}{HINTS}"),
            HINTS.to_owned(),
            OK.to_owned(),
        ],
        vec![CONTINUE.repeat(1_000) + OK],
        byte_by_byte(format!("{CONTINUE}{HINTS}{OK}")),
    ] {
        let server = saying(pieces.clone()).await;
        let client = client();
        for method in [Method::POST, Method::OPTIONS, Method::GET] {
            let answer = client.send(with(method, server.url("/"))).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
            assert_eq!(answer.headers.get("link"), None);
            assert_eq!(answer.headers.content_length(), Some(2));
        }
        let download = client.download(fetch(server.url("/"))).await.unwrap();
        assert_eq!(whole(download).await.unwrap(), b"ok");
        assert_eq!(server.accepted(), 1, "the connection is good: {pieces:?}");
    }
}

#[actix_rt::test]
async fn an_interim_answer_and_a_close_is_no_answer() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.say(CONTINUE).await;
    })
    .await;
    let error = client().send(post(server.url("/"))).await.unwrap_err();
    let phase = Phase::Answer;
    assert_eq!(error, OutboundError::Closed { phase });
    assert!(error.was_sent());
}

#[actix_rt::test]
async fn an_interim_answer_and_silence_runs_out_of_time() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.say(CONTINUE).await;
        peer.linger().await;
    })
    .await;
    let error = runs_out_in(Phase::Answer, async |limit| {
        let mut request = post(server.url("/"));
        request.total_timeout = Some(limit);
        client().send(request).await.unwrap_err()
    });
    assert_eq!(error.await.code(), "timed_out");
}

#[actix_rt::test]
async fn a_change_of_protocol_is_not_an_interim_answer() {
    let changing = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    for pieces in [
        vec![format!("{changing}{OK}")],
        vec![format!("{CONTINUE}{changing}"), OK.to_owned()],
    ] {
        let server = saying(pieces).await;
        let client = client();
        for expected in 1..=2 {
            let error = client.send(post(server.url("/"))).await.unwrap_err();
            assert_eq!(error.code(), "protocol_error");
            assert_eq!(error.phase(), Phase::Answer);
            assert_eq!(server.accepted(), expected, "it is not used again");
        }
    }
}

#[actix_rt::test]
async fn interim_answers_are_read_over_encrypted_connections_too() {
    let answer = format!("{CONTINUE}{HINTS}{OK}");
    let (address, roots) = encrypted_server_doing(&["localhost"], 4000, move |mut stream| {
        answer_encrypted(&mut stream, &answer);
    });
    let answer = over_tls(address, roots, 60 * SECOND).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
}

#[actix_rt::test]
async fn many_headers_and_folded_ones_are_read() {
    let many: String = (0..120).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let server = saying(vec![format!(
        "HTTP/1.1 503 No\r\n{many}x-folded: one\r\n  two\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno"
    )])
    .await;
    let client = client();
    for _ in 0..2 {
        let answer = client.send(post(server.url("/"))).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (503, &b"no"[..]));
        assert_eq!(answer.headers.get("x-0"), Some("0"));
        assert_eq!(
            answer.headers.retry_after(None),
            Some(Duration::from_secs(7))
        );
    }
    assert_eq!(server.accepted(), 1);
    let folded = saying(vec![
        "HTTP/1.1 200 OK\r\nx-folded: one\r\n  two\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ]);
    let answer = client.send(post(folded.await.url("/"))).await.unwrap();
    assert_eq!(answer.headers.get("x-folded"), Some("one two"));
}

#[actix_rt::test]
async fn a_head_without_end_is_refused_while_it_comes() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\n").await;
        while peer.stream.write_all(b"x: y\r\n").await.is_ok() {}
    })
    .await;
    let error = client().send(post(server.url("/"))).await.unwrap_err();
    assert_eq!(error.code(), "protocol_error");
    until(|| server.seen.open.get() == 0).await;
}

#[actix_rt::test]
async fn equal_lengths_are_taken_as_one_and_unequal_ones_refused() {
    for (lengths, is_read) in [
        ("content-length: 2\r\nContent-Length: 2\r\n", true),
        ("content-length: 2, 2\r\n", true),
        ("content-length: 2\r\ncontent-length: 1\r\n", false),
        ("content-length: 2, 1\r\n", false),
    ] {
        let server = saying(vec![format!("HTTP/1.1 200 OK\r\n{lengths}\r\nok")]).await;
        let client = client();
        for _ in 0..2 {
            let outcome = client.send(post(server.url("/"))).await;
            match outcome {
                Ok(answer) if is_read => assert_eq!(&answer.body[..], b"ok"),
                Err(error) if !is_read => assert_eq!(error.code(), "protocol_error"),
                other => panic!("{lengths}: {other:?}"),
            }
        }
        assert_eq!(server.accepted(), if is_read { 1 } else { 2 });
    }
}

/// Otherwise the other side must take what was said for cut off.
#[actix_rt::test]
async fn an_encrypted_connection_ends_with_a_goodbye() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = RefCell::new(Some(tell));
    let (address, roots) = encrypted_server_doing(&["localhost"], 4000, move |mut stream| {
        answer_encrypted(&mut stream, OK);
        let end = std::io::Read::read(&mut stream, &mut [0]);
        if let Some(tell) = tell.take() {
            tell.send(end.ok()).unwrap();
        }
    });
    let answer = over_tls(address, roots, 60 * SECOND).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(told.await.unwrap(), Some(0));
}

/// Bodies that never come to a good end.
const UNENDED: [&str; 5] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nnonsense",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok",
    "HTTP/1.0 200 OK\r\n\r\nok",
];

#[actix_rt::test]
async fn for_whom_the_head_is_the_answer_a_body_decides_nothing() {
    let exchange = async |answer: &'static str, hangs: bool| {
        let server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.say(answer).await;
            if hangs {
                peer.linger().await;
            }
        })
        .await;
        let got = client().send_for_head(post(server.url("/"))).await;
        let got = got.unwrap_or_else(|error| panic!("{answer}: {error}"));
        assert_eq!((got.status, &got.body[..]), (200, &b"ok"[..]), "{answer}");
        assert!(got.truncated || !hangs, "{answer}");
        until(|| server.seen.open.get() == 0).await;
    };
    let all = UNENDED.iter().flat_map(|answer| {
        let exchange = &exchange;
        [false, true].map(move |hangs| exchange(answer, hangs))
    });
    futures_util::future::join_all(all).await;
}

#[actix_rt::test]
async fn a_body_without_end_is_left_when_enough_of_it_is_there() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        while peer.stream.write_all(b"4\r\nmore\r\n").await.is_ok() {}
    })
    .await;
    let answer = client().send_for_head(post(server.url("/"))).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "more".repeat(250));
    assert!(answer.truncated);
    until(|| server.seen.open.get() == 0).await;
}

#[actix_rt::test]
async fn a_whole_body_is_read_to_its_end_and_keeps_the_connection() {
    let server = Server::answering(OK).await;
    let client = client();
    for _ in 0..3 {
        let answer = client.send_for_head(post(server.url("/"))).await.unwrap();
        assert_eq!((&answer.body[..], answer.truncated), (&b"ok"[..], false));
    }
    assert_eq!(server.accepted(), 1);
}

#[actix_rt::test]
async fn who_needs_the_body_is_told_that_it_ended_early() {
    let short = UNENDED[0];
    let server = Server::start(move |mut peer| async move {
        peer.request().await;
        peer.say(short).await;
    })
    .await;
    let client = client();
    let error = client.send(post(server.url("/"))).await.unwrap_err();
    assert_eq!((error.phase(), error.status()), (Phase::Body, Some(200)));
    let download = client.download(fetch(server.url("/"))).await.unwrap();
    assert_eq!(whole(download).await.unwrap_err().code(), "protocol_error");
}

#[actix_rt::test]
async fn for_whom_the_head_is_the_answer_none_is_still_an_error() {
    for text in ["", "HTTP/1.1 200 O", CONTINUE, "nonsense"] {
        let server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.say(text).await;
        })
        .await;
        let error = client().send_for_head(post(server.url("/"))).await;
        assert_eq!(error.unwrap_err().code(), "protocol_error", "{text}");
    }
}
