//! Answers that a client takes up again at another replica than the one that works on them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mcp_serve::{
    Config,
    session::SessionId,
    signals::{Piece, Signal, Signals as _, Token},
    test_util::{Legacy, Next, RawClient, SseEvent, SseReader, TestServer},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpSocket,
    time::{sleep, timeout},
};

use super::stage::{Over, Probed, SOON, count, next, slow};
use crate::transport::{
    probe::Fate,
    sessions::{get_status, named},
};

/// Longer than a replica waits for one that says nothing.
const SILENCE: Duration = Duration::from_secs(9);

fn steps(events: &[SseEvent]) -> Vec<f64> {
    let progress = |event: &SseEvent| event.json()["params"]["progress"].as_f64();
    events.iter().filter_map(progress).collect()
}

fn text(events: &[SseEvent]) -> String {
    let last = events.last().expect("an answer").json();
    let text = last["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no answer but {last}"))
        .to_owned()
}

async fn status_of_resuming(session: &Legacy, last: &str, server: &TestServer) -> u16 {
    let mut session = session.clone();
    session
        .headers
        .push(("Last-Event-ID".to_owned(), last.to_owned()));
    get_status(&session, server.addr()).await
}

/// A stream of which the first message was read, and the ids of its opening and of that message.
async fn broken_off(session: &mut Legacy, call: Value) -> (String, String) {
    let mut stream = session.open("tools/call", call).await.unwrap();
    let opening = stream.next_event(SOON).await.event();
    let first = next(&mut stream).await;
    assert_eq!(first.json()["params"]["progress"], 1.0);
    (opening.id.unwrap(), first.id.unwrap())
}

#[tokio::test]
async fn a_finished_answer_is_taken_up_at_another_replica_where_it_broke_off() {
    let probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let (opening, first) = broken_off(&mut session, count(5, 10)).await;
    for _ in 0..2 {
        for index in [1, 2, 0] {
            let at = session.at(probed.stage.at(index));
            let rest = at.resume(Some(&first)).await.unwrap().rest(SOON).await;
            assert_eq!(steps(&rest), [2.0, 3.0, 4.0, 5.0]);
            assert_eq!(text(&rest), "counted to 5");
            let whole = at.resume(Some(&opening)).await.unwrap().rest(SOON).await;
            assert_eq!(steps(&whole), [1.0, 2.0, 3.0, 4.0, 5.0]);
            // Each goes by the name that it has at the replica that made it.
            let again = whole[2].id.as_deref().unwrap();
            let rest = at.resume(Some(again)).await.unwrap().rest(SOON).await;
            assert_eq!(steps(&rest), [4.0, 5.0]);
        }
    }
}

#[tokio::test]
async fn an_answer_is_taken_up_at_another_replica_while_its_call_runs() {
    let mut probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let mut stream = session.open("tools/call", slow(2500)).await.unwrap();
    let opening = stream.next_event(SOON).await.event().id.unwrap();
    assert_eq!(probed.fate().await, Fate::Begun);
    // Each takes over from the one before, whose replica it need not be at.
    let mut readers = vec![stream];
    for index in [1, 2, 1] {
        let at = session.at(probed.stage.at(index));
        readers.push(at.resume(Some(&opening)).await.unwrap());
        let before = readers.len() - 2;
        assert!(readers[before].rest(SOON).await.is_empty());
    }
    let last = readers.last_mut().unwrap();
    assert_eq!(text(&last.rest(SOON).await), "done");
    assert!(last.comments() >= 2, "the silence was not filled");
    assert_eq!(probed.fate().await, Fate::Done);
}

#[tokio::test]
async fn a_stream_that_is_sent_away_ends_at_another_replica_too() {
    let probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let away = json!({"name": "away", "arguments": {}, "_meta": {"progressToken": "p"}});
    let mut stream = session.open("tools/call", away).await.unwrap();
    let opening = stream.next_event(SOON).await.event().id.unwrap();
    let sent_away = stream.rest(SOON).await;
    assert!(sent_away.iter().any(|event| event.retry.is_some()));
    let at = session.at(probed.stage.at(1));
    let rest = at.resume(Some(&opening)).await.unwrap().rest(SOON).await;
    assert_eq!(text(&rest), "gone");
}

#[tokio::test]
async fn a_large_answer_arrives_whole_however_slowly_it_is_read() {
    large_answer(Over::Memory, SILENCE).await;
}

#[tokio::test]
async fn a_large_answer_arrives_whole_over_redis() {
    large_answer(Over::Redis, Duration::ZERO).await;
}

