//! What must come of a script: the server itself is asked, on a twin of the database.

use crate::script::Script;
use crate::start::{Copy, Start};
use crate::state::State;
use crate::wire::{Refusal, Reply, ServerError, Wire};

/// How a script ends, and what it leaves.
#[derive(Clone, Debug)]
pub struct End {
    /// How it was sent.
    pub how: &'static str,
    /// What went wrong.
    pub failed: Option<Failed>,
    /// What is in the database.
    pub state: State,
    /// Whether a transaction was committed before it went wrong, with or without an effect.
    pub committed: bool,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// An error of the server.
    Error(String),
    /// It ends within a transaction, which is then rolled back.
    LeftOpen,
}

/// Every end that is right.
#[derive(Clone, Debug)]
pub struct Truth {
    /// What a script that did nothing leaves.
    pub start: State,
    /// One of these, or…
    pub ends: Vec<End>,
    /// …a refusal with nothing changed: by name, or with the SQLSTATE of the server's own refusal.
    pub may_refuse: Option<String>,
}

impl Truth {
    /// Asks the server.
    pub fn of(start: &Start, script: &Script) -> Truth {
        let mut twin = start.copy(script.around);
        let (whole, error) = whole(start, &twin, script);
        let mut truth = Truth {
            start: start.state(script.around).clone(),
            ends: Vec::new(),
            may_refuse: None,
        };
        if script.any(|statement| statement.unrecordable) {
            truth.may_refuse = Some("25006".to_owned());
        }
        let mut last = whole.state.clone();
        let refusal = error.as_ref().and_then(ServerError::refusal);
        let goes_by_steps = refusal.is_some() || (error.is_some() && script.any(|statement| statement.lone));
        if goes_by_steps {
            if script.any(|statement| statement.local || statement.refusable) {
                truth.may_refuse = Some(error.map(|error| error.sqlstate).unwrap_or_default());
            }
            start.give_back(twin, script, &last);
            twin = start.copy(script.around);
            let (steps, played) = steps(start, &twin, script);
            last = steps.state.clone();
            // Where an effect that should end with the transaction has ended with its statement, the script no longer means what it says.
            if !script.statements[..played].iter().any(|statement| statement.local) {
                truth.ends.push(steps);
            }
        }
        if goes_by_steps && whole.committed {
            start.give_back(twin, script, &last);
            twin = start.copy(script.around);
            let (mixed, behind) = mixed(start, &twin, script);
            last = mixed.state.clone();
            // What it has committed by then has meant what the whole means. The rest may be refused.
            match script.statements[behind..]
                .iter()
                .any(|statement| statement.local || statement.refusable)
            {
                true => truth.ends.push(whole.clone()),
                false => truth.ends.push(mixed),
            }
        }
        // A script that would be refused later on may fail before that, in the whole as well as step by step.
        if refusal != Some(Refusal::Hard) {
            truth.ends.push(whole);
        }
        start.give_back(twin, script, &last);
        for end in truth.ends.iter_mut().filter(|end| end.failed.is_some()) {
            end.state.drop_invalid_indexes();
        }
        truth
    }
}

fn whole(start: &Start, twin: &Copy, script: &Script) -> (End, Option<ServerError>) {
    let mut session = Wire::connect(&start.server, &twin.name, &twin.user);
    let reply = session.query(&script.text()).expect("the server answers");
    drop(session);
    let at = script.statements.len().min(reply.completed + 1);
    let end = End {
        how: "as one message",
        failed: failed(&reply),
        state: State::of(&start.server, &twin.name),
        committed: script.statements[..at].iter().any(|statement| statement.commits),
    };
    (end, reply.error)
}

/// As one message up to the last transaction that this commits, the rest statement by statement; and where the rest begins.
fn mixed(start: &Start, twin: &Copy, script: &Script) -> (End, usize) {
    let mut session = Wire::connect(&start.server, &twin.name, &twin.user);
    let reply = session.query(&script.text()).expect("the server answers");
    let completed = &script.statements[..script.statements.len().min(reply.completed)];
    let behind = completed
        .iter()
        .rposition(|statement| statement.commits)
        .map_or(0, |at| at + 1);
    session.query("ROLLBACK").expect("the server answers");
    let mut last = Reply::default();
    for statement in &script.statements[behind..] {
        last = session.query(&statement.sql).expect("the server answers");
        if last.error.is_some() {
            break;
        }
    }
    drop(session);
    let end = End {
        how: "as one message, and from where that is refused statement by statement",
        failed: failed(&last),
        state: State::of(&start.server, &twin.name),
        committed: true,
    };
    (end, behind)
}

/// How many of the statements were sent as well.
fn steps(start: &Start, twin: &Copy, script: &Script) -> (End, usize) {
    let mut session = Wire::connect(&start.server, &twin.name, &twin.user);
    let (mut last, mut committed, mut played) = (Reply::default(), false, 0);
    for statement in &script.statements {
        last = session.query(&statement.sql).expect("the server answers");
        played += 1;
        if last.error.is_some() {
            committed |= statement.commits;
            break;
        }
        committed |= !last.is_open || statement.commits;
    }
    drop(session);
    let end = End {
        how: "statement by statement",
        failed: failed(&last),
        state: State::of(&start.server, &twin.name),
        committed,
    };
    (end, played)
}

fn failed(reply: &Reply) -> Option<Failed> {
    match &reply.error {
        Some(error) => Some(Failed::Error(error.sqlstate.clone())),
        None => reply.is_open.then_some(Failed::LeftOpen),
    }
}
