//! Packing of one block.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

use super::BLOCK;

/// Where a block is looked at to see whether it can be packed at all.
const SAMPLES: usize = 8;
/// Length of each place, bytes.
const SAMPLE: usize = 4 << 10;

/// Packs blocks. What is packed already, as archives and pictures are, is only stored, which costs a
/// fraction of finding out at every byte that there is nothing to be had.
pub(super) struct Packer {
    level: i32,
    packing: Deflate,
    trying: Compressor,
    storing: Compressor,
}

/// What packs a block that gets smaller.
enum Deflate {
    Anywhere(Compressor),
    #[cfg(feature = "isal")]
    Here(crate::sys::isal::Deflate),
}

impl Deflate {
    /// At one of zlib's levels, by the fastest that there is for it.
    fn new(level: i32) -> Self {
        #[cfg(feature = "isal")]
        {
            use crate::sys::isal::{self, Effort};
            match level {
                1 | 2 => return Self::Here(isal::Deflate::new(Effort::Low)),
                3 | 4 => return Self::Here(isal::Deflate::new(Effort::High)),
                _ => {}
            }
        }
        Self::Anywhere(compressor(level))
    }

    fn member(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Anywhere(compressor) => member(compressor, content),
            #[cfg(feature = "isal")]
            Self::Here(deflate) => deflate
                .member(content)
                .ok_or_else(|| io::Error::other("a block was too long to be packed")),
        }
    }
}

fn compressor(level: i32) -> Compressor {
    Compressor::new(CompressionLvl::new(level).unwrap_or_default())
}

fn member(compressor: &mut Compressor, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(content.len())];
    let len = compressor.gzip_compress(content, &mut member).map_err(io::Error::other)?;
    member.truncate(len);
    Ok(member)
}

impl Packer {
    /// Packs at one of zlib's levels.
    pub(super) fn new(level: i32) -> Self {
        let packing = Deflate::new(level);
        Self { level, packing, trying: compressor(1), storing: compressor(0) }
    }

    /// The level.
    pub(super) fn level(&self) -> i32 {
        self.level
    }

    /// A member with all of `content`.
    pub(super) fn pack(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        if self.is_dense(content) {
            member(&mut self.storing, content)
        } else {
            self.packing.member(content)
        }
    }

    /// Whether nothing in `content` seems to get smaller. Depends on the content only.
    fn is_dense(&mut self, content: &[u8]) -> bool {
        // Of less there is nothing to be gained.
        if content.len() < BLOCK / 2 {
            return false;
        }
        let mut out = [0; SAMPLE];
        let step = content.len() / SAMPLES;
        content.chunks(step).take(SAMPLES).all(|part| {
            let sample = &part[..part.len().min(SAMPLE)];
            // It is dense if it does not fit into a little less than its own length.
            let room = sample.len() - sample.len() / 32;
            self.trying.deflate_compress(sample, &mut out[..room]).is_err()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::layer::Decoder;

    #[test]
    fn what_is_packed_already_is_stored() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56).to_le_bytes()[0]
        };
        let dense: Vec<u8> = (0..BLOCK).map(|_| random()).collect();
        let mixed: Vec<u8> =
            (0..BLOCK).map(|at| if at < BLOCK / 2 { random() } else { b'x' }).collect();
        let mut packer = Packer::new(1);
        assert!(packer.is_dense(&dense));
        assert!(!packer.is_dense(&mixed) && !packer.is_dense(&vec![0; BLOCK]));
        assert!(!packer.is_dense(&[]) && !packer.is_dense(&dense[..1000]));
        for content in [dense, mixed] {
            let member = packer.pack(&content).unwrap();
            assert!(member.len() < content.len() + 200);
            let mut unpacked = Vec::new();
            Decoder::new(&member[..]).unwrap().read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == content);
        }
    }
}
