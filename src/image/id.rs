//! Identifiers of store objects: 64 lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::digest::{DiffId, Digest, hex, is_lower_hex};

/// Why a text is not the identifier of an image or a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid ID {0:?}: expected 64 lower-case hexadecimal digits")]
pub struct IdError(String);

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The 64 hexadecimal digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first twelve digits, as shown to people.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() == 64 && is_lower_hex(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError(text.to_owned()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type! {
    /// An image's ID: normally the hexadecimal part of its config's digest.
    ImageId
}

id_type! {
    /// A layer's ID in the store.
    LayerId
}

impl ImageId {
    /// The ID of the image whose config has this digest.
    pub fn of_config(config: &Digest) -> Result<Self, IdError> {
        config.hex().parse()
    }
}

impl LayerId {
    /// The ID that containers/storage gives a layer with this content on top of `parent`: the diff
    /// ID itself for a base layer, else the SHA-256 of `<parent>+<diff ID>`.
    ///
    /// Only valid for creating layers. Layers that exist may have random IDs (containers,
    /// ID-mapped copies).
    pub fn derive(parent: Option<&Self>, diff_id: &DiffId) -> Self {
        match parent {
            None => Self(diff_id.hex().into()),
            Some(parent) => {
                let text = format!("{parent}+{}", diff_id.hex());
                Self(hex(&Sha256::digest(text.as_bytes())).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_anything_that_could_be_a_path() {
        for text in
            ["", "..", "a/b", &"A".repeat(64), &"a".repeat(63), &format!("{}\n", "a".repeat(63))]
        {
            assert!(text.parse::<ImageId>().is_err(), "{text:?}");
        }
        assert_eq!(
            "0123456789ab".repeat(6)[..64].parse::<LayerId>().unwrap().short(),
            "0123456789ab"
        );
    }

    #[test]
    fn child_layer_ids_depend_on_the_parent() {
        let diff: DiffId = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
        let base = LayerId::derive(None, &diff);
        assert_eq!(base.as_str(), diff.hex());
        let child = LayerId::derive(Some(&base), &diff);
        assert_eq!(child.as_str(), Digest::of(format!("{base}+{}", diff.hex()).as_bytes()).hex());
    }
}
