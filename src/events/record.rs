//! One event, as it is in the log.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::image::{ImageId, go_json};

/// Something that happened to an image, or, when another tool wrote it, to something else.
///
/// Fields of the log that no client of the API gets to see are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Exit code of a container.
    #[serde(rename = "ContainerExitCode", skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether a container was ended for want of memory.
    #[serde(rename = "OOMKilled", skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<bool>,
    /// ID of what it happened to; empty where there is none.
    #[serde(
        rename = "ID",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub id: String,
    /// Name of the image of a container.
    #[serde(
        rename = "Image",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub image: String,
    /// Name of what it happened to, or what it was called by.
    #[serde(
        rename = "Name",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// Name of a network.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// What happened: `tag`, `remove`…
    #[serde(rename = "Status", deserialize_with = "or_default")]
    pub action: String,
    /// When it began to happen.
    #[serde(rename = "Time", serialize_with = "local_time", deserialize_with = "or_default")]
    pub time: Timestamp,
    /// To what kind of thing: `image`, `container`…
    #[serde(rename = "Type", deserialize_with = "or_default")]
    pub kind: String,
    /// Health of a container.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub health_status: String,
    /// Why it failed.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// ID of the pod of a container.
    #[serde(
        rename = "PodID",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub pod_id: String,
    /// Labels of a container, and details of other things.
    #[serde(
        rename = "Attributes",
        serialize_with = "null_if_empty",
        deserialize_with = "or_default"
    )]
    pub attributes: BTreeMap<String, String>,
}

/// What is done to images here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageAction {
    /// It got a name.
    Tag,
    /// It lost a name.
    Untag,
    /// Somebody asked for its removal.
    Remove,
    /// It was exported.
    Save,
    /// It was loaded from an archive.
    LoadFromArchive,
    /// It was pulled from a registry.
    Pull,
    /// It was pushed to a registry.
    Push,
    /// It could not be pulled.
    PullError,
}

impl ImageAction {
    /// Podman's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Untag => "untag",
            Self::Remove => "remove",
            Self::Save => "save",
            Self::LoadFromArchive => "loadfromarchive",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::PullError => "pull-error",
        }
    }
}

impl fmt::Display for ImageAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Event {
    /// Kinds that Podman knows in its log. Lines of others are damaged to it, and so they are here.
    const KINDS: [&str; 8] =
        ["artifact", "container", "image", "network", "pod", "secret", "system", "volume"];

    /// Something that is happening to an image now.
    pub fn of_image(action: ImageAction, id: &ImageId, name: impl Into<String>) -> Self {
        Self {
            id: id.as_str().to_owned(),
            name: name.into(),
            ..Self::now("image", action.as_str())
        }
    }

    /// Something that is happening now.
    pub fn now(kind: &str, action: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            action: action.to_owned(),
            time: Timestamp::now(),
            ..Self::default()
        }
    }

    /// Reads a line without its end.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(super) fn from_line(line: &[u8]) -> Result<Self, String> {
        let event: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if Self::KINDS.contains(&&*event.kind) {
            Ok(event)
        } else {
            Err(format!("event type {:?} is not known", event.kind))
        }
    }

    /// The line with its end.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = go_json::to_vec(self)
            .expect("an event has no map with keys other than text, so it is JSON");
        line.push(b'\n');
        line
    }
}

/// `null` is as good as nothing.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(value).map(Option::unwrap_or_default)
}

/// As Go writes times: in the zone of this machine, with as many digits as needed.
fn local_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let offset = TimeZone::system().to_offset(*time);
    if offset.is_zero() {
        serializer.collect_str(time)
    } else {
        serializer.collect_str(&time.display_with_offset(offset))
    }
}

fn null_if_empty<S: Serializer>(
    map: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if map.is_empty() { serializer.serialize_none() } else { serializer.collect_map(map) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ac782ebe8e852ea9d55b6f5a3864f21529736bc4b08b80f0b291e7dbbee5e517";

    /// Lines that Podman 4.3.1 and 6.0 wrote, and what they say.
    #[test]
    fn lines_of_podman() {
        let image = Event {
            id: ID.to_owned(),
            name: "localhost/a:1".to_owned(),
            action: "tag".to_owned(),
            kind: "image".to_owned(),
            time: "2026-11-24T03:22:56.1234567Z".parse().unwrap(),
            ..Event::default()
        };
        let line = format!(
            r#"{{"ID":"{ID}","Name":"localhost/a:1","Status":"tag","Time":"2026-11-24T05:22:56.1234567+02:00","Type":"image","Attributes":null}}"#
        );
        assert_eq!(Event::from_line(line.as_bytes()), Ok(image));

        let died = r#"{"ContainerExitCode":3,"OOMKilled":true,"ID":"c","Image":"i","Name":"n","Status":"died","Time":"2026-11-24T03:22:56Z","Type":"container","health_status":"h","health_log":"l","PodID":"p","Attributes":{"k":"v"},"New":[1]}"#;
        let died = Event::from_line(died.as_bytes()).unwrap();
        assert_eq!((died.exit_code, died.oom_killed), (Some(3), Some(true)));
        assert_eq!((&*died.image, &*died.health_status, &*died.pod_id), ("i", "h", "p"));
        assert_eq!(died.attributes, [("k".to_owned(), "v".to_owned())].into());

        let nulls = r#"{"ID":null,"Status":"save","Time":null,"Type":"image","Attributes":null}"#;
        let nulls = Event::from_line(nulls.as_bytes()).unwrap();
        assert_eq!((&*nulls.id, nulls.time), ("", Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn damaged_lines() {
        for (line, problem) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            (r#"{"Status":"tag""#, "EOF while parsing an object at line 1 column 15"),
            (r#"{"Status":"tag"}"#, r#"event type "" is not known"#),
            (r#"{"Type":"machine"}"#, r#"event type "machine" is not known"#),
        ] {
            assert_eq!(Event::from_line(line.as_bytes()), Err(problem.to_owned()), "{line}");
        }
    }

    #[test]
    fn lines_are_as_podman_writes_them() {
        let id = ID.parse().unwrap();
        let event = Event::of_image(ImageAction::LoadFromArchive, &id, "/var/tmp/<a>&b");
        let line = String::from_utf8(event.to_line()).unwrap();
        let (before, rest) = line.split_once(r#""Time":""#).unwrap();
        let (time, after) = rest.split_once('"').unwrap();
        let name = r"/var/tmp/\u003ca\u003e\u0026b";
        assert_eq!(before, format!(r#"{{"ID":"{ID}","Name":"{name}","Status":"loadfromarchive","#));
        assert_eq!(time.parse::<Timestamp>().unwrap(), event.time);
        assert_eq!(after, ",\"Type\":\"image\",\"Attributes\":null}\n");
        assert_eq!(Event::from_line(line.as_bytes()), Ok(event));
    }
}
