//! Sessions that are lost while a deploy runs, and how many are too many.

use crate::apply::How;
use crate::database::connect::Ended;
use crate::database::open;
use crate::database::server_error::ServerError;
use crate::failure::Failure;
use crate::history::Backend;
use std::time::Instant;

/// How often a migration is begun again after the connection was lost while it ran: a script that ends the server every time must not do so for ever.
const LOST_AT_MOST: usize = 3;

/// The sessions that were lost, and the migration that ran when the last of them was.
#[derive(Default)]
pub struct Losses {
    count: usize,
    /// The attempt that was lost last.
    pub attempt: Option<Attempt>,
    /// Whether the ledger has told since what became of it.
    judged: bool,
}

impl Losses {
    /// A session was lost while a migration ran.
    ///
    /// # Errors
    /// Too many were, while the same migration ran.
    pub fn of(&mut self, attempt: Attempt, ended: &Ended) -> Result<(), Failure> {
        let again = self
            .attempt
            .as_ref()
            .is_some_and(|before| before.migrations == attempt.migrations);
        if !again {
            self.count = 0;
        }
        let mut error = attempt.error.clone();
        if let (None, Some(why)) = (&error.sqlstate, ended.why().filter(|why| why.sqlstate.is_some())) {
            error = why;
        }
        self.attempt = Some(attempt);
        self.judged = false;
        self.lost(&reason(&error), open::unusable("", &error), " while it ran")
    }

    /// The attempt that was lost last, if it is not known yet what became of it.
    pub fn unjudged(&self) -> Option<&Attempt> {
        self.attempt.as_ref().filter(|_| !self.judged)
    }

    /// The ledger has told what became of the attempt.
    pub fn judged(&mut self) {
        self.judged = true;
    }

    /// A session was lost.
    ///
    /// # Errors
    /// Too many were.
    pub fn count(&mut self, failure: Failure, ended: &Ended) -> Result<(), Failure> {
        let why = match (&failure.sqlstate, ended.why()) {
            (None, Some(why)) => format!("{}; {}", failure.what, reason(&why)),
            (sqlstate, _) => with_sqlstate(&failure.what, sqlstate.as_deref()),
        };
        self.lost(&why, failure, "")
    }

    fn lost(&mut self, why: &str, failure: Failure, when: &str) -> Result<(), Failure> {
        self.count += 1;
        if self.count >= LOST_AT_MOST {
            let what = format!(
                "the connection was lost {} times{when}, the last time because of this: {why}",
                self.count
            );
            return Err(self.explain(Failure { what, ..failure }));
        }
        tracing::warn!("the connection was lost ({why}): the ledger will tell what became of it");
        Ok(())
    }

    /// Says of a failure what is not known because of it.
    pub fn explain(&self, failure: Failure) -> Failure {
        match &self.attempt {
            Some(Attempt { migrations, .. }) => match &migrations[..] {
                [migration] => failure
                    .of(migration)
                    .state("the migration that ran is either applied or not, and the next run reads which from the ledger"),
                _ => failure.state("the migrations of this run are either all applied or none, and the next run reads which from the ledger"),
            },
            None => failure,
        }
    }
}

/// An attempt that lost its connection.
pub struct Attempt {
    /// The migration that ran; all of the run where they share a transaction.
    pub migrations: Vec<String>,
    /// The attempt's row; of several the last one's, with which they all stand and fall.
    pub id: String,
    /// How it was sent.
    pub how: How,
    /// When it began.
    pub started: Instant,
    /// What ended the connection.
    pub error: ServerError,
    /// Whether anything was sent that its row announces.
    pub sent: bool,
    /// The backend that it ran in, which may outlive its connection.
    pub backend: Backend,
    /// Whether its row tells a later run what became of it.
    pub told_by_its_row: bool,
}

/// What ended a connection, in words.
fn reason(error: &ServerError) -> String {
    with_sqlstate(&error.message, error.sqlstate.as_deref())
}

fn with_sqlstate(what: &str, sqlstate: Option<&str>) -> String {
    match sqlstate {
        Some(sqlstate) => format!("{what} (SQLSTATE {sqlstate})"),
        None => what.to_owned(),
    }
}
