//! Reports of removals.

use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::{ErrorKind, PrunedImage, RemoveReport};

/// What a removal has done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageRemove)]
pub(crate) struct Remove {
    /// IDs of images that are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deleted: Vec<String>,
    /// Names that are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    untagged: Vec<String>,
    /// 0 without errors, 2 if an image is in use, 1 if all that failed was unknown, else 125.
    exit_code: u8,
    #[schema(required)]
    errors: Option<Vec<String>>,
}

impl Remove {
    /// The answer about a single image, whose failure is an error response: `Errors` is `[]`.
    pub(crate) fn one(report: RemoveReport) -> Self {
        Self { errors: Some(Vec::new()), ..Self::batch(report) }
    }

    /// The answer about several images: `Errors` is null if there are none.
    pub(crate) fn batch(report: RemoveReport) -> Self {
        Self {
            exit_code: exit_code(&report),
            deleted: report.deleted.iter().map(ToString::to_string).collect(),
            untagged: report.untagged,
            errors: super::null_if_empty(report.errors.iter().map(ToString::to_string).collect()),
        }
    }
}

/// An image that was pruned.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImagePrune)]
pub(crate) struct Pruned {
    /// ID without prefix.
    id: String,
    /// Bytes, with layers that were shared and may still be there.
    size: i64,
}

impl From<PrunedImage> for Pruned {
    fn from(image: PrunedImage) -> Self {
        Self { id: image.id.to_string(), size: image.size_bytes }
    }
}

fn exit_code(report: &RemoveReport) -> u8 {
    let mut kinds = report.errors.iter().map(|error| error.kind());
    if report.errors.is_empty() {
        0
    } else if kinds.clone().any(|kind| kind == ErrorKind::InUse) {
        2
    } else if kinds.all(|kind| kind == ErrorKind::NoSuchImage) {
        1
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Error;

    #[test]
    fn exit_codes() {
        use ErrorKind::{Conflict, InUse, NoSuchImage};
        for (kinds, code) in [
            (&[][..], 0),
            (&[NoSuchImage], 1),
            (&[NoSuchImage, NoSuchImage], 1),
            (&[NoSuchImage, Conflict], 125),
            (&[Conflict], 125),
            (&[NoSuchImage, Conflict, InUse], 2),
        ] {
            let errors = kinds.iter().map(|&kind| Error::new(kind, "x")).collect();
            assert_eq!(exit_code(&RemoveReport { errors, ..Default::default() }), code);
        }
    }
}
