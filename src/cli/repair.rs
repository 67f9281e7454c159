//! `imaged repair`.

use std::io::{StdoutLock, Write as _};

use serde_json::{Value, json};

use super::check::{look_options, outcome};
use super::words::{finding_json, print_finding};
use super::{Error, Outcome};
use crate::config::RepairArgs;
use crate::storage::{Action, Kept, Repaired, Report, Store, StoreOptions, Unused};
use crate::sys::Cancel;

/// Says what would put a store right, and with `--apply` does it.
///
/// # Errors
/// A store that cannot be looked at, or not be written.
pub fn repair(options: &StoreOptions, args: &RepairArgs) -> Result<Outcome, Error> {
    let cancel = Cancel::new();
    let look = look_options(&args.look);
    let unused = if args.unused_layers { Unused::Remove } else { Unused::Keep };
    let report = Store::look(options.clone())?.check(look, unused, &cancel)?;
    let mut out = std::io::stdout().lock();
    if !args.apply {
        if args.look.json {
            let document = dry_json(options, &report);
            writeln!(out, "{document:#}")?;
        } else {
            print_dry(&mut out, options, &report)?;
        }
        out.flush()?;
        return Ok(outcome(&report));
    }
    let repaired = if report.plan.actions.is_empty() {
        Repaired::default()
    } else {
        Store::open(options.clone(), &cancel)?.repair(&report, look, unused, &cancel)?
    };
    let after = Store::look(options.clone())?.check(look, unused, &cancel)?;
    if args.look.json {
        let document = json!({
            "graphRoot": options.graph_root,
            "applied": true,
            "sound": after.is_sound(),
            "actions": actions_json(&repaired.done),
            "failed": kept_json(&repaired.failed),
            "kept": kept_json(&after.plan.kept),
            "findings": after.findings.iter().map(finding_json).collect::<Vec<_>>(),
        });
        writeln!(out, "{document:#}")?;
    } else {
        print_done(&mut out, options, &repaired, &after)?;
    }
    out.flush()?;
    Ok(outcome(&after))
}

fn dry_json(options: &StoreOptions, report: &Report) -> Value {
    json!({
        "graphRoot": options.graph_root,
        "applied": false,
        "sound": report.is_sound(),
        "actions": actions_json(&report.plan.actions),
        "kept": kept_json(&report.plan.kept),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

fn print_dry(
    out: &mut StdoutLock<'_>,
    options: &StoreOptions,
    report: &Report,
) -> std::io::Result<()> {
    let root = options.graph_root.display();
    if report.is_sound() {
        return writeln!(out, "{root}: sound, nothing to do");
    }
    for Action { what, why, .. } in &report.plan.actions {
        writeln!(out, "would {what}\n    because {why}")?;
    }
    print_kept(out, "would leave", &report.plan.kept)?;
    if report.plan.actions.is_empty() {
        return writeln!(out, "{root}: nothing can be done here");
    }
    writeln!(out, "{root}: nothing was changed; --apply does what is said above")
}

fn print_done(
    out: &mut StdoutLock<'_>,
    options: &StoreOptions,
    repaired: &Repaired,
    after: &Report,
) -> std::io::Result<()> {
    for Action { what, why, .. } in &repaired.done {
        writeln!(out, "did {what}\n    because {why}")?;
    }
    print_kept(out, "could not", &repaired.failed)?;
    print_kept(out, "left", &after.plan.kept)?;
    let root = options.graph_root.display();
    match after.findings.len() {
        0 => writeln!(out, "{root}: sound now"),
        count => {
            writeln!(out, "{root}: {count} left that is not sound:")?;
            after.findings.iter().try_for_each(|finding| print_finding(out, finding))
        }
    }
}

fn print_kept(out: &mut StdoutLock<'_>, verb: &str, kept: &[Kept]) -> std::io::Result<()> {
    kept.iter().try_for_each(|Kept { what, why }| writeln!(out, "{verb} {what}\n    because {why}"))
}

fn actions_json(actions: &[Action]) -> Vec<Value> {
    let json = |Action { what, why, .. }: &Action| json!({"what": what, "why": why});
    actions.iter().map(json).collect()
}

fn kept_json(kept: &[Kept]) -> Vec<Value> {
    kept.iter().map(|Kept { what, why }| json!({"what": what, "why": why})).collect()
}
