//! Stub of the module map.
pub mod domain;
pub mod error;
pub mod proto;
pub mod store;
pub mod upstream;
