//! An array in which runs of neighbours are given out and taken back.

/// The array. Runs given back are kept by length and given out again.
#[derive(Clone, Debug)]
pub(super) struct Runs<T> {
    items: Vec<T>,
    free: Vec<Vec<u32>>,
}

impl<T: Clone + Default> Runs<T> {
    pub(super) fn new() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Stores a run of at least one item; where it begins.
    pub(super) fn store(&mut self, run: &[T]) -> u32 {
        if let Some(at) = self.free.get_mut(run.len()).and_then(Vec::pop) {
            self.items[at as usize..at as usize + run.len()].clone_from_slice(run);
            return at;
        }
        let at = self.items.len() as u32;
        self.items.extend_from_slice(run);
        at
    }

    /// Takes a run back.
    pub(super) fn give_back(&mut self, at: u32, length: usize) {
        if self.free.len() <= length {
            self.free.resize(length + 1, Vec::new());
        }
        self.free[length].push(at);
    }

    #[inline(always)]
    pub(super) fn at(&self, i: u32) -> &T {
        &self.items[i as usize]
    }

    pub(super) fn bytes(&self) -> usize {
        self.items.len() * size_of::<T>()
    }
}
