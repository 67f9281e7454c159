//! The threads that pack blocks.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use super::packer::Packer;

/// Most threads. One thread that rebuilds a layer keeps four busy, and a push has three of those.
const MOST: usize = 16;

/// Threads that are started when there is something to pack, and end when this is dropped.
#[derive(Debug)]
pub(super) struct Threads {
    count: usize,
    /// `None` until they run.
    jobs: Mutex<Option<Sender<Job>>>,
}

#[derive(Debug)]
struct Job {
    content: Vec<u8>,
    level: i32,
    result: Sender<(Vec<u8>, io::Result<Vec<u8>>)>,
}

/// A block that is being packed.
#[derive(Debug)]
pub(super) struct UnderWay(Receiver<(Vec<u8>, io::Result<Vec<u8>>)>);

impl UnderWay {
    /// The block and its member.
    pub(super) fn wait(self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (content, member) = self.0.recv().map_err(|_| ended())?;
        Ok((content, member?))
    }
}

impl Threads {
    /// Blocks of one writer that may be under way.
    pub(super) const AHEAD: usize = 16;

    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count, jobs: Mutex::default() })
    }

    /// Those of the process, one for each processor. More would only get in each other's way, however
    /// much is packed at the same time.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Threads>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let processors = thread::available_parallelism().map_or(1, usize::from);
            let threads = Self::new(processors.min(MOST));
            *shared = Arc::downgrade(&threads);
            threads
        })
    }

    pub(super) fn ahead(&self) -> usize {
        Self::AHEAD.min(2 * self.count)
    }

    /// Has a block packed, after those that came before it.
    pub(super) fn pack(&self, content: Vec<u8>, level: i32) -> io::Result<UnderWay> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match &mut *jobs {
            Some(jobs) => jobs,
            none => none.insert(self.start()?),
        };
        let (result, under_way) = channel();
        jobs.send(Job { content, level, result }).map_err(|_| ended())?;
        Ok(UnderWay(under_way))
    }

    fn start(&self) -> io::Result<Sender<Job>> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..self.count {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("gzip".into()).spawn(move || pack_all(&queue))?;
        }
        Ok(jobs)
    }
}

fn pack_all(queue: &Mutex<Receiver<Job>>) {
    let mut packer: Option<Packer> = None;
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { content, level, result }) = job else { return };
        let packer = match &mut packer {
            Some(packer) if packer.level() == level => packer,
            other => other.insert(Packer::new(level)),
        };
        let member = packer.pack(&content);
        // The receiver is gone only when the writer was given up.
        let _ = result.send((content, member));
    }
}

fn ended() -> io::Error {
    io::Error::other("packing thread ended early")
}
