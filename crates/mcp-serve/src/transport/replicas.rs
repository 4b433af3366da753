//! What this replica hears from the others about the sessions of the older revisions, and what it
//! tells them. Whatever is heard is looked up under the session it is said to be of, as what comes
//! from a client is.

use std::sync::Arc;

use rmcp::model::{ErrorData, RequestId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    calls::{Calls, LiveStream, LiveStreams, Logs, Opened},
    converse::{self, Asked},
    relay::{Exchange, NotResumed, RemoteReader},
};
use crate::{
    lifecycle::Lifecycle,
    session::{SessionDigest, SessionStore},
    signals::{Answer, Sent, Signal, SignalReceiver},
};

/// What goes on in the sessions of this replica, and the way to the others.
pub(super) struct Replicas {
    pub(super) sessions: Arc<dyn SessionStore>,
    pub(super) asked: Arc<Asked>,
    pub(super) calls: Arc<Calls>,
    pub(super) logs: Arc<Logs>,
    pub(super) live: Arc<LiveStreams>,
    pub(super) exchange: Arc<Exchange>,
}

/// The other replicas cannot be told at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreachable;

impl Replicas {
    /// Starts to listen. While the server drains it goes on as long as calls are under way, because
    /// what they wait for may reach another replica.
    pub(super) fn listen(self: Arc<Self>, lifecycle: &Lifecycle) {
        let mut receiver = self.exchange.signals().receive();
        let soft = lifecycle.soft.clone();
        lifecycle.tasks.spawn(async move {
            let over = async {
                soft.cancelled().await;
                self.calls.idle().await;
            };
            tokio::select! {
                () = self.hear_all(receiver.as_mut()) => {}
                () = over => {}
            }
        });
    }

    async fn hear_all(&self, receiver: &mut dyn SignalReceiver) {
        while let Some(signal) = receiver.next().await {
            self.hear(signal);
        }
    }

    fn hear(&self, signal: Signal) {
        match signal {
            Signal::Cancel { session, request } => {
                self.calls.cancel(&session, &request);
            }
            Signal::Answer {
                session,
                request,
                answer,
            } => {
                let result = match answer {
                    Answer::Result(result) => Ok(result),
                    Answer::Error(error) => Err(error),
                };
                // Of all replicas one has asked.
                let _ = self.asked.answer(&session, &request, result);
            }
            Signal::Ended { session } => {
                self.sessions.forget(&session);
                self.end_here(&session);
            }
            Signal::StreamOpened { session, at, tie } => {
                self.live.replaced(&session, Opened { at, tie });
            }
            Signal::Resume {
                session,
                stream,
                seen,
                reader,
            } => {
                if let Some(log) = self.logs.find(&session, stream.as_str()) {
                    let engaged = self.calls.engage();
                    self.exchange.serve(reader, &log, seen, engaged);
                }
            }
            Signal::Piece { reader, at, piece } => self.exchange.take_in(&reader, at, piece),
            Signal::Taken { reader, pieces } => self.exchange.taken(&reader, pieces),
            Signal::Left { reader } => self.exchange.left(&reader),
            Signal::CredentialRevoked { .. } => {}
        }
    }

    fn end_here(&self, session: &SessionDigest) {
        self.calls.cancel_all(session);
        self.logs.forget_all(session);
        self.live.close(session);
    }

    /// The session was ended by its client: its calls and streams end on every replica.
    pub(super) fn ended(&self, session: &SessionDigest) {
        self.end_here(session);
        // Who does not hear of it finds out when it asks the store.
        let _ = self.tell(Signal::Ended { session: *session });
    }

    /// Enters a stream of change notifications, and ends the one that the session has on whichever
    /// replica. The token is cancelled when this one is to end.
    pub(super) fn open_stream(
        &self,
        session: &SessionDigest,
        parent: &CancellationToken,
    ) -> (CancellationToken, LiveStream) {
        let (token, live) = self.live.open(session, parent);
        let Opened { at, tie } = live.opened();
        let session = *session;
        // A stream that does not hear of it goes on until it ends otherwise, and says the same.
        let _ = self.tell(Signal::StreamOpened { session, at, tie });
        (token, live)
    }

    /// Cancels a call of this replica, or of another.
    pub(super) fn cancelled(&self, session: SessionDigest, request: &RequestId) {
        if !self.calls.cancel(&session, request) {
            let request = request.clone();
            // One that is lost costs the rest of the call, which may have ended before anyway.
            let _ = self.tell(Signal::Cancel { session, request });
        }
    }

    /// Hands a client's answer to the call that waits for it, on this replica or on another.
    pub(super) fn answered(
        &self,
        session: SessionDigest,
        request: &RequestId,
        result: Result<Value, ErrorData>,
    ) -> Result<(), Unreachable> {
        let Err(result) = self.asked.answer(&session, request, result) else {
            return Ok(());
        };
        if !converse::may_be_asked(request) {
            tracing::debug!("an answer came for a request that does not wait");
            return Ok(());
        }
        let signal = |answer| Signal::Answer {
            session,
            request: request.clone(),
            answer,
        };
        let answer = signal(match result {
            Ok(result) => Answer::Result(result),
            Err(error) => Answer::Error(error),
        });
        if answer.to_json().is_some() {
            return self.tell(answer);
        }
        let too_large = ErrorData::invalid_params("the client's answer is too large", None);
        self.tell(signal(Answer::Error(too_large)))
    }

    /// Tells all other replicas.
    pub(super) fn tell(&self, signal: Signal) -> Result<(), Unreachable> {
        match self.exchange.signals().send(signal) {
            Sent::Taken | Sent::Nobody => Ok(()),
            Sent::Away => Err(Unreachable),
        }
    }

    /// A reader of an answer that another replica has, from the message after `seen` on.
    pub(super) async fn resume(
        &self,
        session: SessionDigest,
        name: &str,
        seen: Option<u64>,
    ) -> Result<RemoteReader, NotResumed> {
        self.exchange.resume(session, name, seen).await
    }
}
