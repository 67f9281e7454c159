//! The user namespace in which a user who is not root owns a store.
//!
//! Files of an image belong to many users. Without root that needs a user namespace that maps the
//! user to 0 and the ranges of `/etc/subuid` and `/etc/subgid` behind it, as Podman and Buildah
//! do; files written without it would have other owners than theirs. [`enter`] joins the namespace
//! that Podman keeps for the user, or makes one with the same mapping.
//!
//! The kernel moves only single-threaded processes into a user namespace, so this comes before
//! anything that starts a thread. Nothing here is undone.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// The user who started the program, seen from outside any namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// The store is the user's, not the system's: the user is not root, or the program was started
    /// inside of the namespace of a user.
    pub rootless: bool,
    /// Login name, if the user database knows the user.
    pub name: Option<String>,
    /// Home directory, if the user database knows the user.
    pub home: Option<PathBuf>,
}

/// The namespace the process runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// The one it was started in.
    Inherited,
    /// That of a pause process of Podman.
    Joined {
        /// The pause process.
        pid: i32,
    },
    /// A new one.
    Created,
}

/// Why there is no namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed.
    #[error("{operation}")]
    Io {
        /// What was tried.
        operation: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not let users have namespaces.
    #[error(
        "this system does not let user {uid} create a user namespace (see the sysctls \
         user.max_user_namespaces, kernel.unprivileged_userns_clone and \
         kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Forbidden {
        /// The user.
        uid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// `newuidmap` or `newgidmap` refused.
    #[error("mapping the ranges of /etc/subuid and /etc/subgid: {0}")]
    Mapping(String),
    /// The process has more than one thread.
    #[error("the user namespace must be entered before threads are started")]
    Threads,
    /// The store was written under another mapping.
    #[error(
        "the store {} belongs to user {owner}, not to root as seen from here: it was written by \
         another user or in another user namespace, and writing to it would mix up the owners of \
         its files", path.display()
    )]
    ForeignStore {
        /// A directory of the store.
        path: PathBuf,
        /// Its owner, as seen in this namespace.
        owner: u32,
    },
}

fn failed(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { operation: operation.into(), source }
}

/// A contiguous range of subordinate IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u32,
    count: u32,
}

impl User {
    /// The user of this process. `variable` looks up the environment: inside of a namespace made
    /// by Podman, `_CONTAINERS_ROOTLESS_UID` is who the user is outside.
    pub fn of_process(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let outside = variable("_CONTAINERS_ROOTLESS_UID")
            .and_then(|value| value.to_str()?.parse().ok())
            .filter(|_| uid == 0);
        let configured = variable("_CONTAINERS_USERNS_CONFIGURED").is_some_and(|v| !v.is_empty());
        let outside_uid = outside.unwrap_or(uid);
        let rootless = outside_uid != 0 || configured;
        let (name, home) = if rootless { database_entry(outside_uid) } else { (None, None) };
        Self { uid: outside_uid, rootless, name, home }
    }
}

/// Makes the process root in a user namespace, unless it is root already. `runtime_dir` is where
/// Podman keeps its run-time state for the user.
///
/// A pause process whose first ID is not the user is not used: it is not Podman's, or from a time
/// when the process ID was someone else's.
pub fn enter(user: &User, runtime_dir: &Path) -> Result<Namespace, Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(Namespace::Inherited);
    }
    let threads = fs::read_dir("/proc/self/task").map_err(failed("counting threads"))?.count();
    if threads != 1 {
        return Err(Error::Threads);
    }
    if let Some(pause) = PauseProcess::find(user.uid, runtime_dir) {
        pause.join()?;
        become_root()?;
        return Ok(Namespace::Joined { pid: pause.pid });
    }
    create(user)?;
    become_root()?;
    Ok(Namespace::Created)
}

/// How many user IDs this process can give to files. 1 in a namespace without subordinate ranges.
pub fn mapped_users() -> io::Result<u64> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
        .fold(0, u64::saturating_add))
}

/// Whether this process is not in the first user namespace of the system. Root of another one may
/// not write `trusted.*` attributes or make devices, so overlay keeps its marks in `user.overlay.*`.
pub fn in_user_namespace() -> io::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_whitespace().ne(["0", "0", "4294967295"]))
}

