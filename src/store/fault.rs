//! What the database's errors mean to a caller. Trouble with the database is never the caller's
//! fault and never a fault of ours: it is `StoreUnavailable`, unless a constraint spoke.

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use crate::error::{Error, Resource};

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match error {
            DbErr::Type(_) | DbErr::Json(_) | DbErr::ConvertFromU64(_) | DbErr::UnpackInsertId => {
                Self::internal(error)
            }
            error => Self::StoreUnavailable(error.into()),
        }
    }
}

/// Turns a unique violation into `AlreadyExists`: the index decides, never a look before the insert.
pub(super) fn taken(error: DbErr, resource: Resource, name: &str) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Error::AlreadyExists(resource, name.to_owned()),
        _ => error.into(),
    }
}

/// Whether a foreign key refused.
pub(super) fn is_foreign_key(error: &DbErr) -> bool {
    // RESTRICT has codes of its own, which sea-orm does not know.
    let code = match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            error.as_database_error().and_then(|error| error.code())
        }
        _ => None,
    };
    matches!(error.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_)))
        || code.is_some_and(|code| code == "1811" || code == "23001")
}
