//! One migration of 500 MB.

use harness::history::History;
use std::fmt::Write as _;
use std::fs;

use super::{Criterion, Measured, OURS, ratio, rounds};
use crate::measure::{Contender, Job, race_with_memory};
use crate::stage::{Stage, Way};

const BYTES: usize = 500_000_000;
/// Rows of a statement: as `pg_dump --rows-per-insert=100` writes them.
const ROWS: usize = 100;

pub fn measure(stage: &Stage) -> Measured {
    const LIMIT: &str = "psql -f, the file as one message";
    let (script, statements) = script();
    let history = History::new().migration("20240101000000_bulk", &script);
    // psql sends what is joined by `\;` as one message.
    let one_message = script.trim_end().trim_end_matches(';').replace(";\n", "\\;\n") + ";\n";
    let folder = super::scratch();
    let file = folder.path().join("bulk.sql");
    fs::write(&file, one_message).expect("the file");
    let limit = || {
        let database = stage.passing_database();
        let mut psql = stage.psql(&database, Way::Tcp);
        psql.arg("-f").arg(&file);
        Job::new(psql, database)
    };
    let ours = || {
        let database = stage.passing_database();
        Job::new(stage.ours(&database, Way::Tcp, &history.folder()), database)
    };
    let figures = race_with_memory(
        rounds(),
        &mut [Contender::new(LIMIT, limit), Contender::new(OURS, ours)],
    );
    let most = (3 * script.len()) as f64 / 1e6 + 32.0;
    let memory = figures[1].memory.unwrap_or_default() as f64 / 1e6;
    Measured {
        criteria: vec![
            Criterion::at_most(
                "times psql",
                ratio(&figures, OURS, LIMIT),
                1.02,
                "the script is hashed and split before it is sent, at some hundred MB a second",
            ),
            Criterion::at_most("peak memory in MB (3 x the script + 32)", memory, most.round(), ""),
        ],
        figures,
        notes: vec![format!("{statements} INSERT statements of {ROWS} rows.")],
    }
}

fn script() -> (String, usize) {
    let mut script = String::with_capacity(BYTES + (1 << 20));
    script.push_str(
        "CREATE TABLE \"Reading\" (\"id\" INTEGER NOT NULL, \"sensor\" TEXT NOT NULL, \"note\" TEXT NOT NULL);\n",
    );
    let note = "It was a bright cold day in April, and the clocks were striking thirteen. ".repeat(12);
    let (mut row, mut statements) = (0, 0);
    while script.len() < BYTES {
        script.push_str("INSERT INTO \"Reading\" (\"id\", \"sensor\", \"note\") VALUES\n");
        for n in 0..ROWS {
            let comma = if n == 0 { "" } else { ",\n" };
            write!(script, "{comma}({row}, 'sensor-{}', '{note}')", row % 997).expect("a string");
            row += 1;
        }
        script.push_str(";\n");
        statements += 1;
    }
    (script, statements)
}
