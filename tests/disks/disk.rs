//! A disk with a cache that is lost with the power. What was written before a flush is there
//! afterwards; of what was written since then each block is there or is not, whatever the order.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::archive::Numbers;

/// What is written whole or not at all, in bytes.
pub(crate) const BLOCK: usize = 4096;

type Block = Arc<[u8; BLOCK]>;

/// The content of a disk. Blocks that are not there are zero. Clones share what is the same.
#[derive(Clone, Default)]
pub(crate) struct Blocks(BTreeMap<u64, Block>);

/// A disk in use.
pub(crate) struct Disk {
    size_bytes: u64,
    blocks: Blocks,
    recording: Option<Recording>,
}

/// What was written to a disk, in order.
#[derive(Clone)]
pub(crate) struct Recording {
    /// The content at its beginning, all of it flushed.
    start: Blocks,
    events: Vec<Event>,
}

#[derive(Clone)]
enum Event {
    /// The block's number and its new content.
    Write(u64, Block),
    Flush,
}

/// How much is lost of what was not flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    Everything,
    Nothing,
    /// Of each block the last writes, as many as come out of this seed.
    Random(u64),
}

impl Blocks {
    fn read(&self, offset: u64, buffer: &mut [u8]) {
        for (number, inside, part) in pieces(offset, buffer.len()) {
            let piece = &mut buffer[part];
            match self.0.get(&number) {
                Some(block) => piece.copy_from_slice(&block[inside..][..piece.len()]),
                None => piece.fill(0),
            }
        }
    }

    fn put(&mut self, number: u64, block: Block) {
        if block.iter().all(|byte| *byte == 0) {
            self.0.remove(&number);
        } else {
            self.0.insert(number, block);
        }
    }
}

impl Disk {
    /// A disk with this content.
    pub(crate) fn new(size_bytes: u64, blocks: Blocks) -> Self {
        Self { size_bytes, blocks, recording: None }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        self.blocks.read(offset, buffer);
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        for (number, inside, part) in pieces(offset, data.len()) {
            let piece = &data[part];
            let mut block = self.blocks.0.get(&number).map_or([0; BLOCK], |block| **block);
            block[inside..][..piece.len()].copy_from_slice(piece);
            let block = Arc::new(block);
            if let Some(recording) = &mut self.recording {
                recording.events.push(Event::Write(number, Arc::clone(&block)));
            }
            self.blocks.put(number, block);
        }
    }

    pub(crate) fn flush(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.events.push(Event::Flush);
        }
    }

    /// Begins a recording. What there is counts as flushed.
    pub(crate) fn record(&mut self) {
        self.recording = Some(Recording { start: self.blocks.clone(), events: Vec::new() });
    }

    /// How much was recorded.
    pub(crate) fn recorded(&self) -> usize {
        self.recording.as_ref().map_or(0, |recording| recording.events.len())
    }

    /// Ends the recording.
    pub(crate) fn take_recording(&mut self) -> Recording {
        self.recording.take().expect("a recording was begun")
    }
}

impl Recording {
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// What is on the disk if the power goes after the first `count` events.
    pub(crate) fn cut(&self, count: usize, loss: Loss) -> Blocks {
        let happened = &self.events[..count];
        let is_flush = |event: &Event| matches!(event, Event::Flush);
        let flushed = happened.iter().rposition(is_flush).unwrap_or(0);
        let mut blocks = self.start.clone();
        for event in &happened[..flushed] {
            if let Event::Write(number, block) = event {
                blocks.put(*number, Arc::clone(block));
            }
        }
        let mut cached: BTreeMap<u64, Vec<&Block>> = BTreeMap::new();
        for event in &happened[flushed..] {
            if let Event::Write(number, block) = event {
                cached.entry(*number).or_default().push(block);
            }
        }
        let mut numbers = match loss {
            Loss::Random(seed) => Some(Numbers::new(seed)),
            Loss::Everything => return blocks,
            Loss::Nothing => None,
        };
        for (number, versions) in cached {
            let kept = match &mut numbers {
                Some(numbers) => numbers.below(versions.len() as u64 + 1),
                None => versions.len() as u64,
            };
            if let Some(last) = versions.iter().take(usize::try_from(kept).unwrap()).next_back() {
                blocks.put(number, Arc::clone(last));
            }
        }
        blocks
    }
}

/// The blocks that `length` bytes at `offset` are in: number, first byte in the block, and the range
/// of the bytes that are in it.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let inside = usize::try_from(at % BLOCK as u64).unwrap();
        let end = length.min(done + BLOCK - inside);
        let part = done..end;
        done = end;
        Some((at / BLOCK as u64, inside, part))
    })
}

#[test]
fn a_cut_keeps_what_was_flushed() {
    let mut disk = Disk::new(1 << 20, Blocks::default());
    disk.write(10, b"before");
    disk.record();
    disk.write(10, b"flushed, and over the end of the block");
    disk.flush();
    disk.write(10, b"cached1");
    disk.write(10, b"cached2");
    let recording = disk.take_recording();
    let read = |count, loss| {
        let mut text = [0; 7];
        recording.cut(count, loss).read(10, &mut text);
        text
    };
    assert_eq!(read(0, Loss::Nothing), *b"before\0");
    assert_eq!(read(1, Loss::Everything), *b"before\0");
    assert_eq!(read(1, Loss::Nothing), *b"flushed");
    assert_eq!(read(2, Loss::Everything), *b"flushed");
    assert_eq!(read(4, Loss::Everything), *b"flushed");
    assert_eq!(read(4, Loss::Nothing), *b"cached2");
    let outcomes: std::collections::BTreeSet<_> =
        (0..50).map(|seed| read(4, Loss::Random(seed))).collect();
    assert_eq!(outcomes, [*b"cached1", *b"cached2", *b"flushed"].into());
}
