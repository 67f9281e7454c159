//! `storage.conf`: where the store is and how it is written.
//!
//! The lookup is that of containers/storage from 1.60 on: one main file, then drop-ins in the
//! order of their names, then the override file, merged key by key. Older releases read one file
//! only; on a host without drop-ins both agree, with one exception that is decided here.
//!
//! **Rootless users and the system's files.** Newer releases apply `graphroot` and `runroot` of
//! `/etc` and `/usr/share` to every user, so that a file written for root sends rootless users to
//! `/var/lib/containers/storage`, where they cannot write; older ones use the home directory. A
//! rootless user's store is where a file written for rootless users puts it (the user's own
//! files, `storage.rootless.conf.d`, files named by environment variables, or the key
//! `rootless_storage_path` anywhere), else in the home directory. `--root` and `--runroot` settle
//! it in any case.
//!
//! **Root and `$HOME`.** For root the file in `~/.config` counts only through `XDG_CONFIG_HOME`,
//! where all releases look; older ones do not look into root's home.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use super::args::SyncArg;
use super::toml_file::{find, merge, parse};
use super::{Args, Error, Host};

/// The store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Layers, images and containers. Absolute.
    pub graph_root: PathBuf,
    /// State that a reboot may remove. Absolute.
    pub run_root: PathBuf,
    /// Where images are kept instead of in `graph_root`.
    pub image_store: Option<PathBuf>,
    /// Read-only stores, searched after the own one, in this order.
    pub additional_image_stores: Vec<PathBuf>,
    /// Container records are kept in `run_root`.
    pub transient: bool,
    /// Options of the overlay driver.
    pub overlay: OverlayConfig,
}

/// Options of the overlay driver that matter to who writes layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayConfig {
    /// Program that mounts instead of the kernel; whiteouts are then `.wh.` files.
    pub mount_program: Option<PathBuf>,
    /// Owners that cannot be set are left alone.
    pub ignore_chown_errors: bool,
    /// All files get one mode, and their own goes into an attribute.
    pub force_mask: Option<ForceMask>,
    /// Layers are composefs images. Such stores are only read.
    pub use_composefs: bool,
    /// Mount options, separated by commas.
    pub mount_options: String,
    /// What happens before a layer counts as complete.
    pub sync: Sync,
}

/// Permission bits of `force_mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForceMask(pub u32);

/// What happens before a layer counts as complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// Its file system is written back.
    #[default]
    Filesystem,
    /// Nothing.
    None,
}

impl From<SyncArg> for Sync {
    fn from(arg: SyncArg) -> Self {
        match arg {
            SyncArg::Filesystem => Self::Filesystem,
            SyncArg::None => Self::None,
        }
    }
}

#[derive(Deserialize, Default)]
struct File {
    #[serde(default)]
    storage: StorageTable,
}

#[derive(Deserialize, Default)]
struct StorageTable {
    driver: Option<String>,
    graphroot: Option<String>,
    runroot: Option<String>,
    imagestore: Option<String>,
    rootless_storage_path: Option<String>,
    transient_store: Option<bool>,
    #[serde(default)]
    options: OptionsTable,
}

#[derive(Deserialize, Default)]
struct OptionsTable {
    #[serde(default)]
    additionalimagestores: Vec<Element>,
    #[serde(default)]
    additionallayerstores: Vec<Element>,
    #[serde(flatten)]
    old_spelling: OverlayTable,
    #[serde(default)]
    overlay: OverlayTable,
}

/// The options are strings in the files, whatever they mean.
#[derive(Deserialize, Default)]
struct OverlayTable {
    mount_program: Option<String>,
    ignore_chown_errors: Option<String>,
    force_mask: Option<String>,
    mountopt: Option<String>,
    use_composefs: Option<String>,
    sync: Option<String>,
}

/// A string, or the `{append=true}` that [`merge`] takes out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Element {
    Text(String),
    Append {
        #[serde(rename = "append")]
        _append: bool,
    },
}

