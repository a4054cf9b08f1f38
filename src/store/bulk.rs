//! Statements over many rows. They come in few sizes, so that a connection prepares each once.

use std::sync::OnceLock;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement, Value, Values};

use crate::error::Error;

const SIZES: [usize; 4] = [64, 16, 4, 1];

/// A statement in which a part is repeated for every row. `?` in that part stands for a value.
pub(super) struct Bulk {
    head: &'static str,
    row: &'static str,
    between: &'static str,
    tail: &'static str,
    texts: Texts,
    /// Without numbers: SQLite looks up what each is called, by reading the names of all before it.
    texts_of_sqlite: Texts,
}

/// A statement for each size.
type Texts = [OnceLock<String>; SIZES.len()];

impl Bulk {
    /// `row` after `row`, with commas between them.
    pub(super) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self {
            head,
            row,
            between: ", ",
            tail,
            texts: [const { OnceLock::new() }; SIZES.len()],
            texts_of_sqlite: [const { OnceLock::new() }; SIZES.len()],
        }
    }

    pub(super) const fn between(mut self, between: &'static str) -> Self {
        self.between = between;
        self
    }

    /// Runs it over these rows.
    pub(super) async fn tell<const N: usize>(
        &self,
        txn: &DatabaseTransaction,
        rows: Vec<[Value; N]>,
    ) -> Result<(), Error> {
        for statement in self.over(txn.get_database_backend(), rows) {
            txn.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// Runs it over these rows and returns what it answers.
    pub(super) async fn ask<const N: usize>(
        &self,
        txn: &DatabaseTransaction,
        rows: Vec<[Value; N]>,
    ) -> Result<Vec<QueryResult>, Error> {
        let mut answers = Vec::with_capacity(rows.len());
        for statement in self.over(txn.get_database_backend(), rows) {
            answers.extend(txn.query_all_raw(statement).await?);
        }
        Ok(answers)
    }

    /// The statements that cover these rows, in their order.
    fn over<const N: usize>(&self, backend: DbBackend, rows: Vec<[Value; N]>) -> Vec<Statement> {
        let is_sqlite = backend == DbBackend::Sqlite;
        let texts = if is_sqlite { &self.texts_of_sqlite } else { &self.texts };
        let (mut rows, mut statements) = (rows.into_iter(), Vec::new());
        for (size, text) in SIZES.into_iter().zip(texts) {
            while rows.len() >= size {
                let sql = text.get_or_init(|| self.text(size, is_sqlite)).clone();
                let values = Values(rows.by_ref().take(size).flatten().collect());
                statements.push(Statement { sql, values: Some(values), db_backend: backend });
            }
        }
        statements
    }

    fn text(&self, size: usize, is_sqlite: bool) -> String {
        let mut text = self.head.to_owned();
        let mut value = 0;
        for row in 0..size {
            if row > 0 {
                text.push_str(self.between);
            }
            for (i, piece) in self.row.split('?').enumerate() {
                if i > 0 && is_sqlite {
                    text.push('?');
                } else if i > 0 {
                    value += 1;
                    text.push_str(&format!("${value}"));
                }
                text.push_str(piece);
            }
        }
        text.push_str(self.tail);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_covered_once_and_in_order() {
        let bulk = Bulk::new("INSERT INTO t VALUES ", "(?, ?)", " RETURNING a");
        let rows = (0..90_i64).map(|n| [n.into(), (n + 1000).into()]).collect();
        let statements = bulk.over(DbBackend::Sqlite, rows);
        let sizes: Vec<usize> = statements.iter().map(|s| s.values.as_ref().unwrap().0.len() / 2).collect();
        assert_eq!(sizes, [64, 16, 4, 4, 1, 1]);
        let values = statements.iter().flat_map(|s| s.values.as_ref().unwrap().0.clone());
        let expected = (0..90_i64).flat_map(|n| [Value::from(n), Value::from(n + 1000)]);
        assert!(values.eq(expected));
        assert_eq!(statements[5].sql, "INSERT INTO t VALUES (?, ?) RETURNING a");
        assert_eq!(statements[2].sql, "INSERT INTO t VALUES (?, ?), (?, ?), (?, ?), (?, ?) RETURNING a");
        let statements = bulk.over(DbBackend::Postgres, vec![[1_i64.into(), 2_i64.into()]; 4]);
        let four = "INSERT INTO t VALUES ($1, $2), ($3, $4), ($5, $6), ($7, $8) RETURNING a";
        assert_eq!(statements[0].sql, four);
    }
}
