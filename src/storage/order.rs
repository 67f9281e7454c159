//! Whether changes get to the disk in the order in which they are made.
//!
//! A commit makes its steps in such an order that what is there after a power cut between any two of
//! them is a good store. Where a step could overtake an earlier one on its way to the disk, each has to
//! be waited for, under the locks. ext4 and XFS have one journal for all changes of names, and write
//! it in order, so that nothing has to be waited for in between. Btrfs writes what was asked for
//! with `fsync` to a log of its own, ahead of everything else.

use std::path::{Path, PathBuf};

use super::Error;
use super::dir::Dir;

/// Of `statfs(2)`.
const EXT4: i64 = 0xef53;
const XFS: i64 = 0x5846_5342;

/// Whether changes of names in these directories get to the disk in the order in which they are made.
pub(super) fn is_kept<'a>(dirs: impl IntoIterator<Item = &'a Dir>) -> Result<bool, Error> {
    let mut first = None;
    for dir in dirs {
        let device = dir.device()?;
        if *first.get_or_insert(device) != device {
            return Ok(false);
        }
        let kept = match dir.file_system()? {
            XFS => true,
            EXT4 => has_journal(device),
            _ => false,
        };
        if !kept {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the ext4 file system on a device has its journal there. One without a journal, an ext2 for
/// example, keeps no order.
fn has_journal(device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let known_as = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let Ok(block_device) = std::fs::read_link(known_as) else { return false };
    let Some(name) = block_device.file_name().and_then(|name| name.to_str()) else { return false };
    // The journal is the inode 8.
    Path::new("/proc/fs/jbd2").join(format!("{name}-8")).exists()
}