/// The merged files, and which of them named the driver.
struct Files {
    table: Table,
    driver_origin: String,
}

impl Files {
    fn add(&mut self, path: &Path, text: &str, names_the_store: bool) -> Result<(), Error> {
        // Types are checked file by file: after merging, the place of a mistake is gone.
        let typed: File = parse(path, text)?;
        if typed.storage.driver.is_some() {
            self.driver_origin = format!("in {}", path.display());
        }
        let mut table: Table = parse(path, text)?;
        if !names_the_store && let Some(storage) = table.get_mut("storage") {
            for key in ["graphroot", "runroot", "imagestore"] {
                storage.as_table_mut().and_then(|storage| storage.remove(key));
            }
        }
        merge(&mut self.table, table);
        Ok(())
    }
}

/// Finds and merges the files, then puts variables and flags on top.
pub(super) fn load(args: &Args, host: &Host) -> Result<StorageConfig, Error> {
    let Files { table, mut driver_origin } = read_files(host)?;
    let file: File = parse(Path::new("storage.conf"), &table.to_string())?;
    let StorageTable { mut driver, options, .. } = file.storage;
    if let Some(variable) = host.variable("STORAGE_DRIVER") {
        driver = Some(variable.to_owned());
        driver_origin = "in STORAGE_DRIVER".into();
    }
    if let Some(driver) = driver
        && !matches!(driver.as_str(), "" | "overlay" | "overlay2")
    {
        return Err(Error::Driver { driver, origin: driver_origin });
    }

    let mut target = Target::default();
    if !args.storage_opts.is_empty() {
        target.apply_all(args.storage_opts.iter().map(String::as_str))?;
    } else if let Some(list) = host.variable("STORAGE_OPTS") {
        target.apply_all(list.split(','))?;
    } else if args.root.is_none() {
        target.apply_files(options)?;
    }

    let graph_root = match &args.root {
        Some(root) => resolve(root),
        None => {
            let from_file = match file.storage.graphroot {
                Some(root) if !root.is_empty() => Some(root),
                _ if host.is_rootless() => file.storage.rootless_storage_path,
                _ => None,
            };
            match from_file.filter(|root| !root.is_empty()) {
                Some(root) => configured(host, "graphroot", &root)?,
                None if host.is_rootless() => {
                    resolve(&host.xdg("XDG_DATA_HOME", ".local/share")?.join("containers/storage"))
                }
                None => resolve(&host.system("/var/lib/containers/storage")),
            }
        }
    };
    let run_root = match (&args.runroot, file.storage.runroot.filter(|root| !root.is_empty())) {
        (Some(root), _) => resolve(root),
        (None, Some(root)) => configured(host, "runroot", &root)?,
        (None, None) if host.is_rootless() => resolve(&host.runtime_dir().join("containers")),
        (None, None) => resolve(&host.system("/run/containers/storage")),
    };
    let image_store = match file.storage.imagestore.filter(|store| !store.is_empty()) {
        Some(store) if args.root.is_none() => Some(configured(host, "imagestore", &store)?),
        _ => None,
    };
    Ok(StorageConfig {
        graph_root,
        run_root,
        image_store,
        additional_image_stores: target.additional_image_stores,
        transient: file.storage.transient_store.unwrap_or_default(),
        overlay: target.overlay,
    })
}

fn read_files(host: &Host) -> Result<Files, Error> {
    let mut files = Files { table: Table::new(), driver_origin: String::new() };
    for file in find(host, "storage", "CONTAINERS_STORAGE_CONF")? {
        files.add(&file.path, &file.text, !host.is_rootless() || file.is_users)?;
    }
    Ok(files)
}

/// A directory from a file: variables replaced, links followed.
pub(super) fn configured(host: &Host, what: &'static str, text: &str) -> Result<PathBuf, Error> {
    let path = PathBuf::from(host.expand(text));
    if !path.is_absolute() {
        return Err(Error::Relative { what, path: text.to_owned() });
    }
    Ok(resolve(&path))
}

