//! How large a layer and its parts may be.

/// Bounds on what one layer may cost: memory, disk, and time to walk through it. They are far above
/// what real images contain; a layer that exceeds one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the uncompressed tar. Default 1 TiB: images with the weights of models have layers of
    /// hundreds of GiB. What is free on the disk is nearly always less.
    pub unpacked: u64,
    /// How far compression may go.
    pub expansion: Expansion,
    /// Entries in one tar, with the directories that are only implied by their names. Each costs
    /// some 40 bytes while the layer is unpacked. Default 4 million.
    pub entries: u32,
    /// Bytes of the names of all directories, which are kept until the end: only then are their
    /// times set. Default 256 MiB, which is millions of directories.
    pub directories: usize,
    /// Users that own entries, and as many groups. The record of the layer names them all, in a file
    /// that every tool reads all the time. Default 65,536, all that user namespaces usually have.
    pub owners: usize,
    /// Bytes of one entry's name or link target. Default 4096, the kernel's `PATH_MAX`: a longer
    /// name could not be opened by tools that use whole paths.
    pub name: usize,
    /// Components of one name. Default 256; up to as many directories are held open.
    pub depth: usize,
    /// Bytes of one extension header (PAX records, GNU long name). Default 1 MiB, as in Go.
    pub extension: usize,
    /// Bytes of all extension headers of one entry, their own headers included. Default 4 MiB.
    pub extensions: usize,
    /// Extended attributes of one entry. Default 1024; the kernel's list of names holds 64 KiB.
    pub xattrs: usize,
    /// Data regions of one sparse file. Default 256 thousand.
    pub sparse_regions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked: 1 << 40,
            expansion: Expansion::default(),
            entries: 4 << 20,
            directories: 256 << 20,
            owners: 65_536,
            name: 4096,
            depth: 256,
            extension: 1 << 20,
            extensions: 4 << 20,
            xattrs: 1024,
            sparse_regions: 256 << 10,
        }
    }
}

/// How much may come out of a compressed stream.
///
/// A ratio alone would refuse real layers: a disk image that is mostly empty packs a thousand times
/// smaller. So it counts only for what is larger than anything that packs that well and is no attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expansion {
    /// Bytes that may come out in any case. Default 32 GiB.
    pub free: u64,
    /// Bytes that may come out for each that went in. Default 200: programs pack 3 times, logs 20
    /// times, and gzip cannot go further than 1032.
    pub ratio: u64,
}

impl Default for Expansion {
    fn default() -> Self {
        Self { free: 32 << 30, ratio: 200 }
    }
}

impl Expansion {
    /// Whether so much may have come out of so much.
    pub(super) fn allows(self, unpacked: u64, packed: u64) -> bool {
        unpacked <= self.free || unpacked <= packed.saturating_mul(self.ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_counts_beyond_what_is_free() {
        let expansion = Expansion { free: 1000, ratio: 10 };
        for (unpacked, packed, allowed) in [
            (1000, 0, true),
            (1001, 0, false),
            (1001, 100, false),
            (1001, 101, true),
            (5000, 500, true),
            (5001, 500, false),
            (u64::MAX, u64::MAX / 2, true),
        ] {
            assert_eq!(expansion.allows(unpacked, packed), allowed, "{unpacked} from {packed}");
        }
    }
}
