//! What `registries.conf` says about single registries.

use super::{Reference, ReferenceError};

/// The `[[registry]]` tables of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registries {
    /// One for each prefix.
    pub entries: Vec<RegistryEntry>,
    /// Where logins are looked up, in order: `containers-auth.json` for the files, else the name of
    /// a credential helper. Empty: only the files.
    pub credential_helpers: Vec<String>,
    /// The main file and the directory of drop-ins, for messages.
    pub origin: [String; 2],
}

/// One `[[registry]]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryEntry {
    /// What it is about: a registry, a namespace or an image; or `*.example.com`.
    pub prefix: String,
    /// Certificates are not checked, and if there is no TLS, plain HTTP will do.
    pub insecure: bool,
    /// Nothing is pulled from there.
    pub blocked: bool,
    /// What stands in place of the prefix in the references that are asked for; empty: the prefix.
    pub location: String,
    /// Where else its images can be had, in the order in which they are tried.
    pub mirrors: Vec<Mirror>,
    /// Mirrors are used for references with digests only.
    pub mirror_by_digest_only: bool,
}

/// Another place with the images of a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirror {
    /// What stands in place of the prefix.
    pub location: String,
    /// As that of a registry.
    pub insecure: bool,
    /// What it is used for.
    pub pulls: MirrorPulls,
}

/// What a mirror is used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MirrorPulls {
    /// Every reference.
    #[default]
    All,
    /// References with digests.
    DigestOnly,
    /// References without.
    TagOnly,
}

/// A place where an image can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSource {
    /// What to ask for there.
    pub reference: Reference,
    /// Certificates are not checked, and if there is no TLS, plain HTTP will do.
    pub insecure: bool,
}

impl Registries {
    /// The table for `name`, a registry or a reference: the longest prefix that fits.
    pub fn find(&self, name: &str) -> Option<&RegistryEntry> {
        let fits = self.entries.iter().filter(|entry| entry.fits(name));
        fits.max_by_key(|entry| entry.prefix.len())
    }

    /// Where `reference`, a full one, can be had: mirrors first, its own registry last. Whether that
    /// is blocked does not matter here.
    ///
    /// # Errors
    /// If the reference makes none together with a location.
    pub fn pull_sources(&self, reference: &Reference) -> Result<Vec<PullSource>, ReferenceError> {
        let name = reference.to_string();
        let Some(entry) = self.find(&name) else {
            return Ok(vec![PullSource { reference: reference.clone(), insecure: false }]);
        };
        let by_digest = reference.digest().is_some();
        let serves = |mirror: &&Mirror| match mirror.pulls {
            _ if entry.mirror_by_digest_only && !by_digest => false,
            MirrorPulls::All => true,
            MirrorPulls::DigestOnly => by_digest,
            MirrorPulls::TagOnly => !by_digest,
        };
        let mirrors = entry.mirrors.iter().filter(serves);
        let mut places: Vec<(&str, bool)> =
            mirrors.map(|mirror| (&*mirror.location, mirror.insecure)).collect();
        places.push((&entry.location, entry.insecure));
        let source = |(location, insecure): (&str, bool)| {
            let reference = entry
                .rewritten(&name, location)
                .map_or_else(|| Ok(reference.clone()), |text| Reference::normalize_docker(&text))?;
            Ok(PullSource { reference, insecure })
        };
        places.into_iter().map(source).collect()
    }

    /// Why nothing is to be had from a registry that is blocked.
    pub fn blocked(&self, entry: &RegistryEntry) -> String {
        let [file, directory] = &self.origin;
        format!("registry {} is blocked in {file} or {directory}", entry.prefix)
    }
}

impl RegistryEntry {
    fn fits(&self, name: &str) -> bool {
        self.rest(name).is_some()
    }

    /// What follows the prefix.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = match self.prefix.strip_prefix('*') {
            Some(domain) => name
                .find(domain)
                .filter(|&at| !name[..at].contains('/'))
                .map(|at| &name[at + domain.len()..]),
            None => name.strip_prefix(&self.prefix),
        };
        rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
    }

    /// A name with `location` in place of the prefix. `None`: it stays as it is.
    fn rewritten(&self, name: &str, location: &str) -> Option<String> {
        let location = location.trim_end_matches('/');
        if location.is_empty() || location == self.prefix {
            return None;
        }
        Some(format!("{location}{}", self.rest(name)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_first() {
        let mirror = |location: &str, pulls| Mirror {
            location: location.into(),
            insecure: location.starts_with("127"),
            pulls,
        };
        let registries = Registries {
            entries: vec![
                RegistryEntry {
                    prefix: "a.io/ns".into(),
                    location: "real.io/x/".into(),
                    mirrors: vec![
                        mirror("127.0.0.1:5000/m", MirrorPulls::All),
                        mirror("d.io", MirrorPulls::DigestOnly),
                        mirror("t.io", MirrorPulls::TagOnly),
                    ],
                    ..RegistryEntry::default()
                },
                RegistryEntry {
                    prefix: "*.b.io".into(),
                    location: "c.io/b".into(),
                    mirrors: vec![mirror("m.io", MirrorPulls::All)],
                    mirror_by_digest_only: true,
                    insecure: true,
                    ..RegistryEntry::default()
                },
                RegistryEntry { prefix: "*.w.io".into(), ..RegistryEntry::default() },
            ],
            ..Registries::default()
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, expected) in [
            ("z.io/ns/i:1", "z.io/ns/i:1"),
            ("a.io/ns/i:1", "127.0.0.1:5000/m/i:1! t.io/i:1 real.io/x/i:1"),
            ("a.io/ns/i@D", "127.0.0.1:5000/m/i@D! d.io/i@D real.io/x/i@D"),
            ("s.b.io/i:1", "c.io/b/i:1!"),
            ("s.b.io/i@D", "m.io/i@D c.io/b/i@D!"),
            ("s.w.io/i:1", "s.w.io/i:1"),
        ] {
            let reference = Reference::parse(&name.replace('D', &digest)).unwrap();
            let sources = registries.pull_sources(&reference).unwrap();
            let text =
                |it: &PullSource| format!("{}{}", it.reference, if it.insecure { "!" } else { "" });
            let found: Vec<_> = sources.iter().map(text).collect();
            assert_eq!(found.join(" ").replace(&digest, "D"), expected, "{name}");
        }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let entry = |prefix: &str| RegistryEntry { prefix: prefix.into(), ..Default::default() };
        let prefixes = ["a.io", "a.io/x", "a.io/x/y:1", "*.b.io", "*.c.b.io", "h:5000"];
        let registries =
            Registries { entries: prefixes.map(entry).into(), ..Registries::default() };
        for (name, prefix) in [
            ("a.io", "a.io"),
            ("a.io/z", "a.io"),
            ("a.io/xx", "a.io"),
            ("a.io/x", "a.io/x"),
            ("a.io/x/y", "a.io/x"),
            ("a.io/x/y:1", "a.io/x/y:1"),
            ("a.io/x/y:12", "a.io/x"),
            ("a.io/x@sha256:1", "a.io/x"),
            ("a.iox/x", ""),
            ("d.b.io/x", "*.b.io"),
            ("d.c.b.io", "*.c.b.io"),
            ("b.io/x", ""),
            ("x.io/d.b.io/x", ""),
            ("h:5000/x", "h:5000"),
            ("h/x", ""),
        ] {
            let found = registries.find(name).map_or("", |entry| &entry.prefix);
            assert_eq!(found, prefix, "{name}");
        }
    }
}
