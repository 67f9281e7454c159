//! What is fuzzed: everything that reads what a stranger may have written.
//!
//! Each target promises that no input makes it panic, hang or take memory without bounds, and more where
//! its file says so. `dist/dev/fuzz.sh` runs all of them on a stable compiler, `cargo fuzz run TARGET` one
//! of them on a nightly.
//!
//! | target | input | what reads it |
//! |---|---|---|
//! | `layer` | a tar, its checksums set right | unpacking, and putting it together again |
//! | `tarsplit` | the lines of a tar-split | putting a layer together |
//! | `archive` | a tar, its checksums set right | finding images in archives of every format |
//! | `references` | a name | parsing names |
//! | `documents` | JSON | manifests, indexes and configs, and their conversions |
//! | `changes` | lines | the instructions of imports and commits |
//! | `settings` | a byte that says which, and a file | `policy.json`, `registries.conf`, `storage.conf`, `containers.conf` |
//! | `requests` | a method, a space, a path and query | the whole service on an empty store |
//! | `records` | files with a NUL between them | a store with these records, and the service on it |
//! | `registry` | answers with a NUL between them | a pull from a registry that gives them |

mod archive;
mod layer;
mod registry;
mod scratch;
mod service;
mod tar;
mod text;

pub use archive::archive;
pub use layer::{layer, tarsplit};
pub use registry::registry;
pub use service::{records, requests};
pub use text::{changes, documents, references, settings};

/// A target.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("layer", layer),
    ("tarsplit", tarsplit),
    ("archive", archive),
    ("references", references),
    ("documents", documents),
    ("changes", changes),
    ("settings", settings),
    ("requests", requests),
    ("records", records),
    ("registry", registry),
];
