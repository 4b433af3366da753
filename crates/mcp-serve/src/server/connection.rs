//! The life of one connection: which HTTP it speaks, its deadlines, and its end.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    stream::{FuturesUnordered, StreamExt},
};
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::ServerHandler;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    activity::{Activity, Leave, Protocol},
    arrival::{Arrivals, Arrived},
    exchange::{Exchange, unless_stalled},
    inbound::Inbound,
    socket::{Opening, Socket},
    stream::Stream,
};
use crate::{
    client::Peer,
    config::{Drain, Limits},
    lifecycle::Lifecycle,
    router::Router,
};

/// What all connections of a server share.
pub(super) struct Shared<F> {
    /// How many requests got no full answer because the server ended.
    pub(super) cut: Arc<AtomicUsize>,
    pub(super) arrivals: Arrivals,
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
pub(super) async fn serve<H, F>(stream: TcpStream, shared: &Shared<F>) -> End
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    // Answers are written whole; waiting for more to send would only add delay.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
    let Some((mut socket, peer, protocol)) = open(stream, &activity, shared).await else {
        return End::Regular;
    };
    activity.open();
    let end = match protocol {
        Protocol::Http1 => serve_http1(&mut socket, &activity, &peer, shared).await,
        Protocol::Http2 => serve_http2(&mut socket, &activity, peer, shared).await,
    };
    let may_still_send =
        protocol == Protocol::Http2 || end == End::Broken || activity.left_unread();
    match end {
        End::Regular | End::Broken if may_still_send => {
            if let Some(mut stream) = socket.into_open_stream() {
                take_leave(&mut stream).await;
                linger(stream.into_tcp()).await;
            }
        }
        // A peer that reads learns that this is the end and no accident.
        End::Deadline => {
            let _ = socket.shutdown().now_or_never();
        }
        _ => {}
    }
    end
}

async fn serve_http1<H, F>(
    socket: &mut Socket,
    activity: &Arc<Activity>,
    peer: &Peer,
    shared: &Shared<F>,
) -> End
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let request = request.map(|body| Inbound::new(body, activity.clone()));
        let answer = (shared.router.clone()).handle(request, Exchange::begin(activity), peer);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let builder = http1_builder(&shared.limits);
    let conn = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let stop = |conn: Pin<&mut _>| http1::Connection::graceful_shutdown(conn);
    drive(conn, stop, activity, Protocol::Http1, shared).await
}

async fn serve_http2<H, F>(
    socket: &mut Socket,
    activity: &Arc<Activity>,
    peer: Peer,
    shared: &Shared<F>,
) -> End
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    let streams = Streams {
        next: Arc::default(),
        cut: shared.cut.clone(),
        lifecycle: shared.lifecycle.clone(),
        write_stall: shared.limits.write_stall,
    };
    let (next, router, begun) = (
        streams.next.clone(),
        shared.router.clone(),
        activity.clone(),
    );
    let service = service_fn(move |request| {
        let exchange = Exchange::begin(&begun);
        *next.lock().unwrap_or_else(PoisonError::into_inner) = Some(exchange.clone());
        let (router, peer) = (router.clone(), peer.clone());
        async move { Ok::<_, Infallible>(router.handle(request, exchange, &peer).await) }
    });
    let builder = http2_builder(&shared.limits, streams);
    let conn = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let stop = |conn: Pin<&mut _>| http2::Connection::graceful_shutdown(conn);
    drive(conn, stop, activity, Protocol::Http2, shared).await
}

/// What comes before the first request, within its deadlines, and the HTTP that is spoken then;
/// `None` when there is nothing to serve.
async fn open<F>(
    stream: TcpStream,
    activity: &Arc<Activity>,
    shared: &Shared<F>,
) -> Option<(Socket, Peer, Protocol)> {
    let limits = &shared.limits;
    let reading = async {
        let address = stream.peer_addr().ok()?;
        let arriving = (shared.arrivals).receive(stream, address, activity, limits);
        let Arrived {
            mut stream,
            peer,
            agreed,
        } = arriving.await?;
        let mut opening = timeout(limits.first_byte, Opening::read(&mut stream))
            .await
            .ok()?
            .ok()??;
        let protocol = match agreed {
            Some(protocol) => protocol,
            None => timeout(limits.header_read, opening.protocol(&mut stream))
                .await
                .ok()?
                .ok()?,
        };
        let socket = opening.into_socket(stream, activity.clone());
        Some((socket, peer, protocol))
    };
    // A connection that has not asked for anything is not waited for.
    shared.lifecycle.soft.run_until_cancelled(reading).await?
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    const BUFFER_BYTES: usize = 64 << 10;
    const HEADERS_BEYOND: usize = 28;
    let mut builder = http1::Builder::new();
    builder
        // The time for a head is watched here, without a timer per request.
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_BYTES))
        // A few too many reach the router, whose answer says more than hyper's.
        .max_headers(limits.headers_max.saturating_add(HEADERS_BEYOND));
    builder
}

