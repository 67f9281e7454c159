//! Which errors of the kernel say that there is not enough of something.

use rustix::io::Errno;

/// Whether the system had no space, quota, memory or descriptors left.
pub fn is_exhaustion(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::MFILE | Errno::NFILE)
}
