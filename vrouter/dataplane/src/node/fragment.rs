//! Fragments: put together on arrival, because flows and policy need ports, and cut again where
//! the next link needs it.

use crate::drop::DropReason;
use crate::graph::Next;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

pub(super) fn reassemble(_core: &mut Core, _packet: &mut Packet) -> Next {
    Next::Drop(DropReason::FragmentLimit)
}

pub(super) fn cut(_core: &mut Core, _tables: &Tables, _packet: &mut Packet) -> Next {
    Next::Drop(DropReason::TooBig)
}