/// Refuses a store whose files do not belong to root as this process sees it: a user's store
/// opened by root, another user's, or one written under another mapping. A store that does not
/// exist yet belongs to whoever makes it.
pub fn check_owner(graph_root: &Path) -> Result<(), Error> {
    let path = graph_root.join("overlay");
    match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.uid() != 0 => {
            Err(Error::ForeignStore { path: graph_root.to_owned(), owner: metadata.uid() })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => {
            Err(Error::Io { operation: format!("examining {}", path.display()), source })
        }
    }
}

/// The namespaces that a process of Podman keeps alive for a user.
struct PauseProcess {
    pid: i32,
    user: OwnedFd,
    mount: OwnedFd,
}

impl PauseProcess {
    /// `None` when there is none, or when what the file names is not it: a process that has ended,
    /// or another one under its number.
    fn find(uid: u32, runtime_dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(runtime_dir.join("libpod/tmp/pause.pid")).ok()?;
        let pid: i32 = text.trim().parse().ok().filter(|pid| *pid > 0)?;
        // All files come from one open directory, so from one process.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(format!("/proc/{pid}"), flags | OFlags::DIRECTORY, Mode::empty())
                .ok()?;
        let open = |name: &str| rustix::fs::openat(&directory, name, flags, Mode::empty()).ok();
        let read = |name: &str| io::read_to_string(File::from(open(name)?)).ok();
        let owner = rustix::fs::fstat(&directory).ok()?.st_uid;
        if owner != uid
            || !is_pause_command(&read("comm")?)
            || !maps_root_to(&read("uid_map")?, uid)
        {
            return None;
        }
        Some(Self { pid, user: open("ns/user")?, mount: open("ns/mnt")? })
    }

    fn join(&self) -> Result<(), Error> {
        let what = |kind: &str| format!("joining the {kind} namespace of process {}", self.pid);
        let directory = std::env::current_dir();
        set_namespace(self.user.as_fd(), LinkNameSpaceType::User).map_err(failed(what("user")))?;
        set_namespace(self.mount.as_fd(), LinkNameSpaceType::Mount)
            .map_err(failed(what("mount")))?;
        // Entering a mount namespace moves the process to its root. Where it was may not exist
        // there; all paths in use are absolute.
        if let Ok(directory) = directory {
            drop(std::env::set_current_dir(directory));
        }
        Ok(())
    }
}

fn set_namespace(fd: BorrowedFd<'_>, kind: LinkNameSpaceType) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(fd, Some(kind))?)
}

/// Podman 4's own pause, and what newer ones run instead.
fn is_pause_command(comm: &str) -> bool {
    matches!(comm.trim_end(), "podman pause" | "podman" | "catatonit")
}

/// Whether the first line of a `uid_map` is that of a rootless namespace of `uid`.
fn maps_root_to(map: &str, uid: u32) -> bool {
    let first: Vec<&str> = map.lines().next().unwrap_or_default().split_whitespace().collect();
    first == ["0", &uid.to_string(), "1"]
}

fn become_root() -> Result<(), Error> {
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
    let (gid, uid) = (rustix::fs::Gid::ROOT, rustix::fs::Uid::ROOT);
    set_thread_res_gid(gid, gid, gid).map_err(|e| failed("becoming group 0")(e.into()))?;
    set_thread_res_uid(uid, uid, uid).map_err(|e| failed("becoming user 0")(e.into()))
}

/// Moves the process into new user and mount namespaces and maps its IDs.
fn create(user: &User) -> Result<(), Error> {
    let gid = rustix::process::getegid().as_raw();
    let ranges = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        subordinate_ranges(&text, user.name.as_deref(), user.uid)
    };
    let (uids, gids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
    let helpers = ["newuidmap", "newgidmap"].map(find_program);
    if let ([Some(newuidmap), Some(newgidmap)], false, false) =
        (helpers, uids.is_empty(), gids.is_empty())
    {
        let pid = rustix::process::getpid().as_raw_nonzero().to_string();
        let commands = [
            (newuidmap, mapping_arguments(&pid, user.uid, &uids)),
            (newgidmap, mapping_arguments(&pid, gid, &gids)),
        ];
        create_with_helper(user, &commands)
    } else {
        unshare(user)?;
        let write = |file: &str, text: String| {
            let path = format!("/proc/self/{file}");
            fs::write(&path, text).map_err(failed(format!("writing {path}")))
        };
        // Without this, the kernel lets nobody but root map groups: dropping a group could gain
        // access to what it is denied.
        write("setgroups", "deny".into())?;
        write("uid_map", format!("0 {} 1", user.uid))?;
        write("gid_map", format!("0 {gid} 1"))
    }
}

