//! Who goes first when there are not enough processors.

/// How much lower, as `nice(1)` counts: a ninth of what others get, if they want it.
const BACKGROUND: i32 = 10;

/// Lets the calling thread, and those that it will start, stand back behind the others: behind those
/// that answer requests. Nobody else's work is slower for it when the machine has nothing else to do.
///
/// Cannot be taken back without privileges, so only threads that end with their work do this. It does
/// not matter where it is not allowed.
pub fn background() {
    // None is the calling thread, not the process.
    if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND) {
        tracing::debug!(%error, "lowering the priority of a thread");
    }
}
