//! Receive buffers: one region per shard, cut into equal buffers that the kernel fills and slices of which travel
//! through the proxy until they are sent.
//!
//! A shard has pools of them in three sizes (pools.rs). A `Buf` is a counted slice of a buffer. When the last slice is dropped the buffer goes back on a stack, and the
//! driver hands the most recently used ones, still warm in the cache, to the kernel again. When the region is used up,
//! buffers come from the heap instead, are counted, and go back there: traffic slows down, nothing fails.

use std::alloc::Layout;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

/// Sizes of a pool. Memory is `count * size` bytes, of which the untouched part costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    /// A power of two, at most 32768 (the kernel's limit for a buffer ring).
    pub count: u16,
    /// Bytes.
    pub size: u32,
}

pub struct BufPool {
    region: NonNull<u8>,
    layout: Layout,
    sizes: PoolSize,
    /// Bytes from one buffer to the next.
    stride: usize,
    /// Slices alive in each buffer.
    references: Box<[Cell<u32>]>,
    /// Free buffers, most recently used last.
    free: UnsafeCell<Vec<u16>>,
    /// Buffers that the kernel may fill.
    lent: Cell<u32>,
    heap_buffers: Cell<u64>,
}

impl BufPool {
    /// # Errors
    /// One sentence: the system does not give this much memory.
    pub fn new(sizes: PoolSize) -> Result<Rc<Self>, String> {
        Self::with_room(sizes, 0)
    }

    /// The same, with `behind` more bytes in each buffer than the kernel fills.
    ///
    /// # Errors
    /// As above.
    pub(super) fn with_room(sizes: PoolSize, behind: usize) -> Result<Rc<Self>, String> {
        let stride = sizes.size as usize + behind;
        let layout = Layout::from_size_align(sizes.count as usize * stride, 4096)
            .expect("the configuration bounds count and size");
        // Not from the allocator, which would clear, and so touch, every page at once.
        // SAFETY: a new anonymous mapping; no memory is passed.
        let region = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), layout.size(), access, kind, -1, 0)
        };
        let error = std::io::Error::last_os_error();
        let region = if region == libc::MAP_FAILED { std::ptr::null_mut() } else { region.cast::<u8>() };
        let Some(region) = NonNull::new(region) else {
            let PoolSize { count, size } = sizes;
            return Err(format!(
                "there is no memory for {count} receive buffers of {size} bytes: {error}: lower runtime.buffer_count, \
                 runtime.buffer_size or runtime.shards"
            ));
        };
        Ok(Rc::new(Self {
            region,
            layout,
            sizes,
            stride,
            references: vec![Cell::new(0); sizes.count as usize].into(),
            free: UnsafeCell::new((0..sizes.count).rev().collect()),
            lent: Cell::new(0),
            heap_buffers: Cell::new(0),
        }))
    }

    /// Bytes in one buffer.
    pub fn buffer_size(&self) -> usize {
        self.sizes.size as usize
    }

    pub(super) fn count(&self) -> u16 {
        self.sizes.count
    }

    /// Buffers neither free nor lent to the kernel.
    pub fn in_use(&self) -> usize {
        self.sizes.count as usize - self.free_count() - self.lent.get() as usize
    }

    /// Whether more than a quarter of the buffers is in use.
    pub fn is_scarce(&self) -> bool {
        self.in_use() * 4 > self.sizes.count as usize
    }

    /// Whether more than half of the buffers is in use.
    pub fn is_short(&self) -> bool {
        self.in_use() * 2 > self.sizes.count as usize
    }

    /// Buffers lent to the kernel at present.
    pub(crate) fn lent(&self) -> u32 {
        self.lent.get()
    }

    /// Times a buffer had to come from the heap.
    pub fn heap_buffers(&self) -> u64 {
        self.heap_buffers.get()
    }

    /// Whether a receive may find a buffer now.
    pub(super) fn is_available(&self) -> bool {
        self.lent.get() > 0 || self.free_count() > 0
    }

    fn free_count(&self) -> usize {
        // SAFETY: as in `push_free`.
        unsafe { (*self.free.get()).len() }
    }

    fn push_free(&self, id: u16) {
        // SAFETY: the pool is not Sync, and no reference into `free` leaves the three functions that make one.
        unsafe { (*self.free.get()).push(id) }
    }

    fn pop_free(&self) -> Option<u16> {
        // SAFETY: as in `push_free`.
        unsafe { (*self.free.get()).pop() }
    }

    /// Take a buffer to lend it to the kernel: its id and address.
    pub(crate) fn lend(&self) -> Option<(u16, *mut u8)> {
        let id = self.pop_free()?;
        self.lent.set(self.lent.get() + 1);
        Some((id, self.address(id)))
    }

    fn address(&self, id: u16) -> *mut u8 {
        debug_assert!(id < self.sizes.count);
        // SAFETY: id < count, so the result lies inside the region.
        unsafe { self.region.as_ptr().add(id as usize * self.stride) }
    }

    /// The kernel filled `len` bytes of buffer `id`, which was lent.
    pub(crate) fn received(self: &Rc<Self>, id: u16, len: u32) -> Buf {
        self.lent.set(self.lent.get() - 1);
        self.references[id as usize].set(1);
        debug_assert!(len <= self.sizes.size);
        Buf { source: Source::Pool(self.clone(), id), start: 0, end: len }
    }

    /// A buffer with a copy of `bytes`, of which at most `buffer_size` are taken; from the heap when none is free.
    pub fn copy_from(self: &Rc<Self>, bytes: &[u8]) -> Buf {
        let len = bytes.len().min(self.buffer_size());
        let Some(mut buf) = self.take() else {
            return self.heap_buf(bytes[..len].into());
        };
        buf.truncate(len);
        if let Some(room) = buf.unique_mut() {
            room.copy_from_slice(&bytes[..len]);
        }
        buf
    }

    /// A whole free buffer, with whatever was in it before; the only reference to it.
    pub(super) fn take(self: &Rc<Self>) -> Option<Buf> {
        let id = self.pop_free()?;
        self.references[id as usize].set(1);
        Some(Buf { source: Source::Pool(self.clone(), id), start: 0, end: self.stride as u32 })
    }

    /// Account for a buffer that came from the heap because the pool had none.
    pub(crate) fn heap_buf(&self, bytes: Box<[u8]>) -> Buf {
        self.heap_buffers.set(self.heap_buffers.get() + 1);
        Buf::from(bytes)
    }

    /// Give the pages of all buffers that hold nothing back to the kernel. Returns the bytes concerned. To be called
    /// only while no completion waits to be fetched: its buffer is counted as lent and empty until then.
    pub(crate) fn release_free_pages(&self) -> usize {
        let size = self.stride;
        if !size.is_multiple_of(4096) {
            return 0;
        }
        // Buffers lent to the kernel hold nothing either: it writes to them only while this thread is in
        // io_uring_enter (DEFER_TASKRUN), and then through their address, so that a page comes back when needed.
        let mut released = 0;
        for id in 0..self.sizes.count {
            if self.references[id as usize].get() == 0 {
                // SAFETY: the range is one whole buffer inside the region, page aligned, of which no slice exists.
                unsafe { libc::madvise(self.address(id).cast(), size, libc::MADV_DONTNEED) };
                released += size;
            }
        }
        released
    }
}

