//! What is published, as it comes, over a connection of its own.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};
use redis::aio::{PubSubSink, PubSubStream};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Duration, Instant, interval, timeout},
};

use super::{RedisError, keeper::Core, settings::Address, trouble, wire};

/// What was published in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The channel, whole.
    pub channel: String,
    /// What was published.
    pub payload: Vec<u8>,
}

/// What is published in some channels. It ends when something may have been missed: the connection
/// was lost, Redis fell silent or is another one now, or messages came faster than they were taken.
pub struct Subscription {
    messages: mpsc::Receiver<Message>,
    task: AbortHandle,
}

/// Messages that wait to be taken; more end the subscription.
const WAITING_MAX: usize = 4096;
/// How often the connection is asked whether it works.
const BEAT: Duration = Duration::from_secs(1);

/// Subscribes to `channels` where the connection of `core` leads, or at a node of the cluster.
pub(super) async fn subscribe(
    core: &Arc<Core>,
    channels: &[String],
) -> Result<Subscription, RedisError> {
    let deadlines = core.settings.deadlines;
    let live = core.live(Instant::now() + deadlines.request).await;
    let live = live.ok_or(RedisError::Unavailable)?;
    let addresses: Vec<_> = if let Some(address) = &live.address {
        vec![address]
    } else {
        // Another one each time: of one that the cluster has lost, nothing is heard.
        let first = core.first.fetch_add(1, Ordering::Relaxed);
        core.settings.in_turn(first).map(|it| it.1).collect()
    };
    let mut lost = RedisError::Unavailable;
    for address in addresses {
        let opened = timeout(deadlines.connect, open(core, address, channels)).await;
        let (sink, stream) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                lost = trouble::of_command(error).into();
                continue;
            }
            Err(_) => continue,
        };
        let (sender, messages) = mpsc::channel(WAITING_MAX);
        // A node of a cluster hears what is published anywhere in it.
        let bound_to = live.address.as_ref().map(|_| live.number);
        let relayed = relay(core.clone(), bound_to, sink, stream, sender);
        let task = tokio::spawn(relayed).abort_handle();
        return Ok(Subscription { messages, task });
    }
    Err(lost)
}

async fn open(
    core: &Core,
    address: &Address,
    channels: &[String],
) -> redis::RedisResult<(PubSubSink, PubSubStream)> {
    let settings = &core.settings;
    let client = wire::client(settings, address, &settings.login, settings.database)?;
    let (mut sink, stream) = client.get_async_pubsub().await?.split();
    sink.subscribe(channels).await?;
    Ok((sink, stream))
}

/// Passes messages on until something may have been missed.
async fn relay(
    core: Arc<Core>,
    bound_to: Option<u64>,
    mut sink: PubSubSink,
    mut stream: PubSubStream,
    sender: mpsc::Sender<Message>,
) {
    let deadline = core.settings.deadlines.attempt * 2;
    let mut beat = interval(BEAT);
    let replaced = async {
        match bound_to {
            Some(number) => core.replaced(number).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(replaced);
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return };
                let message = Message {
                    channel: message.get_channel_name().to_owned(),
                    payload: message.get_payload_bytes().to_vec(),
                };
                if sender.try_send(message).is_err() {
                    return;
                }
            }
            _ = beat.tick() => {
                let pong = timeout(deadline, sink.ping::<redis::Value>()).await;
                if !matches!(pong, Ok(Ok(_))) {
                    return;
                }
            }
            () = &mut replaced => return,
            () = sender.closed() => return,
        }
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.messages.poll_recv(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
