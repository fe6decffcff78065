//! All of the crate's `unsafe`: the pointer by which a table's arrays are published.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::epoch::{self, Atomic, Owned, Shared};
use crossbeam::queue::SegQueue;

use crate::store::Tables;

/// What the writer and its readers share.
struct Place {
    /// Never null while shared.
    current: Atomic<Tables>,
    /// What was replaced and all readers have left, for the writer to free: giving megabytes back
    /// to the system takes longer than a reader has.
    left: SegQueue<Box<Tables>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let current = std::mem::replace(&mut self.current, Atomic::null());
        // SAFETY: nobody shares this place any more, so nobody reads what it points to, which was
        // made by `Owned` and is given away by `swap` only together with its replacement.
        drop(unsafe { current.try_into_owned() });
    }
}

/// The only one who replaces the published tables.
pub(crate) struct Publisher {
    place: Arc<Place>,
    /// Bytes that were replaced and not freed yet.
    waiting: usize,
}

impl Publisher {
    pub(crate) fn new(tables: Box<Tables>) -> Self {
        let place = Place {
            current: Atomic::from(tables),
            left: SegQueue::new(),
        };
        Self {
            place: Arc::new(place),
            waiting: 0,
        }
    }

    pub(crate) fn subscribe(&self) -> Subscriber {
        Subscriber {
            place: Arc::clone(&self.place),
        }
    }

    #[inline]
    pub(crate) fn current(&self) -> &Tables {
        // Relaxed: this thread stored the pointer, or was handed the publisher after that.
        // SAFETY: the pointer is never null, and only `swap` replaces what it points to, which
        // takes `&mut self` and so cannot happen while this borrow lives.
        unsafe {
            self.place
                .current
                .load(Ordering::Relaxed, epoch::unprotected())
                .deref()
        }
    }

    /// Publishes `tables`. What they replace is freed by a later [`Publisher::sweep`].
    pub(crate) fn swap(&mut self, tables: Box<Tables>) {
        self.waiting += self.current().bytes();
        let guard = epoch::pin();
        // Release: pairs with the Acquire in `Subscriber::pin`.
        let old = self
            .place
            .current
            .swap(Owned::from(tables), Ordering::AcqRel, &guard);
        let (old, place) = (old.as_raw() as usize, Arc::clone(&self.place));
        // SAFETY: the closure captures no borrow. It runs when every thread pinned now has
        // unpinned; later ones cannot load the pointer that was just replaced, so it has the
        // tables to itself. Only this closure gets this pointer, and only once.
        unsafe {
            guard.defer_unchecked(move || {
                let old = Shared::from(old as *const Tables).into_owned();
                place.left.push(old.into_box());
            });
        }
        guard.flush();
    }

    /// Frees what all readers have left.
    pub(crate) fn sweep(&mut self) {
        while let Some(tables) = self.place.left.pop() {
            self.waiting -= tables.bytes();
        }
    }

    /// Bytes that were replaced and not freed yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }
}

/// One who reads the published tables.
#[derive(Clone)]
pub(crate) struct Subscriber {
    place: Arc<Place>,
}

impl Subscriber {
    /// The tables published now, kept until the guard is dropped.
    #[inline]
    pub(crate) fn pin(&self) -> Pinned<'_> {
        let guard = epoch::pin();
        // Acquire: pairs with the Release in `Publisher::swap`.
        let tables = self.place.current.load(Ordering::Acquire, &guard).as_raw();
        Pinned {
            tables,
            _guard: guard,
            place: PhantomData,
        }
    }
}

/// Tables that stay while this lives.
pub(crate) struct Pinned<'r> {
    tables: *const Tables,
    _guard: epoch::Guard,
    place: PhantomData<&'r Place>,
}

impl Deref for Pinned<'_> {
    type Target = Tables;

    #[inline(always)]
    fn deref(&self) -> &Tables {
        // SAFETY: the pointer is never null. It was loaded under the guard this owns, and what is
        // replaced is given away only after the guards of that time are dropped; the place itself
        // is borrowed, so it has not freed them either.
        unsafe { &*self.tables }
    }
}

impl fmt::Debug for Pinned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
