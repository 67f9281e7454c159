//! Streams of chunks as `Read` and `Write`.
//!
//! Chunks cross by a bounded channel. The end of a body is a message of its own: a channel that
//! closes without it means that the other side is gone, and is an error. So neither a client that
//! stops nor a producer that panics can pass for a complete body.

use std::io::{self, BufRead, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::turn::Turn;
use crate::sys::Cancel;

/// Chunks on their way.
const CHUNKS: usize = 8;
/// Size of the chunks that a [`BodyWriter`] makes, bytes.
const CHUNK_SIZE: usize = 128 * 1024;

/// What crosses the channel.
enum Message {
    Chunk(Bytes),
    End,
    Failed(io::Error),
}

/// A body as blocking `Read`. Must not be used on an async thread.
#[derive(Debug)]
pub struct BodyReader {
    messages: mpsc::Receiver<Message>,
    chunk: Bytes,
    ended: bool,
    /// Kind and text of the error that ended the body: whoever asks again is told again.
    failed: Option<(io::ErrorKind, String)>,
    cancel: Cancel,
}

/// A future that moves `body`, and the reader it moves it to. If nothing comes for the time of `pause`
/// while the reader waits, `turn` is lent until something does, and `lent` is told.
pub(super) fn reading(
    mut body: BoxStream<'static, io::Result<Bytes>>,
    turn: Turn,
    pause: Option<Duration>,
    lent: impl Fn(),
) -> (impl Future<Output = ()>, BodyReader) {
    let (sender, messages) = mpsc::channel(CHUNKS);
    let feed = async move {
        loop {
            let next = loop {
                let Some(pause) = pause else { break body.next().await };
                match timeout(pause, body.next()).await {
                    Ok(next) => break next,
                    Err(_) if sender.capacity() < CHUNKS => {}
                    Err(_) => {
                        turn.lend();
                        lent();
                        break body.next().await;
                    }
                }
            };
            let message = match next {
                Some(Ok(chunk)) => Message::Chunk(chunk),
                Some(Err(error)) => Message::Failed(error),
                None => Message::End,
            };
            // To fail needs no permit.
            if !matches!(message, Message::Failed(_)) && turn.resume().await.is_err() {
                return;
            }
            let last = !matches!(message, Message::Chunk(_));
            // A closed channel: nobody reads any more.
            if sender.send(message).await.is_err() || last {
                return;
            }
        }
    };
    let reader = BodyReader {
        messages,
        chunk: Bytes::new(),
        ended: false,
        failed: None,
        cancel: Cancel::new(),
    };
    (feed, reader)
}

impl BodyReader {
    /// The same body, whose reads fail once `cancel` is set.
    pub(super) fn watching(self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() && !self.ended {
            self.cancel.check()?;
            if let Some((kind, text)) = &self.failed {
                return Err(io::Error::new(*kind, text.clone()));
            }
            match self.messages.blocking_recv() {
                Some(Message::Chunk(chunk)) => self.chunk = chunk,
                Some(Message::End) => self.ended = true,
                Some(Message::Failed(error)) => {
                    self.failed = Some((error.kind(), error.to_string()));
                    return Err(error);
                }
                None => {
                    self.cancel.check()?;
                    return Err(gone("the sender of the body is gone"));
                }
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount.min(self.chunk.len()));
    }
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let amount = available.len().min(out.len());
        out[..amount].copy_from_slice(&available[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

/// A body as blocking `Write`. Small writes are gathered; [`flush`](Write::flush) sends what there
/// is. Must not be used on an async thread.
#[derive(Debug)]
pub struct BodyWriter {
    messages: mpsc::Sender<Message>,
    gathered: BytesMut,
}

/// A writer and the body it writes.
pub(super) fn writing() -> (BodyWriter, Body) {
    let (messages, receiver) = mpsc::channel(CHUNKS);
    (BodyWriter { messages, gathered: BytesMut::new() }, Body { messages: receiver, ended: false })
}

impl BodyWriter {
    /// Lets `produce` write, and ends the body as it ends.
    pub(super) fn run<E>(mut self, produce: impl FnOnce(&mut Self) -> Result<(), E>)
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let message = match produce(&mut self) {
            Ok(()) if self.flush().is_err() => return,
            Ok(()) => Message::End,
            Err(error) => Message::Failed(io::Error::other(error)),
        };
        // Fails when the receiver is gone, and then nobody wants to know.
        drop(self.messages.blocking_send(message));
    }

    /// Writes bytes that need not be copied.
    ///
    /// # Errors
    /// If nobody takes them.
    pub fn write_whole(&mut self, data: Vec<u8>) -> io::Result<()> {
        self.flush()?;
        let mut data = Bytes::from(data);
        while !data.is_empty() {
            // In pieces, so that their number limits their length.
            self.send(data.split_to(data.len().min(CHUNK_SIZE)))?;
        }
        Ok(())
    }

    fn send(&self, chunk: Bytes) -> io::Result<()> {
        self.messages.blocking_send(Message::Chunk(chunk)).map_err(|_| {
            io::Error::new(io::ErrorKind::BrokenPipe, "the receiver of the body is gone")
        })
    }
}

impl Write for BodyWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(CHUNK_SIZE);
        }
        let room = CHUNK_SIZE.saturating_sub(self.gathered.len());
        let amount = data.len().min(room);
        self.gathered.extend_from_slice(&data[..amount]);
        if self.gathered.len() >= CHUNK_SIZE {
            self.flush()?;
        }
        Ok(amount)
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.gathered).freeze();
        if chunk.is_empty() { Ok(()) } else { self.send(chunk) }
    }
}

/// The receiving side of a [`BodyWriter`].
pub(super) struct Body {
    messages: mpsc::Receiver<Message>,
    ended: bool,
}

impl Stream for Body {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let message = ready!(self.messages.poll_recv(context));
        if let Some(Message::Chunk(chunk)) = message {
            return Poll::Ready(Some(Ok(chunk)));
        }
        self.ended = true;
        Poll::Ready(match message {
            Some(Message::Failed(error)) => Some(Err(error)),
            Some(_) => None,
            None => Some(Err(gone("the producer of the body failed"))),
        })
    }
}

fn gone(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, text)
}
