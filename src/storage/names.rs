//! Names of images: each belongs to one image of a store.

use super::lock::Images;
use super::record::ImageRecord;
use super::records::Edit;
use crate::image::ImageId;

/// Gives an image exactly these names. Other images lose those of them they had.
pub(super) fn set(
    edit: &mut Edit<Images>,
    image: &ImageId,
    names: Vec<String>,
) -> Result<(), serde_json::Error> {
    let names = distinct(names);
    let taken = |name: &String| names.contains(name);
    edit.update(
        |other| other.id != *image && other.names.iter().any(taken),
        |other| other.names.retain(|name| !taken(name)),
    )?;
    edit.update(|it| it.id == *image, |it| give(it, names.clone()))
}

/// Puts `names` in place of the names of a record, and each of them, in turn, in front of its
/// history. The first one in the history is thus the last one of the list.
pub(super) fn give(image: &mut ImageRecord, names: Vec<String>) {
    let history = names.iter().rev().chain(&image.names_history).cloned();
    image.names_history = distinct(history);
    image.names = names;
}

/// Without repetitions; the first occurrence stays.
pub(super) fn distinct(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::record::Record;

    fn image(json: &str) -> ImageRecord {
        let text = format!(r#"[{{"id":"{}",{json}}}]"#, "a".repeat(64));
        let record = Record::<ImageRecord>::parse_all(&text.into()).unwrap().remove(0);
        (*record).clone()
    }

    #[test]
    fn history_as_containers_storage_keeps_it() {
        for (before, given, history) in [
            (r#""names":[]"#, vec!["a", "b"], vec!["b", "a"]),
            (r#""names":["a"],"names-history":["a","z"]"#, vec!["b", "a"], vec!["a", "b", "z"]),
            (r#""names":["a","b"],"names-history":["b","a"]"#, vec!["a"], vec!["a", "b"]),
            (r#""names":["a"],"names-history":["a"]"#, vec![], vec!["a"]),
        ] {
            let mut image = image(before);
            give(&mut image, given.iter().map(ToString::to_string).collect());
            assert_eq!(image.names, given);
            assert_eq!(image.names_history, history, "{before}");
        }
    }
}
