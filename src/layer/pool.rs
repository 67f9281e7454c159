//! Threads that create files while the tar is read on.
//!
//! Creating a file costs far more than reading it from the tar, nearly all of it in the kernel. Jobs
//! are taken in order but end in any order; whoever depends on one waits for it by its number.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::mem;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::dirs::Dir;
use super::meta::{Meta, Policy};
use super::name::TreePath;
use super::{Error, Result};
use crate::sys::tree;

/// Bytes of files that may wait. Some milliseconds of work, which is enough to keep threads busy.
const MAX_BYTES: usize = 4 << 20;

/// Memory counted for a job besides content.
const JOB_BYTES: usize = 512;

/// Something to create. Its directory exists, its name does not.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) dir: Dir,
    pub(super) path: TreePath,
    pub(super) meta: Meta,
    pub(super) content: Content,
}

/// What to create.
#[derive(Debug)]
pub(super) enum Content {
    /// A file with all of its bytes.
    File(Vec<u8>),
    /// A file whose bytes are still to come. If they end early, it stays unfinished.
    Stream(Receiver<Vec<u8>>),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
}

/// Number of a job; 0 stands for what was done at once.
pub(super) type Ticket = u32;

/// The queue between the one thread that reads the tar and those that create files.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    /// There is a job, or the end.
    work: Condvar,
    /// What was awaited has come, or a job failed.
    progress: Condvar,
    policy: Policy,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(Ticket, Job)>,
    bytes: usize,
    last: Ticket,
    running: Vec<Ticket>,
    /// Threads that wait for work. Waking takes a call of the kernel, for one file a large part of what
    /// it costs.
    idle: usize,
    /// What the one thread that feeds the pool waits for.
    awaited: Option<Until>,
    failed: Option<Error>,
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// Half of the queue is free, so that the two sides do not take turns over single jobs.
    Room,
    /// A job and all before it are done.
    Done(Ticket),
}

impl State {
    fn has_reached(&self, until: Until) -> bool {
        match until {
            Until::Room => self.bytes <= MAX_BYTES / 2,
            Until::Done(ticket) => {
                let first_waiting = self.queue.front().map(|(ticket, _)| *ticket);
                first_waiting.iter().chain(&self.running).all(|open| *open > ticket)
            }
        }
    }
}

impl Pool {
    pub(super) fn new(policy: Policy) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), progress: Condvar::new(), policy }
    }

    /// Queues a job, waiting for room.
    ///
    /// # Errors
    /// The first error of any thread.
    pub(super) fn push(&self, job: Job) -> Result<Ticket> {
        let mut state = self.lock();
        if state.bytes > MAX_BYTES {
            state = self.wait(state, Until::Room)?;
        }
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        state.bytes += job.bytes();
        state.last += 1;
        let ticket = state.last;
        state.queue.push_back((ticket, job));
        let is_wanted = state.idle > 0;
        drop(state);
        if is_wanted {
            self.work.notify_one();
        }
        Ok(ticket)
    }

    /// Waits until a job and all before it are done.
    ///
    /// # Errors
    /// The first error of any thread.
    pub(super) fn wait_for(&self, ticket: Ticket) -> Result<()> {
        self.wait(self.lock(), Until::Done(ticket)).map(drop)
    }

    /// Waits until nothing is left to do.
    ///
    /// # Errors
    /// The first error of any thread.
    pub(super) fn wait_for_all(&self) -> Result<()> {
        self.wait_for(Ticket::MAX)
    }

    /// The first error of any thread, if one failed.
    pub(super) fn failure(&self) -> Option<Error> {
        self.lock().failed.clone()
    }

    /// Tells the threads to end, dropping what waits. To be called whatever happened.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
        self.work.notify_all();
    }

    /// What each thread does until the pool is closed.
    pub(super) fn run(&self) {
        while let Some((ticket, job)) = self.take() {
            // Dropped before the job: whoever feeds its file sees that nobody reads any more, and asks
            // why.
            let mut done =
                Done { pool: self, ticket, bytes: job.bytes(), result: Err(Error::Thread) };
            done.result = job.perform(self.policy);
        }
    }

    fn take(&self) -> Option<(Ticket, Job)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some((ticket, job)) = state.queue.pop_front() {
                state.running.push(ticket);
                return Some((ticket, job));
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        until: Until,
    ) -> Result<MutexGuard<'a, State>> {
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if state.has_reached(until) {
                return Ok(state);
            }
            state.awaited = Some(until);
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.awaited = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports a job's end, even that of a panic, for which somebody would wait forever.
struct Done<'a> {
    pool: &'a Pool,
    ticket: Ticket,
    bytes: usize,
    result: Result<()>,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.bytes = state.bytes.saturating_sub(self.bytes);
        state.running.retain(|running| *running != self.ticket);
        let mut dropped = VecDeque::new();
        if let Err(error) = mem::replace(&mut self.result, Ok(())) {
            state.failed.get_or_insert(error);
            // Whoever feeds a file that waits here must not wait for it.
            dropped = mem::take(&mut state.queue);
        }
        let is_awaited =
            state.failed.is_some() || state.awaited.is_some_and(|until| state.has_reached(until));
        drop(state);
        drop(dropped);
        if is_awaited {
            self.pool.progress.notify_one();
        }
    }
}

impl Job {
    fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::File(bytes) | Content::Symlink(bytes) => bytes.len(),
            // Its channel has a bound of its own.
            Content::Stream(_) => 0,
        };
        JOB_BYTES + self.path.as_bytes().len() + self.meta.size() + content
    }

    fn perform(&self, policy: Policy) -> Result<()> {
        let path = self.path.as_bytes();
        if let Content::Symlink(target) = &self.content {
            rustix::fs::symlinkat(&target[..], &self.dir, self.path.leaf())
                .map_err(|error| Error::tree("creating symbolic link", path, error))?;
            return self.meta.apply_at(&self.dir, self.path.leaf(), true, policy, path);
        }
        let file = tree::create_file(&self.dir, self.path.leaf())
            .map_err(|error| Error::tree("creating file", path, error))?;
        let mut file = File::from(file);
        let mut write = |bytes: &[u8]| {
            file.write_all(bytes).map_err(|error| Error::tree("writing file", path, error))
        };
        match &self.content {
            Content::File(bytes) => write(bytes)?,
            Content::Stream(chunks) => chunks.iter().try_for_each(|chunk| write(&chunk))?,
            Content::Symlink(_) => {}
        }
        self.meta.apply(&file, policy, path)?;
        self.meta.times().set(&file, path)
    }
}
