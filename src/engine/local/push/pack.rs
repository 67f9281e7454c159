//! A layer as a blob that is made while it is sent.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::super::{LocalEngine, failure};
use crate::engine::{ByteStream, Error, ErrorKind, PushCompression, Result};
use crate::image::{Digest, LayerBlob, LayerId, Packing};
use crate::layer::{GzipWriter, Members};
use crate::storage::{LayerContent, Snapshot};
use crate::sys::Cancel;
use crate::task::{BodyWriter, Class};

/// What gzip does when nobody says: blobs are about as long as those of Podman, made in half its time.
const GZIP_LEVEL: i64 = 1;
/// What zstd does when nobody says: what the tools written in Go call their default.
const ZSTD_LEVEL: i64 = 3;
/// The hardest that zstd packs.
const ZSTD_BEST: i64 = 22;

/// How layers are packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) compression: PushCompression,
    /// `None`: as usual.
    pub(super) level: Option<i64>,
}

impl How {
    pub(super) fn packing(self) -> Packing {
        match self.compression {
            PushCompression::Gzip => Packing::Gzip,
            PushCompression::Zstd => Packing::Zstd,
        }
    }
}

/// A blob, not made yet.
pub(super) struct Packed {
    /// Its bytes. Ends well only if the layer was read whole and is what it should be.
    pub(super) body: ByteStream,
    /// What came of it, once the body has ended.
    pub(super) outcome: Outcome,
}

/// Is told how the making of a blob went.
#[derive(Clone, Default)]
pub(super) struct Outcome(Arc<Mutex<Option<Result<LayerBlob>>>>);

impl Outcome {
    fn tell(&self, outcome: Result<LayerBlob>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// The blob, if all of it was made and taken.
    pub(super) fn made(&self) -> Option<LayerBlob> {
        let outcome = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.as_ref().and_then(|outcome| outcome.as_ref().ok()).cloned()
    }

    /// The blob; `None` if nobody took all of it.
    ///
    /// # Errors
    /// If the layer cannot be read.
    pub(super) fn take(&self) -> Result<Option<LayerBlob>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().transpose()
    }
}

/// Prepares to pack a layer. Nothing is read before somebody takes the first bytes.
pub(super) fn pack(engine: &LocalEngine, snapshot: &Snapshot, layer: &LayerId, how: How) -> Packed {
    let outcome = Outcome::default();
    let told = outcome.clone();
    let shared = Arc::clone(&engine.shared);
    let (snapshot, layer) = (snapshot.clone(), layer.clone());
    let body = engine.tasks.stream(Class::Bulk, move |out, cancel| {
        let gone = AtomicBool::new(false);
        let out = Hashing { out, hash: Sha256::new(), size: 0, gone: &gone };
        let content = shared.store.open_layer(&snapshot, &layer, cancel);
        let packed = content
            .map_err(failure::own_layer)
            .and_then(|content| packed(content, out, how, cancel));
        match packed {
            Ok(blob) => {
                told.tell(Ok(blob));
                Ok(())
            }
            // Whoever took the bytes has gone, and knows better why.
            Err(error) if gone.load(Ordering::Relaxed) || cancel.is_canceled() => {
                Err(io::Error::other(error))
            }
            Err(error) => {
                let text = io::Error::other(error.to_string());
                told.tell(Err(error));
                Err(text)
            }
        }
    });
    Packed { body, outcome }
}

fn packed(content: LayerContent, out: Hashing<'_>, how: How, cancel: &Cancel) -> Result<LayerBlob> {
    let writing = |error: io::Error| Error::from_source(ErrorKind::Storage, &error);
    let out = match how.compression {
        PushCompression::Gzip => {
            let level = how.level.filter(|level| *level >= 0).unwrap_or(GZIP_LEVEL);
            let level = i32::try_from(level).unwrap_or(i32::MAX);
            let mut gzip = GzipWriter::new(out).at_level(level);
            content.copy_into(&mut gzip, cancel).map_err(failure::own_layer)?;
            gzip.finish().map_err(writing)?
        }
        PushCompression::Zstd => {
            let level = how.level.unwrap_or(ZSTD_LEVEL).clamp(1, ZSTD_BEST);
            let level = i32::try_from(level).unwrap_or_default();
            let mut zstd = zstd::Encoder::new(out, level).map_err(writing)?;
            content.copy_to(&mut zstd, cancel).map_err(failure::own_layer)?;
            zstd.finish().map_err(writing)?
        }
    };
    let digest = Digest::from_sha256(out.hash.finalize().into());
    Ok(LayerBlob { digest, size: out.size, packing: how.packing() })
}

/// Hashes and counts what goes through.
struct Hashing<'a> {
    out: &'a mut BodyWriter,
    hash: Sha256,
    size: u64,
    /// Nobody takes it.
    gone: &'a AtomicBool,
}

impl Hashing<'_> {
    fn note(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn passed_on<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|_| self.gone.store(true, Ordering::Relaxed))
    }
}

impl Members for Hashing<'_> {
    fn take(&mut self, member: Vec<u8>) -> io::Result<()> {
        self.note(&member);
        let written = self.out.write_whole(member);
        self.passed_on(written)
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buf);
        let written = self.passed_on(written)?;
        self.note(&buf[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.passed_on(flushed)
    }
}
