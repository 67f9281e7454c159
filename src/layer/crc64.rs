//! The checksum of payloads in a tar-split: CRC-64 with the ISO polynomial, as Go's `hash/crc64`
//! computes it, stored big endian.

use crc_fast::{CrcAlgorithm, Digest};

/// A checksum under way.
#[derive(Debug, Clone)]
pub(super) struct Crc64(Digest);

impl Crc64 {
    /// The checksum of nothing so far.
    pub(super) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64GoIso))
    }

    /// The bytes a tar-split holds for `content`.
    pub(super) fn of(content: &[u8]) -> [u8; 8] {
        crc_fast::checksum(CrcAlgorithm::Crc64GoIso, content).to_be_bytes()
    }

    pub(super) fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    pub(super) fn finish(self) -> [u8; 8] {
        self.0.finalize().to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_crc_of_go() {
        assert_eq!(Crc64::of(b"123456789"), 0xb909_56c7_75a4_1001_u64.to_be_bytes());
        let mut parts = Crc64::new();
        parts.update(b"1234");
        parts.update(b"");
        parts.update(b"56789");
        assert_eq!(parts.finish(), Crc64::of(b"123456789"));
    }

    #[test]
    fn every_length_agrees_with_the_definition() {
        fn slow(content: &[u8]) -> u64 {
            !content.iter().fold(!0, |crc, byte| {
                (0..8).fold(crc ^ u64::from(*byte), |crc: u64, _| {
                    (crc >> 1) ^ if crc & 1 == 1 { 0xd800_0000_0000_0000 } else { 0 }
                })
            })
        }
        let content: Vec<u8> = (0..1200u32).map(|n| (n * n % 251) as u8).collect();
        for len in 0..content.len() {
            assert_eq!(Crc64::of(&content[..len]), slow(&content[..len]).to_be_bytes(), "{len}");
        }
    }
}
