//! Interface numbers: a few are fixed, workloads take the rest.

use vrouter_dataplane::id::InterfaceId;

/// The host's TUN.
pub const HOST: InterfaceId = InterfaceId(0);
/// VXLAN over IPv4.
pub const VXLAN_V4: InterfaceId = InterfaceId(1);
/// VXLAN over IPv6.
pub const VXLAN_V6: InterfaceId = InterfaceId(2);
/// IP in IP.
pub const IPIP: InterfaceId = InterfaceId(3);
/// The first workload's.
const FIRST: u16 = 4;

/// The fixed ones.
pub fn not_workloads() -> impl Iterator<Item = InterfaceId> {
    (0..FIRST).map(InterfaceId)
}

/// Numbers not in use.
#[derive(Debug)]
pub struct InterfaceIds {
    next: u16,
    free: Vec<InterfaceId>,
}

impl Default for InterfaceIds {
    fn default() -> Self {
        Self {
            next: FIRST,
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
