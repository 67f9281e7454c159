//! The table and the raw numbers.

use serde_json::{Value, json};

/// Unit of a row's numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Memory,
    /// Parts of one.
    Share,
}

/// What a row must reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Required {
    /// Podman's median over ours.
    Ratio(f64),
    /// The largest median of ours.
    AtMost(f64),
    /// The smallest median of ours.
    AtLeast(f64),
    /// Only informative.
    Nothing,
}

/// One measurement of both servers, every round of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) required: Required,
    pub(crate) imaged: Vec<f64>,
    pub(crate) podman: Vec<f64>,
}

impl Row {
    /// A row without numbers.
    pub(crate) fn new(name: &'static str, unit: Unit, required: Required) -> Self {
        Self { name, unit, required, imaged: Vec::new(), podman: Vec::new() }
    }

    fn ratio(&self) -> Option<f64> {
        Some(median(&self.podman)? / median(&self.imaged)?)
    }

    fn is_met(&self) -> Option<bool> {
        match self.required {
            Required::Ratio(least) => Some(self.ratio()? >= least),
            Required::AtMost(most) => Some(median(&self.imaged)? <= most),
            Required::AtLeast(least) => Some(median(&self.imaged)? >= least),
            Required::Nothing => None,
        }
    }
}

/// All rows of a run, and its circumstances.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) setting: Value,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Whether every requirement is met.
    pub(crate) fn all_met(&self) -> bool {
        self.rows.iter().all(|row| row.is_met() != Some(false))
    }

    /// Medians, ratios and requirements, for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:38}{:>12}{:>12}{:>9}  {}\n",
            "median of each", "imaged", "podman", "ratio", "required"
        );
        for row in &self.rows {
            let show = |values: &[f64]| median(values).map_or("-".to_owned(), |v| row.unit.show(v));
            let ratio = row.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let verdict = match row.is_met() {
                Some(true) => "met",
                Some(false) => "NOT MET",
                None => "",
            };
            let required = match row.required {
                Required::Ratio(least) => format!("≥ {least} times"),
                Required::AtMost(most) => format!("≤ {}", row.unit.show(most)),
                Required::AtLeast(least) => format!("≥ {}", row.unit.show(least)),
                Required::Nothing => String::new(),
            };
            text.push_str(&format!(
                "{:38}{:>12}{:>12}{ratio:>9}  {required:14}{verdict}\n",
                row.name,
                show(&row.imaged),
                show(&row.podman),
            ));
        }
        text
    }

    /// Every number of every round; times in nanoseconds, sizes in bytes.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "unit": format!("{:?}", row.unit),
                    "ratio": row.ratio(),
                    "required": format!("{:?}", row.required),
                    "met": row.is_met(),
                    "imaged": row.imaged,
                    "podman": row.podman,
                })
            })
            .collect();
        json!({ "setting": self.setting, "rows": rows }).to_string()
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Time if value >= 1e9 => format!("{:.2} s", value / 1e9),
            Self::Time => format!("{:.3} ms", value / 1e6),
            Self::Memory => format!("{:.1} MiB", value / 1_048_576.0),
            Self::Share => format!("{value:.3}"),
        }
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some((values.get(middle - 1)? + upper) / 2.0) }
}
