//! How large the parts of a layer may be.

/// Bounds on what one layer may make us keep in memory or walk through. They are far above what real
/// images contain; a layer that exceeds one is refused.
///
/// The length of the layer itself is not bounded: that is the file system's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries in one tar. Each costs some 40 bytes while the layer is unpacked. Default 4 million.
    pub entries: u32,
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
            entries: 4 << 20,
            name: 4096,
            depth: 256,
            extension: 1 << 20,
            extensions: 4 << 20,
            xattrs: 1024,
            sparse_regions: 256 << 10,
        }
    }
}
