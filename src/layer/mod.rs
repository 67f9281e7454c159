//! Layers: from a tar stream to a tree on disk and back, bit for bit.
//!
//! [`unpack()`] reads a layer once, compressed or not, and in that pass hashes it, applies it below a
//! root directory as the overlay driver of containers/storage would, and writes the *tar-split*: the
//! part of the tar that the tree does not hold. [`rebuild()`] joins the two again. [`capture()`] makes a
//! layer of trees that no tar is known of: what a container has changed. [`Decoder`] and
//! [`GzipWriter`] are the compression on either side, [`TarReader`] the tar reader below it all, which
//! archives of whole images use too.
//!
//! Everything here blocks. Nothing of the size of a layer is held in memory. Input is hostile: a
//! layer may be malformed, but it can neither panic us, nor reach a file outside its root, nor make us
//! keep more than [`Limits`] allows. Where the kernel can, the threads that unpack it are
//! [confined](crate::sys::confine) to its root, and those that decompress anything else to nothing at all.
//!
//! This module knows no stores, records or locks; where the root is and who may see it is its
//! caller's business.

mod apart;
mod apply;
mod capture;
mod compression;
mod crc64;
mod decode;
mod dirs;
mod entries;
mod error;
mod gunzip;
mod gzip;
mod header;
mod limits;
mod meta;
mod name;
mod pax;
mod pool;
mod rebuild;
mod room;
mod sparse;
mod stream;
mod tarsplit;
mod trees;
mod unpack;
mod whiteout;
mod write;

pub use apart::read_decompressed;
pub use capture::{Capture, OwnerMap, capture};
pub use compression::Compression;
pub use decode::Decoder;
pub use entries::{Entry, EntryKind, TarEntry, TarReader, Time};
pub use error::Error;
pub use gzip::{GzipWriter, Members};
pub use limits::{Expansion, Limits};
pub use rebuild::{Rebuilt, rebuild, rebuild_hashed, rebuild_into};
pub use room::Room;
pub use sparse::SparseFile;
pub use trees::{Node, Stack, Trees, is_dir};
pub use unpack::{UnpackOptions, Unpacked, Whiteouts, unpack};

/// Result of this module's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
