//! `imaged check`.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::words::{counts, finding_json, print_finding};
use super::{Error, Outcome};
use crate::config::{CheckArgs, LookArgs};
use crate::storage::{CheckOptions, ReadData, Report, Store, StoreOptions, Unused};
use crate::sys::Cancel;

/// Looks for what is wrong with a store, and changes nothing.
///
/// # Errors
/// A store that cannot be looked at.
pub fn check(options: &StoreOptions, args: &CheckArgs) -> Result<Outcome, Error> {
    let store = Store::look(options.clone())?;
    let report = store.check(look_options(&args.look), Unused::Keep, &Cancel::new())?;
    let mut out = std::io::stdout().lock();
    let root = &store.options().graph_root;
    if args.look.json {
        let document = json!({
            "graphRoot": root,
            "sound": report.is_sound(),
            "readData": args.look.read_data,
            "checked": counts(&report).json(),
            "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        });
        writeln!(out, "{document:#}")?;
    } else {
        let counts = counts(&report);
        let depth = if args.look.read_data { "" } else { "; contents were not read (--read-data)" };
        match report.findings.len() {
            0 => writeln!(out, "{}: sound: {counts}{depth}", root.display())?,
            1 => writeln!(out, "{}: 1 finding: {counts}{depth}", root.display())?,
            many => writeln!(out, "{}: {many} findings: {counts}{depth}", root.display())?,
        }
        report.findings.iter().try_for_each(|finding| print_finding(&mut out, finding))?;
    }
    out.flush()?;
    Ok(outcome(&report))
}

pub(super) fn outcome(report: &Report) -> Outcome {
    if report.is_sound() { Outcome::Sound } else { Outcome::Findings }
}

pub(super) fn look_options(args: &LookArgs) -> CheckOptions {
    CheckOptions {
        read_data: if args.read_data { ReadData::Yes } else { ReadData::No },
        grace: Duration::from_secs(args.grace),
    }
}
