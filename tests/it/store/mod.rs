//! What the store promises, on both databases.

mod catalog;
mod changes;
mod leases;
mod migrations;
mod secrets;
