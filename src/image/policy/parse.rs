//! Reading `policy.json`. A policy that is not understood to its last word is none: what is
//! misspelt could be what was to protect.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{Policy, Requirement};

type Result<T> = std::result::Result<T, String>;

/// Bytes of a policy that are read at most; a generous one has some hundred lines.
pub(super) const LIMIT: usize = 4 << 20;

pub(super) fn policy(text: &[u8]) -> Result<Policy> {
    if text.len() > LIMIT {
        return Err(format!("more than {LIMIT} bytes"));
    }
    // All of it has to be JSON before any of it is looked at.
    let whole: &RawValue = serde_json::from_slice(text).map_err(|error| words(&error))?;
    let mut default = None;
    let mut transports = BTreeMap::new();
    for (key, value) in object(whole)? {
        match &*key {
            "default" => default = Some(requirements(value)?),
            "transports" => {
                for (transport, scopes) in object(value)? {
                    let scopes = self::scopes(&transport, scopes)?;
                    transports.insert(transport, scopes);
                }
            }
            _ => return Err(unknown_key(&key)),
        }
    }
    let default = default.ok_or("Default policy is missing")?;
    Ok(Policy { default, transports })
}

fn scopes(transport: &str, value: &RawValue) -> Result<BTreeMap<String, Vec<Requirement>>> {
    let mut scopes = BTreeMap::new();
    for (scope, value) in object(value)? {
        if !scope.is_empty() && !is_scope(transport, &scope) {
            return Err(unknown_key(&scope));
        }
        scopes.insert(scope, requirements(value)?);
    }
    Ok(scopes)
}

/// Whether a transport can have this scope. Transports that are not known here can have any.
fn is_scope(transport: &str, scope: &str) -> bool {
    let is_path = || {
        let normal = |part| matches!(part, Component::RootDir | Component::Normal(_));
        let path = Path::new(scope);
        let parts = path.components().all(normal);
        let clean: std::path::PathBuf = path.components().collect();
        scope.starts_with('/') && scope != "/" && parts && clean.as_os_str() == scope
    };
    match transport {
        "docker-archive" | "tarball" => false,
        "dir" | "oci" | "oci-archive" | "sif" => is_path(),
        "containers-storage" => scope.starts_with('['),
        _ => true,
    }
}

fn requirements(value: &RawValue) -> Result<Vec<Requirement>> {
    let list: Option<Vec<&RawValue>> =
        serde_json::from_str(value.get()).map_err(|_| mismatch(value, "[]json.RawMessage"))?;
    let list = list.unwrap_or_default();
    if list.is_empty() {
        return Err("List of verification policy requirements must not be empty".to_owned());
    }
    list.into_iter().map(requirement).collect()
}

/// The fields of a document whose type is not looked at further.
type Fields<'a> = Vec<(String, &'a RawValue)>;

