//! `registries.conf`: how names without a registry are looked up.
//!
//! Only what local name resolution needs is read: the search list and the short-name aliases. The
//! files, lowest priority first: the main file (`CONTAINERS_REGISTRIES_CONF`, else the user's, else
//! `/etc`, else `/usr/share`), the drop-ins of `/etc/containers/registries.conf.d`, those of the
//! user, and the aliases recorded by the tools in `short-name-aliases.conf`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::toml_file::{drop_ins, first, parse, read, read_optional};
use super::{Error, Host};
use crate::image::ShortNames;

#[derive(Deserialize, Default)]
struct File {
    #[serde(rename = "unqualified-search-registries")]
    search: Option<Vec<String>>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    registries: Option<Version1>,
}

/// The old format, `[registries.search] registries = […]`, still read by the tools. Its other
/// tables are lists under the same key.
#[derive(Deserialize)]
struct Version1 {
    search: Option<Version1Search>,
}

#[derive(Deserialize)]
struct Version1Search {
    #[serde(default)]
    registries: Vec<String>,
}

/// Reads the files of `host`.
pub(super) fn load(host: &Host) -> Result<ShortNames, Error> {
    let user = host.xdg("XDG_CONFIG_HOME", ".config").ok().map(|dir| dir.join("containers"));
    let etc = host.system("/etc/containers");
    let main = match host.variable("CONTAINERS_REGISTRIES_CONF") {
        Some(path) => Some((path.into(), read(Path::new(path))?)),
        None => first(
            user.iter()
                .chain([&etc, &host.system("/usr/share/containers")])
                .map(|dir| dir.join("registries.conf"))
                .collect(),
        )?,
    };
    let mut names = ShortNames {
        config_path: Some(match &main {
            Some((path, _)) => path.to_string_lossy().into_owned(),
            None => etc.join("registries.conf").to_string_lossy().into_owned(),
        }),
        ..ShortNames::default()
    };
    if let Some((path, text)) = &main {
        add(&mut names, parse(path, text)?);
    }
    for dir in [Some(etc), user].into_iter().flatten() {
        for path in drop_ins(&[dir.join("registries.conf.d")])? {
            add(&mut names, parse(&path, &read(&path)?)?);
        }
    }
    let cache = if host.is_rootless() {
        host.xdg("XDG_CACHE_HOME", ".cache").ok().map(|dir| dir.join("containers"))
    } else {
        Some(host.system("/var/cache/containers"))
    };
    if let Some(path) = cache.map(|dir| dir.join("short-name-aliases.conf"))
        && let Some(text) = read_optional(&path)?
    {
        add(&mut names, parse(&path, &text)?);
    }
    Ok(names)
}

fn add(names: &mut ShortNames, file: File) {
    let old = || file.registries.and_then(|old| old.search).map(|search| search.registries);
    if let Some(search) = file.search.or_else(old) {
        names.search = search;
    }
    for (name, target) in file.aliases {
        // An empty target takes an alias of a lower file away.
        if target.is_empty() {
            names.aliases.remove(&name);
        } else {
            names.aliases.insert(name, target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_from(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<ShortNames, String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let place = |text: &str| text.replace("ROOT", root.path().to_str().unwrap());
        let variables = variables.iter().map(|(name, value)| (name.into(), place(value).into()));
        let host = Host::new(variables, 1000, true, Some(root.path().join("home")))
            .with_system_root(root.path());
        let unplace = |text: String| text.replace(root.path().to_str().unwrap(), "ROOT");
        match load(&host) {
            Ok(names) => Ok(ShortNames { config_path: names.config_path.map(unplace), ..names }),
            Err(error) => Err(unplace(error.to_string())),
        }
    }

    fn names(aliases: &[(&str, &str)], search: &[&str], path: &str) -> ShortNames {
        ShortNames {
            aliases: aliases.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
            search: search.iter().map(ToString::to_string).collect(),
            config_path: Some(path.into()),
        }
    }

    #[test]
    fn files_and_their_order() {
        let etc = ("etc/containers/registries.conf", "unqualified-search-registries=['e.io']");
        let user = (
            "home/.config/containers/registries.conf",
            "unqualified-search-registries=['u.io','v.io']\n[aliases]\n'a'='u.io/a'",
        );
        let drop_in = (
            "etc/containers/registries.conf.d/1.conf",
            "[aliases]\n'a'='e.io/a'\n'b'='e.io/b'\n'c'='e.io/c'",
        );
        let user_drop_in = (
            "home/.config/containers/registries.conf.d/0.conf",
            "[aliases]\n'b'=''\n[[registry]]\nlocation='x'",
        );
        let recorded =
            ("home/.cache/containers/short-name-aliases.conf", "[aliases]\n'c'='r.io/c'");
        let etc_path = "ROOT/etc/containers/registries.conf";
        let user_path = "ROOT/home/.config/containers/registries.conf";
        let version_1 = (
            "x.conf",
            "[registries.search]\nregistries=['o.io']\n[registries.block]\nregistries=[]",
        );
        for (files, variables, expected) in [
            (&[][..], &[][..], names(&[], &[], etc_path)),
            (&[etc], &[], names(&[], &["e.io"], etc_path)),
            (&[etc, user], &[], names(&[("a", "u.io/a")], &["u.io", "v.io"], user_path)),
            (
                &[etc, drop_in, user_drop_in, recorded],
                &[],
                names(&[("a", "e.io/a"), ("c", "r.io/c")], &["e.io"], etc_path),
            ),
            (
                &[etc, version_1],
                &[("CONTAINERS_REGISTRIES_CONF", "ROOT/x.conf")],
                names(&[], &["o.io"], "ROOT/x.conf"),
            ),
        ] {
            assert_eq!(load_from(files, variables), Ok(expected), "{files:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            load_from(
                &[("etc/containers/registries.conf", "\n\nunqualified-search-registries=1")],
                &[]
            ),
            Err("ROOT/etc/containers/registries.conf:3: \
                 invalid type: integer `1`, expected a sequence"
                .into())
        );
        assert_eq!(
            load_from(&[], &[("CONTAINERS_REGISTRIES_CONF", "ROOT/none")]),
            Err("reading ROOT/none".into())
        );
    }
}
