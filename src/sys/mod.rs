//! The kernel, as far as rustix does not already wrap it safely. The only module with `unsafe`.

mod cancel;
pub mod confine;
mod exhaustion;
#[cfg(feature = "isal")]
#[allow(unsafe_code)]
pub mod isal;
#[allow(unsafe_code)]
mod lock;
#[allow(unsafe_code)]
pub mod memory;
pub mod namespace;
pub mod tree;

pub use cancel::{Cancel, Canceled};
pub use exhaustion::is_exhaustion;
pub use lock::{FileLock, LockError, LockMode};
