//! `registries.conf`: how names without a registry are looked up, which registries are insecure or
//! blocked, and where else their images are. Beside it, where logins and certificates of registries
//! are.
//!
//! The files, lowest priority first: the main file (`CONTAINERS_REGISTRIES_CONF`, else the user's, else
//! `/etc`, else `/usr/share`), the drop-ins of `/etc/containers/registries.conf.d`, those of the
//! user, and the aliases recorded by the tools in `short-name-aliases.conf`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::toml_file::{drop_ins, first, parse, read, read_optional};
use super::{Error, Host};
use crate::image::{Mirror, MirrorPulls, PolicyFile, Registries, RegistryEntry, ShortNames};

#[derive(Deserialize, Default)]
struct File {
    #[serde(rename = "unqualified-search-registries")]
    search: Option<Vec<String>>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    registries: Option<Version1>,
    #[serde(default)]
    registry: Vec<Table>,
    #[serde(rename = "credential-helpers")]
    credential_helpers: Option<Vec<String>>,
    #[serde(rename = "short-name-mode")]
    short_name_mode: Option<String>,
}

/// One `[[registry]]`.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Table {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    #[serde(rename = "mirror")]
    mirrors: Vec<MirrorTable>,
    #[serde(rename = "mirror-by-digest-only")]
    mirror_by_digest_only: bool,
}

/// One `[[registry.mirror]]`.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct MirrorTable {
    location: String,
    insecure: bool,
    #[serde(rename = "pull-from-mirror")]
    pulls: String,
}

/// The old format, `[registries.search] registries = […]`, still read by the tools. Its other
/// tables are lists under the same key.
#[derive(Deserialize)]
struct Version1 {
    search: Option<Version1List>,
    insecure: Option<Version1List>,
    block: Option<Version1List>,
}

#[derive(Deserialize, Default)]
struct Version1List {
    #[serde(default)]
    registries: Vec<String>,
}

