//! Control groups of containers.

use std::fs;
use std::path::{Path, PathBuf};

use super::Process;

/// The control group of a container, and the file that freezes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) directory: PathBuf,
    pub(super) version: Version,
}

/// The two kinds of hierarchies that freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// The freezer of version 1.
    One,
    /// Version 2.
    Two,
}

impl Group {
    /// The file that is written to freeze and to thaw.
    pub(super) fn control(&self) -> PathBuf {
        self.directory.join(match self.version {
            Version::One => "freezer.state",
            Version::Two => "cgroup.freeze",
        })
    }

    /// The group whose control file this is, if it can be one in these hierarchies.
    pub(super) fn of_control(control: &Path, mounts: &str) -> Option<Self> {
        let version = match control.file_name()?.to_str()? {
            "freezer.state" => Version::One,
            "cgroup.freeze" => Version::Two,
            _ => return None,
        };
        let directory = control.parent()?.to_owned();
        let climbs = directory.components().any(|it| it == std::path::Component::ParentDir);
        let (_, mount) = hierarchy(mounts, version)?;
        (!climbs && directory.starts_with(mount)).then_some(Self { directory, version })
    }
}

/// The first process of a container, if it is alive and is the one that it was: in a control group
/// that is named after the container.
pub(super) fn process(pid: Option<i64>, container: &str, paused: bool) -> Option<Process> {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid?)).ok()?;
    let mounts = mounts().ok()?;
    let group = group_of(&groups, &mounts, container)?;
    Some(Process { group, paused })
}

/// The text of `/proc/self/mountinfo`.
pub(super) fn mounts() -> std::io::Result<String> {
    fs::read_to_string("/proc/self/mountinfo")
}

/// From the texts of `/proc/<pid>/cgroup` and `/proc/self/mountinfo`.
fn group_of(groups: &str, mounts: &str, container: &str) -> Option<Group> {
    let find = |version: Version| {
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let ours = match version {
                Version::One => controllers.split(',').any(|name| name == "freezer"),
                Version::Two => number == "0" && controllers.is_empty(),
            };
            ours.then_some(path)
        })?;
        let path = own_part(path, container)?;
        let (root, mount) = hierarchy(mounts, version)?;
        let below = Path::new(path).strip_prefix(&root).ok()?;
        Some(Group { directory: mount.join(below), version })
    };
    // Where both have the process in a group of its own, either would do.
    find(Version::Two).or_else(|| find(Version::One))
}

/// The path up to the last component that is named after the container: runtimes make groups in it.
fn own_part<'a>(path: &'a str, container: &str) -> Option<&'a str> {
    let at = path.rfind(container).filter(|_| !container.is_empty())?;
    let end = path[at..].find('/').map_or(path.len(), |slash| at + slash);
    Some(&path[..end])
}

/// Root and mount point of a hierarchy.
fn hierarchy(mounts: &str, version: Version) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1)?);
        let ours = match version {
            Version::One => name == "cgroup" && options.split(',').any(|it| it == "freezer"),
            Version::Two => name == "cgroup2",
        };
        let mut fields = place.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        ours.then(|| (PathBuf::from(root), PathBuf::from(mount)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw,nsdelegate\n\
        32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        33 30 0:29 /docker /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n";

    #[test]
    fn groups_are_those_named_after_the_container() {
        let two = |path: &str| Group {
            directory: format!("/sys/fs/cgroup/unified/{path}").into(),
            version: Version::Two,
        };
        let one = |path: &str| Group {
            directory: format!("/sys/fs/cgroup/freezer/{path}").into(),
            version: Version::One,
        };
        for (groups, group) in [
            ("0::/machine.slice/libpod-c1.scope", Some(two("machine.slice/libpod-c1.scope"))),
            (
                "0::/machine.slice/libpod-c1.scope/container",
                Some(two("machine.slice/libpod-c1.scope")),
            ),
            ("0::/a/libpod-payload-c1/x/y", Some(two("a/libpod-payload-c1"))),
            ("0::/user.slice/session.scope", None),
            ("3:cpu:/\n2:freezer:/docker/libpod-c1\n0::/", Some(one("libpod-c1"))),
            ("2:freezer:/elsewhere/libpod-c1", None),
            ("", None),
        ] {
            assert_eq!(group_of(groups, MOUNTS, "c1"), group, "{groups}");
        }
        assert_eq!(group_of("0::/a", MOUNTS, ""), None);
    }

    #[test]
    fn control_files_are_in_a_hierarchy() {
        for (path, valid) in [
            ("/sys/fs/cgroup/unified/a/cgroup.freeze", true),
            ("/sys/fs/cgroup/freezer/a/freezer.state", true),
            ("/sys/fs/cgroup/unified/a/../../../../etc/cgroup.freeze", false),
            ("/etc/cgroup.freeze", false),
            ("/sys/fs/cgroup/unified/a/cgroup.procs", false),
        ] {
            let group = Group::of_control(Path::new(path), MOUNTS);
            assert_eq!(group.map(|group| group.control()), valid.then(|| path.into()), "{path}");
        }
    }
}
