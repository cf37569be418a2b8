//! What an unfinished row of ours says of itself.

use std::fmt;

/// What an unfinished row of ours says about the run that left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The row was written in the script's own transaction: that it is visible proves that something was committed.
    Partial,
    /// A script sent step by step: this many steps are committed.
    Steps {
        /// Statements committed so far.
        done: usize,
        /// SHA-256 of the script up to the end of the last of them.
        prefix: String,
    },
    /// The row was committed before a statement that cannot run in a transaction was sent.
    Alone {
        /// Which statement, counted from 1.
        step: usize,
        /// SHA-256 of the script before it.
        prefix: String,
        /// The OIDs of what was there before of the kind that it makes: the table's indexes, the database of its name.
        before: Vec<u32>,
    },
    /// The row was committed before a script that may take its own row back.
    Undecidable,
}

/// The first line of an unfinished row's `logs`: `prisma-migrate-task/1 run=<run id> state=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The run that wrote the row.
    pub run_id: String,
    /// How the script was being sent.
    pub state: Marked,
}

const MARK: &str = "prisma-migrate-task/1";

impl Mark {
    /// Reads the mark off a row's logs; none where they are not ours or of another version.
    pub fn parse(logs: &str) -> Option<Mark> {
        let line = logs.lines().next()?;
        let mut words = line.split(' ');
        if words.next() != Some(MARK) {
            return None;
        }
        let fields: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let step = || field("step")?.parse::<usize>().ok();
        let prefix = || field("prefix").map(str::to_owned);
        let state = match field("state")? {
            "partial" => Marked::Partial,
            "steps" => Marked::Steps {
                done: step()?,
                prefix: prefix()?,
            },
            "alone" => Marked::Alone {
                step: step()?,
                prefix: prefix()?,
                before: field("before")?.split(',').filter_map(|oid| oid.parse().ok()).collect(),
            },
            "undecidable" => Marked::Undecidable,
            _ => return None,
        };
        Some(Mark {
            run_id: field("run")?.to_owned(),
            state,
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK} run={} state=", self.run_id)?;
        match &self.state {
            Marked::Partial => write!(f, "partial"),
            Marked::Steps { done, prefix } => write!(f, "steps step={done} prefix={prefix}"),
            Marked::Alone { step, prefix, before } => {
                let before: Vec<String> = before.iter().map(u32::to_string).collect();
                write!(f, "alone step={step} prefix={prefix} before={}", before.join(","))
            }
            Marked::Undecidable => write!(f, "undecidable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_it_was_written() {
        for state in [
            Marked::Partial,
            Marked::Steps {
                done: 3,
                prefix: "abc".into(),
            },
            Marked::Alone {
                step: 2,
                prefix: "abc".into(),
                before: vec![],
            },
            Marked::Alone {
                step: 2,
                prefix: "abc".into(),
                before: vec![16_384, 4_294_967_295],
            },
            Marked::Undecidable,
        ] {
            let mark = Mark {
                run_id: "7b0c".into(),
                state,
            };
            assert_eq!(Mark::parse(&format!("{mark}\nERROR: and what explains it")), Some(mark));
        }
    }

    #[test]
    fn logs_of_others_are_no_mark() {
        for logs in [
            "",
            "ERROR: x",
            "prisma-migrate-task/2 run=a state=partial",
            "prisma-migrate-task/1 run=a state=new",
        ] {
            assert_eq!(Mark::parse(logs), None, "{logs}");
        }
    }
}
