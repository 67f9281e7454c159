//! Decompression.

use std::fmt;
use std::io::{self, BufReader, Read};

use super::compression::{Compression, Peeked};
use super::gunzip::Gunzip;
use super::{Error, Expansion};

/// Compressed bytes taken from the input at a time.
const BUFFER: usize = 128 << 10;

/// Memory an xz stream may ask for. Its largest preset, `-9`, needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;

/// Largest zstd window, as a power of two: 128 MiB, what the `zstd` tool accepts unless told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Decompresses a stream of any known compression, or passes it through.
///
/// Reads on to the end of its input: further gzip members, zstd frames, xz and bzip2 streams are part
/// of the content. An input that ends within one of them, or holds anything else, is an error.
///
/// What comes out of compressed input is bounded by an [`Expansion`], the default one unless
/// [another](Self::with_expansion) is given; beyond it reading fails with [`Error::Expansion`].
pub struct Decoder<R: Read> {
    compression: Compression,
    inner: Inner<R>,
    expansion: Expansion,
    unpacked: u64,
}

enum Inner<R: Read> {
    None(R),
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<Input<R>>>),
    Gzip(Box<Gunzip<Input<R>>>),
    Xz(Box<liblzma::bufread::XzDecoder<Input<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<R>>>),
}

type Input<R> = BufReader<Counting<R>>;

/// Counts what is read.
struct Counting<R> {
    input: R,
    read: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buf)?;
        self.read += len as u64;
        Ok(len)
    }
}

impl<R: Read> Decoder<Peeked<R>> {
    /// A decoder for whatever `input` turns out to be.
    ///
    /// # Errors
    /// Those of reading the first bytes.
    pub fn new(input: R) -> io::Result<Self> {
        let (compression, input) = Compression::peek(input)?;
        Self::of(compression, input)
    }
}

impl<R: Read> Decoder<R> {
    /// A decoder for an input whose compression is known.
    ///
    /// # Errors
    /// Only for lack of memory.
    pub fn of(compression: Compression, input: R) -> io::Result<Self> {
        let buffered = |input| BufReader::with_capacity(BUFFER, Counting { input, read: 0 });
        let inner = match compression {
            Compression::None => Inner::None(input),
            Compression::Bzip2 => {
                Inner::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(buffered(input))))
            }
            Compression::Gzip => Inner::Gzip(Box::new(Gunzip::new(buffered(input)))),
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    XZ_MEMORY,
                    liblzma::stream::CONCATENATED,
                )?;
                Inner::Xz(Box::new(liblzma::bufread::XzDecoder::new_stream(
                    buffered(input),
                    stream,
                )))
            }
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(input))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { compression, inner, expansion: Expansion::default(), unpacked: 0 })
    }

    /// The same decoder with another bound on what comes out.
    #[must_use]
    pub fn with_expansion(mut self, expansion: Expansion) -> Self {
        self.expansion = expansion;
        self
    }

    /// What the input is.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The input, with whatever was not taken from it. At the end of the content that is nothing.
    pub fn into_inner(self) -> R {
        match self.inner {
            Inner::None(input) => input,
            Inner::Bzip2(decoder) => decoder.into_inner().into_inner().input,
            Inner::Gzip(decoder) => decoder.into_inner().into_inner().input,
            Inner::Xz(decoder) => decoder.into_inner().into_inner().input,
            Inner::Zstd(decoder) => decoder.finish().into_inner().input,
        }
    }

    /// Bytes that went in so far; `None` if nothing is decompressed.
    fn packed(&self) -> Option<u64> {
        let input = match &self.inner {
            Inner::None(_) => return None,
            Inner::Bzip2(decoder) => decoder.get_ref(),
            Inner::Gzip(decoder) => decoder.get_ref(),
            Inner::Xz(decoder) => decoder.get_ref(),
            Inner::Zstd(decoder) => decoder.get_ref(),
        };
        Some(input.get_ref().read)
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = match &mut self.inner {
            Inner::None(input) => input.read(buf)?,
            Inner::Bzip2(decoder) => decoder.read(buf)?,
            Inner::Gzip(decoder) => decoder.read(buf)?,
            Inner::Xz(decoder) => decoder.read(buf)?,
            Inner::Zstd(decoder) => decoder.read(buf)?,
        };
        self.unpacked += len as u64;
        match self.packed() {
            Some(packed) if !self.expansion.allows(self.unpacked, packed) => {
                Err(Error::Expansion(self.expansion).into())
            }
            _ => Ok(len),
        }
    }
}

