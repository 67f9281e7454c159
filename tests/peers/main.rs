//! Programs that were written for Podman, or for any API, drive the daemon.
//!
//! `dist/dev/peers.sh` installs them: Python in a virtual environment, Rust in a target directory of
//! its own. One that is missing fails the tests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod document;
mod podman_py;
mod rust;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python program of the virtual environment, not yet run.
fn peer(program: &str) -> Command {
    let mut command = installed(&Path::new("peers-venv/bin").join(program));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A program below the target directory, not yet run, that sees nothing of the user's settings.
fn installed(path: &Path) -> Command {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join(path);
    assert!(path.exists(), "{} is missing: dist/dev/peers.sh installs it", path.display());
    let mut command = Command::new(path);
    for variable in ["PYTHONPATH", "PYTHONHOME", "CONTAINER_HOST", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(variable);
    }
    command.env("NO_PROXY", "*");
    command
}

/// A file beside this one.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}
