//! ISA-L's gzip: made for certain processors, several times as fast there as what is made for all.
//!
//! Only in builds with the feature `isal`, which need an assembler. [`layer`](crate::layer) does without
//! where it is missing.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use isal_sys::igzip_lib as c;

/// A gzip member that is being unpacked.
pub struct Inflate(Box<c::inflate_state>);

// SAFETY: the pointers inside lead into the buffers of a call under way, and there is none while the
// value moves to another thread.
unsafe impl Send for Inflate {}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes taken.
    pub read: usize,
    /// Bytes given.
    pub written: usize,
}

/// What is not gzip, or not what its checksum says. The number is ISA-L's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid gzip data (code {0})")]
pub struct Invalid(i32);

impl Inflate {
    /// At the beginning of a member.
    pub fn new() -> Self {
        // SAFETY: the state consists of integers and pointers, for which zeros are a value; it is
        // valid for writes, and `isal_inflate_init` writes only to it.
        let mut state = unsafe {
            let mut state = Box::<c::inflate_state>::new_zeroed().assume_init();
            c::isal_inflate_init(&raw mut *state);
            state
        };
        state.crc_flag = c::ISAL_GZIP;
        Self(state)
    }

    /// Goes to the beginning of the next member.
    pub fn reset(&mut self) {
        // SAFETY: the state was initialised, and only it is written to.
        unsafe { c::isal_inflate_reset(&raw mut *self.0) }
    }

    /// Whether the member has ended, with the checksum it should have.
    pub fn is_finished(&self) -> bool {
        self.0.block_state == c::isal_block_state_ISAL_BLOCK_FINISH
    }

    /// Takes some of `input` and fills some of `out`. What was taken may come out in a later step, also
    /// one without input.
    ///
    /// # Errors
    /// If the member is damaged. It is of no use then.
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Invalid> {
        let (available_in, available_out) = (length(input), length(out));
        let state = &mut *self.0;
        // ISA-L only reads from `next_in`, for which it has no type.
        state.next_in = input.as_ptr().cast_mut();
        state.avail_in = available_in;
        state.next_out = out.as_mut_ptr();
        state.avail_out = available_out;
        // SAFETY: the state was initialised, and both buffers are valid for the lengths that it was
        // told. ISA-L keeps no pointer into them that it uses after the call: each sets both anew.
        let code = unsafe { c::isal_inflate(&raw mut *state) };
        let read = (available_in - state.avail_in) as usize;
        let written = (available_out - state.avail_out) as usize;
        (state.next_in, state.avail_in) = (ptr::null_mut(), 0);
        (state.next_out, state.avail_out) = (ptr::null_mut(), 0);
        if code < 0 { Err(Invalid(code)) } else { Ok(Step { read, written }) }
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflate").field("effort", &self.effort).finish_non_exhaustive()
    }
}

impl Default for Inflate {
    fn default() -> Self {
        Self::new()
    }
}

/// How hard [`Deflate`] tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// ISA-L's level 1.
    Low,
    /// ISA-L's level 3, its highest.
    High,
}

/// Packs gzip members.
pub struct Deflate {
    effort: Effort,
    scratch: Vec<u8>,
}

impl Deflate {
    /// Packs this hard.
    pub fn new(effort: Effort) -> Self {
        let scratch = match effort {
            Effort::Low => c::ISAL_DEF_LVL1_DEFAULT,
            Effort::High => c::ISAL_DEF_LVL3_DEFAULT,
        };
        Self { effort, scratch: vec![0; scratch as usize] }
    }

    /// A member with all of `content`; `None` if that is too long, which takes 4 GB.
    pub fn member(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        // What cannot be packed is stored, in blocks of at most 64 KiB with five bytes of their own.
        let longest = content.len() + content.len() / 4096 + 1024;
        let (available_in, available_out) =
            (u32::try_from(content.len()).ok()?, u32::try_from(longest).ok()?);
        let mut member: Vec<u8> = Vec::with_capacity(longest);
        let mut stream = MaybeUninit::<c::isal_zstream>::zeroed();
        // SAFETY: the stream consists of integers and pointers, for which zeros are a value; it is
        // valid for writes, and `isal_deflate_stateless_init` writes only to it.
        let stream = unsafe {
            c::isal_deflate_stateless_init(stream.as_mut_ptr());
            stream.assume_init_mut()
        };
        stream.level = match self.effort {
            Effort::Low => 1,
            Effort::High => 3,
        };
        stream.level_buf = self.scratch.as_mut_ptr();
        stream.level_buf_size = length(&self.scratch);
        stream.gzip_flag = GZIP;
        stream.end_of_stream = 1;
        // ISA-L only reads from `next_in`, for which it has no type.
        stream.next_in = content.as_ptr().cast_mut();
        stream.avail_in = available_in;
        stream.next_out = member.as_mut_ptr();
        stream.avail_out = available_out;
        // SAFETY: the stream was initialised, all three buffers are valid for the lengths that it was
        // told, and none is used after the call.
        let code = unsafe { c::isal_deflate_stateless(&raw mut *stream) };
        let packed = code == c::COMP_OK.cast_signed() && stream.avail_in == 0;
        let written = (available_out - stream.avail_out) as usize;
        // SAFETY: ISA-L has written that much of the capacity, from its beginning.
        unsafe { member.set_len(written) };
        packed.then_some(member)
    }
}

/// The header and the trailer of gzip, in the type of the stream's field.
const GZIP: u16 = 1;

/// The length that fits.
fn length(buffer: &[u8]) -> u32 {
    u32::try_from(buffer.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_in_steps_of_any_size() {
        let content: Vec<u8> =
            (0..200_000_u32).flat_map(|n| (n.wrapping_mul(n) % 1009).to_le_bytes()).collect();
        for effort in [Effort::Low, Effort::High] {
            let member = Deflate::new(effort).member(&content).unwrap();
            assert!(member.len() < content.len());
            for size in [1, 7, 1000, 1 << 20] {
                let (mut inflate, mut input, mut unpacked) = (Inflate::new(), &member[..], vec![]);
                let mut out = vec![0; 3 * size];
                while !inflate.is_finished() {
                    let step = inflate.step(&input[..input.len().min(size)], &mut out).unwrap();
                    assert!(step != Step { read: 0, written: 0 } || inflate.is_finished());
                    input = &input[step.read..];
                    unpacked.extend_from_slice(&out[..step.written]);
                }
                assert!(input.is_empty() && unpacked == content, "{effort:?} {size}");
            }
        }
    }

    #[test]
    fn a_wrong_checksum_is_invalid() {
        let mut member = Deflate::new(Effort::Low).member(b"content").unwrap();
        let at = member.len() - 8;
        member[at] ^= 1;
        assert!(Inflate::new().step(&member, &mut [0; 100]).is_err());
    }

    #[test]
    fn what_is_dense_is_stored() {
        let mut state = 1_u64;
        let dense = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        });
        let dense: Vec<u8> = dense.take(3 << 20).collect();
        let member = Deflate::new(Effort::High).member(&dense).unwrap();
        assert!(member.len() < dense.len() + dense.len() / 1000);
    }
}
