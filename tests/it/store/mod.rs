//! What the store promises, on both databases.

mod cancelled_writes;
mod catalog;
mod changes;
mod charges;
mod counters;
mod crowds;
mod edits;
mod leases;
mod marketplaces;
mod migrations;
mod records;
mod secrets;
