//! How names without a registry are to be read on this host.
//!
//! The data come from `registries.conf` and the files of aliases, which the configuration reads;
//! here is only the rule that turns a name into candidates for a local lookup.

use std::collections::BTreeMap;

use super::{Reference, ReferenceError};

/// What the host's `registries.conf` says about short names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShortNames {
    /// Short name (`fedora`, `ns/name`) to full repository.
    pub aliases: BTreeMap<String, String>,
    /// Registries to try for short names without an alias, in order.
    pub search: Vec<String>,
    /// The main file, for messages.
    pub config_path: Option<String>,
    /// For each alias the file it is from, for messages.
    pub alias_files: BTreeMap<String, String>,
    /// Whether somebody has to choose where several search registries could be meant. Nobody can
    /// be asked here.
    pub enforcing: bool,
}

impl ShortNames {
    /// The full references that `name` may have in the local store, in the order in which they
    /// count: for a short name its alias, `localhost/`, and each search registry; for any name
    /// what Docker takes it for.
    ///
    /// # Errors
    /// If `name` cannot be combined with `localhost` or a search registry, or is no reference.
    pub fn local_candidates(&self, name: &str) -> Result<Vec<Reference>, ReferenceError> {
        let parsed = Reference::parse(name)?;
        let mut candidates = Vec::new();
        if parsed.is_short() {
            if let Some(alias) = self.aliases.get(&parsed.repository()) {
                let tail = &name[parsed.repository().len()..];
                candidates.push(Reference::normalize_docker(&format!("{alias}{tail}"))?.tagged());
            }
            for registry in
                std::iter::once("localhost").chain(self.search.iter().map(String::as_str))
            {
                let full = Reference::normalize_docker(&format!("{registry}/{name}"))?;
                candidates.push(full.tagged());
            }
        } else {
            candidates.push(Reference::normalize_docker(name)?.tagged());
        }
        if let Ok(docker) = Reference::normalize_docker(name).map(Reference::tagged)
            && !candidates.contains(&docker)
        {
            candidates.push(docker);
        }
        Ok(candidates)
    }

    /// How the candidates for a pull of `name` were found. `None` if it has just one meaning.
    pub fn description(&self, name: &str) -> Option<String> {
        let parsed = Reference::parse(name).ok().filter(Reference::is_short)?;
        let short = parsed.repository();
        if self.aliases.contains_key(&short) {
            let file = self.alias_files.get(&short).map_or("", String::as_str);
            return Some(format!("Resolved {name:?} as an alias ({file})"));
        }
        let file = self.config_path.as_deref().unwrap_or_default();
        Some(format!("Resolving {name:?} using unqualified-search registries ({file})"))
    }

    /// As [`pull_candidates`](Self::pull_candidates), for a pull that is made.
    ///
    /// # Errors
    /// Also if somebody would have to be asked.
    pub fn chosen_candidates(&self, name: &str) -> Result<Vec<Reference>, ResolveError> {
        let candidates = self.pull_candidates(name)?;
        if self.enforcing && candidates.len() > 1 {
            return Err(ResolveError::CannotAsk);
        }
        Ok(candidates)
    }

    /// The full references as which `name` would be pulled: for a short name its alias, or else
    /// one in each search registry; any other name itself.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub fn pull_candidates(&self, name: &str) -> Result<Vec<Reference>, ResolveError> {
        let invalid = |source| ResolveError::Invalid { name: name.to_owned(), source };
        let parsed = Reference::parse(name).map_err(invalid)?;
        let full = |text: &str| Reference::normalize_docker(text).map(Reference::tagged);
        if !parsed.is_short() {
            return Ok(vec![full(name).map_err(invalid)?]);
        }
        if let Some(alias) = self.aliases.get(&parsed.repository()) {
            let tail = name.get(parsed.repository().len()..).unwrap_or_default();
            return Ok(vec![full(&format!("{alias}{tail}")).map_err(invalid)?]);
        }
        if self.search.is_empty() {
            return Err(ResolveError::NoRegistry {
                name: name.to_owned(),
                config_path: self.config_path.clone().unwrap_or_default(),
            });
        }
        let candidates = self.search.iter().map(|registry| full(&format!("{registry}/{name}")));
        candidates.collect::<Result<_, _>>().map_err(invalid)
    }
}

