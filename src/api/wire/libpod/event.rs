//! Events.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::is_default;
use crate::engine;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Event {
    /// To what kind of thing: `image`, `container`, `system`…
    #[serde(rename = "Type")]
    kind: String,
    /// What happened: `tag`, `untag`, `remove`, `save`, `loadfromarchive`…
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    scope: &'static str,
    /// Seconds since 1970.
    time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    time_nano: i64,
    /// Health of a container.
    #[serde(rename = "HealthStatus", skip_serializing_if = "is_default")]
    health_status: String,
    /// The action again.
    #[serde(skip_serializing_if = "is_default")]
    status: String,
    /// The ID of the actor again.
    #[serde(skip_serializing_if = "is_default")]
    id: String,
    /// The image of a container.
    #[serde(skip_serializing_if = "is_default")]
    from: String,
}

/// What it happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = EventActor)]
struct Actor {
    /// ID of the image or other thing; may be empty.
    #[serde(rename = "ID")]
    id: String,
    /// Always has `image`, `name` and `podId`, which may be empty.
    attributes: BTreeMap<String, String>,
}

impl From<engine::Event> for Event {
    fn from(event: engine::Event) -> Self {
        let mut attributes = event.attributes;
        let mut set = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                attributes.insert(key.to_owned(), value);
            }
        };
        let unless_empty = |text: String| Some(text).filter(|text| !text.is_empty());
        set("image", Some(event.image.clone()));
        set("name", Some(event.name));
        set("podId", Some(event.pod_id));
        set("containerExitCode", event.exit_code.map(|code| code.to_string()));
        set("oomKilled", event.oom_killed.map(|killed| killed.to_string()));
        set("network", unless_empty(event.network));
        set("error", unless_empty(event.error));
        Self {
            kind: event.kind,
            action: event.action.clone(),
            actor: Actor { id: event.id.clone(), attributes },
            scope: "local",
            // As Go rounds: down.
            time: i64::try_from(event.time.as_nanosecond().div_euclid(1_000_000_000)).unwrap_or(0),
            time_nano: i64::try_from(event.time.as_nanosecond()).unwrap_or(0),
            health_status: event.health_status,
            status: event.action,
            id: event.id,
            from: event.image,
        }
    }
}

impl Event {
    /// For clients before 5.0, which crash at events that Podman of their time did not send; `None`
    /// for what they have no word for.
    pub(crate) fn for_strict_client(mut self) -> Option<Self> {
        if matches!(&*self.kind, "artifact" | "secret") {
            return None;
        }
        if self.action == "pull-error" {
            self.action = "pull".to_owned();
            self.status.clone_from(&self.action);
        }
        let attributes = &mut self.actor.attributes;
        attributes.entry("containerExitCode".to_owned()).or_insert_with(|| "0".to_owned());
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_containers() {
        let event = engine::Event {
            kind: "container".into(),
            action: "died".into(),
            id: "c".into(),
            image: "i".into(),
            name: "n".into(),
            pod_id: "p".into(),
            exit_code: Some(3),
            oom_killed: Some(true),
            health_status: "h".into(),
            time: "1969-12-31T23:59:59.5Z".parse().unwrap(),
            attributes: [("k", "v"), ("name", "label")].map(|(k, v)| (k.into(), v.into())).into(),
            ..engine::Event::default()
        };
        assert_eq!(
            serde_json::to_string(&Event::from(event)).unwrap(),
            r#"{"Type":"container","Action":"died","Actor":{"ID":"c","Attributes":{"containerExitCode":"3","image":"i","k":"v","name":"n","oomKilled":"true","podId":"p"}},"scope":"local","time":-1,"timeNano":-500000000,"HealthStatus":"h","status":"died","id":"c","from":"i"}"#
        );
    }

    #[test]
    fn strict_clients() {
        let event = |kind: &str, action: &str| {
            let (kind, action) = (kind.to_owned(), action.to_owned());
            let event = engine::Event { kind, action, exit_code: None, ..Default::default() };
            Event::from(event).for_strict_client()
        };
        assert_eq!(event("artifact", "pull"), None);
        let failed = event("image", "pull-error").unwrap();
        assert_eq!((&*failed.action, &*failed.status), ("pull", "pull"));
        assert_eq!(failed.actor.attributes["containerExitCode"], "0");
    }
}
