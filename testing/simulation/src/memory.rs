//! The memory of a simulation: one region, from which its thread takes and to which it gives back without a lock or a call to the system, and which goes
//! with the process. All else is the C library's, which keeps its locks in order when the process is copied.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Addresses, not memory: a page is taken when it is touched first.
const REGION: usize = 8 << 30;
/// All blocks begin at a multiple of this.
const GRAIN: usize = 16;
/// Blocks up to this differ by a grain, larger ones by a factor of two.
const SMALL: usize = 1024;
const SIZES: usize = SMALL / GRAIN + 32;

/// Where the region of this process begins; 0 while there is none.
static FROM: AtomicUsize = AtomicUsize::new(0);

struct Taking {
    is_on: Cell<bool>,
    /// What lies above was never given out.
    next: Cell<usize>,
    /// Blocks that were given back, by size; each begins with the address of another.
    back: [Cell<*mut u8>; SIZES],
}

thread_local! {
    static TAKING: Taking = const {
        Taking {
            is_on: Cell::new(false),
            next: Cell::new(0),
            back: [const { Cell::new(null_mut()) }; SIZES],
        }
    };
}

/// This process, which simulates once and ends, gets a region.
#[expect(unsafe_code, reason = "the standard library maps no memory")]
pub(crate) fn reserve() {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: asks for new addresses, wherever there are some.
    let from = unsafe { libc::mmap(null_mut(), REGION, access, kind, -1, 0) };
    if from != libc::MAP_FAILED {
        FROM.store(from.expose_provenance(), Ordering::Relaxed);
    }
}

/// From now on this thread, and no other, takes from the region, if there is one.
pub(crate) fn begin() {
    let from = FROM.load(Ordering::Relaxed);
    TAKING.with(|taking| {
        taking.next.set(from);
        taking.is_on.set(from != 0);
    });
}

/// Whether a block is the region's.
fn is_ours(at: *mut u8) -> bool {
    let from = FROM.load(Ordering::Relaxed);
    from != 0 && at.addr().wrapping_sub(from) < REGION
}

/// The size of a block that holds so many bytes: its number, and its bytes.
fn size(bytes: usize) -> (usize, usize) {
    if bytes <= SMALL {
        let grains = bytes.div_ceil(GRAIN).max(1);
        return (grains, grains * GRAIN);
    }
    let block = bytes.next_power_of_two();
    let doublings = (block / SMALL).ilog2() as usize;
    (SMALL / GRAIN + doublings, block)
}

#[expect(unsafe_code, reason = "a list within what it lists")]
impl Taking {
    /// A block; null when the region is used up.
    fn take(&self, bytes: usize) -> *mut u8 {
        let (number, block) = size(bytes);
        let first = self.back[number].get();
        if first.is_null() {
            let at = self.next.get();
            if at + block > FROM.load(Ordering::Relaxed) + REGION {
                return null_mut();
            }
            self.next.set(at + block);
            return with_exposed_provenance_mut(at);
        }
        // SAFETY: it was given back, and begins with the address of another or none.
        self.back[number].set(unsafe { first.cast::<*mut u8>().read() });
        first
    }

    fn give_back(&self, at: *mut u8, bytes: usize) {
        let (number, _) = size(bytes);
        // SAFETY: nobody has it any more, and it is as long as an address at the least.
        unsafe { at.cast::<*mut u8>().write(self.back[number].get()) };
        self.back[number].set(at);
    }
}

struct Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

#[expect(unsafe_code, reason = "an allocator has no safe form")]
// SAFETY: a block of the region belongs to one owner until it is given back, and only one thread gives and takes; the others leave what they had of it to the
// end of the process.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let fits = layout.align() <= GRAIN;
        let taken = TAKING
            .try_with(|taking| (fits && taking.is_on.get()).then(|| taking.take(layout.size())));
        match taken {
            Ok(Some(at)) => at,
            // SAFETY: the caller's promises, handed on.
            _ => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if !is_ours(at) {
            // SAFETY: likewise.
            return unsafe { System.dealloc(at, layout) };
        }
        // A thread that ends has nothing to give back to.
        let _ = TAKING.try_with(|taking| {
            if taking.is_on.get() {
                taking.give_back(at, layout.size());
            }
        });
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if !is_ours(at) {
            // SAFETY: likewise.
            return unsafe { System.realloc(at, layout, bytes) };
        }
        if size(bytes) == size(layout.size()) {
            return at;
        }
        // SAFETY: the caller says that so many bytes of this alignment are possible, and both blocks have room for what is copied.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(at, bytes.min(layout.size()));
                self.dealloc(at, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_what_it_is_for() {
        let all = (1..5_000).chain([1 << 20, (1 << 20) + 1, 1 << 33]);
        let (mut number, mut block) = (0, 0);
        for bytes in all {
            let (next, next_block) = size(bytes);
            assert!(next_block >= bytes && next_block.is_multiple_of(GRAIN));
            assert!(next < SIZES, "{bytes}");
            assert_eq!(next > number, next_block > block, "{bytes}");
            (number, block) = (next, next_block);
        }
    }
}
