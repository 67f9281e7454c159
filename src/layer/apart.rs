//! Decompression of what is no layer, on a thread of its own.

use std::io::Read;
use std::sync::mpsc;
use std::thread;

use super::stream::{Chunks, decompress};
use super::unpack::{CHUNKS_TO_READ, spawn};
use super::{Compression, Error, Expansion, Result};
use crate::sys::confine;

/// Lets `read` read what is in `input`, compressed or not. What is decompressed is so on a thread that
/// ends with it and that can reach nothing but `input`, if the kernel [lets threads be
/// confined](confine).
///
/// # Errors
/// Those of reading the first bytes, and of the thread. Those of decompression are told to `read`, by
/// its input.
pub fn read_decompressed<R: Read + Send, T>(
    input: R,
    expansion: Expansion,
    read: impl FnOnce(&mut (dyn Read + Send)) -> T,
) -> Result<T> {
    let (compression, mut input) = Compression::peek(input)?;
    if compression == Compression::None {
        return Ok(read(&mut input));
    }
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(CHUNKS_TO_READ);
        let decompressing = spawn(scope, "archive-unpack", move || {
            confine::to_nothing().map_err(Error::confine)?;
            decompress((compression, expansion), input, &sender).map(drop)
        })?;
        let result = read(&mut Chunks::new(receiver));
        decompressing.join().map_err(|_| Error::Thread)??;
        Ok(result)
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn content(bytes: &[u8]) -> Result<io::Result<Vec<u8>>> {
        read_decompressed(bytes, Expansion { free: 1 << 20, ratio: 10 }, |input| {
            let mut content = Vec::new();
            input.read_to_end(&mut content).map(|_| content)
        })
    }

    #[test]
    fn what_is_packed_and_what_is_not_reads_the_same() {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        assert!(content(&plain).unwrap().unwrap() == plain);
        assert!(content(&packed).unwrap().unwrap() == plain);
        let cut = &packed[..packed.len() - 1];
        assert_eq!(content(cut).unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let bomb = zstd::encode_all(&vec![0; 2 << 20][..], 3).unwrap();
        let error = Error::from(content(&bomb).unwrap().unwrap_err());
        assert!(error.is_limit(), "{error}");
    }

    #[test]
    fn a_reader_may_stop_early() {
        let packed = zstd::encode_all(&vec![1; 32 << 20][..], 3).unwrap();
        let expansion = Expansion::default();
        let four = read_decompressed(&packed[..], expansion, |input| {
            let mut four = [0; 4];
            input.read_exact(&mut four).map(|()| four)
        });
        assert_eq!(four.unwrap().unwrap(), [1; 4]);
    }
}
