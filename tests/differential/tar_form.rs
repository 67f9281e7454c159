//! Exported archives as documents: every member with its header, and what is in it.
//!
//! What gzip makes of a layer depends on the compressor. So layers are named for what they unpack
//! to, here and wherever their digests are written, and their packed sizes are left out.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::normal::mask;
use crate::support::tree::hex;

const BLOBS: &str = "blobs/sha256/";
const GZIP: &[u8] = &[0x1f, 0x8b];

struct Member {
    name: String,
    header: Value,
    content: Vec<u8>,
}

/// The members of the tar `bytes`, or why it cannot be read.
pub(crate) fn read(bytes: &[u8]) -> Value {
    match members(bytes) {
        Ok(members) => document(&members),
        Err(error) => json!({ "not a tar": error.to_string() }),
    }
}

fn members(bytes: &[u8]) -> std::io::Result<Vec<Member>> {
    let mut members = Vec::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let header = entry.header();
        let header = json!({
            "type": format!("{:?}", header.entry_type()),
            "mode": format!("{:o}", header.mode()? & 0o7777),
            "owner": [header.uid()?, header.gid()?],
            "time": if header.mtime()? == 0 { "none" } else { "some" },
            "link": header.link_name()?.map(|link| link.display().to_string()),
        });
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        members.push(Member { name, header, content });
    }
    Ok(members)
}

fn document(members: &[Member]) -> Value {
    let mut names: Vec<(String, String)> = Vec::new();
    for member in members.iter().filter(|member| member.content.starts_with(GZIP)) {
        let mut unpacked = Vec::new();
        let unpacked = match MultiGzDecoder::new(&member.content[..]).read_to_end(&mut unpacked) {
            Ok(_) => digest(&unpacked),
            Err(error) => error.to_string(),
        };
        names.push((digest(&member.content), format!("packed-{unpacked}")));
    }
    // Manifests contain the digests of layers, indexes those of manifests.
    let manifests: Vec<&Member> = members.iter().filter(|it| has_layers(&it.content)).collect();
    for manifest in manifests {
        names.push((digest(&manifest.content), "the-manifest".to_owned()));
    }
    let mut order = Vec::new();
    let mut shown = Map::new();
    for member in members {
        let mut content = match serde_json::from_slice::<Value>(&member.content) {
            Ok(value) => value,
            Err(_) => digest(&member.content).into(),
        };
        mask(&mut content, &names);
        without_packed_sizes(&mut content);
        let mut name = Value::from(member.name.as_str());
        mask(&mut name, &names);
        let key = name.as_str().unwrap_or_default().to_owned();
        let entry = json!({ "header": member.header, "content": content });
        if shown.insert(key, entry).is_some() {
            order.push(json!("again:"));
        }
        order.push(name);
    }
    // Blobs are sorted by digest, so their order among themselves says nothing.
    let is_blob = |name: &Value| {
        name.as_str().is_some_and(|it| it.len() > BLOBS.len() && it.starts_with(BLOBS))
    };
    let start = order.iter().position(is_blob).unwrap_or(0);
    let count = order.iter().filter(|name| is_blob(name)).count();
    if let Some(blobs) = order.get_mut(start..start + count) {
        blobs.sort_by_key(ToString::to_string);
    }
    json!({ "order": order, "members": shown })
}

fn has_layers(content: &[u8]) -> bool {
    serde_json::from_slice::<Value>(content).is_ok_and(|value| value["layers"].is_array())
}

/// Descriptors of what was renamed have sizes that mean nothing.
fn without_packed_sizes(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_packed_sizes),
        Value::Object(map) => {
            let named = |it: &str| it.contains("packed-") || it.contains("the-manifest");
            if map.get("digest").and_then(Value::as_str).is_some_and(named) {
                map.insert("size".to_owned(), json!("as packed"));
            }
            map.values_mut().for_each(without_packed_sizes);
        }
        _ => {}
    }
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
