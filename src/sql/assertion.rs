//! The one assertion that plain SQL has.

use crate::history;

/// What a statement of ours asserts. If it does not hold, the statement fails, and its transaction with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// The row in the migrations table is written.
    Written,
    /// The unfinished row in the migrations table is there, and is changed as this run wrote it.
    Changed,
    /// The message came to the run's own backend.
    OurBackend,
    /// This session has the migration lock.
    OurLock,
}

impl Assertion {
    const ALL: [Assertion; 4] = [
        Assertion::Written,
        Assertion::Changed,
        Assertion::OurBackend,
        Assertion::OurLock,
    ];

    /// What the server's error holds if it fails, with a value behind it. It stands in the text of a statement, so it has no quote.
    fn sentence(self) -> &'static str {
        match self {
            Assertion::Written => "ledger row not written, rows: ",
            Assertion::Changed => "ledger row not closed, rows: ",
            Assertion::OurBackend => "another session answers, its backend is ",
            Assertion::OurLock => "the migration lock is held by another session than that of backend ",
        }
    }

    /// The assertion that failed, if the server's message is one of ours. The words around the sentence are in the server's language.
    pub fn failed(message: &str) -> Option<Assertion> {
        Assertion::ALL
            .into_iter()
            .find(|assertion| message.contains(assertion.sentence()))
    }

    /// What it means that it failed.
    pub fn meaning(self) -> String {
        match self {
            Assertion::Written => format!(
                "the row in {} was not written: a rule, a trigger or row security on the table prevents it",
                history::TABLE
            ),
            Assertion::Changed => format!(
                "the row in {} was not changed as this run wrote it: a rule, a trigger, row security or the script itself removes it, or keeps it as \
                 it was",
                history::TABLE
            ),
            Assertion::OurBackend => "another session of the server answered than the one that was opened".to_owned(),
            Assertion::OurLock => "another session has taken the migration lock".to_owned(),
        }
    }

    /// An expression that fails with its sentence and `value` behind it whenever it is evaluated: a text is read as a number. `value` is an expression.
    ///
    /// It calls what a cast would call, since a cast can be replaced: a superuser's `CREATE CAST (text AS int4)` would turn the assertion off. `concat`
    /// is not immutable, so the planner leaves it alone, and it costs the server less than the operator `||`. The quotes are even in number, so that no
    /// unterminated quote before it can swallow it.
    pub fn raise(self, value: &str) -> String {
        let sentence = self.sentence();
        format!("pg_catalog.int4in(pg_catalog.textout(pg_catalog.concat('{sentence}',{value})))")
    }
}