fn requirement(value: &RawValue) -> Result<Requirement> {
    let kind = kind(value, "signature.prCommon")?;
    let fields = object(value)?;
    match &*kind {
        "insecureAcceptAnything" => only(&fields, &["type"]).map(|()| Requirement::AcceptAnything),
        "reject" => only(&fields, &["type"]).map(|()| Requirement::Reject),
        "signedBaseLayer" => {
            only(&fields, &["type", "baseLayerIdentity"])?;
            let Some(identity) = field(&fields, "baseLayerIdentity") else {
                return Err(missing_key("baseLayerIdentity"));
            };
            identity_match(identity)?;
            Ok(Requirement::SignedBaseLayer)
        }
        "signedBy" => {
            let keys = ["keyPath", "keyPaths", "keyData"];
            only(&fields, &["type", "keyType", "signedIdentity", keys[0], keys[1], keys[2]])?;
            let key_type = field(&fields, "keyType").map(text).transpose()?.unwrap_or_default();
            let known = ["GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs"];
            match keys.iter().filter(|key| field(&fields, key).is_some()).count() {
                0 => {
                    return Err("Exactly one of keyPath, keyPaths and keyData must be specified, \
                                none of them present"
                        .to_owned());
                }
                1 => {}
                _ => {
                    return Err("Exactly one of keyPath, keyPaths and keyData must be specified, \
                                more than one present"
                        .to_owned());
                }
            }
            if field(&fields, "keyType").is_none() {
                return Err(r#"invalid keyType """#.to_owned());
            }
            if !known.contains(&&*key_type) {
                return Err(format!("Unrecognized keyType value \"{key_type}\""));
            }
            signed_identity(&fields)
        }
        "sigstoreSigned" => {
            only(
                &fields,
                &[
                    "type",
                    "keyPath",
                    "keyPaths",
                    "keyData",
                    "keyDatas",
                    "fulcio",
                    "pki",
                    "rekorPublicKeyPath",
                    "rekorPublicKeyPaths",
                    "rekorPublicKeyData",
                    "rekorPublicKeyDatas",
                    "signedIdentity",
                ],
            )?;
            let keys = ["keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki"];
            if keys.iter().filter(|key| field(&fields, key).is_some()).count() != 1 {
                let text = "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki \
                            must be specified";
                return Err(text.to_owned());
            }
            signed_identity(&fields)
        }
        _ => Err(format!("Unknown policy requirement type \"{kind}\"")),
    }
}

/// Who checks signatures reads the rest of such a requirement; that it can be read is checked here.
fn signed_identity(fields: &Fields<'_>) -> Result<Requirement> {
    field(fields, "signedIdentity").map(identity_match).transpose()?;
    Ok(Requirement::Signed)
}

fn identity_match(value: &RawValue) -> Result<()> {
    let kind = kind(value, "signature.prmCommon")?;
    let more: &[&str] = match &*kind {
        "matchExact" | "matchRepoDigestOrExact" | "matchRepository" => &[],
        "exactReference" => &["dockerReference"],
        "exactRepository" => &["dockerRepository"],
        "remapIdentity" => &["prefix", "signedPrefix"],
        _ => return Err(format!("Unknown policy reference match type \"{kind}\"")),
    };
    let fields = object(value)?;
    let known: Vec<&str> = more.iter().copied().chain(["type"]).collect();
    only(&fields, &known)?;
    match more.iter().find(|name| field(&fields, name).is_none()) {
        Some(name) => Err(missing_key(name)),
        None => Ok(()),
    }
}

/// The type that a document says it has.
fn kind(value: &RawValue, go_type: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Common {
        #[serde(default, rename = "type")]
        kind: String,
    }
    match serde_json::from_str::<Value>(value.get()) {
        // The last of several, as in Go; that there are several is found later.
        Ok(value @ Value::Object(_)) => serde_json::from_value::<Common>(value)
            .map(|common| common.kind)
            .map_err(|_| format!("json: cannot unmarshal into Go struct field {go_type}.type")),
        _ => Err(mismatch(value, go_type)),
    }
}

fn only(fields: &Fields<'_>, known: &[&str]) -> Result<()> {
    match fields.iter().find(|(key, _)| !known.contains(&&**key)) {
        Some((key, _)) => Err(unknown_key(key)),
        None => Ok(()),
    }
}

fn field<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
}

fn text(value: &RawValue) -> Result<String> {
    serde_json::from_str(value.get()).map_err(|_| mismatch(value, "string"))
}

/// The fields of an object, each of which may occur once.
fn object(value: &RawValue) -> Result<Fields<'_>> {
    struct Object;
    impl<'de> Visitor<'de> for Object {
        type Value = Fields<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(
            self,
            mut map: A,
        ) -> std::result::Result<Fields<'de>, A::Error> {
            let mut fields = Vec::new();
            while let Some(field) = map.next_entry()? {
                fields.push(field);
            }
            Ok(fields)
        }
    }
    let text = value.get();
    if !text.starts_with('{') {
        // Go shows the first word only.
        let found = if text.starts_with('[') { "[" } else { text.trim_matches('"') };
        return Err(format!("JSON object expected, got \"{found}\""));
    }
    let fields = serde_json::Deserializer::from_str(text)
        .deserialize_map(Object)
        .map_err(|error| words(&error))?;
    let mut seen = BTreeSet::new();
    match fields.iter().find(|(key, _)| !seen.insert(key.as_str())) {
        Some((key, _)) => Err(format!("Duplicate key \"{key}\"")),
        None => Ok(fields),
    }
}

fn unknown_key(key: &str) -> String {
    format!("Unknown key \"{key}\"")
}

fn missing_key(key: &str) -> String {
    format!("Key \"{key}\" missing in a JSON object")
}

fn mismatch(value: &RawValue, go_type: &str) -> String {
    let found = match value.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        _ => "number",
    };
    format!("json: cannot unmarshal {found} into Go value of type {go_type}")
}

