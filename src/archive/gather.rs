//! Reading the members of images that lie in a directory, as they are asked for.
//!
//! In a directory nothing has to be taken as it comes. So the documents say what is read: whatever a
//! format misses is looked for, until it has all or misses what is not there. Other images that
//! share the directory are not touched.

use std::io::{self, Read};

use super::scan::{Kept, Member, member};
use super::{Error, Limits, Members, StageError};

/// A file of a directory.
#[derive(Debug)]
pub struct DirectoryFile<R> {
    /// Its content.
    pub content: R,
    /// Its length in bytes.
    pub size: u64,
}

/// Finds images by `find`, which is asked again after each member that it misses, whether that is
/// there or not. `open` opens a file of the directory; `stage` gets the content of each layer.
///
/// # Errors
/// What ends the work, from `stage`. The inner result is what `find` answered at last, or why a
/// file that it wants cannot be read.
pub fn gather<R, L, E, I>(
    mut open: impl FnMut(&str) -> io::Result<DirectoryFile<R>>,
    limits: &Limits,
    mut stage: impl FnMut(&mut (dyn Read + Send)) -> Result<L, StageError<E>>,
    find: impl Fn(&Members<L>) -> Result<I, Error>,
) -> Result<(Members<L>, Result<I, Error>), E>
where
    R: Read + Send,
    E: From<Error>,
{
    let mut members = Members::default();
    let mut kept = Kept::default();
    loop {
        let error = match find(&members) {
            Ok(found) => return Ok((members, Ok(found))),
            Err(error) => error,
        };
        let name = match error.missing() {
            Some(name) if !members.is_known(name) => name.to_owned(),
            _ => return Ok((members, Err(error))),
        };
        let member = match open(&name) {
            Ok(mut file) => member(&mut file.content, file.size, limits, &mut kept, &mut stage)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Member::Absent,
            Err(source) => return Ok((members, Err(Error::Open { name, source }))),
        };
        members.insert(name, member);
    }
}
