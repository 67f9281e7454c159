//! Keeping the allocator small.
//!
//! glibc gives each thread an arena of its own and keeps what was freed there. A daemon that unpacks
//! a layer on a dozen threads and then idles for hours should not hold that memory all the time.

/// Lets threads share two arenas instead of having up to eight for each core. To be called before
/// threads are started.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        const ARENAS: libc::c_int = 2;
        // SAFETY: `mallopt` only sets a number inside the allocator; it may be called at any time.
        let accepted = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
        debug_assert_eq!(accepted, 1, "glibc knows M_ARENA_MAX");
    }
}

/// Gives freed memory back to the system. Takes the allocator's locks for a moment.
pub fn release_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` only returns free pages; it is thread-safe.
    unsafe {
        libc::malloc_trim(0);
    }
}
