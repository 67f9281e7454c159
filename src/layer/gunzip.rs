//! Unpacking of gzip: members one after the other, to the end of the input.

use std::io::{self, BufRead, Read};

/// Unpacks all members of `R`. An input that ends within one, or holds anything else, is an error.
#[cfg(not(feature = "isal"))]
pub(super) struct Gunzip<R>(flate2::bufread::MultiGzDecoder<R>);

#[cfg(not(feature = "isal"))]
impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(input: R) -> Self {
        Self(flate2::bufread::MultiGzDecoder::new(input))
    }

    /// The input, with whatever was not taken from it.
    pub(super) fn into_inner(self) -> R {
        self.0.into_inner()
    }

    /// The input.
    pub(super) fn get_ref(&self) -> &R {
        self.0.get_ref()
    }
}

#[cfg(not(feature = "isal"))]
impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// Unpacks all members of `R`. An input that ends within one, or holds anything else, is an error.
#[cfg(feature = "isal")]
pub(super) struct Gunzip<R> {
    input: R,
    member: crate::sys::isal::Inflate,
}

#[cfg(feature = "isal")]
impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, member: crate::sys::isal::Inflate::new() }
    }

    /// The input, with whatever was not taken from it.
    pub(super) fn into_inner(self) -> R {
        self.input
    }

    /// The input.
    pub(super) fn get_ref(&self) -> &R {
        &self.input
    }
}

#[cfg(feature = "isal")]
impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let available = self.input.fill_buf()?;
            let is_last = available.is_empty();
            if self.member.is_finished() {
                if is_last {
                    return Ok(0);
                }
                self.member.reset();
            }
            let step = self
                .member
                .step(available, buf)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.input.consume(step.read);
            if step.written > 0 {
                return Ok(step.written);
            }
            if is_last && !self.member.is_finished() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
