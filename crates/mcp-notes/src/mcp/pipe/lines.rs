//! Messages as lines of a pipe: what cannot be read is answered, so that no client waits for ever.

use std::{io, pin::Pin, sync::Arc};

use rmcp::{
    RoleServer,
    model::{ClientJsonRpcMessage, ErrorData, RequestId, ServerJsonRpcMessage},
    transport::Transport,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::Mutex,
};
use tokio_util::sync::CancellationToken;

/// One JSON-RPC message a line, in both directions.
pub(super) struct Lines<R, W> {
    reader: BufReader<R>,
    /// The line that is being read. It stays here when the reading is interrupted.
    line: Vec<u8>,
    line_bytes_max: usize,
    is_too_long: bool,
    writer: Arc<Mutex<W>>,
    /// The answer to a line that is no message, while it is being written.
    refusal: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
    ended: CancellationToken,
}

enum Line {
    /// It is in the buffer.
    Whole,
    TooLong,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send + 'static> Lines<R, W> {
    /// Reads lines of at most `line_bytes_max` bytes until `ended`, which is cancelled when the
    /// client closes its end.
    pub(super) fn new(
        reader: R,
        writer: W,
        line_bytes_max: usize,
        ended: CancellationToken,
    ) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            line_bytes_max,
            is_too_long: false,
            writer: Arc::new(Mutex::new(writer)),
            refusal: None,
            ended,
        }
    }

    async fn message(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(refusal) = &mut self.refusal {
                let written = refusal.await;
                self.refusal = None;
                written.ok()?;
            }
            let read = match self.next_line().await.ok()?? {
                Line::Whole => read(&self.line),
                Line::TooLong => {
                    let most = self.line_bytes_max;
                    let message = format!("Invalid Request: the line has more than {most} bytes");
                    Err((ErrorData::invalid_request(message, None), None))
                }
            };
            self.line.clear();
            match read {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err((error, id)) => {
                    let answer = ServerJsonRpcMessage::error(error, id);
                    self.refusal = Some(Box::pin(self.send(answer)));
                }
            }
        }
    }

    /// The next line without its end; `None` when there are no more. Cancel-safe.
    async fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = self.reader.fill_buf().await?;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = end.map_or(available, |end| &available[..end]);
            let is_last = available.is_empty();
            if self.line.len().saturating_add(part.len()) > self.line_bytes_max {
                self.is_too_long = true;
                self.line = Vec::new();
            }
            if !self.is_too_long {
                self.line.extend_from_slice(part);
            }
            let consumed = part.len() + usize::from(end.is_some());
            self.reader.consume(consumed);
            if end.is_some() || is_last {
                // The last line may lack its end.
                return Ok(match std::mem::take(&mut self.is_too_long) {
                    true => Some(Line::TooLong),
                    false if is_last && self.line.is_empty() => None,
                    false => Some(Line::Whole),
                });
            }
        }
    }
}

impl<R, W> Transport<RoleServer> for Lines<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let line = serde_json::to_vec(&message);
        let writer = self.writer.clone();
        async move {
            let mut line = line?;
            line.push(b'\n');
            let mut writer = writer.lock().await;
            writer.write_all(&line).await?;
            writer.flush().await
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let ended = self.ended.clone();
        let message = tokio::select! {
            biased;
            () = ended.cancelled() => None,
            message = self.message() => message,
        };
        if message.is_none() {
            ended.cancel();
        }
        message
    }

    async fn close(&mut self) -> io::Result<()> {
        // Every line was flushed. A write that does not end, because nobody reads, is left alone.
        Ok(())
    }
}

/// What is wrong with a line, and the id of the request in it if it can be read.
type Refused = (ErrorData, Option<RequestId>);

/// The message in a line; nothing for a line that needs no answer.
fn read(line: &[u8]) -> Result<Option<ClientJsonRpcMessage>, Refused> {
    const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
    let line = line
        .strip_prefix(BYTE_ORDER_MARK)
        .unwrap_or(line)
        .trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    if let Ok(message) = serde_json::from_slice(line) {
        return Ok(Some(message));
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        // The position helps, the rest of the text may quote the line.
        let column = error.column();
        let message = format!("Parse error: the line is not valid JSON (column {column})");
        (ErrorData::parse_error(message, None), None)
    })?;
    let is_call = value.get("method").is_some_and(Value::is_string);
    let id = match value.get("id").filter(|_| is_call) {
        // A notification that is not known has no answer.
        None if is_call => return Ok(None),
        None => None,
        Some(id) => serde_json::from_value::<RequestId>(id.clone()).ok(),
    };
    let message = "Invalid Request: the line is not a message of this protocol";
    Err((ErrorData::invalid_request(message, None), id))
}
