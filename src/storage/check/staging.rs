//! Temporary directories whose owners are dead.

use std::fs::File;

use rustix::fs::{Mode, OFlags};

use super::finding::{Cure, Fix, Rule, Subject};
use super::scope::{Findings, Scope, names_of};
use crate::storage::Error;
use crate::storage::dir::Dir;
use crate::sys::{FileLock, LockMode};

/// Directories with pairs of `lock-N` and `temp-dir-N`.
const AREAS: [&str; 2] = ["overlay/tempdirs", "overlay-layers/tmp"];
/// Directories of pulls in parts, each with a lock in it.
const PARTIAL: &str = "overlay/staging";
pub(super) const PARTIAL_LOCK: &str = "staging.lock";
const DIED: &str = "its owner died: nobody holds its lock";

pub(super) fn check(scope: &Scope<'_>, found: &mut Findings) -> Result<(), Error> {
    for area in AREAS {
        let names = names_of(&scope.root, area)?;
        for name in &names {
            let path = format!("{area}/{name}");
            if let Some(number) = name.strip_prefix("lock-") {
                if is_free(&scope.root, &path)? {
                    let path = format!("{area}/temp-dir-{number}");
                    found.warning(Rule::Temporaries, Subject::Store, path, DIED, Cure::Load);
                }
            } else if let Some(number) = name.strip_prefix("temp-dir-")
                && !names.contains(&format!("lock-{number}"))
                && scope.is_old(&path)?
            {
                let cure = Cure::Fix(Fix::RemoveStaging { path: path.clone().into() });
                let why = "it has no lock, so nobody owns it";
                found.warning(Rule::Temporaries, Subject::Store, path, why, cure);
            }
        }
    }
    for name in names_of(&scope.root, PARTIAL)? {
        let path = format!("{PARTIAL}/{name}");
        let lock = format!("{path}/{PARTIAL_LOCK}");
        let why = if scope.root.stat(&lock)?.is_some() {
            if !is_free(&scope.root, &lock)? {
                continue;
            }
            DIED
        } else if scope.is_old(&path)? {
            // Before there were locks, only time could tell.
            "it has no lock, and is old"
        } else {
            continue;
        };
        let cure = Cure::Fix(Fix::RemoveStaging { path: path.clone().into() });
        found.warning(Rule::Temporaries, Subject::Store, path, why, cure);
    }
    Ok(())
}

/// Whether nobody holds this lock. It is held for an instant to see that, shared, and so that
/// whoever comes just then tries again.
fn is_free(root: &Dir, path: &str) -> Result<bool, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::openat(root, path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(Error::io("opening", root.path().join(path))(errno.into())),
    };
    let lock = FileLock::try_lock(file, LockMode::Shared);
    Ok(lock.map_err(Error::io("locking", root.path().join(path)))?.is_ok())
}