fn words(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "unexpected end of JSON input".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(requirement: &str) -> String {
        format!(r#"{{"default":[{requirement}]}}"#)
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let accept = r#"{"type":"insecureAcceptAnything"}"#;
        let signed = |more: &str| with(&format!(r#"{{"type":"signedBy",{more}}}"#));
        for (text, error) in [
            (String::new(), "unexpected end of JSON input"),
            ("{".to_owned(), "unexpected end of JSON input"),
            ("[]".to_owned(), r#"JSON object expected, got "[""#),
            ("{}".to_owned(), "Default policy is missing"),
            (
                r#"{"default":[]}"#.to_owned(),
                "List of verification policy requirements must not be empty",
            ),
            (
                r#"{"default":null}"#.to_owned(),
                "List of verification policy requirements must not be empty",
            ),
            (
                r#"{"default":{}}"#.to_owned(),
                "json: cannot unmarshal object into Go value of type []json.RawMessage",
            ),
            (format!(r#"{{"default":[{accept}],"x":1}}"#), r#"Unknown key "x""#),
            (
                format!(r#"{{"default":[{accept}],"default":[{accept}]}}"#),
                r#"Duplicate key "default""#,
            ),
            (with(r#"{"type":"sudo"}"#), r#"Unknown policy requirement type "sudo""#),
            (with("{}"), r#"Unknown policy requirement type """#),
            (
                with(r#""reject""#),
                "json: cannot unmarshal string into Go value of type signature.prCommon",
            ),
            (with(r#"{"type":"reject","why":1}"#), r#"Unknown key "why""#),
            (with(r#"{"type":"reject","type":"reject"}"#), r#"Duplicate key "type""#),
            (
                signed(r#""keyType":"GPGKeys""#),
                "Exactly one of keyPath, keyPaths and keyData must be specified, none of them present",
            ),
            (
                signed(r#""keyType":"GPGKeys","keyPath":"a","keyData":"b""#),
                "Exactly one of keyPath, keyPaths and keyData must be specified, more than one present",
            ),
            (signed(r#""keyType":"PGP","keyPath":"a""#), r#"Unrecognized keyType value "PGP""#),
            (signed(r#""keyPath":"a""#), r#"invalid keyType """#),
            (
                signed(r#""keyType":"GPGKeys","keyPath":"a","signedIdentity":{"type":"any"}"#),
                r#"Unknown policy reference match type "any""#,
            ),
            (
                signed(
                    r#""keyType":"GPGKeys","keyPath":"a","signedIdentity":{"type":"exactReference"}"#,
                ),
                r#"Key "dockerReference" missing in a JSON object"#,
            ),
            (
                with(r#"{"type":"signedBaseLayer"}"#),
                r#"Key "baseLayerIdentity" missing in a JSON object"#,
            ),
            (
                format!(r#"{{"default":[{accept}],"transports":{{"docker":{{"a":[]}}}}}}"#),
                "List of verification policy requirements must not be empty",
            ),
            (
                format!(
                    r#"{{"default":[{accept}],"transports":{{"docker-archive":{{"/a":[{accept}]}}}}}}"#
                ),
                r#"Unknown key "/a""#,
            ),
            (
                format!(r#"{{"default":[{accept}],"transports":{{"dir":{{"a":[{accept}]}}}}}}"#),
                r#"Unknown key "a""#,
            ),
            (
                format!(
                    r#"{{"default":[{accept}],"transports":{{"oci":{{"/a/../b":[{accept}]}}}}}}"#
                ),
                r#"Unknown key "/a/../b""#,
            ),
            (
                format!(r#"{{"default":[{accept}],"transports":{{"oci":{{"/a/":[{accept}]}}}}}}"#),
                r#"Unknown key "/a/""#,
            ),
            (
                format!(r#"{{"default":[{accept}],"transports":{{"oci":{{"/":[{accept}]}}}}}}"#),
                r#"Unknown key "/""#,
            ),
        ] {
            assert_eq!(policy(text.as_bytes()).unwrap_err(), error, "{text}");
        }
        assert!(policy(&vec![b' '; LIMIT + 1]).is_err());
    }

    #[test]
    fn everything_there_is_can_be_read() {
        for requirement in [
            r#"{"type":"signedBy","keyType":"GPGKeys","keyPaths":["a"],"signedIdentity":{"type":"matchRepository"}}"#,
            r#"{"type":"signedBy","keyType":"GPGKeys","keyData":"AA==","signedIdentity":{"type":"remapIdentity","prefix":"a.io","signedPrefix":"b.io"}}"#,
            r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"exactRepository","dockerRepository":"a.io/b"}}"#,
            r#"{"type":"sigstoreSigned","fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"},"rekorPublicKeyPath":"/r"}"#,
        ] {
            let read = policy(with(requirement).as_bytes()).unwrap();
            assert_eq!(read.default, [Requirement::Signed], "{requirement}");
        }
        let text = r#"{"default":[{"type":"reject"}],"transports":{"atomic":{"x":[{"type":"insecureAcceptAnything"}]},"docker-daemon":{"":[{"type":"insecureAcceptAnything"}]}}}"#;
        assert_eq!(policy(text.as_bytes()).unwrap().transports.len(), 2);
    }
}
