//! The long runs of `make soak`, and the figures that tests report.

use std::fs::File;
use std::io::Write as _;

/// Whether this is a long run: `IMAGED_SOAK` is set.
pub(crate) fn soaking() -> bool {
    std::env::var_os("IMAGED_SOAK").is_some()
}

/// Reports a figure: what a promise came to in this run. Printed, and appended to the file that
/// `IMAGED_FIGURES` names, of which `make soak` makes its table.
#[allow(clippy::print_stdout, reason = "shown by a long run")]
pub(crate) fn figure(promise: &str, measured: &str, value: &str) {
    println!("{promise} | {measured} | {value}");
    if let Some(path) = std::env::var_os("IMAGED_FIGURES") {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        // One write, so that tests that run at once do not mix their lines.
        file.write_all(format!("{promise}\t{measured}\t{value}\n").as_bytes()).unwrap();
    }
}
