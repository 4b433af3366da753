//! The messages of one answer on their way to the client: a bounded log that the work appends to
//! and that one reader at a time follows, as Server-Sent Events or as one JSON body.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::DropGuard;

use crate::metrics::{Outcome, Up};

/// Notifications that wait for a reader who does not read are dropped beyond this, oldest first.
const WAITING_MAX: usize = 1024;
/// The same in bytes.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// How long a client should wait before it comes back to a stream that was closed on purpose.
pub(super) const RETRY_MS: u32 = 500;

/// One JSON-RPC message, serialised.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) json: Bytes,
    pub(super) kind: Kind,
}

/// What a [`Frame`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Notification,
    /// A request of the server to the client.
    Request,
    /// An answer, with the HTTP status it has when it is sent alone, and what it means.
    Response(StatusCode, Outcome),
}

/// The messages of one answer.
#[derive(Debug)]
pub(super) struct Log {
    /// Names the stream in event ids; `None` when it cannot be resumed, and read messages go.
    id: Option<String>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// The size of what is kept.
    bytes: usize,
    /// The sequence number of the first frame that is kept.
    first: u64,
    finished: bool,
    /// The reader in charge; each new one takes over from the one before.
    reader: u64,
    /// Whether the reader in charge is asked to come back later.
    sent_away: bool,
}

impl State {
    fn pop_front(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.json.len();
            self.first += 1;
        }
    }
}

impl Log {
    pub(super) fn new(id: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a message; ignored after [`Self::finish`].
    pub(super) fn push(&self, frame: Frame) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        while state.frames.len() >= WAITING_MAX || state.bytes > WAITING_BYTES_MAX {
            let oldest = state.frames.front().map(|it| it.kind);
            if oldest != Some(Kind::Notification) {
                // Only the front can go, so that sequence numbers stay right.
                if frame.kind == Kind::Notification {
                    return;
                }
                break;
            }
            state.pop_front();
        }
        state.bytes += frame.json.len();
        state.frames.push_back(frame);
        drop(state);
        self.changed.notify_waiters();
    }

    /// No more messages will come.
    pub(super) fn finish(&self) {
        self.state().finished = true;
        self.changed.notify_waiters();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// Ends the connection of the reader in charge, who may come back with the last event's id.
    pub(super) fn send_reader_away(&self) {
        if self.id.is_some() {
            self.state().sent_away = true;
            self.changed.notify_waiters();
        }
    }

    /// A reader from the message after `seen` on, or from the first one; it takes over.
    pub(super) fn read(self: &Arc<Self>, seen: Option<u64>) -> Reader {
        let mut state = self.state();
        state.reader += 1;
        state.sent_away = false;
        let next = seen
            .map_or(0, |seen| seen.saturating_add(1))
            .max(state.first);
        let reader = Reader {
            log: self.clone(),
            next,
            number: state.reader,
        };
        drop(state);
        self.changed.notify_waiters();
        reader
    }
}

/// Follows a [`Log`].
#[derive(Debug)]
pub(super) struct Reader {
    log: Arc<Log>,
    next: u64,
    number: u64,
}

/// What a [`Reader`] comes upon.
#[derive(Debug)]
pub(super) enum Step {
    Frame(u64, Frame),
    /// No more messages, or another reader took over.
    End,
    /// The reader is to come back later.
    SentAway,
}

impl Reader {
    /// The next message. Cancel-safe.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            let log = self.log.clone();
            let changed = log.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = log.state();
                if state.reader != self.number {
                    return Step::End;
                }
                self.next = self.next.max(state.first);
                let offset = usize::try_from(self.next - state.first).unwrap_or(usize::MAX);
                if let Some(frame) = state.frames.get(offset).cloned() {
                    let number = self.next;
                    self.next += 1;
                    if log.id.is_none() {
                        while state.first < self.next {
                            state.pop_front();
                        }
                    }
                    return Step::Frame(number, frame);
                }
                if state.finished {
                    return Step::End;
                }
                if state.sent_away {
                    return Step::SentAway;
                }
            }
            changed.await;
        }
    }
}

/// How a log is sent as a stream.
#[derive(Debug)]
pub(super) struct Sse {
    /// After so long a silence a comment is sent.
    pub(super) keep_alive: Duration,
    /// Whether the stream opens with an empty event that carries an id (2025-11-25).
    pub(super) prime: bool,
    /// When the stream ends whatever is left to send: with the credential of who reads it.
    pub(super) ends: Option<Instant>,
    /// Held for its drop, which comes with the body's.
    pub(super) _guard: Option<DropGuard>,
    /// A message that was already read.
    pub(super) first: Option<(u64, Frame)>,
    /// Counts the stream while it is open.
    pub(super) _open: Up,
}

