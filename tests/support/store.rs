//! A private containers/storage store and the tools that work on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};
use serde_json::Value;
use tempfile::TempDir;

use super::tool::run;

/// How the directories of stores begin. Podman takes the path of a directory that it loads for the name
/// of an image if it can be one: with a capital in it, it never can.
const PREFIX: &str = "Imaged-";

/// An overlay store in a directory of its own. When dropped everything is unmounted that is mounted
/// in it, and a temporary directory is removed.
pub(crate) struct Store {
    dir: PathBuf,
    _temporary: Option<TempDir>,
}

impl Store {
    /// An empty store in the system's temporary directory.
    pub(crate) fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// An empty store below `parent`, initialised by Podman so that it is certainly one.
    ///
    /// # Panics
    /// When Podman's driver for it is not overlay.
    pub(crate) fn new_in(parent: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let store = Self::of(dir);
        let driver = store.podman(["info", "--format", "{{.Store.GraphDriverName}}"]);
        assert_eq!(driver, "overlay", "the store's driver");
        store
    }

    /// A copy of another store, which nobody uses meanwhile. Of what is not the store's own, such
    /// as Podman's database, which holds the store's path, there is nothing.
    pub(crate) fn copy_of(other: &Self) -> Self {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        run(Command::new("cp").arg("-a").arg(other.root()).arg(other.runroot()).arg(dir.path()));
        let store = Self::of(dir);
        store.forget_path();
        store
    }

    /// The store in `dir` after a reboot: nothing is left of its run root, and as in
    /// [`Self::copy_of`] it may be in another place now.
    pub(crate) fn rebooted(dir: &Path) -> Self {
        let store = Self { dir: dir.to_owned(), _temporary: None };
        store.forget_path();
        fs::remove_dir_all(store.runroot()).unwrap();
        store
    }

    fn of(dir: TempDir) -> Self {
        Self { dir: dir.path().to_owned(), _temporary: Some(dir) }
    }

    /// Removes Podman's database.
    fn forget_path(&self) {
        let libpod = self.root().join("libpod");
        if libpod.exists() {
            fs::remove_dir_all(libpod).unwrap();
        }
    }

    /// The directory that holds everything of this store, for sockets and archives too.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path inside [`Self::dir`].
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The graph root.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// The run root.
    pub(crate) fn runroot(&self) -> PathBuf {
        self.path("run")
    }

    /// Podman on this store, not yet run.
    pub(crate) fn podman_command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = self.tool("podman");
        command.args(["--cgroup-manager=cgroupfs", "--events-backend=file"]);
        command.arg("--tmpdir").arg(self.path("libpod")).args(args);
        command
    }

    /// Buildah on this store, not yet run.
    pub(crate) fn buildah_command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = self.tool("buildah");
        command.args(args);
        command
    }

    /// `containers-storage` on this store, not yet run.
    pub(crate) fn storage_command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = self.environment("containers-storage");
        command.arg("--graph").arg(self.root()).arg("--run").arg(self.runroot());
        command.args(["--storage-driver", "overlay"]).args(args);
        command
    }

    /// Runs Podman on this store; its output.
    #[track_caller]
    pub(crate) fn podman<const N: usize>(&self, args: [&str; N]) -> String {
        run(&mut self.podman_command(args))
    }

    /// Runs Buildah on this store; its output.
    #[track_caller]
    pub(crate) fn buildah<const N: usize>(&self, args: [&str; N]) -> String {
        run(&mut self.buildah_command(args))
    }

    /// Runs `containers-storage` on this store; its output.
    #[track_caller]
    pub(crate) fn storage<const N: usize>(&self, args: [&str; N]) -> String {
        run(&mut self.storage_command(args))
    }

    /// Runs Skopeo, whose references to this store come from [`Self::reference`].
    #[track_caller]
    pub(crate) fn skopeo<const N: usize>(&self, args: [&str; N]) -> String {
        run(&mut self.skopeo_command(args))
    }

    /// Skopeo, not yet run.
    pub(crate) fn skopeo_command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = self.environment("skopeo");
        command.args(["--insecure-policy"]).args(args);
        command
    }

    /// The `containers-storage:` reference of an image of this store.
    pub(crate) fn reference(&self, name: &str) -> String {
        let (root, runroot) = (self.root(), self.runroot());
        format!("containers-storage:[overlay@{}+{}]{name}", root.display(), runroot.display())
    }

    /// `podman image inspect` of one image.
    #[track_caller]
    pub(crate) fn inspect(&self, name: &str) -> Value {
        let text = self.podman(["image", "inspect", name]);
        let mut list: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(list.len(), 1);
        list.remove(0)
    }

    /// The diff IDs Podman reports for an image, base first.
    #[track_caller]
    pub(crate) fn diff_ids(&self, name: &str) -> Vec<String> {
        strings(&self.inspect(name)["RootFS"]["Layers"])
    }

    /// Full IDs of all images Podman lists, sorted.
    #[track_caller]
    pub(crate) fn image_ids(&self) -> Vec<String> {
        let text = self.podman(["images", "--all", "--no-trunc", "--quiet"]);
        let mut ids: Vec<String> =
            text.lines().map(|id| id.trim_start_matches("sha256:").to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// The records of one JSON file of the graph root; empty when it is absent.
    pub(crate) fn records(&self, file: &str) -> Vec<Value> {
        match fs::read(self.root().join(file)) {
            Ok(bytes) if !bytes.is_empty() => serde_json::from_slice(&bytes).unwrap(),
            _ => Vec::new(),
        }
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = self.environment(program);
        command.arg("--root").arg(self.root()).arg("--runroot").arg(self.runroot());
        command.args(["--storage-driver", "overlay"]);
        command
    }

    /// `program` with its temporary files in this store's directory and no settings of the user.
    fn environment(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("TMPDIR", self.path("tmp")).env("HOME", self.dir());
        command.env_remove("XDG_RUNTIME_DIR").env_remove("XDG_CONFIG_HOME");
        command.current_dir(self.dir());
        command
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        unmount_below(&self.dir);
    }
}

/// The strings of a JSON array; nothing for `null`.
#[track_caller]
pub(crate) fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        other => panic!("not a list of strings: {other}"),
    }
}

/// Detaches every mount at or below `dir`, innermost first.
pub(crate) fn unmount_below(dir: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(dir))
        .collect();
    points.reverse();
    for point in points {
        if let Err(error) = unmount(&point, UnmountFlags::DETACH) {
            eprintln!("unmounting {}: {error}", point.display());
        }
    }
}
