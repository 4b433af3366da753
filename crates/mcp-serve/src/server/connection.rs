//! The life of one connection: which HTTP it speaks, its deadlines, and its end.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use rmcp::ServerHandler;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    activity::{Activity, Protocol},
    inbound::Inbound,
    socket::Opening,
};
use crate::{
    config::{Drain, Limits},
    lifecycle::Lifecycle,
    router::Router,
};

/// What all connections of a server share.
pub(super) struct Shared<F> {
    pub(super) router: Arc<Router<F>>,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) lifecycle: Lifecycle,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In the regular course.
    Regular,
    /// By the peer, or by a request that is no HTTP.
    Broken,
    /// By one of its deadlines.
    Deadline,
    /// By the end of the server, with so many requests under way.
    Cut(u32),
}

/// Serves one connection to its end.
pub(super) async fn serve<H, F>(mut stream: TcpStream, shared: &Shared<F>) -> End
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    // Answers are written whole; waiting for more to send would only add delay.
    let _ = stream.set_nodelay(true);
    let Some((opening, protocol)) = open(&mut stream, shared).await else {
        return End::Regular;
    };
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(opening.into_socket(stream, activity.clone()));
    let limits = &shared.limits;
    match protocol {
        Protocol::Http1 => {
            let service = service_fn(|request: Request<Incoming>| {
                let request = request.map(|body| Inbound::new(body, activity.clone()));
                let answer = shared.router.clone().handle(request, activity.begin());
                async { Ok::<_, Infallible>(answer.await) }
            });
            let mut conn = http1_builder(limits).serve_connection(io, service);
            let end = drive(Pin::new(&mut conn), &activity, protocol, shared).await;
            let rest = conn.into_parts().io.into_inner();
            let may_still_send = end == End::Broken || activity.left_unread();
            if may_still_send
                && matches!(end, End::Regular | End::Broken)
                && let Some(stream) = rest.into_open_stream()
            {
                linger(stream).await;
            }
            end
        }
        Protocol::Http2 => {
            let executor = Tracked(shared.lifecycle.tasks.clone());
            let router = shared.router.clone();
            let begun = activity.clone();
            let service = service_fn(move |request| {
                let answer = router.clone().handle(request, begun.begin());
                async { Ok::<_, Infallible>(answer.await) }
            });
            let conn = http2_builder(limits, executor).serve_connection(io, service);
            drive(pin!(conn), &activity, protocol, shared).await
        }
    }
}

/// The first bytes, within their deadlines; `None` when there is nothing to serve.
async fn open<F>(stream: &mut TcpStream, shared: &Shared<F>) -> Option<(Opening, Protocol)> {
    let limits = &shared.limits;
    let reading = async {
        let mut opening = timeout(limits.first_byte, Opening::read(stream))
            .await
            .ok()?
            .ok()??;
        let protocol = timeout(limits.header_read, opening.protocol(stream))
            .await
            .ok()?
            .ok()?;
        Some((opening, protocol))
    };
    // A connection that has not asked for anything is not waited for.
    shared.lifecycle.soft.run_until_cancelled(reading).await?
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    const BUFFER_BYTES: usize = 64 << 10;
    let mut builder = http1::Builder::new();
    builder
        // The time for a head is watched here, without a timer per request.
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_BYTES));
    // hyper has room for 100 without an allocation; asking for any number costs one.
    if limits.headers_max != 100 {
        builder.max_headers(limits.headers_max);
    }
    builder
}

fn http2_builder(limits: &Limits, executor: Tracked) -> http2::Builder<Tracked> {
    const PING: Duration = Duration::from_secs(20);
    const SEND_BUFFER_BYTES: usize = 64 << 10;
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Spawns the streams of HTTP/2 connections where the drain waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<Fut> hyper::rt::Executor<Fut> for Tracked
where
    Fut: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: Fut) {
        self.0.spawn(future);
    }
}

#[derive(Clone, Copy)]
enum Signal {
    Soft,
    Hard,
}

async fn signal(token: &CancellationToken, signal: Signal) -> Signal {
    token.cancelled().await;
    signal
}

/// Polls a connection until it is over, one of its deadlines has passed, or the server ends.
async fn drive<C, F>(
    mut conn: Pin<&mut C>,
    activity: &Activity,
    protocol: Protocol,
    shared: &Shared<F>,
) -> End
where
    C: GracefulConnection,
{
    // Tokens lock when they are polled. Within this set they are polled only when they fire, and
    // not with every packet.
    let mut signals = FuturesUnordered::new();
    signals.push(signal(&shared.lifecycle.soft, Signal::Soft));
    signals.push(signal(&shared.lifecycle.hard, Signal::Hard));
    let far = Instant::now() + Duration::from_hours(1);
    let mut timer = pin!(sleep_until(far));
    let mut leave_at = None;
    let mut cut_at = None;
    poll_fn(|cx| {
        while let Poll::Ready(Some(signal)) = signals.poll_next_unpin(cx) {
            match signal {
                Signal::Soft => {
                    conn.as_mut().graceful_shutdown();
                    leave_at = Some(Instant::now() + shared.drain.grace);
                }
                Signal::Hard => cut_at = Some(Instant::now() + shared.drain.grace),
            }
        }
        match conn.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Regular),
            Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
            Poll::Pending => {}
        }
        loop {
            let deadline = activity.deadline(&shared.limits, protocol, leave_at);
            let deadline = deadline.into_iter().chain(cut_at).min();
            // A deadline that moves away, as it does with every request, costs no timer: the timer
            // fires too early and is set anew.
            if let Some(deadline) = deadline
                && deadline < timer.deadline()
            {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if cut_at.is_some_and(|cut| cut <= now) {
                return Poll::Ready(End::Cut(activity.requests()));
            }
            match deadline {
                Some(deadline) if deadline <= now => return Poll::Ready(End::Deadline),
                Some(deadline) => timer.as_mut().reset(deadline),
                None => timer.as_mut().reset(now + Duration::from_hours(1)),
            }
        }
    })
    .await
}

/// Takes leave of a peer that may still be sending: closing a socket with unread bytes resets it,
/// and the reset can overtake the answer. Bounded in time and bytes.
pub(super) async fn linger(mut stream: TcpStream) {
    const TIME: Duration = Duration::from_secs(2);
    const BYTES: usize = 16 << 20;
    let drain = async {
        stream.shutdown().await?;
        let mut discard = vec![0; 16 << 10];
        let mut total = 0;
        while total < BYTES {
            match stream.read(&mut discard).await? {
                0 => break,
                count => total += count,
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(TIME, drain).await;
}
