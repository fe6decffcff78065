//! Tests of the table as a whole. The models need
//! `RUSTFLAGS="--cfg loom" cargo test -p policy --release --lib flow::tests::models`.

#[cfg(not(loom))]
mod behaviour;
#[cfg(loom)]
mod models;
#[cfg(not(loom))]
mod reference;
#[cfg(not(loom))]
mod stress;
