//! Deleting a directory tree.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Error;
use super::dir::Dir;

/// A directory on the way down to where the deletion is.
struct Level {
    /// Its name in the directory above.
    name: CString,
    /// Directories in it that are still to be deleted.
    pending: Vec<CString>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Deletes `name` in `parent` with everything below it, if it is there. Symbolic links are deleted,
/// never followed. Uses two descriptors whatever the depth is, and gets into directories that
/// their owner may not read. Nobody else may be moving things in the tree.
pub(super) fn delete(parent: &Dir, name: &str) -> Result<(), Error> {
    let path = parent.path().join(name);
    let failed = |errno: Errno| Error::io("deleting", &path)(errno.into());
    let Ok(top) = CString::new(name) else { return Err(failed(Errno::INVAL)) };
    match fs::unlinkat(parent, &top, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says "is a directory"; POSIX allows "not permitted".
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(failed(errno)),
    }
    delete_directory(parent, top).map_err(failed)
}

fn delete_directory(parent: &Dir, top: CString) -> Result<(), Errno> {
    let mut here = enter(parent, &top)?;
    let mut levels = vec![Level { pending: empty_of_files(&here)?, name: top }];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.pending.pop() {
            if fs::unlinkat(&here, &name, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            here = enter(&here, &name)?;
            levels.push(Level { pending: empty_of_files(&here)?, name });
        } else if let Some(done) = levels.pop() {
            if levels.is_empty() {
                unlink(parent, &done.name, AtFlags::REMOVEDIR)?;
            } else {
                // Nobody moves things in the tree, so this is the directory we came from.
                here = fs::openat(&here, c"..", DIRECTORY, Mode::empty())?;
                unlink(&here, &done.name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}

fn enter(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    match fs::openat(&parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Only for callers without the capability to ignore permissions. The name was just
            // seen to be a directory.
            fs::chmodat(&parent, name, Mode::RWXU, AtFlags::empty())?;
            fs::openat(&parent, name, DIRECTORY, Mode::empty())
        }
        result => result,
    }
}

/// Deletes all entries but directories, which are returned.
fn empty_of_files(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut directories = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            directories.push(name.to_owned());
            continue;
        }
        match unlink(directory, name, AtFlags::empty()) {
            // The type was unknown.
            Err(Errno::ISDIR | Errno::PERM) => directories.push(name.to_owned()),
            result => result?,
        }
    }
    Ok(directories)
}

fn unlink(directory: impl AsFd, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match fs::unlinkat(&directory, name, flags) {
        Err(Errno::ACCESS) => {
            fs::fchmod(&directory, Mode::RWXU)?;
            fs::unlinkat(&directory, name, flags)
        }
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn deletes_everything_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir_all(path("x/a/b/c")).unwrap();
        std::fs::create_dir_all(path("x/a/empty")).unwrap();
        std::fs::create_dir_all(path("kept")).unwrap();
        for file in ["kept/file", "x/f", "x/a/f", "x/a/b/c/f"] {
            std::fs::write(path(file), file).unwrap();
        }
        symlink("../kept", path("x/link")).unwrap();
        symlink(path("kept"), path("x/a/b/link")).unwrap();
        for closed in ["x/a/b/c", "x/a/b", "x"] {
            std::fs::set_permissions(path(closed), std::fs::Permissions::from_mode(0o555)).unwrap();
        }
        let dir = Dir::open(root.path()).unwrap();
        delete(&dir, "x").unwrap();
        assert_eq!(dir.names().unwrap(), ["kept"]);
        assert_eq!(std::fs::read(path("kept/file")).unwrap(), b"kept/file");
        delete(&dir, "x").unwrap();
        symlink("kept", path("link")).unwrap();
        delete(&dir, "link").unwrap();
        assert!(path("kept/file").exists() && !path("link").is_symlink());
    }

    #[test]
    fn depth_costs_no_descriptors_and_no_stack() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        let mut here = dir.mkdir("top", 0o700).unwrap();
        for _ in 0..5000 {
            here = here.mkdir("d", 0o700).unwrap();
        }
        drop(here);
        delete(&dir, "top").unwrap();
        assert!(dir.names().unwrap().is_empty());
    }
}
