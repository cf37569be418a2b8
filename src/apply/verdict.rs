//! What a migration's row and the server's error say together: a pure function.
//!
//! An error is never a success, and that a row is not there proves nothing by itself.

/// How the row was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Row and script are one transaction of one message.
    Whole,
    /// The row was committed before the script was sent, and says how far it has come.
    Announced,
}

/// The row, as it was read behind the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Finished.
    Finished,
    /// Unfinished, with a mark of this attempt: so many transactions are committed.
    Ours(usize),
    /// Unfinished, with a mark that this attempt did not write.
    Altered,
    /// Not there.
    Missing,
}

/// What the server said of the script's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// Nothing, and every statement was completed.
    Nothing,
    /// Nothing, and a transaction was left open.
    LeftOpen,
    /// A statement of ours failed that proves that the row is written or closed.
    Ours,
    /// Anything else failed.
    Script,
}

/// What became of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is committed, and its row is closed.
    Applied,
    /// Nothing of it is committed.
    Nothing,
    /// So many of its transactions are committed, and nothing else.
    Committed(usize),
    /// Something is committed, and it is not known how much.
    Partly,
    /// All of it is committed, and its row is not closed.
    Unrecorded,
    /// Not known.
    NotKnown,
}

/// The verdict on a script.
pub fn judge(form: Form, row: Row, raised: Raised) -> Verdict {
    match (form, row, raised) {
        (_, Row::Finished, Raised::Nothing) => Verdict::Applied,
        // Closed by somebody else: the script, a trigger. Our close comes last, and what fails behind it takes it back.
        (_, Row::Finished, _) => Verdict::Partly,
        // The server has rolled back the one transaction, and the row with it.
        (Form::Whole, Row::Missing, Raised::LeftOpen | Raised::Ours | Raised::Script) => Verdict::Nothing,
        // The close was proven in the transaction that the server has committed.
        (Form::Whole, Row::Ours(_) | Row::Altered, Raised::Nothing) => Verdict::Unrecorded,
        // The row is visible: something has committed it.
        (Form::Whole, Row::Ours(_), _) => Verdict::Partly,
        (Form::Announced, Row::Ours(done), _) => Verdict::Committed(done),
        (Form::Whole, Row::Missing, Raised::Nothing)
        | (Form::Whole, Row::Altered, _)
        | (Form::Announced, Row::Altered | Row::Missing, _) => Verdict::NotKnown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_table() {
        use Form::{Announced, Whole};
        use Raised::{LeftOpen, Nothing, Ours, Script};
        let columns = [Nothing, LeftOpen, Ours, Script];
        let table = [
            (
                Whole,
                Row::Finished,
                [Verdict::Applied, Verdict::Partly, Verdict::Partly, Verdict::Partly],
            ),
            (
                Whole,
                Row::Ours(0),
                [Verdict::Unrecorded, Verdict::Partly, Verdict::Partly, Verdict::Partly],
            ),
            (
                Whole,
                Row::Altered,
                [
                    Verdict::Unrecorded,
                    Verdict::NotKnown,
                    Verdict::NotKnown,
                    Verdict::NotKnown,
                ],
            ),
            (
                Whole,
                Row::Missing,
                [Verdict::NotKnown, Verdict::Nothing, Verdict::Nothing, Verdict::Nothing],
            ),
            (
                Announced,
                Row::Finished,
                [Verdict::Applied, Verdict::Partly, Verdict::Partly, Verdict::Partly],
            ),
            (Announced, Row::Ours(0), [Verdict::Committed(0); 4]),
            (Announced, Row::Ours(2), [Verdict::Committed(2); 4]),
            (Announced, Row::Altered, [Verdict::NotKnown; 4]),
            (Announced, Row::Missing, [Verdict::NotKnown; 4]),
        ];
        for (form, row, expected) in table {
            for (raised, expected) in columns.into_iter().zip(expected) {
                assert_eq!(judge(form, row, raised), expected, "{form:?} {row:?} {raised:?}");
            }
        }
    }

    #[test]
    fn no_error_is_a_success() {
        for form in [Form::Whole, Form::Announced] {
            for row in [Row::Finished, Row::Ours(0), Row::Ours(1), Row::Altered, Row::Missing] {
                for raised in [Raised::LeftOpen, Raised::Ours, Raised::Script] {
                    assert_ne!(judge(form, row, raised), Verdict::Applied);
                }
            }
        }
    }
}
