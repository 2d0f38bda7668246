//! Futures in memory that is used again: within a task (`Pooled`), or as a task (`TaskFuture`).

use super::fetch::Memory;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Every block has this size, so that any future finds a free one; larger futures get memory of their own.
const BLOCK: Layout = match Layout::from_size_align(3072, 64) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// Blocks kept; more may be in use.
const SPARE_BLOCKS: usize = 1024;

/// Free blocks.
#[derive(Default)]
pub(super) struct Blocks {
    free: RefCell<Vec<NonNull<u8>>>,
    /// Futures that were larger than a block.
    pub(super) oversize: Cell<u64>,
}

impl Blocks {
    fn take(&self, layout: Layout) -> NonNull<u8> {
        let fits = fits(layout);
        if fits && let Some(block) = self.free.borrow_mut().pop() {
            return block;
        }
        self.oversize.set(self.oversize.get() + u64::from(!fits));
        let layout = if fits { BLOCK } else { layout };
        // SAFETY: BLOCK has a size; a layout that does not fit it is larger, so it has one, too.
        NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
    }

    /// Where the future that `make` makes has been put. Made in place and not handed in: so only what it captures is
    /// written, and not all the room that it will need.
    #[inline]
    fn place<F>(&self, make: impl FnOnce() -> F) -> NonNull<F> {
        let layout = Layout::new::<F>();
        let block = self.take(layout).cast::<F>();
        let give_back = GiveBack(self, block.cast(), layout);
        // SAFETY: the block is ours alone and has room and alignment for F.
        unsafe { block.as_ptr().write(make()) };
        std::mem::forget(give_back);
        block
    }

    fn give(&self, block: NonNull<u8>, layout: Layout) {
        let fits = fits(layout);
        let mut free = self.free.borrow_mut();
        if fits && free.len() < SPARE_BLOCKS {
            free.push(block);
            return;
        }
        // SAFETY: `take` allocated it with the same layout.
        unsafe { dealloc(block.as_ptr(), if fits { BLOCK } else { layout }) }
    }

    pub(super) fn trim(&self) {
        for block in std::mem::take(&mut *self.free.borrow_mut()) {
            // SAFETY: only blocks of this layout are kept.
            unsafe { dealloc(block.as_ptr(), BLOCK) }
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.trim();
    }
}

/// Gives a block back, even if what was to happen in it panics.
struct GiveBack<'a>(&'a Blocks, NonNull<u8>, Layout);

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        self.0.give(self.1, self.2);
    }
}

fn fits(layout: Layout) -> bool {
    layout.size() <= BLOCK.size() && layout.align() <= BLOCK.align()
}

/// A future in a block; see `Reactor::pooled`.
pub struct Pooled<F: Future> {
    future: NonNull<F>,
    blocks: Rc<Blocks>,
}

impl<F: Future> Pooled<F> {
    #[inline]
    pub(super) fn new(blocks: &Rc<Blocks>, make: impl FnOnce() -> F) -> Self {
        Self { future: blocks.place(make), blocks: blocks.clone() }
    }

    /// Where the future is.
    #[inline]
    pub fn memory(&self) -> Memory {
        // SAFETY: initialised until drop, and nothing changes it meanwhile: that takes `&mut self`.
        Memory::of(unsafe { self.future.as_ref() })
    }
}

// The future stays where it is when this handle moves.
impl<F: Future> Unpin for Pooled<F> {}

impl<F: Future> Future for Pooled<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the future is initialised until drop, only this handle refers to it, and it never moves.
        unsafe { Pin::new_unchecked(&mut *self.get_mut().future.as_ptr()) }.poll(context)
    }
}

impl<F: Future> Drop for Pooled<F> {
    fn drop(&mut self) {
        let _give_back = GiveBack(&self.blocks, self.future.cast(), Layout::new::<F>());
        // SAFETY: initialised in `new` and dropped only here.
        unsafe { self.future.as_ptr().drop_in_place() };
    }
}

/// A task's future: in a box of its own, which fits it, or in a block.
pub(super) struct TaskFuture {
    future: NonNull<dyn Future<Output = ()>>,
    /// Whose block it is in; `None` for a box.
    blocks: Option<Rc<Blocks>>,
}

impl TaskFuture {
    pub(super) fn boxed(future: impl Future<Output = ()> + 'static) -> Self {
        let future: Box<dyn Future<Output = ()>> = Box::new(future);
        Self { future: NonNull::from(Box::leak(future)), blocks: None }
    }

    #[inline]
    pub(super) fn pooled<F: Future<Output = ()> + 'static>(blocks: &Rc<Blocks>, make: impl FnOnce() -> F) -> Self {
        Self { future: blocks.place(make), blocks: Some(blocks.clone()) }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the future is initialised until drop, only this handle refers to it, and it never moves.
        unsafe { Pin::new_unchecked(self.future.as_mut()) }.poll(context)
    }

    /// Where the future is.
    pub(super) fn memory(&self) -> Memory {
        // SAFETY: initialised until drop, and nothing changes it meanwhile: that takes `&mut self`.
        Memory::of(unsafe { self.future.as_ref() })
    }
}

impl Drop for TaskFuture {
    fn drop(&mut self) {
        let Some(blocks) = &self.blocks else {
            // SAFETY: without blocks it is what `boxed` leaked, and it is dropped only here.
            return drop(unsafe { Box::from_raw(self.future.as_ptr()) });
        };
        // SAFETY: the future is initialised until it is dropped below.
        let layout = Layout::for_value(unsafe { self.future.as_ref() });
        let _give_back = GiveBack(blocks, self.future.cast(), layout);
        // SAFETY: initialised in `pooled` and dropped only here.
        unsafe { self.future.as_ptr().drop_in_place() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_used_again_and_large_futures_work() {
        let blocks = Rc::new(Blocks::default());
        let run = |future: Pooled<_>| {
            let mut context = Context::from_waker(std::task::Waker::noop());
            let mut future = std::pin::pin!(future);
            let address = future.future.as_ptr() as usize;
            assert_eq!(future.as_mut().poll(&mut context), Poll::Ready(7));
            address
        };
        let first = run(Pooled::new(&blocks, || std::future::ready(7)));
        let second = run(Pooled::new(&blocks, || std::future::ready(7)));
        assert_eq!(first, second);
        assert_eq!(blocks.free.borrow().len(), 1);
        let large = async {
            let array = [1u8; 8192];
            std::future::ready(()).await;
            usize::from(array[8191]) + 6
        };
        assert_eq!(blocks.oversize.get(), 0);
        let mut large = std::pin::pin!(Pooled::new(&blocks, || large));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(large.as_mut().poll(&mut context), Poll::Ready(7));
        assert_eq!(blocks.oversize.get(), 1);
    }
    /// Panics when it is polled and again when it is dropped.
    struct Panics;

    impl Future for Panics {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            panic!("expected in this test")
        }
    }

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("expected in this test")
        }
    }

    #[test]
    fn a_block_returns_whatever_panics() {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        let blocks = Rc::new(Blocks::default());
        let free = || blocks.free.borrow().len();
        let made = catch_unwind(AssertUnwindSafe(|| TaskFuture::pooled(&blocks, || -> Panics { panic!("expected") })));
        assert!(made.is_err());
        assert_eq!(free(), 1);
        let mut task = TaskFuture::pooled(&blocks, || Panics);
        assert_eq!(free(), 0);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(catch_unwind(AssertUnwindSafe(|| task.poll(&mut context))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(task))).is_err());
        assert_eq!(free(), 1);
    }
}
