//! Archives of images, in every format at once.

use std::io::{self, Read};

use imaged::archive::{
    Error, Limits, StageError, dir_image, docker_images, oci_directory_images, oci_image,
    oci_images, scan,
};
use imaged::image::{DiffId, Digest, Platform};
use imaged::layer::{Compression, Decoder, Expansion, Unpacked};

use crate::tar;

/// A layer that is only measured.
struct Measured(Unpacked);

impl AsRef<Unpacked> for Measured {
    fn as_ref(&self) -> &Unpacked {
        &self.0
    }
}

fn measure(content: &mut (dyn Read + Send)) -> Result<Measured, StageError<Error>> {
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(|error| StageError::Content(error.into()))?;
    let digest = Digest::of(&bytes);
    let value = std::array::from_fn(|at| {
        u8::from_str_radix(&digest.hex()[2 * at..2 * at + 2], 16).expect("hexadecimal")
    });
    Ok(Measured(Unpacked {
        compression: Compression::None,
        compressed_digest: digest,
        compressed_size: bytes.len() as u64,
        diff_id: DiffId::from_sha256(value),
        diff_size: bytes.len() as u64,
        uids: Vec::new(),
        gids: Vec::new(),
        is_doubtful: false,
    }))
}

/// What an image says of itself is what its documents are: the config has its digest, and the layers
/// are as many as the config says.
pub fn archive(input: &[u8]) {
    // Both plain and as what it may be packed as.
    let Ok(decoder) = Decoder::new(input) else { return };
    let decoder = decoder.with_expansion(Expansion { free: 1 << 20, ratio: 1 });
    let mut unpacked = Vec::new();
    if decoder.take(2 << 20).read_to_end(&mut unpacked).is_err() {
        return;
    }
    let bytes = tar::with_checksums(&unpacked);
    let limits = Limits { members: 1000, ..Limits::default() };
    let Ok(members) = scan::<_, _, Error>(io::Cursor::new(bytes), &limits, measure) else { return };
    let platform = Platform::host();
    let found = [
        docker_images(&members),
        oci_images(&members, &platform),
        oci_directory_images(&members, &platform),
        oci_image(&members, &platform).map(|image| vec![image]),
        dir_image(&members, &platform).map(|image| vec![image]),
    ];
    for image in found.into_iter().flatten().flatten() {
        assert_eq!(Digest::of(&image.config), image.config_digest);
        assert_eq!(image.diff_ids.len(), image.parsed_config.diff_ids().len());
    }
}