impl Drop for BufPool {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this size; every Buf holds an Rc of the pool, so none is left.
        unsafe { libc::munmap(self.region.as_ptr().cast(), self.layout.size()) };
    }
}

impl fmt::Debug for BufPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufPool").field("sizes", &self.sizes).field("in_use", &self.in_use()).finish_non_exhaustive()
    }
}

enum Source {
    Pool(Rc<BufPool>, u16),
    /// Not `Rc<[u8]>`: making one copies the bytes.
    Heap(Rc<Box<[u8]>>),
}

/// A counted slice of received bytes.
pub struct Buf {
    source: Source,
    start: u32,
    end: u32,
}

impl Buf {
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Memory that this slice keeps from other uses, in bytes: limits count this, not the length, so that many tiny
    /// messages cannot hold the whole pool.
    pub fn charge(&self) -> usize {
        match &self.source {
            Source::Pool(pool, _) => pool.buffer_size().max(self.end as usize),
            Source::Heap(bytes) => bytes.len(),
        }
    }

    /// The pool that this slice is a part of.
    pub(super) fn pool(&self) -> Option<&Rc<BufPool>> {
        match &self.source {
            Source::Pool(pool, _) => Some(pool),
            Source::Heap(_) => None,
        }
    }

    /// The bytes, to be changed in place; `None` while another slice of the same buffer exists.
    pub fn unique_mut(&mut self) -> Option<&mut [u8]> {
        let (start, end) = (self.start as usize, self.end as usize);
        match &mut self.source {
            Source::Pool(pool, id) => {
                if pool.references[*id as usize].get() != 1 {
                    return None;
                }
                // SAFETY: start <= end <= stride, the bytes were initialised (the region is zeroed), the kernel has
                // only free buffers, and this slice, which is borrowed mutably, is the only one of its buffer.
                Some(unsafe { std::slice::from_raw_parts_mut(pool.address(*id).add(start), end - start) })
            }
            Source::Heap(bytes) => Rc::get_mut(bytes).map(|bytes| &mut bytes[start..end]),
        }
    }

