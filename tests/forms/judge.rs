//! Whether a run came to a right end, and said what is so.

use crate::ours::Ours;
use crate::script::Script;
use crate::state::Row;
use crate::truth::{Failed, Truth};

/// What a right end was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All of it is in.
    Applied,
    /// It failed, and nothing of it is in.
    RolledBack,
    /// It failed, and what was committed before is in.
    Partial,
    /// It was refused, and nothing of it is in.
    Refused,
    /// After a kill: a person, or a deploy of a mended script, decides.
    Stopped,
}

/// The verdict on a run, or what is wrong with it.
pub fn judge(script: &Script, truth: &Truth, ours: &Ours) -> Result<Verdict, String> {
    let Some(code) = ours.code else {
        return Err("it does not end".to_owned());
    };
    says_what_is_so(truth, ours)?;
    if script.any(|statement| statement.ledger) {
        return of_forgery(truth, ours, code);
    }
    let failed = match &ours.sqlstate {
        _ if code == 0 => None,
        Some(sqlstate) => Some(Failed::Error(sqlstate.clone())),
        None => Some(Failed::LeftOpen),
    };
    let unchanged = ours.state == truth.start;
    let end = truth
        .ends
        .iter()
        .find(|end| end.failed == failed && end.state == ours.state);
    let by_name = |sqlstate: &String| ours.sqlstate.as_ref().is_none_or(|ours| ours == sqlstate);
    let refused = unchanged && truth.may_refuse.as_ref().is_some_and(by_name);
    match code {
        0 => {
            end.ok_or("it says applied")?;
            rows(ours, &[Row::Finished])?;
            Ok(Verdict::Applied)
        }
        20 if refused && end.is_none() => {
            if !ours.rows.is_empty() {
                rows(ours, &[Row::RolledBack])?;
            }
            Ok(Verdict::Refused)
        }
        20 => {
            end.ok_or("it says rolled back")?;
            rows(ours, &[Row::RolledBack])?;
            Ok(Verdict::RolledBack)
        }
        21 => {
            let end = end.ok_or("it says partially committed")?;
            if unchanged && !end.committed {
                return Err("it says partially committed, and nothing was committed".to_owned());
            }
            rows(ours, &[Row::Unfinished])?;
            Ok(Verdict::Partial)
        }
        _ => Err(format!("exit code {code}")),
    }
}

/// The verdict on the run that came after one that was killed.
pub fn judge_again(script: &Script, truth: &Truth, ours: &Ours) -> Result<Verdict, String> {
    if ours.code != Some(21) {
        // The run that was killed may have left a row of its own, or none.
        let mut once = ours.clone();
        if once.rows.len() > 1 {
            let last = once.rows.pop();
            once.rows.retain(|row| *row != Row::RolledBack);
            once.rows.extend(last);
        }
        return judge(script, truth, &once);
    }
    // What it says of the state is that this run has changed nothing.
    if script.any(|statement| statement.ledger) {
        return Ok(Verdict::Stopped);
    }
    if !script.any(|statement| statement.commits || statement.rolls_back || statement.lone) {
        return Err("it stops at a script that is one transaction".to_owned());
    }
    let unfinished = ours.rows.iter().filter(|row| **row == Row::Unfinished).count();
    if unfinished != 1 {
        return Err(format!("exit code 21, and its rows are {:?}", ours.rows));
    }
    Ok(Verdict::Stopped)
}

/// Who writes into the table of migrations can make its rows say anything; what the run says must be so even then.
fn of_forgery(truth: &Truth, ours: &Ours, code: i32) -> Result<Verdict, String> {
    let succeeds = |state: &_| truth.ends.iter().any(|end| end.failed.is_none() && end.state == *state);
    match code {
        0 if !succeeds(&ours.state) => Err("it says applied".to_owned()),
        0 if !ours.rows.contains(&Row::Finished) => Err(format!("it says applied, and its rows are {:?}", ours.rows)),
        0 => Ok(Verdict::Applied),
        20 if ours.state != truth.start => Err("it says rolled back".to_owned()),
        20 => Ok(Verdict::RolledBack),
        21 => Ok(Verdict::Partial),
        _ => Err(format!("exit code {code}")),
    }
}

fn says_what_is_so(truth: &Truth, ours: &Ours) -> Result<(), String> {
    let said = ours.said[1].to_lowercase();
    let nothing = [
        "nothing was changed",
        "nothing of it",
        "of this migration was rolled back",
        "of this run was rolled back",
        "the database is as it was",
    ];
    let claim = nothing.into_iter().find(|claim| said.contains(claim));
    match claim {
        Some(claim) if ours.code != Some(0) && ours.state != truth.start => Err(format!("it says \"{claim}\"")),
        _ => Ok(()),
    }
}

fn rows(ours: &Ours, expected: &[Row]) -> Result<(), String> {
    if ours.rows == expected {
        return Ok(());
    }
    Err(format!("its rows are {:?} and should be {expected:?}", ours.rows))
}
