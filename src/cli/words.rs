//! Findings as text and as JSON.

use std::fmt;
use std::io::Write;

use serde_json::{Value, json};

use crate::storage::{Finding, Report};

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    images: usize,
    layers: usize,
    containers: usize,
}

/// Counts the records of the store itself, without those of additional stores.
pub(super) fn counts(report: &Report) -> Counts {
    let Some(snapshot) = &report.snapshot else { return Counts::default() };
    Counts {
        images: snapshot.images().iter().filter(|image| !image.read_only).count(),
        layers: snapshot.layers().iter().filter(|layer| !layer.read_only).count(),
        containers: snapshot.containers().len(),
    }
}

impl Counts {
    pub(super) fn json(self) -> Value {
        let Self { images, layers, containers } = self;
        json!({"images": images, "layers": layers, "containers": containers})
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let Self { images, layers, containers } = *self;
        write!(f, "{images} image{}, {layers} layer{}, ", plural(images), plural(layers))?;
        write!(f, "{containers} container{}", plural(containers))
    }
}

pub(super) fn print_finding(out: &mut impl Write, finding: &Finding) -> std::io::Result<()> {
    let Finding { severity, subject, path, why, .. } = finding;
    writeln!(out, "{}: {subject}: {why}", severity.as_str())?;
    writeln!(out, "    at {}", path.display())?;
    writeln!(out, "    repair: {}", finding.cure())
}

pub(super) fn finding_json(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.as_str(),
        "rule": finding.rule.as_str(),
        "subject": {"kind": finding.subject.kind(), "id": finding.subject.id()},
        "path": finding.path.to_string_lossy(),
        "why": finding.why,
        "repair": finding.cure(),
    })
}
