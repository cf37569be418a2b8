//! One round: a history, a fault, deploys until one says 0, and what must hold then.

use crate::fault::{self, Bytes, Fault, Kind, Place, SHARES};
use crate::history::{Drawn, Kind as Migration};
use crate::migrate;
use crate::state::State;
use fastrand::Rng;
use harness::history::History;
use harness::postgres::{Database, LedgerRow, Options, Server};
use harness::process::Run;
use harness::proxy::{Direction, Proxy};
use harness::{prisma, until};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How many rounds share a history, whose undisturbed run is made once.
const ROUNDS_A_HISTORY: u64 = 6;

/// A history and what its undisturbed run makes of a database.
struct Reference {
    drawn: Drawn,
    history: History,
    bytes: Bytes,
    state: State,
}

/// What happened in rounds, counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// Faults that happened, and those that were drawn and came too late, by kind.
    pub faults: BTreeMap<Kind, (u64, u64)>,
    /// How often deploys ended with each code.
    pub codes: BTreeMap<i32, u64>,
    /// How often a person was needed.
    pub by_hand: u64,
}

/// Everything that was done in a round, to be shown where it fails.
pub type Story = Mutex<String>;

fn tell(story: &Story, text: impl AsRef<str>) {
    let mut story = story.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(story, "{}", text.as_ref());
}

/// Plays the round of this seed.
pub fn play(seed: u64, story: &Story, tally: &Mutex<Tally>) {
    let share = SHARES[usize::try_from(seed % SHARES.len() as u64).unwrap_or(0)];
    let mut rng = Rng::with_seed(seed);
    let mut own = matches!(share, Kind::RestartFast | Kind::RestartImmediate).then(own_server);
    let mut place = match &mut own {
        Some(server) => Place::Own(server),
        None => Place::Shared(Server::shared()),
    };
    let reference = reference(seed / ROUNDS_A_HISTORY, share == Kind::RivalPrisma);
    let Reference {
        drawn,
        history,
        bytes,
        state,
    } = &*reference;
    for script in &drawn.scripts {
        tell(story, format!("--- {}\n{}", script.name, script.text));
    }
    let faults = faults(share, &mut rng, *bytes);
    let progress = if rng.u8(0..4) == 0 { "100ms" } else { "10s" };
    tell(story, format!("{faults:?}\nprogress every {progress}"));
    let database = place.server().database();
    let folder = history.folder();
    let mut hands = Hands {
        drawn,
        history,
        resolved: Vec::new(),
    };
    let mut over = false;
    for fault in faults {
        let fault::Disturbed { run, happened, rival } =
            fault::disturbed(fault, &mut place, &database, &folder, progress);
        tell(story, format!("{fault:?}, happened: {happened}\n{run}"));
        if let Some(rival) = &rival {
            tell(story, format!("the rival: {rival}"));
        }
        count(tally, fault.kind, happened, &run);
        let allowed = fault.allows(drawn);
        assert!(
            allowed.contains(&run.code),
            "exit code {} after {:?}; allowed: {allowed:?}",
            run.code,
            fault.kind
        );
        if let Some(rival) = &rival {
            // Prisma waits for the lock with an open snapshot, which CREATE INDEX CONCURRENTLY waits for: one of the two is the deadlock's victim.
            let is_victim = fault.kind == Kind::RivalPrisma && rival.stderr.contains("deadlock detected");
            assert!(
                allowed.contains(&rival.code) || is_victim,
                "the rival's exit code {}",
                rival.code
            );
        }
        says_the_truth(&run, &database);
        hands.resolve(&run, &database, story);
        over = run.code == 0;
        if over {
            // Whatever else may come, a run that lost its connection knows what it applied.
            if rival.is_none() && hands.resolved.is_empty() && run.code == 0 {
                knows_what_it_applied(&run, drawn);
            }
            break;
        }
    }
    // Each migration that needs a person may need one once more.
    for _ in 0..drawn.scripts.len() + 1 {
        if over {
            break;
        }
        let run = fault::deploy(&folder, &database, &database.url(), progress).wait();
        tell(story, format!("again: {run}"));
        *tally.lock().unwrap().codes.entry(run.code).or_default() += 1;
        hands.resolve(&run, &database, story);
        assert!(
            run.code == 0 || run.code == 21,
            "exit code {} of an undisturbed run",
            run.code
        );
        over = run.code == 0;
    }
    assert!(over, "no run came to 0");
    tally.lock().unwrap().by_hand += hands.resolved.len() as u64;
    nothing_is_left_behind(&database);
    each_is_applied_once(&database, drawn, &hands.resolved);
    let differences = State::of(&database, place.server().major()).differences(state);
    assert!(
        differences.is_empty(),
        "the database is not as an undisturbed run leaves it:\n{}",
        differences.join("\n")
    );
    if share == Kind::RivalPrisma {
        let status = prisma::migrate(&database.url(), &folder, ["status"]);
        assert!(status.code == 0, "prisma migrate status: {status}");
    }
}