/// An answer of which the client begins to read the rest after `pause`.
async fn large_answer(over: Over, pause: Duration) {
    // More than the sockets, the pieces under way and the bus hold together.
    const BYTES: usize = 12_000_000;
    let probed = Probed::start_over(over, |_| {}).await;
    let mut session = probed.stage.open("me").await;
    let call = json!({
        "name": "big", "arguments": {"bytes": BYTES}, "_meta": {"progressToken": "p"},
    });
    let (_, first) = broken_off(&mut session, call).await;
    let mut stream = narrow(&session, probed.stage.at(1), &first).await;
    sleep(pause).await;
    let answer = text(&stream.rest(4 * SOON).await);
    let numbers = (0_u32..).map(|number| format!("{number} "));
    let expected: String = numbers.take(BYTES / 4).collect();
    assert!(
        answer == expected[..BYTES],
        "{} bytes of {BYTES}",
        answer.len()
    );
}

/// A stream whose socket does not grow until it holds all of it.
async fn narrow(session: &Legacy, address: SocketAddr, last: &str) -> SseReader {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let mut headers = session.session_headers();
    headers.push(("Last-Event-ID".to_owned(), last.to_owned()));
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    let client = RawClient::over(stream, address);
    client
        .open_stream("GET", "/mcp", &headers, b"")
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stream_that_is_taken_up_at_another_replica_ends_in_its_time() {
    let adjust = |config: &mut Config| config.mcp.listen_max = Duration::from_millis(700);
    let mut probed = Probed::start_with(adjust).await;
    let mut session = probed.stage.open("me").await;
    let (_, _stream, opening) = probed.begin(&mut session).await;
    let at = session.at(probed.stage.at(1));
    let mut resumed = at.resume(Some(&opening)).await.unwrap();
    // The call goes on for a minute.
    assert!(resumed.rest(SILENCE).await.is_empty());
}

#[tokio::test]
async fn one_session_is_looked_for_by_so_many_readers_and_no_more() {
    let probed = Probed::start().await;
    let session = probed.stage.open("me").await;
    let unknown = format!("{}_", "s".repeat(32));
    let asked = (0..20).map(|_| status_of_resuming(&session, &unknown, &probed.stage.servers[1]));
    let mut refused = futures_util::future::join_all(asked).await;
    refused.sort_unstable();
    assert_eq!(refused, [[400; 16].as_slice(), &[429; 4]].concat());
}

#[tokio::test]
async fn a_reader_that_asks_again_is_not_taken_for_another() {
    let mut probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let (_, _stream, opening) = probed.begin(&mut session).await;
    let other = probed.stage.bus.join();
    let mut heard = other.receive();
    let id = SessionId::parse(session.session.as_deref().unwrap()).unwrap();
    for _ in 0..3 {
        other.send(Signal::Resume {
            session: id.digest(),
            stream: Token::parse(opening.trim_end_matches('_')).unwrap(),
            seen: None,
            reader: Token::parse("r").unwrap(),
        });
    }
    let mut lives = 0;
    while lives < 2 {
        let signal = timeout(SOON, heard.next()).await.unwrap().unwrap();
        let Signal::Piece { at, piece, .. } = signal else {
            panic!("{signal:?}");
        };
        assert!(
            at == 0 && piece == Piece::Alive,
            "the first reader was sent off"
        );
        lives += 1;
    }
}

#[tokio::test]
async fn the_sending_ends_when_the_client_goes() {
    let mut probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let mut tap = probed.stage.bus.join().receive();
    let (_, stream, opening) = probed.begin(&mut session).await;
    drop(stream);
    let at = session.at(probed.stage.at(1));
    let resumed = at.resume(Some(&opening)).await.unwrap();
    drop(resumed);
    // Within the time of two signs of life there is a last word, and nothing after it.
    let left = async {
        loop {
            if let Some(Signal::Left { reader }) = tap.next().await {
                return reader;
            }
        }
    };
    let reader = timeout(SOON, left).await.unwrap();
    let more = async {
        loop {
            match tap.next().await {
                Some(Signal::Piece { reader: of, .. }) if of == reader => return,
                _ => {}
            }
        }
    };
    assert!(
        timeout(SILENCE, more).await.is_err(),
        "pieces are sent to nobody"
    );
}

#[tokio::test]
async fn the_sending_ends_when_the_replica_of_the_reader_dies() {
    let mut probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let (_, _stream, opening) = probed.begin(&mut session).await;
    let tasks = probed.stage.servers[0].lifecycle().tasks.clone();
    let before = tasks.len();
    let at = session.at(probed.stage.at(1));
    let resumed = at.resume(Some(&opening)).await.unwrap();
    assert!(tasks.len() > before, "nothing is sent");
    probed.stage.members[1].leave();
    let gone = async {
        while tasks.len() > before {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, gone).await.expect("the sending ends");
    drop(resumed);
}

#[tokio::test]
async fn a_client_whose_answer_died_with_its_replica_is_told_in_time() {
    let mut probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let (_, _stream, opening) = probed.begin(&mut session).await;
    let at = session.at(probed.stage.at(1));
    let mut resumed = at.resume(Some(&opening)).await.unwrap();
    probed.stage.members[0].leave();
    let begun = Instant::now();
    resumed.rest(SILENCE).await;
    println!("the stream ended after {:?}", begun.elapsed());
    let begun = Instant::now();
    let status = status_of_resuming(&session, &opening, &probed.stage.servers[1]).await;
    println!("refused with {status} after {:?}", begun.elapsed());
    assert_eq!(status, 400);
    assert!(begun.elapsed() < Duration::from_secs(4));
    probed.stage.members[1].leave();
    let status = status_of_resuming(&session, &opening, &probed.stage.servers[1]).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn an_answer_cannot_be_taken_up_in_another_session_at_any_replica() {
    let probed = Probed::start_with(named).await;
    let mut session = probed.stage.open("me").await;
    let (opening, _) = broken_off(&mut session, count(3, 1)).await;
    let own = probed.stage.open("me").await;
    let foreign = probed.stage.open("mallory").await;
    let mut stolen = session.clone();
    stolen.headers.clone_from(&foreign.headers);
    for server in &probed.stage.servers {
        assert_eq!(status_of_resuming(&own, &opening, server).await, 400);
        assert_eq!(status_of_resuming(&foreign, &opening, server).await, 400);
        assert_eq!(status_of_resuming(&stolen, &opening, server).await, 404);
        for nonsense in ["a_0", "x y_", &format!("{}_", "x".repeat(100))] {
            assert_eq!(status_of_resuming(&session, nonsense, server).await, 400);
        }
    }
    let at = session.at(probed.stage.at(2));
    let rest = at.resume(Some(&opening)).await.unwrap().rest(SOON).await;
    assert_eq!(text(&rest), "counted to 3");
}

/// A replica that is none: sends what it likes to who looks for an answer.
async fn forged(pieces: impl Fn(Token) -> Vec<Signal>) -> (Probed, SseReader) {
    let probed = Probed::start().await;
    let session = probed.stage.open("me").await;
    let forger = probed.stage.bus.join();
    let mut heard = forger.receive();
    let at = session.at(probed.stage.at(1));
    let last = format!("{}_", "s".repeat(32));
    let resuming = tokio::spawn(async move { at.resume(Some(&last)).await.unwrap() });
    loop {
        let signal = timeout(SOON, heard.next()).await.unwrap().unwrap();
        if let Signal::Resume { reader, .. } = signal {
            for signal in pieces(reader) {
                forger.send(signal);
            }
            break;
        }
    }
    let stream = timeout(SOON, resuming).await.unwrap().unwrap();
    (probed, stream)
}

fn piece(reader: &Token, at: u64, bytes: &'static [u8], last: bool) -> Signal {
    let bytes = bytes.into();
    Signal::Piece {
        reader: reader.clone(),
        at,
        piece: Piece::Part {
            message: 7,
            bytes,
            last,
        },
    }
}

#[tokio::test]
async fn a_piece_that_was_lost_ends_the_stream_and_a_second_one_changes_nothing() {
    let (_probed, mut stream) = forged(|reader| {
        let alive = Signal::Piece {
            reader: reader.clone(),
            at: 0,
            piece: Piece::Alive,
        };
        vec![
            alive.clone(),
            piece(&reader, 0, b"{\"a\":", false),
            piece(&reader, 0, b"twice", false),
            alive,
            piece(&reader, 1, b"1}", true),
            piece(&reader, 3, b"{}", true),
        ]
    })
    .await;
    let whole = stream.rest(SOON).await;
    assert_eq!(whole.len(), 1, "{whole:?}");
    assert_eq!(
        (whole[0].data.as_str(), whole[0].id.clone()),
        ("{\"a\":1}", Some(format!("{}_7", "s".repeat(32))))
    );
}

#[tokio::test]
async fn a_message_of_which_the_rest_was_lost_is_not_taken_for_a_whole_one() {
    let (_probed, mut stream) = forged(|reader| {
        vec![
            piece(&reader, 0, b"{}", true),
            piece(&reader, 1, b"{\"a\":", false),
            piece(&reader, 3, b"1}", true),
        ]
    })
    .await;
    assert_eq!(stream.next_event(SOON).await.event().data, "{}");
    assert_eq!(stream.next_event(SOON).await, Next::Broken);
}

#[tokio::test]
async fn a_sender_that_waits_for_nobody_is_cut_off() {
    let (probed, mut stream) =
        forged(|reader| (0..500).map(|at| piece(&reader, at, b"{}", true)).collect()).await;
    // Sooner than silence would end it.
    let got = stream.rest(Duration::from_secs(4)).await.len();
    assert!(got < 100, "{got} pieces were kept for a reader");
    let mut session = probed.stage.open("me").await;
    assert_eq!(session.call("ping", json!({})).await.unwrap().status(), 200);
}