/// The stream as a response.
pub(super) fn respond(reader: Reader, sse: Sse) -> Response<Body> {
    let id = reader.log.id.clone();
    let mut opening = String::new();
    if let (true, Some(id)) = (sse.prime, &id) {
        // A client that reconnects with this id has seen no message yet.
        opening = format!("id: {id}_\ndata: \n\n");
    }
    let state = Some((reader, sse, opening));
    let body = stream::unfold(state, move |state| {
        let id = id.clone();
        async move {
            let (mut reader, mut sse, opening) = state?;
            if !opening.is_empty() {
                return Some((chunk(opening), Some((reader, sse, String::new()))));
            }
            if let Some((number, frame)) = sse.first.take() {
                let event = event(id.as_deref(), number, &frame.json);
                return Some((chunk(event), Some((reader, sse, opening))));
            }
            let left = sse.ends.map(|ends| ends.duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            let silence = left.map_or(sse.keep_alive, |left| left.min(sse.keep_alive));
            match tokio::time::timeout(silence, reader.next()).await {
                Err(_) => Some((chunk(": keep-alive\n\n"), Some((reader, sse, opening)))),
                Ok(Step::Frame(number, frame)) => {
                    let event = event(id.as_deref(), number, &frame.json);
                    Some((chunk(event), Some((reader, sse, opening))))
                }
                Ok(Step::SentAway) => Some((chunk(format!("retry: {RETRY_MS}\n\n")), None)),
                Ok(Step::End) => None,
            }
        }
    });
    stream_response(Body::from_stream(body))
}

/// A response of content type `text/event-stream` that no proxy buffers.
pub(super) fn stream_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One chunk of a body that cannot fail.
#[expect(clippy::unnecessary_wraps, reason = "a body's stream yields results")]
pub(super) fn chunk(text: impl Into<Bytes>) -> Result<Bytes, Infallible> {
    Ok(text.into())
}

/// A message as an event. JSON has no line break outside of strings, and escapes it inside.
fn event(id: Option<&str>, number: u64, json: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(json.len() + 64);
    if let Some(id) = id {
        event.extend_from_slice(format!("id: {id}_{number}\n").as_bytes());
    }
    event.extend_from_slice(b"event: message\ndata: ");
    event.extend_from_slice(json);
    event.extend_from_slice(b"\n\n");
    event
}

/// The stream and the number of the last message in a `Last-Event-ID`.
pub(super) fn parse_event_id(text: &str) -> Option<(&str, Option<u64>)> {
    let (stream, number) = text.rsplit_once('_')?;
    if number.is_empty() {
        return Some((stream, None));
    }
    Some((stream, Some(number.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str, kind: Kind) -> Frame {
        Frame {
            json: Bytes::copy_from_slice(text.as_bytes()),
            kind,
        }
    }

    async fn text(reader: &mut Reader) -> Option<String> {
        match reader.next().await {
            Step::Frame(_, frame) => Some(String::from_utf8(frame.json.to_vec()).unwrap()),
            Step::End | Step::SentAway => None,
        }
    }

    #[tokio::test]
    async fn a_resumed_reader_gets_what_the_first_one_missed_and_takes_over() {
        let log = Log::new(Some("s".into()));
        log.push(frame("a", Kind::Notification));
        let mut first = log.read(None);
        assert_eq!(text(&mut first).await.as_deref(), Some("a"));
        log.push(frame("b", Kind::Notification));
        let mut second = log.read(Some(0));
        assert_eq!(text(&mut first).await, None);
        log.push(frame("c", Kind::Response(StatusCode::OK, Outcome::Done)));
        log.finish();
        assert_eq!(text(&mut second).await.as_deref(), Some("b"));
        assert_eq!(text(&mut second).await.as_deref(), Some("c"));
        assert_eq!(text(&mut second).await, None);
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_costs_bounded_memory_and_no_answer() {
        let log = Log::new(None);
        for number in 0..3 * WAITING_MAX {
            log.push(frame(&number.to_string(), Kind::Notification));
        }
        log.push(frame(
            "answer",
            Kind::Response(StatusCode::OK, Outcome::Done),
        ));
        log.finish();
        let mut reader = log.read(None);
        let mut seen = Vec::new();
        while let Some(text) = text(&mut reader).await {
            seen.push(text);
        }
        assert!(seen.len() <= WAITING_MAX);
        assert_eq!(seen.last().map(String::as_str), Some("answer"));
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_for_a_message() {
        let log = Log::new(None);
        let mut reader = log.read(None);
        let waiting = tokio::spawn(async move { text(&mut reader).await });
        tokio::task::yield_now().await;
        log.push(frame("x", Kind::Notification));
        assert_eq!(waiting.await.unwrap().as_deref(), Some("x"));
    }

    #[test]
    fn event_ids_name_the_stream_and_the_message() {
        assert_eq!(parse_event_id("a_b_7"), Some(("a_b", Some(7))));
        assert_eq!(parse_event_id("a_"), Some(("a", None)));
        assert_eq!(parse_event_id("a"), None);
        assert_eq!(parse_event_id("a_x"), None);
    }
}
