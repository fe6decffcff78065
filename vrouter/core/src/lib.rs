//! What a node should have, and the steps that lead there: no device, no clock, no I/O.
//!
//! The way of a resource: [`state`] takes the datastore's events in, [`desired`] says what the
//! resources ask of the node, [`wanted`] what that is on this host, and [`plan`] which steps lead
//! there from what was [`observed`]. [`execute`] does the steps through traits, and notes what came
//! of them. A step that fails is in the next plan again.
//!
//! [`forwarding`] is what workers are to be told, [`publication`] how far they have been told, and
//! [`rib`] where each prefix leads. [`notices`] names the cases in which packets are lost in silence.
#![forbid(unsafe_code)]

pub mod desired;
pub mod execute;
pub mod forwarding;
pub mod host_endpoints;
pub mod kernel;
pub mod learned;
pub mod notices;
pub mod observed;
pub mod plan;
pub mod pod_link;
pub mod policies;
pub mod publication;
pub mod resources;
pub mod rib;
pub mod state;
pub mod statics;
pub mod step;
pub mod underlay;
pub mod wanted;
