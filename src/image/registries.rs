//! What `registries.conf` says about single registries.

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
}

impl Registries {
    /// The table for `name`, a registry or a reference: the longest prefix that fits.
    pub fn find(&self, name: &str) -> Option<&RegistryEntry> {
        let fits = self.entries.iter().filter(|entry| entry.fits(name));
        fits.max_by_key(|entry| entry.prefix.len())
    }

    /// Why nothing is to be had from a registry that is blocked.
    pub fn blocked(&self, entry: &RegistryEntry) -> String {
        let [file, directory] = &self.origin;
        format!("registry {} is blocked in {file} or {directory}", entry.prefix)
    }
}

impl RegistryEntry {
    fn fits(&self, name: &str) -> bool {
        let rest = match self.prefix.strip_prefix('*') {
            Some(domain) => name
                .find(domain)
                .filter(|&at| !name[..at].contains('/'))
                .map(|at| &name[at + domain.len()..]),
            None => name.strip_prefix(&self.prefix),
        };
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
