//! Writing a tar of what the transport `dir:` keeps in a directory: an image with a Docker
//! manifest, in files named after their digests.

use std::io::{self, Write};

use super::SavedImage;
use super::blob::{Blob, BlobOptions, same_blobs, write_layers};
use super::tar_writer::TarWriter;
use crate::image::{Digest, ManifestKind, Packing, docker_manifest};

const VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

/// Streams a directory with one image. `layer(out, index)` writes the uncompressed tar of one
/// layer; an error of it ends the tar in the middle. The config stays as it is, and so the image
/// keeps its ID.
pub fn write_docker_dir<W: Write>(
    image: &SavedImage,
    options: &BlobOptions<'_>,
    out: W,
    mut layer: impl FnMut(&mut dyn Write, usize) -> io::Result<()>,
) -> io::Result<W> {
    let mut tar = TarWriter::new(out, 0o644, options.mtime);
    // The small parts come first, so that the reader of the stream gets its first bytes at once.
    tar.document("version", VERSION)?;
    let config = Digest::of(&image.config);
    tar.document(config.hex(), &image.config)?;
    let path_of = |digest: &Digest| digest.hex().to_owned();
    let layers = write_layers(&mut tar, image, options, path_of, &mut layer)?;
    tar.document("manifest.json", &manifest(image, &layers, options.compress)?)?;
    tar.finish()
}

fn manifest(image: &SavedImage, layers: &[Blob], compress: bool) -> io::Result<Vec<u8>> {
    let stored = &image.manifest;
    if stored.kind() == ManifestKind::Docker && same_blobs(stored, layers) {
        // Nothing had to change, so neither does the manifest's digest.
        return Ok(stored.raw().to_vec());
    }
    let packing = if compress { Packing::Gzip } else { Packing::Plain };
    let layers: Vec<_> = layers.iter().map(|blob| blob.packed(packing)).collect();
    docker_manifest(stored, &image.config, &layers).map_err(io::Error::other)
}
