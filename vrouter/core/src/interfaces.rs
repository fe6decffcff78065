//! Interface numbers: a few are fixed, workloads take the rest.

use vrouter_dataplane::id::InterfaceId;

/// Numbers not in use.
#[derive(Debug)]
pub struct InterfaceIds {
    next: u16,
    free: Vec<InterfaceId>,
}

impl Default for InterfaceIds {
    fn default() -> Self {
        Self {
            next: InterfaceId::FIRST_WORKLOAD.0,
            free: Vec::new(),
        }
    }
}

impl InterfaceIds {
    /// A number nobody has.
    pub fn take(&mut self) -> Option<InterfaceId> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        if usize::from(self.next) >= InterfaceId::LIMIT {
            return None;
        }
        self.next += 1;
        Some(InterfaceId(self.next - 1))
    }

    /// Gives a number back, when no worker can have it in its tables any more.
    pub fn give(&mut self, id: InterfaceId) {
        self.free.push(id);
    }
}
