//! Registries and other servers, as a client of HTTP.
//!
//! | file | its one job |
//! |---|---|
//! | [`download`] | one body from a URL that a caller names |
//! | `http` | the client: time-outs, proxies, redirects, words for what goes wrong |
//! | `tls` | whom to trust |
//! | [`error`] | what went wrong |
//!
//! A client is made for each operation and dropped after it: nothing of TLS is in memory while
//! nobody asks for it, and changed certificates count at once.

pub mod download;
pub mod error;
mod http;
mod tls;

pub use download::{Download, download};
pub use error::{Error, ErrorKind};
