//! The modes of a lock on a table, in PostgreSQL's own words (its documentation, 13.3.1).

use serde::{Serialize, Serializer};
use std::fmt;

/// What a statement keeps others from doing with a table; in ascending order, as PostgreSQL numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Reading: conflicts with `AccessExclusive` alone.
    AccessShare,
    /// `SELECT … FOR UPDATE`, and the referenced side of a constraint that is validated.
    RowShare,
    /// Writing rows.
    RowExclusive,
    /// One at a time, and nobody's reads or writes are in its way.
    ShareUpdateExclusive,
    /// Nobody writes.
    Share,
    /// Nobody writes, and one at a time.
    ShareRowExclusive,
    /// Only reads.
    Exclusive,
    /// Nobody else, not even to read.
    AccessExclusive,
}

impl Mode {
    /// Every mode, weakest first.
    pub const ALL: [Mode; 8] = [
        Mode::AccessShare,
        Mode::RowShare,
        Mode::RowExclusive,
        Mode::ShareUpdateExclusive,
        Mode::Share,
        Mode::ShareRowExclusive,
        Mode::Exclusive,
        Mode::AccessExclusive,
    ];

    /// As `LOCK TABLE … IN … MODE` has it.
    pub const fn words(self) -> &'static str {
        match self {
            Mode::AccessShare => "ACCESS SHARE",
            Mode::RowShare => "ROW SHARE",
            Mode::RowExclusive => "ROW EXCLUSIVE",
            Mode::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Mode::Share => "SHARE",
            Mode::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Mode::Exclusive => "EXCLUSIVE",
            Mode::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// Reads the words of `LOCK TABLE`.
    pub fn from_words(words: &str) -> Option<Mode> {
        Mode::ALL
            .into_iter()
            .find(|mode| mode.words().eq_ignore_ascii_case(words))
    }

    /// Whom it shuts out for as long as it is held; none where the application does not notice.
    pub const fn shuts_out(self) -> Option<&'static str> {
        match self {
            Mode::AccessExclusive => Some("nobody can read or write it meanwhile"),
            Mode::Exclusive | Mode::ShareRowExclusive | Mode::Share => Some("nobody can write to it meanwhile"),
            _ => None,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.words())
    }
}

#[cfg(feature = "client")]
impl<'de> serde::Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        let words = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Mode::from_words(&words).ok_or_else(|| serde::de::Error::custom(format!("unknown lock mode {words}")))
    }
}
