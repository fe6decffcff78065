//! Values by key in stable slots, so that they can name each other by number.

use rustc_hash::FxHashMap;

/// Values by key in stable, reused slots.
pub(super) struct Slots<K, V> {
    pub(super) values: Vec<Option<V>>,
    pub(super) by_key: FxHashMap<K, u32>,
    free: Vec<u32>,
}

impl<K, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            by_key: FxHashMap::default(),
            free: Vec::new(),
        }
    }
}

impl<K: std::hash::Hash + Eq, V> Slots<K, V> {
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(super) fn get(&self, slot: u32) -> &V {
        self.values[slot as usize]
            .as_ref()
            .expect("slots are named only while they are taken")
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut V {
        self.values[slot as usize]
            .as_mut()
            .expect("slots are named only while they are taken")
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            u32::try_from(self.values.len() - 1).expect("fewer than 2^32 resources")
        });
        self.values[slot as usize] = Some(value);
        self.by_key.insert(key, slot);
        slot
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<(u32, V)> {
        let slot = self.by_key.remove(key)?;
        self.free.push(slot);
        self.values[slot as usize].take().map(|value| (slot, value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        self.values
            .iter()
            .zip(0..)
            .filter_map(|(v, slot)| v.as_ref().map(|v| (slot, v)))
    }
}
