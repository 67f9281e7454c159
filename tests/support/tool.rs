//! Running peer tools: standard output on success, everything in the panic otherwise.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

/// Runs `command` and returns its standard output without the final newline.
///
/// # Panics
/// When the program is missing or fails, with both of its outputs.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{}", describe(command, &output));
    text(&output.stdout)
}

/// As [`run`], for tools that look a layer up and use it under separate locks: when another writer
/// removes it in between they fail with "layer not known", and have to be asked again.
///
/// # Panics
/// When the program is missing, fails for another reason, or keeps failing.
#[track_caller]
pub(crate) fn run_racing(command: &mut Command) -> String {
    const ATTEMPTS: usize = 10;
    for _ in 1..ATTEMPTS {
        let output = output(command);
        if output.status.success() {
            return text(&output.stdout);
        }
        let lost_race = text(&output.stderr).contains("layer not known");
        assert!(lost_race, "{}", describe(command, &output));
    }
    run(command)
}

/// Runs `command`, which must fail, and returns its standard error.
///
/// # Panics
/// When the program is missing or succeeds.
#[track_caller]
pub(crate) fn run_failing(command: &mut Command) -> String {
    let output = output(command);
    assert!(!output.status.success(), "must fail: {}", describe(command, &output));
    text(&output.stderr)
}

/// Runs `command` to its end, whatever that is.
///
/// # Panics
/// When the program cannot be started: every peer tool is required.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{} must be installed: {error}", name(command)))
}

/// `program` with `args`, as a shorthand for tools that need no store.
pub(crate) fn command<A: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// The command line and both outputs, for a panic.
pub(crate) fn describe(command: &Command, output: &Output) -> String {
    format!(
        "{command:?}\n{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned()
}
