//! Answers in a form in which two of them can be compared: one JSON document each.

use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::{Deserializer, Map, Value, json};

use crate::pair::Answer;
use crate::tar_form;

/// Header fields of the connection rather than the answer.
const TRANSPORT: [&str; 4] = ["connection", "content-length", "date", "transfer-encoding"];
/// Header fields of which only the presence counts: they name the server, or are random.
const OPAQUE: [&str; 4] =
    ["libpod-api-version", "libpod-buildah-version", "server", "x-reference-id"];

/// Numbers about the machine at this moment, by their keys in `info`.
const MOMENTARY: [&str; 7] = [
    "memFree",
    "memTotal",
    "swapFree",
    "uptime",
    "graphRootUsed",
    "graphRootAllocated",
    "cpuUtilization",
];

/// Times from here on are those of this test.
fn start() -> Timestamp {
    static START: OnceLock<Timestamp> = OnceLock::new();
    // A whole second, since some times are.
    *START.get_or_init(|| Timestamp::from_second(Timestamp::now().as_second()).unwrap())
}

/// Has to be called before anything is made.
pub(crate) fn begin() {
    start();
}

/// Whether `value` is a moment of this test: seconds since 1970, or RFC 3339.
fn is_now(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_some_and(|it| it >= start().as_second()),
        Value::String(text) => text.parse::<Timestamp>().is_ok_and(|time| time >= start()),
        _ => false,
    }
}

/// Status, header and body of an answer, with the texts in `masks` replaced.
pub(crate) fn normal(answer: &Answer, masks: &[(String, String)]) -> Value {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return json!({ "broken": error }),
    };
    let mut headers = Map::new();
    for (name, value) in &answer.headers {
        let name = name.as_str();
        if TRANSPORT.contains(&name) {
            continue;
        }
        let value = match OPAQUE.contains(&name) {
            true => "…".to_owned(),
            false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        headers.insert(name.to_owned(), value.into());
    }
    let kind = headers.get("content-type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut all = json!({ "status": answer.status, "header": headers });
    // Podman 4 says of some streams of documents nothing.
    let is_stream = kind.is_empty() && answer.body.starts_with(b"{");
    let mut body = match kind.as_str() {
        _ if is_stream || kind == "application/json" => {
            let mut documents = documents(&answer.body);
            sort_copies(&mut documents);
            let first = documents.remove(0);
            if !documents.is_empty() {
                all["further documents"] = documents.into();
            }
            first
        }
        "application/octet; charset=us-ascii" | "application/x-tar" => tar_form::read(&answer.body),
        _ => Value::from(answer.text()),
    };
    mask(&mut body, masks);
    split_reasons(&mut body);
    all["body"] = body;
    all
}

/// Layers are copied at the same time; in which order they begin is an accident.
fn sort_copies(documents: &mut [Value]) {
    let is_copy = |document: &Value| {
        let line = document["stream"].as_str().unwrap_or_default();
        line.starts_with("Copying blob ")
    };
    let Some(first) = documents.iter().position(is_copy) else { return };
    let count = documents[first..].iter().take_while(|document| is_copy(document)).count();
    documents[first..first + count].sort_by_key(ToString::to_string);
}

/// The documents, of which there should be one, or what is wrong with them.
fn documents(body: &[u8]) -> Vec<Value> {
    let read: Result<Vec<Value>, _> = Deserializer::from_slice(body).into_iter().collect();
    match read {
        Ok(documents) if !documents.is_empty() => documents,
        Ok(_) => vec![json!("nothing")],
        Err(error) => {
            vec![json!({ "error": error.to_string(), "text": String::from_utf8_lossy(body) })]
        }
    }
}

/// Replaces texts everywhere, in keys too.
pub(crate) fn mask(value: &mut Value, masks: &[(String, String)]) {
    match value {
        Value::String(text) => *text = replaced(text, masks),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, masks)),
        Value::Object(map) => {
            let old = std::mem::take(map);
            for (key, mut value) in old {
                mask(&mut value, masks);
                if key.eq_ignore_ascii_case("created") && is_now(&value) {
                    value = json!("now");
                }
                if MOMENTARY.contains(&key.as_str()) && value.is_number() {
                    value = json!("a number");
                }
                map.insert(replaced(&key, masks), value);
            }
        }
        _ => {}
    }
}

fn replaced(text: &str, masks: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in masks {
        text = text.replace(from, to);
    }
    without_temporary_names(&text)
}

/// Files that exist only during a request have arbitrary names, which are left out.
fn without_temporary_names(text: &str) -> String {
    let mut text = text.to_owned();
    for below in ["$dir/tmp/", "/var/tmp/oci"] {
        let mut left = String::new();
        let mut rest = text.as_str();
        while let Some((before, path)) = rest.split_once(below) {
            left.push_str(before);
            let end = path.find(|c: char| "/\": \n".contains(c)).unwrap_or(path.len());
            rest = path[end..].strip_prefix('/').unwrap_or(&path[end..]);
        }
        left.push_str(rest);
        text = left;
    }
    text
}

/// The reasons why no format fits, each by itself.
fn split_reasons(body: &mut Value) {
    const BEFORE_EACH: &str = "\n * ";
    for key in ["cause", "message"] {
        if let Some(text) = body.get(key).and_then(Value::as_str)
            && text.contains(BEFORE_EACH)
        {
            body[key] = text.split(BEFORE_EACH).collect();
        }
    }
}
