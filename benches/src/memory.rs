//! Counts what a benchmark has allocated: exactly, whatever the system keeps back of what was
//! freed.
//!
//! A benchmark makes a [`Counting`] its global allocator and asks [`live`] and [`peak`].
//! Deliberately not here: what the allocator of the system adds to each block.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

// SAFETY: all calls go to the system's allocator as they came; beside that, only numbers change.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's, which made all blocks.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        count(size);
        // SAFETY: the caller's contract is the system's, which made all blocks.
        unsafe { System.realloc(block, layout, size) }
    }
}

fn count(size: usize) {
    let live = LIVE.fetch_add(size, Ordering::Relaxed) + size;
    if live > PEAK.load(Ordering::Relaxed) {
        PEAK.store(live, Ordering::Relaxed);
    }
}

/// Returns how many bytes are allocated now.
pub fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Returns the most that were allocated at once since [`restart_peak`].
pub fn peak() -> usize {
    PEAK.load(Ordering::Relaxed)
}

/// Has [`peak`] count from now on.
pub fn restart_peak() {
    PEAK.store(live(), Ordering::Relaxed);
}
