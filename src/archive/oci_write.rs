//! Writing a tar of an OCI image layout.

use std::io::{self, Write};

use super::SavedImage;
use super::blob::{Blob, BlobOptions, same_blobs, write_layers};
use super::tar_writer::TarWriter;
use crate::image::document::{OciDescriptor, OciIndex};
use crate::image::{
    Digest, ManifestKind, Packing, docker_config_to_oci, go_json, media_type, oci_manifest,
};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Streams an archive of one image. `layer(out, index)` writes the uncompressed tar of one layer;
/// an error of it ends the archive in the middle.
pub fn write_oci_archive<W: Write>(
    image: &SavedImage,
    options: &BlobOptions<'_>,
    out: W,
    mut layer: impl FnMut(&mut dyn Write, usize) -> io::Result<()>,
) -> io::Result<W> {
    let mut tar = TarWriter::new(out, 0o644, options.mtime);
    // The small parts come first, so that the reader of the stream gets its first bytes at once.
    tar.document("oci-layout", LAYOUT)?;
    tar.directory("blobs/")?;
    tar.directory("blobs/sha256/")?;
    let config = match image.manifest.kind() {
        ManifestKind::Oci => image.config.to_vec(),
        _ => docker_config_to_oci(&image.config)?,
    };
    write_blob(&mut tar, &config)?;

    let layers = write_layers(&mut tar, image, options, path_of, &mut layer)?;
    let manifest = manifest(image, &config, &layers, options.compress)?;
    let digest = Digest::of(&manifest);
    write_blob(&mut tar, &manifest)?;
    tar.document("index.json", &index(image, &digest, manifest.len() as u64)?)?;
    tar.finish()
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn write_blob<W: Write>(tar: &mut TarWriter<W>, content: &[u8]) -> io::Result<()> {
    tar.document(&path_of(&Digest::of(content)), content)
}

fn manifest(
    image: &SavedImage,
    config: &[u8],
    layers: &[Blob],
    compress: bool,
) -> io::Result<Vec<u8>> {
    let stored = &image.manifest;
    if stored.kind() == ManifestKind::Oci && same_blobs(stored, layers) {
        // Nothing had to change, so neither does the manifest's digest.
        return Ok(stored.raw().to_vec());
    }
    let packing = if compress { Packing::Gzip } else { Packing::Plain };
    let layers: Vec<_> = layers.iter().map(|blob| blob.packed(packing)).collect();
    oci_manifest(stored, config, &layers).map_err(io::Error::other)
}

fn index(image: &SavedImage, manifest: &Digest, size: u64) -> io::Result<Vec<u8>> {
    let name = image.names.first().map(ToString::to_string);
    let annotations = name.as_deref().map(|name| (REF_NAME, name)).into_iter().collect();
    let entry = OciDescriptor {
        media_type: media_type::OCI_MANIFEST,
        digest: manifest.as_str(),
        size,
        annotations,
    };
    let document =
        OciIndex { schema_version: 2, media_type: media_type::OCI_INDEX, manifests: vec![entry] };
    Ok(go_json::to_vec(&document)?)
}
