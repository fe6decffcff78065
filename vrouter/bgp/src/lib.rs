//! BGP with a stock BIRD: its configuration from Calico's resources, what that configuration
//! means, and what BIRD says over its control socket.
//!
//! [`render()`] is pure: a [`Cluster`] of resources in, one node's [`Config`] out, for both
//! families. [`Config::text`] is what BIRD reads; [`Config::told`] and [`Config::believed`] say what
//! becomes of a route without BIRD; [`Plan`] says what a change does to sessions that run.

#![forbid(unsafe_code)]

pub mod bird;
mod cluster;
mod config;
mod evaluate;
mod export;
mod plan;
mod render;
mod services;
mod sessions;
mod text;
mod view;

pub use cluster::{Cluster, KINDS};
pub use config::{
    Condition, Config, Family, Function, HIGHEST, Logging, NextHop, Number, Password, Routes,
    Session, Statement, Static,
};
pub use evaluate::{Origin, Outcome, Route};
pub use plan::Plan;
pub use render::render;
pub use sessions::BFD_ANNOTATION;
pub use text::Passwords;
pub use view::{Impossible, RouterId, Settings};
