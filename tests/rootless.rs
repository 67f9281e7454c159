//! The program started by users who are not root: which user namespace it runs in, and whose files
//! it leaves alone. Needs root, to become such users.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A user that no user database knows, unless a test adds the user.
const UID: u32 = 54_321;
const SOON: Duration = Duration::from_secs(60);

/// A user's directories, and the program where that user can execute it.
struct User {
    dir: tempfile::TempDir,
}

/// A process that is ended, and waited for, with its variable.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl User {
    fn new() -> Self {
        assert_eq!(fs::metadata("/proc/self").unwrap().uid(), 0, "these tests need root");
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let user = Self { dir };
        fs::copy(env!("CARGO_BIN_EXE_imaged"), user.path("imaged")).unwrap();
        for name in ["home", "runtime"] {
            fs::create_dir(user.path(name)).unwrap();
            chown(user.path(name), Some(UID), Some(UID)).unwrap();
        }
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `setpriv` to the user, and a program.
    fn command(&self, program: &str) -> Command {
        let id = UID.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", program]);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("runtime"))
            .current_dir("/");
    }

    fn imaged(&self) -> Command {
        let mut command = self.command(&self.text("imaged"));
        command.arg("serve");
        command
    }

    /// As [`imaged`](Self::imaged), where `/etc/subuid` and `/etc/subgid` are what is given, and the
    /// user's name is `someone`: nobody without a name may use ranges.
    fn imaged_with_ranges(&self, ranges: &str) -> Command {
        self.with_ranges(ranges, "serve")
    }

    /// As [`imaged_with_ranges`](Self::imaged_with_ranges), with these words instead of `serve`.
    fn with_ranges(&self, ranges: &str, words: &str) -> Command {
        fs::write(self.path("ranges"), ranges).unwrap();
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let users = format!("{users}someone:x:{UID}:{UID}::/:/bin/sh\n");
        fs::write(self.path("users"), users).unwrap();
        let script = format!(
            "mount --bind {ranges} /etc/subuid && mount --bind {ranges} /etc/subgid && \
             mount --bind {users} /etc/passwd && \
             exec setpriv --reuid {UID} --regid {UID} --clear-groups {program} {words}",
            ranges = self.text("ranges"),
            users = self.text("users"),
            program = self.text("imaged"),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        self.environment(&mut command);
        command
    }

    /// Starts the daemon and waits until it answers on the default socket.
    fn start(&self, mut command: Command) -> Running {
        let mut child = Running(command.spawn().unwrap());
        let socket = self.path("runtime/imaged/imaged.sock");
        let deadline = Instant::now() + SOON;
        while ping(&socket) != Some("OK".into()) {
            assert!(child.0.try_wait().unwrap().is_none(), "ended at once");
            assert!(Instant::now() < deadline, "no answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    fn graph_root(&self) -> PathBuf {
        self.path("home/.local/share/containers/storage")
    }
}

fn ping(socket: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200 ").then(|| answer.split("\r\n\r\n").nth(1).unwrap().into())
}

/// The words of `/proc/PID/uid_map` or `gid_map`.
fn map(process: &Running, file: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/{file}", process.0.id())).unwrap();
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

fn namespace(pid: u32, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

#[test]
fn without_ranges_only_the_user_is_mapped() {
    let user = User::new();
    let daemon = user.start(user.imaged());
    assert_eq!(map(&daemon, "uid_map"), format!("0 {UID} 1"));
    assert_eq!(map(&daemon, "gid_map"), format!("0 {UID} 1"));
    assert_eq!(fs::metadata(user.graph_root()).unwrap().uid(), UID);
}

#[test]
fn ranges_follow_the_user_in_the_order_of_the_file() {
    let user = User::new();
    let ranges = format!("other:1:9\n{UID}:300000:1000\nsomeone:200000:5\n");
    let daemon = user.start(user.imaged_with_ranges(&ranges));
    let expected = format!("0 {UID} 1, 1 300000 1000, 1001 200000 5");
    assert_eq!(map(&daemon, "uid_map"), expected);
    assert_eq!(map(&daemon, "gid_map"), expected);
    assert_eq!(fs::metadata(user.graph_root()).unwrap().uid(), UID);
}

#[test]
fn podmans_namespace_is_joined() {
    let user = User::new();
    // What Podman leaves behind: a process in a namespace, under this name.
    fs::copy("/bin/sleep", user.path("catatonit")).unwrap();
    let mut pause = user.command("unshare");
    pause.args(["--user", "--mount", "--map-root-user", &user.text("catatonit"), "1000"]);
    let pause = Running(pause.spawn().unwrap());
    let deadline = Instant::now() + SOON;
    let comm = format!("/proc/{}/comm", pause.0.id());
    while fs::read_to_string(&comm).unwrap() != "catatonit\n" {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let file = user.path("runtime/libpod/tmp/pause.pid");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, pause.0.id().to_string()).unwrap();

    let daemon = user.start(user.imaged());
    for kind in ["user", "mnt"] {
        assert_eq!(namespace(daemon.0.id(), kind), namespace(pause.0.id(), kind), "{kind}");
    }
    drop(daemon);

    // Once it has ended, its number means nothing.
    let ended = namespace(pause.0.id(), "user");
    drop(pause);
    let daemon = user.start(user.imaged());
    assert_ne!(namespace(daemon.0.id(), "user"), ended);
}

/// What is left of layers has files of subordinate IDs, in directories that are closed to the user.
#[test]
fn a_user_can_check_and_repair() {
    let user = User::new();
    let ranges = format!("{UID}:300000:1000\n");
    drop(user.start(user.imaged_with_ranges(&ranges)));
    let run = |words: &str| {
        let output = user.with_ranges(&ranges, words).stdin(Stdio::null()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap()).concat();
        (output.status.code(), said)
    };
    let (status, said) = run("check --read-data");
    assert_eq!(status, Some(0), "{said}");
    // As any tool writes it that has had a layer.
    let records = user.graph_root().join("overlay-layers/layers.json");
    fs::write(&records, "[]").unwrap();
    chown(&records, Some(UID), Some(UID)).unwrap();
    let orphan = user.graph_root().join("overlay").join("5".repeat(64));
    fs::create_dir_all(orphan.join("diff/closed")).unwrap();
    fs::write(orphan.join("diff/closed/file"), "content").unwrap();
    for (path, id) in [("diff/closed/file", 300_010), ("diff/closed", 300_010), ("diff", UID)] {
        chown(orphan.join(path), Some(id), Some(id)).unwrap();
    }
    chown(&orphan, Some(UID), Some(UID)).unwrap();
    fs::set_permissions(orphan.join("diff/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    for words in ["check", "repair"] {
        let (status, said) = run(words);
        assert_eq!(status, Some(1), "{said}");
        assert!(orphan.join("diff/closed/file").exists());
    }
    let (status, said) = run("repair --apply");
    assert_eq!(status, Some(0), "{said}");
    assert!(!orphan.exists());

    // Nor is a store of someone else looked at, whose owners mean something else.
    let mut root = Command::new(user.path("imaged"));
    let output = root.arg("--root").arg(user.graph_root()).arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_store_of_someone_else_is_refused() {
    let user = User::new();
    drop(user.start(user.imaged()));
    let tree = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let store = user.graph_root();
    let (code, said) = tree(
        Command::new(user.path("imaged"))
            .arg("--root")
            .arg(&store)
            .arg("--runroot")
            .arg(user.path("run"))
            .args(["serve", "--listen", &format!("unix://{}", user.text("socket"))]),
    );
    assert_eq!(code, Some(1), "{said}");
    let expected =
        format!("imaged: the store {} belongs to user {UID}, not to root", store.display());
    assert!(said.starts_with(&expected), "{said}");
    assert!(!user.path("run").exists());

    // And the other way round: a store of root, opened by the user.
    chown(store.join("overlay"), Some(0), None).unwrap();
    let (code, said) = tree(&mut user.imaged());
    assert_eq!(code, Some(1), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains("belongs to user 65534, not to root as seen from here"), "{said}");
}
