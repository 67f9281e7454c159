//! Layers of an image, or what stands on it, drawn as a tree.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::library::Library;
use super::resolve::Lists;
use super::size;
use super::stored_name;
use crate::engine::{ImageName, Result, TreeOptions, TreeReport};
use crate::image::LayerId;
use crate::storage::{Snapshot, StoredLayer};

/// Draws the image that `name` means.
///
/// # Errors
/// As [`Library::lookup`]; [`Storage`](crate::engine::ErrorKind::Storage) if a layer is missing.
pub(super) fn tree(
    library: &Library<'_>,
    name: &ImageName,
    options: &TreeOptions,
) -> Result<TreeReport> {
    let found = library.lookup(name.as_str(), Lists::Instance)?;
    let record = &found.image.record;
    let snapshot = library.snapshot();
    let size = library.size(found.at).ok_or_else(|| size::missing_layer(snapshot, record))?;
    let tags: Vec<&str> = stored_name::tagged(&record.names).collect();
    let heading = if record.layer.is_some() { "Image Layers" } else { "No Image Layers" };
    let mut text = format!(
        "Image ID: {}\nTags:     [{}]\nSize:     {}\n{heading}\n",
        record.id.short(),
        tags.join(" "),
        human_size(size)
    );
    if let Some(top) = record.layer.as_ref() {
        if options.what_requires {
            draw(&mut text, snapshot, &standing_on(snapshot, top));
        } else {
            let mut layers = snapshot.chain(top);
            layers.reverse();
            let lines: Vec<Line<'_>> =
                layers.into_iter().map(|layer| Line { layer, depth: 0 }).collect();
            draw(&mut text, snapshot, &lines);
        }
    }
    Ok(TreeReport { text })
}

struct Line<'a> {
    layer: &'a StoredLayer,
    /// Levels between the line and the left edge.
    depth: usize,
}

/// `root` and everything above it, in the order of drawing. A layer with siblings opens a level
/// for what stands on it; the only child of its parent stays on the parent's level.
fn standing_on<'a>(snapshot: &'a Snapshot, root: &LayerId) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let mut seen: HashSet<&LayerId> = HashSet::new();
    let mut open: Vec<Line<'a>> =
        snapshot.layer(root).map(|layer| Line { layer, depth: 0 }).into_iter().collect();
    while let Some(line) = open.pop() {
        // Records can form a circle.
        if !seen.insert(&line.layer.record.id) {
            continue;
        }
        let siblings = match &line.layer.record.parent {
            Some(parent) => snapshot.children(parent).count(),
            None => 1,
        };
        let depth = line.depth + usize::from(siblings > 1);
        let children: Vec<_> = snapshot.children(&line.layer.record.id).collect();
        open.extend(children.into_iter().rev().map(|layer| Line { layer, depth }));
        lines.push(line);
    }
    lines
}

fn draw(text: &mut String, snapshot: &Snapshot, lines: &[Line<'_>]) {
    // From the end: whether a later line continues each level that is open at a line.
    let mut last_on_level = vec![false; lines.len()];
    let mut continued: Vec<bool> = Vec::new();
    let mut bars: Vec<Vec<bool>> = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate().rev() {
        continued.resize(line.depth + 1, false);
        last_on_level[at] = !continued[line.depth];
        continued[line.depth] = true;
        bars.push(continued[..line.depth].to_vec());
    }
    for ((line, last), bars) in lines.iter().zip(last_on_level).zip(bars.into_iter().rev()) {
        for more in bars {
            text.push_str(if more { "│   " } else { "    " });
        }
        text.push_str(if last { "└── " } else { "├── " });
        describe(text, snapshot, line.layer);
    }
}

fn describe(text: &mut String, snapshot: &Snapshot, layer: &StoredLayer) {
    let id = layer.record.id.short();
    let size = human_size(layer.record.diff_size);
    // Writing to a String cannot fail.
    let _ = write!(text, "ID: {id} Size: {size:>7}");
    let mut tags: Vec<&str> = Vec::new();
    for image in snapshot.images_on(&layer.record.id) {
        for tag in stored_name::tagged(&image.record.names) {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    }
    if !tags.is_empty() {
        let _ = write!(text, " Top Layer of: [{}]", tags.join(" "));
    }
    text.push('\n');
}

/// Decimal units and four significant digits, like C's `%.4g`.
fn human_size(bytes: i64) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    let decimals = match size.abs() {
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    let digits = format!("{size:.decimals$}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}{}", UNITS[unit])
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
