//! The event log: a file that Podman's `file` events logger and this program write and read at the
//! same time.
//!
//! ```text
//! events.log       one JSON object a line, oldest first; replaced as a whole when it is rotated
//! events.log.lock  held alone by whoever appends or rotates; readers take no lock
//! ```
//!
//! A line is an [`Event`], in the words of Podman. When a line would make the file longer than its
//! limit, the newer half of the lines goes into a new file, between two marks, which takes the
//! place of the old one. A [`LogReader`] follows through that: it knows the last line it gave out,
//! and goes on behind it in the new file.
//!
//! Everything here blocks. What events there are, and who wants which, is for the engine.

mod log;
mod reader;
mod record;
mod watch;

pub use log::{EventLog, LogError};
pub use reader::{LogReader, Position};
pub use record::{Event, ImageAction};
pub use watch::watch_directory;
