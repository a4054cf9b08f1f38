//! Stub of the module map.
pub mod catalog;
pub mod dataset;
pub mod domain;
pub mod error;
pub mod identity;
pub mod model;
pub mod pipeline;
pub mod policy;
pub mod proto;
pub mod store;
pub mod upstream;
