//! What a database's errors mean to the owner of a dataset. Their own words stay behind: they quote
//! values, hosts and roles. What is kept for the log is the SQLSTATE.

use sea_orm::sqlx;

use crate::error::UpstreamError;

pub(super) fn fault(error: sqlx::Error) -> UpstreamError {
    match error {
        sqlx::Error::Database(error) => by_code(error.code().as_deref().unwrap_or_default()),
        sqlx::Error::Io(error) => {
            UpstreamError::unavailable("it cannot be reached").because(format!("{:?}", error.kind()))
        }
        sqlx::Error::Tls(_) => UpstreamError::rejected("its TLS is not as `sslmode` wants it"),
        sqlx::Error::PoolTimedOut => {
            UpstreamError::unavailable("it cannot be reached, or all connections to it are busy")
        }
        sqlx::Error::ColumnDecode { .. } => {
            UpstreamError::rejected("a column has another type than it should")
        }
        _ => UpstreamError::unavailable("it failed"),
    }
}

/// Whether the connection had ended before it was used.
pub(super) fn is_gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}

fn by_code(code: &str) -> UpstreamError {
    let rejected = |reason| UpstreamError::rejected(reason);
    let error = match code {
        "28P01" | "28000" => rejected("its credential was refused"),
        "3D000" => rejected("its database does not exist"),
        "3F000" => rejected("its schema does not exist"),
        "42P01" => rejected("its table does not exist"),
        "42703" => rejected("a column that is configured does not exist"),
        "42501" => rejected("its role may not read the table"),
        "22000" => rejected("its vectors have other dimensions than its embedding endpoint's"),
        "42883" => rejected("a column has another type than it should, or the database has no pgvector"),
        "42704" => rejected("the database has no pgvector, or not the text search configuration"),
        "57014" => UpstreamError::unavailable("it did not answer in time"),
        "53300" => UpstreamError::unavailable("it has too many connections"),
        _ => match code.get(..2) {
            Some("22" | "25" | "42") => rejected("it refused the search"),
            _ => UpstreamError::unavailable("it failed"),
        },
    };
    error.because(format!("SQLSTATE {code}"))
}