fn http2_builder(limits: &Limits, executor: Streams) -> http2::Builder<Streams> {
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

/// Spawns the streams of one HTTP/2 connection where the drain waits for them. A stream whose peer
/// takes nothing of its answer is reset, and those beside it go on.
#[derive(Clone)]
struct Streams {
    /// The request that the connection has just handed over; its stream is spawned next.
    next: Arc<Mutex<Option<Arc<Exchange>>>>,
    cut: Arc<AtomicUsize>,
    lifecycle: Lifecycle,
    write_stall: Duration,
}

impl<Fut> hyper::rt::Executor<Fut> for Streams
where
    Fut: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: Fut) {
        let next = self
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(exchange) = next else {
            self.lifecycle.tasks.spawn(future);
            return;
        };
        let (cut, soft, limit) = (
            self.cut.clone(),
            self.lifecycle.soft.clone(),
            self.write_stall,
        );
        self.lifecycle.tasks.spawn(async move {
            let output = unless_stalled(future, &exchange, limit).await;
            if output.is_none() && soft.is_cancelled() {
                cut.fetch_add(1, Ordering::Relaxed);
            }
        });
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
    stop: impl Fn(Pin<&mut C>),
    activity: &Activity,
    protocol: Protocol,
    shared: &Shared<F>,
) -> End
where
    C: Future<Output = hyper::Result<()>>,
{
    // Tokens lock when they are polled. Within this set they are polled only when they fire, and
    // not with every packet.
    let mut signals = FuturesUnordered::new();
    signals.push(signal(&shared.lifecycle.soft, Signal::Soft));
    signals.push(signal(&shared.lifecycle.hard, Signal::Hard));
    let far = Instant::now() + Duration::from_hours(1);
    let mut timer = pin!(sleep_until(far));
    let mut leave = None;
    let mut cut_at = None;
    poll_fn(|cx| {
        while let Poll::Ready(Some(signal)) = signals.poll_next_unpin(cx) {
            match signal {
                Signal::Soft => {
                    stop(conn.as_mut());
                    leave = Some(Leave {
                        since: Instant::now(),
                        grace: shared.drain.grace,
                    });
                }
                Signal::Hard => cut_at = Some(Instant::now() + shared.drain.grace),
            }
        }
        let was_busy = activity.requests() > 0;
        match conn.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Regular),
            Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
            Poll::Pending => {}
        }
        loop {
            let deadline = activity.deadline(&shared.limits, protocol, leave);
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
                return Poll::Ready(End::Cut(activity.unanswered()));
            }
            match deadline {
                // What a stream left while the connection was polled is not written yet.
                Some(deadline) if deadline <= now && was_busy && activity.requests() == 0 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(deadline) if deadline <= now => {
                    let cut = activity.unanswered();
                    let is_cut = leave.is_some() && cut > 0;
                    return Poll::Ready(if is_cut { End::Cut(cut) } else { End::Deadline });
                }
                Some(deadline) => timer.as_mut().reset(deadline),
                None => timer.as_mut().reset(now + Duration::from_hours(1)),
            }
        }
    })
    .await
}

/// So long, and within so many bytes, the end of a peer is waited for.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 << 20;

/// Says within TLS that nothing more will come.
async fn take_leave(stream: &mut Stream) {
    if let Stream::Tls(stream) = stream {
        let _ = timeout(LINGER, stream.shutdown()).await;
    }
}

/// Takes leave of a peer that may still be sending: closing a socket with unread bytes resets it,
/// and the reset can overtake the answer. Bounded in time and bytes.
pub(super) async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut discard = vec![0; 16 << 10];
        let mut total = 0;
        while total < LINGER_BYTES {
            match stream.read(&mut discard).await? {
                0 => break,
                count => total += count,
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, drain).await;
}
