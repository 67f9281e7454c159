//! `policy.json`: which images may be taken from where.
//!
//! The rules of containers/image: the requirements of the most precise scope that is listed for an
//! image's transport count, else those of the transport, else the default. All of them have to be
//! met. Whether signatures are good is not decided here.

mod parse;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use source::Source;

/// Where the policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyFile {
    /// In this file, which somebody named.
    Named(PathBuf),
    /// In the first of these that exists.
    Usual(Vec<PathBuf>),
}

impl Default for PolicyFile {
    fn default() -> Self {
        Self::Usual(vec!["/etc/containers/policy.json".into()])
    }
}

/// A policy. Every list of requirements has at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    default: Vec<Requirement>,
    /// By transport and scope.
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

/// What an image has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requirement {
    /// Anything.
    AcceptAnything,
    /// Nothing will do.
    Reject,
    /// Signed in one of the ways there are.
    Signed,
    /// Built on something that is signed, which no tool has ever been able to check.
    SignedBaseLayer,
}

/// What a policy says about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be used.
    Accept,
    /// It may not be used, for this reason.
    Reject(String),
    /// It may be used if its signatures are good.
    AskSignatures,
}

impl Policy {
    /// Reads a policy, as strictly as containers/image does.
    ///
    /// # Errors
    /// In the words of containers/image.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        parse::policy(text)
    }

    /// What it says about an image from `source`.
    pub fn verdict(&self, source: &Source) -> Verdict {
        let mut verdict = Verdict::Accept;
        for requirement in self.requirements(source) {
            match requirement {
                Requirement::AcceptAnything => {}
                Requirement::Reject => {
                    let text = format!("Running image {source} is rejected by policy.");
                    return Verdict::Reject(text);
                }
                Requirement::SignedBaseLayer => {
                    return Verdict::Reject("signedBaseLayer not implemented yet!".to_owned());
                }
                Requirement::Signed if source.may_be_signed() => verdict = Verdict::AskSignatures,
                Requirement::Signed => {
                    let text = "A signature was required, but no signature exists";
                    return Verdict::Reject(text.to_owned());
                }
            }
        }
        verdict
    }

    fn requirements(&self, source: &Source) -> &[Requirement] {
        let Some(scopes) = self.transports.get(source.transport()) else { return &self.default };
        let listed = source.scopes().iter().find_map(|scope| scopes.get(scope));
        listed.or_else(|| scopes.get("")).unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Reference;

    fn docker(name: &str) -> Source {
        Source::docker(&Reference::normalize_docker(name).unwrap())
    }

    fn policy(text: &str) -> Policy {
        let text = text.replace("ACCEPT", r#"[{"type":"insecureAcceptAnything"}]"#);
        let text = text.replace("REJECT", r#"[{"type":"reject"}]"#);
        let signed = r#"[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]"#;
        Policy::parse(text.replace("SIGNED", signed).as_bytes()).unwrap()
    }

    #[test]
    fn the_most_precise_scope_counts() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let policy = policy(
            &r#"{"default": REJECT, "transports": {
                "docker": {
                    "docker.io/library/busybox:1": ACCEPT,
                    "docker.io/library/busybox": SIGNED,
                    "docker.io/library": ACCEPT,
                    "docker.io/library/pinned@DIGEST": REJECT,
                    "localhost:5000": ACCEPT,
                    "localhost:5000/secret": SIGNED,
                    "registry.example.com/ns": ACCEPT,
                    "*.example.com": SIGNED,
                    "*.org": ACCEPT
                },
                "docker-archive": {"": ACCEPT},
                "oci": {"/images": ACCEPT, "/images/bad": REJECT, "": SIGNED},
                "dir": {"/signed": SIGNED},
                "containers-storage": {"[/root]": ACCEPT, "[overlay@/root]@IMAGE": REJECT}
            }}"#
            .replace("DIGEST", &digest)
            .replace("IMAGE", &"b".repeat(64)),
        );
        let stored = |root: &str, id: &str| {
            Source::stored(root.as_ref(), "/run".as_ref(), &id.repeat(64).parse().unwrap())
        };
        let rejected =
            |image: &str| Verdict::Reject(format!("Running image {image} is rejected by policy."));
        let unsigned =
            Verdict::Reject("A signature was required, but no signature exists".to_owned());
        let (accept, ask) = (Verdict::Accept, Verdict::AskSignatures);
        for (source, expected) in [
            (docker("busybox:1"), accept.clone()),
            (docker("busybox"), ask.clone()),
            (
                docker(
                    "busybox:1@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                ),
                ask.clone(),
            ),
            (docker("other"), accept.clone()),
            (docker(&format!("pinned@{digest}")), rejected(&format!("docker://pinned@{digest}"))),
            (docker("user/app:2"), rejected("docker://user/app:2")),
            (docker("quay.io/a/b"), rejected("docker://quay.io/a/b:latest")),
            (docker("localhost:5000/a/b"), accept.clone()),
            (docker("localhost:5000/secret"), ask.clone()),
            (docker("localhost:5000/secret/deep:1"), ask.clone()),
            (docker("localhost:5001/a"), rejected("docker://localhost:5001/a:latest")),
            (docker("registry.example.com/ns/a"), accept.clone()),
            (docker("registry.example.com/a"), ask.clone()),
            (docker("a.b.example.com:8443/a"), ask.clone()),
            (docker("example.com/a"), rejected("docker://example.com/a:latest")),
            (docker("www.example.org:80/a"), accept.clone()),
            (Source::docker_archive(None, Some("localhost/a:1")), accept.clone()),
            (Source::oci_archive(None), rejected("oci-archive:-:")),
            (Source::tarball(Some("/t.tar".as_ref())), rejected("tarball:/t.tar")),
            (Source::tarball(None), rejected("tarball:-")),
            (Source::oci("/images/a".as_ref()), accept.clone()),
            (Source::oci("/images/bad".as_ref()), rejected("oci:/images/bad:")),
            (Source::oci("/imagesx".as_ref()), unsigned),
            (Source::dir("/signed/a".as_ref()), ask),
            (Source::dir("/a".as_ref()), rejected("dir:/a")),
            (stored("/root", "a"), accept.clone()),
            (
                stored("/root", "b"),
                rejected(&format!("containers-storage:[overlay@/root+/run]@{}", "b".repeat(64))),
            ),
            (
                stored("/other", "a"),
                rejected(&format!("containers-storage:[overlay@/other+/run]@{}", "a".repeat(64))),
            ),
        ] {
            assert_eq!(policy.verdict(&source), expected, "{source}");
        }
    }

    #[test]
    fn all_requirements_have_to_be_met() {
        let (accept, reject) = (r#"{"type":"insecureAcceptAnything"}"#, r#"{"type":"reject"}"#);
        let base = r#"{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}"#;
        let signed = r#"{"type":"sigstoreSigned","keyPath":"/k"}"#;
        let rejected =
            Verdict::Reject("Running image docker://a:latest is rejected by policy.".into());
        let unchecked = Verdict::Reject("signedBaseLayer not implemented yet!".into());
        for (requirements, expected) in [
            (vec![accept, accept], Verdict::Accept),
            (vec![accept, signed], Verdict::AskSignatures),
            (vec![signed, accept], Verdict::AskSignatures),
            (vec![signed, reject], rejected.clone()),
            (vec![reject, base], rejected),
            (vec![base, reject], unchecked.clone()),
            (vec![accept, base], unchecked),
        ] {
            let text = format!(r#"{{"default":[{}]}}"#, requirements.join(","));
            let policy = Policy::parse(text.as_bytes()).unwrap();
            assert_eq!(policy.verdict(&docker("a")), expected, "{text}");
        }
    }
}