fn unshare(user: &User) -> Result<(), Error> {
    // SAFETY: without CLONE_FILES the descriptor table stays shared as it was.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
        .map_err(|error| Error::Forbidden { uid: user.uid, source: error.into() })
}

/// `newuidmap` and `newgidmap` have to run outside of the namespace that they map. So a child is
/// left behind there, waits until this process is inside, and runs them.
fn create_with_helper(user: &User, commands: &[(PathBuf, Vec<String>); 2]) -> Result<(), Error> {
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| failed("creating a pipe")(error.into()))
    };
    let (wait_for_go, go) = pipe()?;
    let (result, report) = pipe()?;
    // SAFETY: the process is single-threaded (`enter` has counted), so the child is a whole copy,
    // in which no lock is held by a thread that does not exist. It leaves through `_exit`.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(failed("starting a helper process")(io::Error::last_os_error())),
        0 => {
            drop((go, result));
            let run = AssertUnwindSafe(|| run_helpers(wait_for_go, report, commands));
            let status = i32::from(catch_unwind(run).is_err());
            // SAFETY: ends the process at once; destructors are for the parent to run.
            unsafe { libc::_exit(status) }
        }
        child => child,
    };
    drop((wait_for_go, report));
    let entered = unshare(user);
    // A child that is told nothing, because its pipe closes, does nothing.
    let told = if entered.is_ok() {
        File::from(go).write_all(b"g")
    } else {
        drop(go);
        Ok(())
    };
    let mut text = String::new();
    let read = File::from(result).read_to_string(&mut text);
    let pid = Pid::from_raw(child);
    let waited = rustix::io::retry_on_intr(|| rustix::process::waitpid(pid, WaitOptions::empty()));
    entered?;
    told.and(read.map(drop)).map_err(failed("talking to the helper process"))?;
    match waited {
        _ if !text.is_empty() => Err(Error::Mapping(text)),
        Ok(Some((_, status))) if status.exit_status() == Some(0) => Ok(()),
        _ => Err(Error::Mapping("the helper process failed".into())),
    }
}

/// In the child: runs the commands when told to; reports what went wrong, or nothing.
fn run_helpers(wait_for_go: OwnedFd, report: OwnedFd, commands: &[(PathBuf, Vec<String>)]) {
    let mut word = [0];
    if !matches!(File::from(wait_for_go).read(&mut word), Ok(1)) {
        return;
    }
    for (program, arguments) in commands {
        let problem = match Command::new(program).args(arguments).output() {
            Ok(output) if output.status.success() => continue,
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                if said.is_empty() { output.status.to_string() } else { said }
            }
            Err(error) => error.to_string(),
        };
        let text = format!("{}: {problem}", program.display());
        // If the pipe is broken, nobody is left to be told.
        drop(File::from(report).write_all(text.as_bytes()));
        return;
    }
}

/// `PID 0 ID 1 1 START COUNT …`: the user first, then the ranges one behind the other.
fn mapping_arguments(pid: &str, id: u32, ranges: &[Range]) -> Vec<String> {
    let mut arguments = vec![pid.to_owned(), "0".into(), id.to_string(), "1".into()];
    let mut inside = 1u64;
    for range in ranges {
        arguments.extend([inside.to_string(), range.start.to_string(), range.count.to_string()]);
        inside += u64::from(range.count);
    }
    arguments
}