    /// Whether it is all of a buffer of `pool`: there was more to receive than fitted, most likely.
    pub(super) fn is_whole(&self, pool: &Rc<BufPool>) -> bool {
        self.len() == pool.buffer_size() && self.pool().is_some_and(|own| Rc::ptr_eq(own, pool))
    }

    /// Drop the first `n` bytes.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len());
        self.start += n as u32;
    }

    /// Keep only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.end = self.start + n.min(self.len()) as u32;
    }

    /// Another slice of the same buffer: `range` counts from this slice's start.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len());
        let source = match &self.source {
            Source::Pool(pool, id) => {
                let references = &pool.references[*id as usize];
                references.set(references.get() + 1);
                Source::Pool(pool.clone(), *id)
            }
            Source::Heap(bytes) => Source::Heap(bytes.clone()),
        };
        Self { source, start: self.start + range.start as u32, end: self.start + range.end as u32 }
    }
}

impl From<Box<[u8]>> for Buf {
    fn from(bytes: Box<[u8]>) -> Self {
        let end = u32::try_from(bytes.len()).expect("buffers are smaller than 4 GiB");
        Self { source: Source::Heap(Rc::new(bytes)), start: 0, end }
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.source {
            // SAFETY: start <= end <= stride, the bytes were initialised (the region is zeroed) and are not
            // written while this slice is counted: only free buffers are lent to the kernel.
            Source::Pool(pool, id) => unsafe {
                std::slice::from_raw_parts(pool.address(*id).add(self.start as usize), (self.end - self.start) as usize)
            },
            Source::Heap(bytes) => &bytes[self.start as usize..self.end as usize],
        }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if let Source::Pool(pool, id) = &self.source {
            let references = &pool.references[*id as usize];
            references.set(references.get() - 1);
            if references.get() == 0 {
                pool.push_free(*id);
            }
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf(\"{}\")", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: PoolSize = PoolSize { count: 2, size: 4096 };

    #[test]
    fn a_buffer_returns_with_its_last_slice() {
        let pool = BufPool::new(SMALL).expect("memory");
        let whole = pool.copy_from(b"hello world");
        let part = whole.slice(6..11);
        assert_eq!(pool.in_use(), 1);
        drop(whole);
        assert_eq!((&*part, pool.in_use()), (&b"world"[..], 1));
        drop(part);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn an_empty_pool_falls_back_to_the_heap() {
        let pool = BufPool::new(SMALL).expect("memory");
        let held: Vec<_> = (0..3).map(|_| pool.copy_from(b"x")).collect();
        assert_eq!((pool.in_use(), pool.heap_buffers()), (2, 1));
        assert!(held.iter().all(|buf| &**buf == b"x"));
        drop(held);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn the_last_buffer_used_is_the_next() {
        let pool = BufPool::new(SMALL).expect("memory");
        let first = pool.copy_from(b"a");
        let address = first.as_ptr();
        drop(first);
        assert_eq!(pool.copy_from(b"b").as_ptr(), address);
    }

    #[test]
    fn bytes_are_written_in_place_while_there_is_one_reference() {
        let pool = BufPool::new(SMALL).expect("memory");
        let on_the_heap = Buf::from(Box::from(*b"hello"));
        for mut buf in [pool.copy_from(b"hello"), on_the_heap] {
            let address = buf.as_ptr();
            buf.advance(1);
            let other = buf.slice(0..2);
            assert!(buf.unique_mut().is_none(), "another slice would see the change");
            assert_eq!(&*other, b"el");
            drop(other);
            buf.unique_mut().expect("the only one again")[0] = b'a';
            assert_eq!((&*buf, buf.as_ptr()), (&b"allo"[..], address.wrapping_add(1)));
        }
    }

    #[test]
    fn boxed_bytes_are_taken_over_where_they_are() {
        let bytes: Box<[u8]> = vec![7; 100_000].into();
        let address = bytes.as_ptr();
        let buf = Buf::from(bytes);
        assert_eq!((buf.as_ptr(), buf.len(), buf.charge()), (address, 100_000, 100_000));
        assert_eq!(buf.slice(50_000..60_000).as_ptr(), address.wrapping_add(50_000));
    }

    #[test]
    fn held_bytes_survive_a_release_of_free_pages() {
        let pool = BufPool::new(SMALL).expect("memory");
        let held = pool.copy_from(b"still here");
        assert_eq!(pool.release_free_pages(), 4096);
        assert_eq!(&*held, b"still here");
    }
}