/// One fault, sometimes followed by others in the runs that come after it.
fn faults(share: Kind, rng: &mut Rng, bytes: Bytes) -> Vec<Fault> {
    let mut faults = vec![Fault::new(share, rng, bytes)];
    if share == Kind::RivalPrisma {
        return faults;
    }
    while faults.len() < 4 && rng.u8(0..3) == 0 {
        let less = Bytes {
            to_server: bytes.to_server / 2,
            to_client: bytes.to_client / 2,
        };
        let kind = [Kind::Kill, Kind::Terminate, Kind::CutToServer, Kind::CutToClient][rng.usize(0..4)];
        faults.push(Fault::new(kind, rng, less));
    }
    faults
}

fn own_server() -> MutexGuard<'static, Server> {
    static OWN: OnceLock<Mutex<Server>> = OnceLock::new();
    OWN.get_or_init(|| Mutex::new(Server::start(Options::new())))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

fn reference(number: u64, for_prisma: bool) -> Arc<Reference> {
    type Known = Mutex<HashMap<(u64, bool), Arc<OnceLock<Arc<Reference>>>>>;
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let slot = Arc::clone(
        KNOWN
            .get_or_init(Known::default)
            .lock()
            .unwrap()
            .entry((number, for_prisma))
            .or_default(),
    );
    Arc::clone(slot.get_or_init(|| Arc::new(undisturbed(number, for_prisma))))
}

fn undisturbed(number: u64, for_prisma: bool) -> Reference {
    let server = Server::shared();
    let version = server.major();
    let drawn = Drawn::new(&mut Rng::with_seed(number), version, for_prisma);
    let history = drawn.history();
    let database = server.database();
    let proxy = Proxy::to(server);
    fault::deploy(&history.folder(), &database, &proxy.url_for(&database), "10s")
        .wait()
        .expect(0);
    each_is_applied_once(&database, &drawn, &[]);
    Reference {
        bytes: Bytes {
            to_server: proxy.bytes(Direction::ToServer),
            to_client: proxy.bytes(Direction::ToClient),
        },
        state: State::of(&database, version),
        drawn,
        history,
    }
}

fn count(tally: &Mutex<Tally>, kind: Kind, happened: bool, run: &Run) {
    let mut tally = tally.lock().unwrap();
    let (done, late) = tally.faults.entry(kind).or_default();
    *(if happened { done } else { late }) += 1;
    *tally.codes.entry(run.code).or_default() += 1;
}

/// After 60 the next run begins again or goes on by itself: an unfinished row of this run tells it how far the script has come.
fn says_the_truth(run: &Run, database: &Database) {
    if run.code != 60 || !database.has_ledger() {
        return;
    }
    let run_id = run.report.as_ref().expect("a report")["run_id"]
        .as_str()
        .expect("a run id");
    let of_this_run = |row: &LedgerRow| row.logs.as_deref().is_some_and(|logs| logs.contains(run_id));
    let tells = |row: &LedgerRow| {
        let logs = row.logs.as_deref().unwrap_or_default();
        !logs.contains('\n') && !logs.contains("state=undecidable")
    };
    let blocking: Vec<_> = database
        .ledger()
        .into_iter()
        .filter(|row| is_unfinished(row) && of_this_run(row) && !tells(row))
        .collect();
    assert!(
        blocking.is_empty(),
        "exit code 60, and yet a row of this run blocks the next one: {blocking:?}"
    );
}

