//! Image references: `[domain[:port]/]path[:tag][@digest]`.
//!
//! The grammar is that of the distribution project's `reference` package, which every container
//! tool shares. Three ways to read a text exist because the tools use three: [`Reference::parse`]
//! takes it as written, [`Reference::normalize_docker`] fills in `docker.io` and `library/`, and
//! [`Reference::normalize_local`] gives names without a registry to `localhost`, as Podman does
//! for everything it stores.

use std::fmt;

use super::digest::{Digest, is_lower_hex};

/// Longest `domain/path`, in bytes.
const NAME_MAX: usize = 255;
/// Longest tag, in bytes.
const TAG_MAX: usize = 128;

/// A parsed reference. Which parts are present depends on how it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: Option<String>,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference. The texts are part of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The grammar does not match.
    #[error("invalid reference format")]
    Format,
    /// It would match in lower case.
    #[error("repository name must be lowercase")]
    Uppercase,
    /// As [`ReferenceError::Uppercase`], in the words of the Docker normalisation.
    #[error("invalid reference format: repository name must be lowercase")]
    DockerUppercase,
    /// The name is longer than 255 bytes.
    #[error("repository name must not be more than {NAME_MAX} characters")]
    TooLong,
    /// 64 hexadecimal digits are an ID, not a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Hex(String),
}

impl Reference {
    /// Parses `text` as written; nothing is filled in.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_strict(text).map_err(|error| match error {
            ReferenceError::Format
                if text.bytes().any(|b| b.is_ascii_uppercase())
                    && Self::parse_strict(&text.to_lowercase()).is_ok() =>
            {
                ReferenceError::Uppercase
            }
            other => other,
        })
    }

    fn parse_strict(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| ReferenceError::Format)?))
            }
        };
        let tag_at = rest.rfind(':').filter(|&colon| !rest[colon..].contains('/'));
        let (name, tag) = match tag_at {
            Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Format);
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, rest)) if is_domain(first) => (Some(first), rest),
            _ => (None, name),
        };
        if !path.split('/').all(is_path_component) {
            return Err(ReferenceError::Format);
        }
        if name.len() > NAME_MAX {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self {
            domain: domain.map(str::to_owned),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Parses `text` as Docker does: without a registry it is on `docker.io`, and a single
    /// component there is in `library/`. Tag and digest stay as they are.
    pub fn normalize_docker(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && is_lower_hex(text) {
            return Err(ReferenceError::Hex(text.to_owned()));
        }
        let (domain, remainder) = match text.split_once('/') {
            Some((first, rest)) if names_registry(first) => (first, rest),
            _ => ("docker.io", text),
        };
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        let library =
            if domain == "docker.io" && !remainder.contains('/') { "library/" } else { "" };
        let remote = remainder.split([':', '@']).next().unwrap_or_default();
        if remote.to_lowercase() != remote {
            return Err(ReferenceError::DockerUppercase);
        }
        Self::parse(&format!("{domain}/{library}{remainder}"))
    }

    /// The canonical form under which an image is stored: names without a registry belong to
    /// `localhost`, a digest displaces a tag, and without either the tag is `latest`.
    pub fn normalize_local(text: &str) -> Result<Self, ReferenceError> {
        let parsed = Self::parse(text)?;
        let full = if parsed.is_short() { format!("localhost/{text}") } else { text.to_owned() };
        Ok(Self::normalize_docker(&full)?.tagged())
    }

    /// Whether no registry is named: the first component is neither a host nor `localhost`.
    pub fn is_short(&self) -> bool {
        !self.domain.as_deref().is_some_and(names_registry)
    }

    /// The same reference with exactly one of tag and digest: the digest if there is one, else the
    /// tag, else `latest`.
    #[must_use]
    pub fn tagged(mut self) -> Self {
        if self.digest.is_some() {
            self.tag = None;
        } else if self.tag.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// Whether there are both a tag and a digest.
    pub fn is_doubled(&self) -> bool {
        self.tag.is_some() && self.digest.is_some()
    }

    /// The first component, when it can be a registry.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The repository path without the domain.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// A full reference as people write it: without `docker.io` and `library/`.
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        let Some(rest) = text.strip_prefix("docker.io/") else { return text };
        match rest.strip_prefix("library/") {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => rest.to_owned(),
        }
    }

    /// Domain and path: everything but tag and digest.
    pub fn repository(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{domain}/{}", self.path),
            None => self.path.clone(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(domain) = &self.domain {
            write!(f, "{domain}/")?;
        }
        f.write_str(&self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether a first component is a registry rather than a namespace.
fn names_registry(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    matches!(bytes.first(), Some(b) if b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.len() <= TAG_MAX
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_domain(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        match text.split_once(']') {
            Some((inner, "")) => (format!("{inner}]"), None),
            Some((inner, port)) if port.starts_with(':') => (format!("{inner}]"), Some(&port[1..])),
            _ => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        }
    };
    let port_ok = port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let host_ok = match host.strip_prefix('[') {
        Some(v6) => {
            let inner = &v6[..v6.len() - 1];
            !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }
        None => host.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    port_ok && host_ok
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|separator| !separator.is_empty())
        .all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, String, Option<String>, bool) {
        let r = Reference::parse(text).unwrap();
        (r.domain, r.path, r.tag, r.digest.is_some())
    }

    #[test]
    fn splits_like_the_distribution_grammar() {
        let s = |x: &str| Some(x.to_owned());
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(parts("foo"), (None, "foo".into(), None, false));
        assert_eq!(parts("localhost:5000"), (None, "localhost".into(), s("5000"), false));
        assert_eq!(parts("foo/bar"), (s("foo"), "bar".into(), None, false));
        assert_eq!(parts("a_b/c"), (None, "a_b/c".into(), None, false));
        assert_eq!(parts("Host:5000/a/b:T"), (s("Host:5000"), "a/b".into(), s("T"), false));
        assert_eq!(parts("[::1]:5000/a"), (s("[::1]:5000"), "a".into(), None, false));
        assert_eq!(parts(&format!("q.io/a:1@{digest}")), (s("q.io"), "a".into(), s("1"), true));
    }

    #[test]
    fn error_texts() {
        for (text, error) in [
            ("UPPER", "repository name must be lowercase"),
            ("", "invalid reference format"),
            ("BAD NAME", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("x:1:2", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err().to_string(), error, "{text}");
        }
        let long = format!("localhost/{}", "a".repeat(250));
        assert_eq!(
            Reference::parse(&long).unwrap_err().to_string(),
            "repository name must not be more than 255 characters"
        );
        assert_eq!(
            Reference::normalize_docker("UPPER:1").unwrap_err().to_string(),
            "invalid reference format: repository name must be lowercase"
        );
    }

    #[test]
    fn local_normalisation() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, stored) in [
            ("foo", "localhost/foo:latest"),
            ("ns/foo:1", "localhost/ns/foo:1"),
            ("localhost/x", "localhost/x:latest"),
            ("docker.io/foo", "docker.io/library/foo:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            (&format!("quay.io/a:1@{digest}"), &format!("quay.io/a@{digest}")),
            ("v1", "localhost/v1:latest"),
        ] {
            assert_eq!(Reference::normalize_local(text).unwrap().to_string(), stored);
        }
    }

    #[test]
    fn docker_normalisation() {
        for (text, full) in [
            ("foo", "docker.io/library/foo"),
            ("ns/foo:1", "docker.io/ns/foo:1"),
            ("localhost/x", "localhost/x"),
            ("quay.io/a", "quay.io/a"),
        ] {
            assert_eq!(Reference::normalize_docker(text).unwrap().to_string(), full);
        }
    }
}
