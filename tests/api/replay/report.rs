//! From Podman's documents back to the engine's reports.

use std::collections::BTreeMap;

use imaged::engine::{
    BlobStage, ChangeKind, ChangedPath, DiskUsageReport, Error, ErrorKind, Event, GraphDriver,
    HistoryReport, ImageDetails, ImageSummary, ImageUsage, PrunedImage, PullProgress, RemoveReport,
    SearchHit,
};
use imaged::image::ImageId;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn texts_or_null(value: &Value) -> Option<Vec<String>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    texts_or_null(value).unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn parsed<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn some<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> Option<T> {
    value.as_str().filter(|text| !text.is_empty()).map(|text| text.parse().unwrap())
}

pub(crate) fn hit(document: &Value) -> SearchHit {
    SearchHit {
        index: text(&document["Index"]),
        name: text(&document["Name"]),
        description: text(&document["Description"]),
        stars: number(&document["Stars"]),
        official: document["Official"] == "[OK]",
        automated: document["Automated"] == "[OK]",
        tag: text(&document["Tag"]),
    }
}

fn items(document: &Value) -> impl Iterator<Item = &Value> {
    document.as_array().into_iter().flatten()
}

pub(crate) fn list(document: &Value) -> Vec<ImageSummary> {
    items(document)
        .map(|image| ImageSummary {
            id: parsed(&image["Id"]),
            parent: some(&image["ParentId"]),
            names: texts(&image["RepoTags"]),
            repo_digests: texts(&image["RepoDigests"]),
            created: Timestamp::from_second(number(&image["Created"])).unwrap(),
            size_bytes: number(&image["Size"]),
            labels: parsed(&image["Labels"]),
            containers: parsed(&image["Containers"]),
            read_only: image["ReadOnly"] == true,
            dangling: image["Dangling"] == true,
            architecture: text(&image["Arch"]),
            os: text(&image["Os"]),
            digest: some(&image["Digest"]),
            names_history: texts(&image["History"]),
            is_manifest_list: image["IsManifestList"] == true,
        })
        .collect()
}

pub(crate) fn details(document: &Value) -> ImageDetails {
    ImageDetails {
        id: parsed(&document["Id"]),
        digest: some(&document["Digest"]),
        repo_tags: texts(&document["RepoTags"]),
        repo_digests: texts(&document["RepoDigests"]),
        parent: some(&document["Parent"]),
        comment: text(&document["Comment"]),
        created: parsed(&document["Created"]),
        config: parsed(&document["Config"]),
        docker_version: text(&document["Version"]),
        author: text(&document["Author"]),
        architecture: text(&document["Architecture"]),
        os: text(&document["Os"]),
        size_bytes: number(&document["Size"]),
        graph_driver: GraphDriver {
            name: text(&document["GraphDriver"]["Name"]),
            data: parsed(&document["GraphDriver"]["Data"]),
        },
        diff_ids: parsed::<Option<_>>(&document["RootFS"]["Layers"]).unwrap_or_default(),
        annotations: parsed::<BTreeMap<_, _>>(&document["Annotations"]),
        manifest_type: text(&document["ManifestType"]),
        history: parsed(&document["History"]),
        names_history: texts(&document["NamesHistory"]),
        healthcheck: parsed(&document["Healthcheck"]),
    }
}

pub(crate) fn history(document: &Value) -> Vec<HistoryReport> {
    items(document)
        .map(|step| HistoryReport {
            id: Some(&step["Id"]).filter(|id| *id != "<missing>").map(parsed),
            created: Some(Timestamp::from_second(number(&step["Created"])).unwrap()),
            created_by: text(&step["CreatedBy"]),
            tags: texts(&step["Tags"]),
            size_bytes: number(&step["Size"]),
            comment: text(&step["Comment"]),
        })
        .collect()
}

pub(crate) fn removal(document: &Value) -> RemoveReport {
    RemoveReport {
        deleted: parsed::<Option<_>>(&document["Deleted"]).unwrap_or_default(),
        untagged: texts(&document["Untagged"]),
        errors: match &document["message"] {
            Value::String(_) => vec![error(document, "")],
            _ => texts(&document["Errors"]).into_iter().map(removal_error).collect(),
        },
    }
}

pub(crate) fn pruned(document: &Value) -> Vec<PrunedImage> {
    items(document)
        .map(|image| PrunedImage { id: parsed(&image["Id"]), size_bytes: number(&image["Size"]) })
        .collect()
}