/// Follows links, as the other tools do: the path is the store's name in shared records.
fn resolve(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// What driver options set.
#[derive(Default)]
struct Target {
    overlay: OverlayConfig,
    additional_image_stores: Vec<PathBuf>,
}

impl Target {
    fn apply_all<'a>(&mut self, options: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        for option in options.map(str::trim).filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').ok_or_else(|| Error::Option {
                option: option.to_owned(),
                problem: "not of the form KEY=VALUE".into(),
            })?;
            let key = key.trim().to_lowercase();
            let short = ["overlay.", "overlay2.", "."]
                .iter()
                .find_map(|prefix| key.strip_prefix(prefix))
                .unwrap_or(&key);
            self.apply(option, short, value.trim())?;
        }
        Ok(())
    }

    fn apply_files(&mut self, options: OptionsTable) -> Result<(), Error> {
        for element in options.additionalimagestores {
            if let Element::Text(store) = element {
                self.apply(&format!("additionalimagestores {store:?}"), "imagestore", &store)?;
            }
        }
        if options.additionallayerstores.iter().any(|e| matches!(e, Element::Text(_))) {
            self.apply("additionallayerstores", "additionallayerstore", "")?;
        }
        let OverlayTable {
            mount_program,
            ignore_chown_errors,
            force_mask,
            mountopt,
            use_composefs,
            sync,
        } = options.overlay;
        let old = options.old_spelling;
        for (key, value, old) in [
            ("mount_program", mount_program, old.mount_program),
            ("ignore_chown_errors", ignore_chown_errors, old.ignore_chown_errors),
            ("force_mask", force_mask, old.force_mask),
            ("mountopt", mountopt, old.mountopt),
            ("use_composefs", use_composefs, old.use_composefs),
            ("sync", sync, old.sync),
        ] {
            if let Some(value) = value.or(old).filter(|value| !value.is_empty()) {
                self.apply(&format!("{key} = {value:?}"), key, &value)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, option: &str, key: &str, value: &str) -> Result<(), Error> {
        let wrong =
            |problem: &str| Error::Option { option: option.into(), problem: problem.into() };
        let boolean = |value: &str| parse_bool(value).ok_or_else(|| wrong("not a boolean"));
        match key {
            "mount_program" => self.overlay.mount_program = Some(value.into()),
            "ignore_chown_errors" => self.overlay.ignore_chown_errors = boolean(value)?,
            "force_mask" => {
                self.overlay.force_mask = Some(parse_force_mask(value).ok_or_else(|| {
                    wrong("neither \"shared\" nor \"private\" nor an octal file mode")
                })?);
            }
            "mountopt" => self.overlay.mount_options = value.to_owned(),
            "sync" => {
                self.overlay.sync = match value {
                    "filesystem" => Sync::Filesystem,
                    "none" => Sync::None,
                    _ => return Err(wrong("neither \"filesystem\" nor \"none\"")),
                };
            }
            "imagestore" | "additionalimagestore" => {
                for store in value.split(',').filter(|store| !store.is_empty()) {
                    let store = Path::new(store);
                    if !store.is_absolute() {
                        return Err(wrong("not an absolute path"));
                    }
                    self.additional_image_stores.push(resolve(store));
                }
            }
            "use_composefs" => self.overlay.use_composefs = boolean(value)?,
            "additionallayerstore" => {
                return Err(wrong("additional layer stores are not supported"));
            }
            // They concern mounts and containers, which are not made here.
            "size" | "inodes" | "skip_mount_home" | "override_kernel_check" => {}
            _ => return Err(wrong("unknown option")),
        }
        Ok(())
    }
}

/// The spellings of Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn parse_force_mask(text: &str) -> Option<ForceMask> {
    match text {
        "shared" => Some(ForceMask(0o755)),
        "private" => Some(ForceMask(0o700)),
        octal => u32::from_str_radix(octal, 8).ok().filter(|mode| *mode <= 0o7777).map(ForceMask),
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
