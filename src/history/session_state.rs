//! What a script has made of its session, as far as later statements may find it there.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How a session differs from one that has just begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionState {
    /// `SET SESSION AUTHORIZATION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `SET ROLE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Settings of the server's own that were made in the session, with their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// SHA-256 of the values of other settings that the script names (`app.tenant`): they may be secrets, and this text is shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, String>,
    /// Channels that the session listens to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Temporary tables, views, sequences, types and functions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub temporary: Vec<String>,
    /// Prepared statements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prepared: Vec<String>,
    /// Cursors that outlive their transaction.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cursors: Vec<String>,
    /// Advisory locks besides the migration lock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
}

impl SessionState {
    /// Reads what [`fmt::Display`] wrote, or the same with an `x` before its bytes in hexadecimal, as the server writes it.
    pub fn parse(text: &str) -> Option<SessionState> {
        let Some(digits) = text.strip_prefix('x') else {
            return serde_json::from_str(text).ok();
        };
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        let bytes = (0..digits.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// What no later session can be made to have: a phrase, none if there is nothing of the kind.
    pub fn cannot_be_made_again(&self) -> Option<String> {
        let named = |what: &str, names: &[String]| match names {
            [] => None,
            names => Some(format!("{what} {}", names.join(", "))),
        };
        [
            named("temporary", &self.temporary),
            named("the prepared statement", &self.prepared),
            named("the cursor", &self.cursors),
            named("the advisory lock", &self.locks),
        ]
        .into_iter()
        .flatten()
        .reduce(|all, one| format!("{all}; {one}"))
    }
}

/// JSON without a blank or a line break, so that it is one word of a mark.
impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Blanks stand in texts alone; a line break is written as an escape.
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text.replace(' ', "\\u0020"))
    }
}