pub(crate) fn changes(document: &Value) -> Vec<ChangedPath> {
    let kind = |kind: i64| match kind {
        0 => ChangeKind::Modified,
        1 => ChangeKind::Added,
        _ => ChangeKind::Deleted,
    };
    items(document)
        .map(|it| ChangedPath { path: text(&it["Path"]), kind: kind(number(&it["Kind"])) })
        .collect()
}

pub(crate) fn events(document: &Value) -> Vec<Event> {
    items(document)
        .map(|event| {
            let mut attributes: BTreeMap<String, String> = parsed(&event["Actor"]["Attributes"]);
            let mut take = |key| attributes.remove(key).unwrap_or_default();
            let nanosecond = number(&event["timeNano"]);
            Event {
                kind: text(&event["Type"]),
                action: text(&event["Action"]),
                id: text(&event["Actor"]["ID"]),
                image: take("image"),
                name: take("name"),
                pod_id: take("podId"),
                error: take("error"),
                time: Timestamp::from_nanosecond(nanosecond.into()).unwrap(),
                attributes,
                ..Event::default()
            }
        })
        .collect()
}

pub(crate) fn disk_usage(document: &Value) -> DiskUsageReport {
    let unless_none = |value: &Value| Some(text(value)).filter(|text| text != "<none>");
    DiskUsageReport {
        images_size_bytes: document["ImagesSize"].as_i64().unwrap_or_default(),
        images: items(&document["Images"])
            .map(|image| ImageUsage {
                repository: unless_none(&image["Repository"]),
                tag: unless_none(&image["Tag"]),
                id: parsed(&image["ImageID"]),
                created: parsed(&image["Created"]),
                shared_bytes: number(&image["SharedSize"]),
                unique_bytes: number(&image["UniqueSize"]),
                containers: parsed(&image["Containers"]),
            })
            .collect(),
    }
}

fn removal_error(text: String) -> Error {
    let kind = match &text {
        unknown if unknown.ends_with("image not known") => ErrorKind::NoSuchImage,
        used if used.contains("image is in use by a container") => ErrorKind::InUse,
        _ => ErrorKind::Conflict,
    };
    Error::new(kind, text)
}

/// The engine's error behind an error body, where the route has put `prefix` in front.
/// Tells what a record of a pull tells, in either form.
pub(crate) async fn tell(progress: &PullProgress, record: &Value) {
    if let Some(text) = record["stream"].as_str()
        && record["pullProgress"].is_null()
    {
        return progress.text(text.trim_end_matches('\n')).await;
    }
    let docker = record["progressDetail"].is_object();
    let about = if docker { record } else { &record["pullProgress"] };
    let id = text(&about[if docker { "id" } else { "progressComponentID" }]);
    let total = about["total"].as_u64().unwrap_or_default();
    let stage = match (&*text(&about["status"]), &*text(&record["stream"])) {
        ("Already exists" | "skipped", _) => BlobStage::Present,
        ("Pulling fs layer", _) | (_, "Starting to pull artifact") => BlobStage::Started { total },
        ("success", _) => BlobStage::Done { total },
        // The last one is about the image.
        ("Download complete", _) => return,
        _ => return,
    };
    let digest = if docker { format!("sha256:{id:0<64}") } else { id };
    progress.blob(&digest.parse().unwrap(), stage).await;
}

/// The images of the last record of a pull.
pub(crate) fn images(record: &Value) -> Vec<ImageId> {
    if record["progressDetail"].is_object() {
        return vec![format!("{:0<64}", text(&record["id"])).parse().unwrap()];
    }
    texts(&record["images"]).iter().map(|id| id.parse().unwrap()).collect()
}

pub(crate) fn error(document: &Value, prefix: &str) -> Error {
    const ADVICE: &str = "consider listing external containers and force-removing image";
    let (message, cause) = (text(&document["message"]), text(&document["cause"]));
    let kind = match &*cause {
        "image not known" => ErrorKind::NoSuchImage,
        "image is in use by a container" => ErrorKind::InUse,
        _ => ErrorKind::BadName,
    };
    let message = message.strip_prefix(prefix).unwrap();
    let advised = message.strip_suffix(ADVICE).and_then(|rest| rest.strip_suffix(": "));
    let context = advised.unwrap_or(message).strip_suffix(&*cause).unwrap();
    let mut error = Error::new(kind, cause);
    if let Some(context) = context.strip_suffix(": ") {
        error = error.context(context);
    }
    if advised.is_some() { error.with_advice(ADVICE) } else { error }
}
