//! The schema, as an ordered list of migrations that run on SQLite and on Postgres.
//!
//! A migration that has been released is never edited: a change is a new file at the end of the list.
//! This crate cannot see the service's entities, so an entity that changes later cannot change what
//! an old migration did.

mod columns;
mod m0001_catalog;
mod m0002_documents;
mod m0003_runtime;
mod m0004_policy_index;
mod m0005_marketplaces;
mod m0006_listings;
mod m0007_charges;
mod m0008_usage;
mod m0009_repeats;
mod m0010_token_limits;
mod m0011_closed_charges;
mod m0012_embeddings;
mod m0013_ingestions;

use sea_orm_migration::prelude::*;

pub use sea_orm_migration::MigratorTrait;

/// The ordered list.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_catalog::Migration),
            Box::new(m0002_documents::Migration),
            Box::new(m0003_runtime::Migration),
            Box::new(m0004_policy_index::Migration),
            Box::new(m0005_marketplaces::Migration),
            Box::new(m0006_listings::Migration),
            Box::new(m0007_charges::Migration),
            Box::new(m0008_usage::Migration),
            Box::new(m0009_repeats::Migration),
            Box::new(m0010_token_limits::Migration),
            Box::new(m0011_closed_charges::Migration),
            Box::new(m0012_embeddings::Migration),
            Box::new(m0013_ingestions::Migration),
        ]
    }
}
