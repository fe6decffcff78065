//! BGP with a stock BIRD: what it says over its control socket.

#![forbid(unsafe_code)]

pub mod bird;
