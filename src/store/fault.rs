//! What the database's errors mean to a caller. Trouble with the database is never the caller's
//! fault and never a fault of ours: it is `StoreUnavailable`, unless a constraint spoke.

use sea_orm::{
    ConnAcquireErr, DbErr, RuntimeErr, SqlErr,
    sqlx::{error::DatabaseError, sqlite::SqliteError},
};

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
    let code = refusal(error).and_then(DatabaseError::code);
    matches!(error.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_)))
        || code.is_some_and(|code| code == "1811" || code == "23001")
}

/// What a transaction ends with whose connections were replaced before it committed.
pub(super) fn replaced() -> Error {
    Error::StoreUnavailable(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed).into())
}

/// Whether a transaction has done nothing and may succeed if it is repeated: it lost a race with another,
/// or its connections were replaced.
pub(super) fn is_passing(error: &Error) -> bool {
    let Error::StoreUnavailable(cause) = error else { return false };
    let Some(error) = cause.downcast_ref() else { return false };
    if let DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) = error {
        return true;
    }
    let Some(refusal) = refusal(error) else { return false };
    let code = refusal.code().unwrap_or_default();
    if refusal.try_downcast_ref::<SqliteError>().is_some() {
        // BUSY and LOCKED, with all that extends them.
        return code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6));
    }
    // A serialization failure, a deadlock.
    code == "40001" || code == "40P01"
}

/// Whether the database refused the values themselves, and always will.
pub(super) fn is_refused(error: &Error) -> bool {
    let Error::StoreUnavailable(cause) = error else { return matches!(error, Error::Internal(_)) };
    let Some(refusal) = cause.downcast_ref().and_then(refusal) else { return false };
    let code = refusal.code().unwrap_or_default();
    if refusal.try_downcast_ref::<SqliteError>().is_some() {
        // TOOBIG, CONSTRAINT, MISMATCH.
        return code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    }
    // A data exception, a constraint.
    code.starts_with("22") || code.starts_with("23")
}

/// What the database itself said.
fn refusal(error: &DbErr) -> Option<&dyn DatabaseError> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            error.as_database_error()
        }
        _ => None,
    }
}
