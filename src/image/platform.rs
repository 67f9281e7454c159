//! The platform an image is built for, in Go's words (`linux`, `amd64`).

use serde::{Deserialize, Serialize};

/// Operating system, architecture and CPU variant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Go's `GOOS`.
    #[serde(default)]
    pub os: String,
    /// Go's `GOARCH`.
    #[serde(default)]
    pub architecture: String,
    /// The CPU variant, such as `v7` or `v8`; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The platform this program was compiled for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
            "powerpc64" => ("ppc64", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// Whether an image for `self` runs where `wanted` is asked for. A missing variant on either
    /// side matches any.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (self.variant == wanted.variant
                || self.variant.is_empty()
                || wanted.variant.is_empty())
    }
}