impl<R: Read> fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("compression", &self.compression).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn compressed(compression: Compression, content: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => content.to_vec(),
            Compression::Gzip => {
                let mut out =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                out.write_all(content).unwrap();
                out.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(6));
                out.write_all(content).unwrap();
                out.finish().unwrap()
            }
            Compression::Xz => {
                let mut out = liblzma::write::XzEncoder::new(Vec::new(), 2);
                out.write_all(content).unwrap();
                out.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(content, 3).unwrap(),
        }
    }

    fn decoded(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Decoder::new(bytes)?.read_to_end(&mut content)?;
        Ok(content)
    }

    const PACKED: [Compression; 4] =
        [Compression::Bzip2, Compression::Gzip, Compression::Xz, Compression::Zstd];

    #[test]
    fn decodes_every_compression_and_all_parts() {
        let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(decoded(&content).unwrap(), content);
        for compression in PACKED {
            let packed = compressed(compression, &content);
            assert_eq!(Decoder::new(&packed[..]).unwrap().compression(), compression);
            let twice = [packed.as_slice(), &compressed(compression, b"tail")].concat();
            assert!(
                decoded(&twice).unwrap() == [&content[..], b"tail"].concat(),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let content: Vec<u8> = (0..2000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        for compression in PACKED {
            let packed = compressed(compression, &content);
            // Any shorter and it is not recognised, and passes as what it is.
            for len in 6..packed.len() {
                let error = decoded(&packed[..len]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{compression:?} {len}");
            }
        }
    }

    #[test]
    fn garbage_after_the_content_is_an_error() {
        for compression in PACKED {
            let packed =
                [compressed(compression, b"content"), b"garbage garbage".to_vec()].concat();
            assert!(decoded(&packed).is_err(), "{compression:?}");
        }
    }

    #[test]
    fn what_comes_out_is_bounded_by_what_went_in() {
        let expansion = Expansion { free: 1 << 20, ratio: 20 };
        let read = |bytes: &[u8]| {
            let mut decoder = Decoder::new(bytes).unwrap().with_expansion(expansion);
            io::copy(&mut decoder, &mut io::sink())
        };
        let noise: Vec<u8> =
            (0..1_000_000u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
        let free = usize::try_from(expansion.free).unwrap();
        for compression in PACKED {
            assert_eq!(read(&compressed(compression, &noise)).unwrap(), 4_000_000);
            assert_eq!(read(&compressed(compression, &vec![0; free])).unwrap(), expansion.free);
            let error = read(&compressed(compression, &vec![0; free + 1])).unwrap_err();
            assert_eq!(
                Error::from(error).to_string(),
                "compressed data is more than 20 times as large when unpacked, which is allowed up to 1048576 bytes"
            );
        }
        assert_eq!(read(&vec![0; 2 * free]).unwrap(), 2 * expansion.free);
    }

    #[test]
    fn hands_back_an_exhausted_input() {
        for compression in PACKED {
            let packed = compressed(compression, b"content");
            let mut decoder = Decoder::of(compression, &packed[..]).unwrap();
            io::copy(&mut decoder, &mut io::sink()).unwrap();
            assert_eq!(decoder.into_inner(), b"", "{compression:?}");
        }
    }
}
