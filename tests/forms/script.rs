//! A script that knows its own statements.

use crate::start::Surroundings;
use std::fmt::Write as _;

/// One statement, with what stands before it, without its `;`.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// Its text.
    pub sql: String,
    /// The server runs it only outside a transaction, or only after what is before it was committed.
    pub lone: bool,
    /// Its effect ends with the transaction, and the script has begun none.
    pub local: bool,
    /// It may commit what is before it.
    pub commits: bool,
    /// It rolls back what is before it.
    pub rolls_back: bool,
    /// It touches the table of migrations.
    pub ledger: bool,
    /// Step by step it cannot be read, or cannot mean what it means in the whole: it may be refused.
    pub refusable: bool,
    /// In its transaction nothing can be written, a migration's row neither: it may be refused even where the server takes it.
    pub unrecordable: bool,
}

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// What was drawn around it.
    pub around: Surroundings,
    /// Only inserts, updates, deletes and new tables.
    pub is_plain: bool,
    /// Its statements.
    pub statements: Vec<Statement>,
    /// What stands after the last one: `;`, nothing, a comment.
    pub end: String,
}

/// The advisory locks that stand between statements have keys above this.
pub const GATES: usize = 90_000;

impl Script {
    /// The file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (at, statement) in self.statements.iter().enumerate() {
            let end = if at + 1 == self.statements.len() {
                &self.end
            } else {
                ";"
            };
            let _ = write!(text, "{}{end}", statement.sql);
        }
        text
    }

    /// Whether any statement is so.
    pub fn any(&self, is: impl Fn(&Statement) -> bool) -> bool {
        self.statements.iter().any(is)
    }

    /// The same with a wait for an advisory lock between each two statements; the number of these.
    pub fn with_gates(&self) -> (Script, usize) {
        let mut gated = self.clone();
        gated.statements.clear();
        for (at, statement) in self.statements.iter().enumerate() {
            if at > 0 {
                for function in ["pg_advisory_lock", "pg_advisory_unlock"] {
                    gated.statements.push(Statement {
                        sql: format!("\nSELECT pg_catalog.{function}({})", GATES + at),
                        ..Statement::default()
                    });
                }
            }
            gated.statements.push(statement.clone());
        }
        (gated, self.statements.len().saturating_sub(1))
    }
}
