//! What the kernel says about a process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// A process, by its ID.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

/// Processor time of threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads(BTreeMap<u32, Times>);

/// Processor time, up to now or since an earlier look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// On a processor.
    pub(crate) running: Duration,
    /// Ready, while others had the processors.
    pub(crate) delayed: Duration,
}

impl Process {
    /// Resident memory now, in KiB.
    pub(crate) fn resident(self) -> u64 {
        self.status("VmRSS:")
    }

    /// Memory that is its own, not the program's text, when what was freed has gone back to the system,
    /// which it does a fifth of a second after work; in KiB.
    pub(crate) fn own(self) -> u64 {
        thread::sleep(Duration::from_millis(500));
        self.status("RssAnon:")
    }

    /// The most memory that was ever resident, in KiB.
    pub(crate) fn peak(self) -> u64 {
        self.status("VmHWM:")
    }

    /// How many threads there are.
    pub(crate) fn threads(self) -> u64 {
        self.status("Threads:")
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count()
    }

    /// How many bytes it has read from files and written to them so far.
    pub(crate) fn moved(self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/io", self.0)).unwrap();
        let number = |key| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        number("rchar:") + number("wchar:")
    }

    /// Its processor time so far.
    pub(crate) fn times(self) -> Threads {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).unwrap();
        let times = tasks.filter_map(|task| {
            let task = task.unwrap();
            // A thread may end meanwhile.
            let times = Times::read(&task.path())?;
            Some((task.file_name().to_str().unwrap().parse().unwrap(), times))
        });
        Threads(times.collect())
    }

    /// The processor time of one of its threads so far.
    pub(crate) fn thread(self, thread: u32) -> Times {
        Times::read(Path::new(&format!("/proc/{}/task/{thread}", self.0))).unwrap()
    }

    fn status(self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Times {
    fn read(task: &Path) -> Option<Self> {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        let mut numbers = text.split_whitespace().map(|it| it.parse().unwrap());
        let mut next = || Duration::from_nanos(numbers.next().unwrap());
        Some(Self { running: next(), delayed: next() })
    }
}

impl Threads {
    /// What was used since `earlier`: together, and the longest delay of any one thread.
    pub(crate) fn since(&self, earlier: &Self) -> Times {
        let mut sum = Times::default();
        for (thread, now) in &self.0 {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            sum.running += now.running.saturating_sub(before.running);
            sum.delayed = sum.delayed.max(now.delayed.saturating_sub(before.delayed));
        }
        sum
    }
}
