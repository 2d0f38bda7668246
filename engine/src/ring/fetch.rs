//! Telling the processor which memory is soon to be read.

use std::ptr;

/// Memory that is soon to be read. Nothing is ever read through this, so that it may outlive what it names.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub struct Memory {
    pub(super) start: *const u8,
    pub(super) lines: u8,
}

/// Bytes of a cache line.
const LINE: usize = 64;
/// Cache lines fetched of one piece of memory; what lies behind them is seldom read in the poll that follows a wake.
const LINES_MAX: usize = 32;

impl Memory {
    pub const NONE: Self = Self { start: ptr::null(), lines: 0 };

    pub fn of<T: ?Sized>(value: &T) -> Self {
        Self { start: ptr::from_ref(value).cast(), lines: size_of_val(value).div_ceil(LINE).min(LINES_MAX) as u8 }
    }

    /// Tell the processor. The tasks that are woken in one turn are polled one after the other, each in memory that went
    /// cold since; so the waits for it overlap.
    #[inline]
    pub(super) fn fetch(self) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..usize::from(self.lines) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint; addresses that are not mapped do no harm.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.start.wrapping_add(line * LINE).cast()) };
        }
    }
}