/// Why a name has no candidates for a pull. The texts are part of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It is no reference, or makes none together with an alias or a registry.
    #[error("cannot parse input: {name:?}")]
    Invalid {
        /// The name.
        name: String,
        /// What about it.
        source: ReferenceError,
    },
    /// Somebody has to choose among search registries.
    #[error("short-name resolution enforced but cannot prompt without a TTY")]
    CannotAsk,
    /// It is short, and nothing says what it is short for.
    #[error(
        "short-name {name:?} did not resolve to an alias and no unqualified-search registries are \
         defined in {config_path:?}"
    )]
    NoRegistry {
        /// The name.
        name: String,
        /// The file that could define them.
        config_path: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(name: &str) -> Vec<String> {
        let names = ShortNames {
            aliases: [("debian".to_owned(), "docker.io/library/debian".to_owned())].into(),
            search: vec!["quay.io".into(), "reg.example/ns".into()],
            config_path: None,
            ..ShortNames::default()
        };
        names.local_candidates(name).unwrap().iter().map(Reference::to_string).collect()
    }

    #[test]
    fn order_of_candidates() {
        assert_eq!(
            candidates("debian:12"),
            [
                "docker.io/library/debian:12",
                "localhost/debian:12",
                "quay.io/debian:12",
                "reg.example/ns/debian:12"
            ]
        );
        assert_eq!(
            candidates("ns/x"),
            [
                "localhost/ns/x:latest",
                "quay.io/ns/x:latest",
                "reg.example/ns/ns/x:latest",
                "docker.io/ns/x:latest"
            ]
        );
        assert_eq!(candidates("quay.io/x"), ["quay.io/x:latest"]);
        assert_eq!(candidates("docker.io/x:1"), ["docker.io/library/x:1"]);
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(candidates(&format!("localhost/x@{digest}")), [format!("localhost/x@{digest}")]);
        assert!(ShortNames::default().local_candidates("UPPER").is_err());
    }

    #[test]
    fn candidates_for_a_pull() {
        let names = ShortNames {
            aliases: [("debian".to_owned(), "docker.io/library/debian".to_owned())].into(),
            search: vec!["docker.io".into(), "quay.io".into()],
            config_path: Some("/etc/containers/registries.conf".into()),
            ..ShortNames::default()
        };
        let texts = |names: &ShortNames, name: &str| {
            names.pull_candidates(name).map(|all| all.iter().map(Reference::to_string).collect())
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, expected) in [
            ("debian", vec!["docker.io/library/debian:latest".to_owned()]),
            ("debian:12", vec!["docker.io/library/debian:12".into()]),
            ("x:1", vec!["docker.io/library/x:1".into(), "quay.io/x:1".into()]),
            ("a/x", vec!["docker.io/a/x:latest".into(), "quay.io/a/x:latest".into()]),
            ("docker.io/x", vec!["docker.io/library/x:latest".into()]),
            ("localhost/x", vec!["localhost/x:latest".into()]),
            (&format!("quay.io/x:1@{digest}"), vec![format!("quay.io/x@{digest}")]),
        ] {
            assert_eq!(texts(&names, name), Ok::<Vec<_>, _>(expected), "{name}");
        }
        let message = |error: ResolveError| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let upper = texts(&names, "UPPER").unwrap_err();
        assert_eq!(
            message(upper),
            "cannot parse input: \"UPPER\": repository name must be lowercase"
        );
        let none = ShortNames { search: Vec::new(), ..names };
        assert_eq!(
            message(texts(&none, "x").unwrap_err()),
            "short-name \"x\" did not resolve to an alias and no unqualified-search registries are \
             defined in \"/etc/containers/registries.conf\""
        );
    }
}
