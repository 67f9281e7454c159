//! Programs that were written for Podman, or for any API, drive the daemon.
//!
//! They are Python, in the virtual environment that `dist/dev/peers.sh` makes: one that is missing
//! fails the tests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod document;
mod podman_py;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the virtual environment, not yet run, that sees nothing of the user's settings.
fn peer(program: &str) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("peers-venv/bin").join(program);
    assert!(path.exists(), "{} is missing: dist/dev/peers.sh installs it", path.display());
    let mut command = Command::new(path);
    for variable in ["PYTHONPATH", "PYTHONHOME", "CONTAINER_HOST", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(variable);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*");
    command
}

/// A file beside this one.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}