fn knows_what_it_applied(run: &Run, drawn: &Drawn) {
    let report = run.report.as_ref().expect("a report");
    let names = |field: &str| -> Vec<String> {
        let items = report[field].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item["name"].as_str().map(str::to_owned))
            .collect()
    };
    let applied = names("applied");
    // A run that follows another one applies the rest.
    let all = drawn.names();
    assert!(
        all.ends_with(&applied.iter().map(String::as_str).collect::<Vec<_>>()),
        "the outcome's applied: {applied:?}"
    );
    assert_eq!(report["pending"], serde_json::json!([]), "the outcome's pending");
}

/// The person who does as the message of exit code 21 says.
struct Hands<'a> {
    drawn: &'a Drawn,
    history: &'a History,
    resolved: Vec<String>,
}

impl Hands<'_> {
    fn resolve(&mut self, run: &Run, database: &Database, story: &Story) {
        if run.code != 21 && run.code != 61 {
            return;
        }
        let failure = &run.report.as_ref().expect("a report")["failure"];
        let name = failure["migration"].as_str().unwrap_or_default().to_owned();
        assert!(
            self.drawn.kind_of(&name).is_some_and(Migration::needs_a_person),
            "exit code {} for {name}, which needs no person",
            run.code
        );
        if run.code == 61 {
            return;
        }
        let row = database
            .ledger()
            .into_iter()
            .find(|row| row.name == name && is_unfinished(row));
        let row = row.unwrap_or_else(|| panic!("exit code 21 for {name}, which has no unfinished row"));
        let parts: u32 = database
            .scalar(&format!("SELECT count(*) FROM log WHERE name = '{name}'"))
            .parse()
            .unwrap();
        assert!(
            row.logs.as_deref().unwrap_or_default().contains("state=alone"),
            "exit code 21, and its row is {row:?}"
        );
        let next = failure["next"].as_str().unwrap_or_default();
        let verb = if parts == 2 { "--applied" } else { "--rolled-back" };
        assert!(
            next.contains(&format!("prisma-migrate-task resolve {verb} {name}")),
            "{next}"
        );
        if parts == 1 {
            database.execute(&format!(
                "DELETE FROM log WHERE name = '{name}'; DELETE FROM counter WHERE name = '{name}'"
            ));
        }
        let resolve = migrate()
            .verb(["resolve", verb, &name])
            .arg(self.history.folder())
            .database(database);
        resolve.run().expect(0);
        tell(story, format!("{parts} of 2 parts are in: resolved {verb} {name}"));
        self.resolved.push(name);
    }
}

fn nothing_is_left_behind(database: &Database) {
    let mut client = database.superuser();
    let mut none = |sql: &str| {
        client
            .query_one(sql, &[])
            .is_ok_and(|row| row.get::<_, Option<String>>(0).is_none())
    };
    until("no lock and no backend is left behind", || {
        none(
            "SELECT string_agg(format('%s %s %s', pid, application_name, query), ', ') FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        ) && none(
            "SELECT string_agg(l::text, ', ') FROM pg_locks l WHERE locktype = 'advisory' \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
    });
    let invalid = database.rows("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid");
    assert!(invalid.is_empty(), "INVALID: {invalid:?}");
}

fn is_unfinished(row: &LedgerRow) -> bool {
    !row.finished && !row.rolled_back
}

/// One applied row each, as Prisma would have written it, and each effect once.
fn each_is_applied_once(database: &Database, drawn: &Drawn, resolved: &[String]) {
    let ledger = database.ledger();
    assert!(!ledger.iter().any(is_unfinished), "an unfinished row: {ledger:?}");
    for script in &drawn.scripts {
        let applied: Vec<_> = ledger
            .iter()
            .filter(|row| row.name == script.name && row.finished && !row.rolled_back)
            .collect();
        let as_it_should = |row: &LedgerRow| (row.steps == 1 && row.logs.is_none()) || resolved.contains(&script.name);
        assert!(
            applied.len() == 1 && as_it_should(applied[0]),
            "the rows of {}: {ledger:?}",
            script.name
        );
        if script.kind.is_none_or(Migration::counts) {
            let sum = database.scalar(&format!(
                "SELECT coalesce(sum(n), 0) FROM counter WHERE name = '{}'",
                script.name
            ));
            assert_eq!(sum, "1", "how often {} took effect", script.name);
        }
    }
    assert_eq!(
        ledger.iter().filter(|row| row.finished && !row.rolled_back).count(),
        drawn.scripts.len(),
        "{ledger:?}"
    );
}