/// The main file, if the environment names it.
pub(super) fn named_file(host: &Host) -> Option<PathBuf> {
    host.variable("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from)
}

/// Reads the files of `host`.
pub(super) fn load(host: &Host) -> Result<(ShortNames, Registries), Error> {
    let user = host.xdg("XDG_CONFIG_HOME", ".config").ok().map(|dir| dir.join("containers"));
    let etc = host.system("/etc/containers");
    let main = match named_file(host) {
        Some(path) => {
            let text = read(&path)?;
            Some((path, text))
        }
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
    let mut registries = Registries {
        origin: [
            names.config_path.clone().unwrap_or_default(),
            etc.join("registries.conf.d").to_string_lossy().into_owned(),
        ],
        ..Registries::default()
    };
    if let Some((path, text)) = &main {
        add(&mut names, &mut registries, path, text)?;
    }
    for dir in [Some(etc), user].into_iter().flatten() {
        for path in drop_ins(&[dir.join("registries.conf.d")])? {
            let text = read(&path)?;
            add(&mut names, &mut registries, &path, &text)?;
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
        add(&mut names, &mut registries, &path, &text)?;
    }
    Ok((names, registries))
}

/// Where logins are: `REGISTRY_AUTH_FILE` alone if it is set, else the files of `podman login`, the
/// one of the running session first, then those of Docker.
pub(super) fn auth_files(host: &Host) -> Vec<PathBuf> {
    if let Some(path) = host.variable("REGISTRY_AUTH_FILE") {
        return vec![path.into()];
    }
    let session = match host.variable("XDG_RUNTIME_DIR") {
        Some(directory) => Path::new(directory).join("containers/auth.json"),
        None => host.system(&format!("/run/containers/{}/auth.json", host.uid())),
    };
    let config = host.xdg("XDG_CONFIG_HOME", ".config");
    let docker = match host.variable("DOCKER_CONFIG") {
        Some(directory) => Ok(PathBuf::from(directory)),
        None => host.home().map(|home| home.join(".docker")),
    };
    let others = [
        config.map(|directory| directory.join("containers/auth.json")),
        docker.map(|directory| directory.join("config.json")),
        host.home().map(|home| home.join(".dockercfg")),
    ];
    std::iter::once(session).chain(others.into_iter().flatten()).collect()
}

/// Where certificates of registries are: the user's, the system's, Docker's.
pub(super) fn certs_directories(host: &Host) -> Vec<PathBuf> {
    let user = host.home().map(|home| home.join(".config/containers/certs.d"));
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(|path| host.system(path));
    user.into_iter().chain(system).collect()
}

/// Where the Docker daemon is, if the environment says. Images are pulled from it, no more.
pub(super) fn docker_host(host: &Host) -> Option<String> {
    host.variable("DOCKER_HOST").map(str::to_owned)
}

/// Where the signature policy is: where somebody says, else the user's, else the system's. It is read
/// when it is needed.
pub(super) fn policy_file(named: Option<&Path>, host: &Host) -> PolicyFile {
    if let Some(path) = named {
        return PolicyFile::Named(path.to_owned());
    }
    let user = host.home().map(|home| home.join(".config/containers/policy.json"));
    let system = host.system("/etc/containers/policy.json");
    PolicyFile::Usual(user.into_iter().chain([system]).collect())
}

/// Adds what a file says to what files below it say.
fn add(
    names: &mut ShortNames,
    registries: &mut Registries,
    path: &Path,
    text: &str,
) -> Result<(), Error> {
    let file: File = parse(path, text)?;
    let old = file.registries.unwrap_or(Version1 { search: None, insecure: None, block: None });
    if let Some(search) = file.search.or(old.search.map(|search| search.registries)) {
        names.search = search;
    }
    if let Some(helpers) = file.credential_helpers {
        registries.credential_helpers = helpers;
    }
    for table in file.registry {
        // Without a prefix it is about its own location.
        let location = table.location.trim_end_matches('/').to_owned();
        let prefix = if table.prefix.is_empty() { table.location } else { table.prefix };
        *entry(registries, &prefix) = RegistryEntry {
            prefix: prefix.trim_end_matches('/').to_owned(),
            insecure: table.insecure,
            blocked: table.blocked,
            location,
            mirrors: table.mirrors.iter().map(mirror).collect(),
            mirror_by_digest_only: table.mirror_by_digest_only,
        };
    }
    for prefix in old.insecure.unwrap_or_default().registries {
        entry(registries, &prefix).insecure = true;
    }
    for prefix in old.block.unwrap_or_default().registries {
        entry(registries, &prefix).blocked = true;
    }
    for (name, target) in file.aliases {
        // An empty target takes an alias of a lower file away.
        if target.is_empty() {
            names.aliases.remove(&name);
        } else {
            names.alias_files.insert(name.clone(), path.to_string_lossy().into_owned());
            names.aliases.insert(name, target);
        }
    }
    if let Some(mode) = file.short_name_mode {
        names.enforcing = mode == "enforcing";
    }
    Ok(())
}

fn mirror(table: &MirrorTable) -> Mirror {
    let pulls = match &*table.pulls {
        "digest-only" => MirrorPulls::DigestOnly,
        "tag-only" => MirrorPulls::TagOnly,
        _ => MirrorPulls::All,
    };
    let location = table.location.trim_end_matches('/').to_owned();
    Mirror { location, insecure: table.insecure, pulls }
}

/// The table for exactly this prefix: a later one takes the place of an earlier one.
fn entry<'a>(registries: &'a mut Registries, prefix: &str) -> &'a mut RegistryEntry {
    let prefix = prefix.trim_end_matches('/');
    let entries = &mut registries.entries;
    let at = entries.iter().position(|entry| entry.prefix == prefix).unwrap_or_else(|| {
        entries.push(RegistryEntry { prefix: prefix.to_owned(), ..RegistryEntry::default() });
        entries.len() - 1
    });
    &mut entries[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_from(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<ShortNames, String> {
        load_both(files, variables).map(|(names, _)| names)
    }

    fn load_both(
        files: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Result<(ShortNames, Registries), String> {
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
            Ok((names, registries)) => Ok((
                ShortNames {
                    config_path: names.config_path.map(unplace),
                    alias_files: BTreeMap::new(),
                    ..names
                },
                Registries { origin: registries.origin.map(unplace), ..registries },
            )),
            Err(error) => Err(unplace(error.to_string())),
        }
    }

    fn names(aliases: &[(&str, &str)], search: &[&str], path: &str) -> ShortNames {
        ShortNames {
            aliases: aliases.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
            search: search.iter().map(ToString::to_string).collect(),
            config_path: Some(path.into()),
            ..ShortNames::default()
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
    fn tables_of_registries() {
        let main = (
            "etc/containers/registries.conf",
            "credential-helpers=['x']\n\
             [[registry]]\nlocation='a.io/'\ninsecure=true\n\
             [[registry]]\nprefix='*.b.io'\nblocked=true\nmirror-by-digest-only=true\n\
             [[registry.mirror]]\nlocation='m/'\n[[registry.mirror]]\nlocation='n'\n\
             insecure=true\npull-from-mirror='digest-only'\n\
             [[registry]]\nprefix='c.io'\nlocation='d.io'\ninsecure=true\nblocked=true",
        );
        let drop_in = ("etc/containers/registries.conf.d/1.conf", "[[registry]]\nlocation='c.io'");
        let entry = |prefix: &str, insecure, blocked| RegistryEntry {
            prefix: prefix.into(),
            insecure,
            blocked,
            ..RegistryEntry::default()
        };
        let at = |entry: RegistryEntry| RegistryEntry { location: entry.prefix.clone(), ..entry };
        let mirror =
            |location: &str, insecure, pulls| Mirror { location: location.into(), insecure, pulls };
        let (_, registries) = load_both(&[main, drop_in], &[]).unwrap();
        let expected = Registries {
            entries: vec![
                at(entry("a.io", true, false)),
                RegistryEntry {
                    mirrors: vec![
                        mirror("m", false, MirrorPulls::All),
                        mirror("n", true, MirrorPulls::DigestOnly),
                    ],
                    mirror_by_digest_only: true,
                    ..entry("*.b.io", false, true)
                },
                at(entry("c.io", false, false)),
            ],
            credential_helpers: vec!["x".into()],
            origin: [
                "ROOT/etc/containers/registries.conf".into(),
                "ROOT/etc/containers/registries.conf.d".into(),
            ],
        };
        assert_eq!(registries, expected);
        let old = (
            "etc/containers/registries.conf",
            "[registries.insecure]\nregistries=['a','b']\n[registries.block]\nregistries=['b']",
        );
        let (_, registries) = load_both(&[old], &[]).unwrap();
        assert_eq!(registries.entries, [entry("a", true, false), entry("b", true, true)]);
    }

    #[test]
    fn logins_and_certificates() {
        let host = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
            Host::new(variables, 1000, true, Some("/h".into())).with_system_root("/s")
        };
        let texts = |paths: Vec<PathBuf>| -> Vec<String> {
            paths.iter().map(|path| path.display().to_string()).collect()
        };
        for (variables, expected) in [
            (
                &[][..],
                &[
                    "/s/run/containers/1000/auth.json",
                    "/h/.config/containers/auth.json",
                    "/h/.docker/config.json",
                    "/h/.dockercfg",
                ][..],
            ),
            (
                &[("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")],
                &[
                    "/r/containers/auth.json",
                    "/c/containers/auth.json",
                    "/d/config.json",
                    "/h/.dockercfg",
                ],
            ),
            (&[("REGISTRY_AUTH_FILE", "/a")], &["/a"]),
        ] {
            assert_eq!(texts(auth_files(&host(variables))), expected);
        }
        assert_eq!(
            texts(certs_directories(&host(&[]))),
            ["/h/.config/containers/certs.d", "/s/etc/containers/certs.d", "/s/etc/docker/certs.d"]
        );
        let usual = ["/h/.config/containers/policy.json", "/s/etc/containers/policy.json"];
        let usual = PolicyFile::Usual(usual.map(PathBuf::from).to_vec());
        assert_eq!(policy_file(None, &host(&[])), usual);
        let named = PolicyFile::Named("/p.json".into());
        assert_eq!(policy_file(Some(Path::new("/p.json")), &host(&[])), named);
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