/// The ranges of a user in the text of `/etc/subuid` or `/etc/subgid`: lines
/// `NAME-OR-UID:START:COUNT`, in the order of the file. Lines that are not of that form are
/// skipped, as the tools do.
fn subordinate_ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let uid = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().splitn(3, ':');
        let owner = fields.next()?;
        if owner != uid && Some(owner) != name {
            return None;
        }
        let start = fields.next()?.parse().ok()?;
        let count = fields.next()?.parse().ok().filter(|count| *count > 0)?;
        Some(Range { start, count })
    };
    text.lines().filter_map(range).collect()
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// Login name and home directory of a user.
fn database_entry(uid: u32) -> (Option<String>, Option<PathBuf>) {
    let mut buffer = vec![0u8; 16 * 1024];
    // SAFETY: `passwd` is a C struct of pointers and integers, for which zero is a valid value.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found: *mut libc::passwd = std::ptr::null_mut();
    // SAFETY: all pointers are to live values, and the length is that of the buffer. The strings
    // of `entry` point into `buffer`, which outlives their use below.
    let status = unsafe {
        libc::getpwuid_r(uid, &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found)
    };
    if status != 0 || found.is_null() {
        return (None, None);
    }
    let text = |pointer: *const libc::c_char| {
        // SAFETY: the call succeeded, so the field is null or a C string inside `buffer`.
        (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) })
    };
    let name = text(entry.pw_name).and_then(|name| name.to_str().ok()).map(str::to_owned);
    let home = text(entry.pw_dir)
        .map(|home| PathBuf::from(OsStr::from_bytes(home.to_bytes())))
        .filter(|home| home.is_absolute());
    (name, home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_user() {
        let text = "a:100000:65536\n# b:1:1\n1000:300000:10\nb:200000:1\nb:x:1\nb:5:0\nb:7\n\
                    ab:1:1\nb:400000:2\n";
        let range = |start, count| Range { start, count };
        for (name, uid, expected) in [
            (Some("a"), 7, vec![range(100_000, 65_536)]),
            (Some("b"), 1000, vec![range(300_000, 10), range(200_000, 1), range(400_000, 2)]),
            (None, 1000, vec![range(300_000, 10)]),
            (Some("c"), 7, vec![]),
        ] {
            assert_eq!(subordinate_ranges(text, name, uid), expected, "{name:?} {uid}");
        }
    }

    #[test]
    fn ranges_are_mapped_one_behind_the_other() {
        let ranges = [
            Range { start: 100_000, count: 65_536 },
            Range { start: 500_000, count: u32::MAX },
            Range { start: 7, count: 1 },
        ];
        assert_eq!(
            mapping_arguments("42", 1000, &ranges).join(" "),
            "42 0 1000 1 1 100000 65536 65537 500000 4294967295 4295032832 7 1"
        );
    }

    #[test]
    fn recognises_podmans_namespace() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert!(maps_root_to(map, 1000));
        assert!(!maps_root_to(map, 1001));
        assert!(!maps_root_to("0 0 4294967295\n", 0));
        assert!(!maps_root_to("", 1000));
        assert!(is_pause_command("podman pause\n"));
        assert!(is_pause_command("catatonit\n"));
        assert!(!is_pause_command("bash\n"));
    }

    #[test]
    fn a_stale_pause_file_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("libpod/tmp/pause.pid");
        let uid = rustix::process::geteuid().as_raw();
        assert!(PauseProcess::find(uid, dir.path()).is_none());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        // This process lives and is ours, but is no pause process.
        for text in [std::process::id().to_string(), "0".into(), "-1".into(), "x".into()] {
            fs::write(&file, text).unwrap();
            assert!(PauseProcess::find(uid, dir.path()).is_none());
        }
    }

    #[test]
    fn user_inside_of_podmans_namespace() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = |variables: &[(&str, &str)]| {
            let user = User::of_process(|name| {
                let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
                Some(value.into())
            });
            (user.uid, user.rootless)
        };
        assert_eq!(user(&[]), (0, false));
        assert_eq!(user(&[("_CONTAINERS_ROOTLESS_UID", "1000")]), (1000, true));
        assert_eq!(user(&[("_CONTAINERS_USERNS_CONFIGURED", "done")]), (0, true));
        assert_eq!(user(&[("_CONTAINERS_ROOTLESS_UID", "")]), (0, false));
    }

    #[test]
    fn owner_of_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = dir.path().join("overlay");
        assert!(check_owner(dir.path()).is_ok(), "not there yet");
        fs::create_dir(&overlay).unwrap();
        let owner = fs::metadata(&overlay).unwrap().uid();
        assert_eq!(check_owner(dir.path()).is_ok(), owner == 0);
        if owner == 0 {
            std::os::unix::fs::chown(&overlay, Some(1000), None).unwrap();
            assert!(matches!(
                check_owner(dir.path()),
                Err(Error::ForeignStore { owner: 1000, .. })
            ));
        }
    }
}
