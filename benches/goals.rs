//! The goals, one function each.

use harness::proxy::{Direction, Proxy};
use harness::s3::S3;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::measure::{Contender, Figures, Job, race, race_with_memory};
use crate::stage::{LEDGER, Project, Stage, Way, record, with_bare_ledger};

mod bulk;
mod first_line;
pub mod packages;

/// What was measured for one goal.
pub struct Measured {
    /// Those that took part, in the order of their table; the first is the one that ratios are of.
    pub figures: Vec<Figures>,
    pub criteria: Vec<Criterion>,
    /// What else is to be known.
    pub notes: Vec<String>,
}

/// A figure against its goal.
pub struct Criterion {
    pub goal: String,
    pub found: String,
    pub met: bool,
    /// Why not, and what the limit really is.
    pub why: &'static str,
}

impl Criterion {
    fn at_most(what: &str, found: f64, most: f64, why: &'static str) -> Criterion {
        Criterion {
            goal: format!("{what}: at most {most}"),
            found: format!("{found:.3}"),
            met: found <= most,
            why,
        }
    }

    fn at_least(what: &str, found: f64, least: f64, why: &'static str) -> Criterion {
        Criterion {
            goal: format!("{what}: at least {least}"),
            found: format!("{found:.1}"),
            met: found >= least,
            why,
        }
    }
}

pub type Goal = (&'static str, fn(&Stage) -> Measured);

pub const ALL: [Goal; 13] = [
    ("The first line", first_line::measure),
    ("Nothing pending, 100 applied", nothing_pending),
    ("100 pending, 127.0.0.1", |stage| pending(stage, 100, Way::Tcp)),
    ("100 pending, Unix socket", |stage| pending(stage, 100, Way::Socket)),
    ("1,000 pending, 127.0.0.1", |stage| pending(stage, 1_000, Way::Tcp)),
    ("1,000 pending, Unix socket", |stage| pending(stage, 1_000, Way::Socket)),
    ("100 pending, a link of 1 ms", |stage| link(stage, 1)),
    ("100 pending, a link of 10 ms", |stage| link(stage, 10)),
    ("1,000 pending, --all-or-nothing", all_or_nothing),
    ("One migration of 500 MB", bulk::measure),
    ("10,000 migrations in the folder, 10 pending", folder),
    ("prisma.zip of 100 MB in S3", packages::measure),
    ("A ledger of 100,000 rows", ledger),
];

/// How often each runs: `ROUNDS`, or 7.
pub fn rounds() -> usize {
    let Ok(wanted) = std::env::var("ROUNDS") else { return 7 };
    let rounds = wanted.parse().ok().filter(|&rounds| rounds > 0);
    rounds.unwrap_or_else(|| panic!("ROUNDS={wanted} is no number of rounds"))
}

const OF_A_LEDGER: &str = "a ledger is work for the server, in each transaction. callgrind counts, in thousands of its instructions for each migration (PostgreSQL \
     15): 4,220 for the script; 440 for one INSERT and one UPDATE around it, the row \"with the least of a ledger\"; 360 to assert both and that the \
     backend is the run's; 210 for what keeps the migration lock; 480 for the verdict. What could still be left out is the wait for each \
     commit (`synchronous_commit = off`): then \"applied\" would be said of what a crash of the server takes back";

const OF_ROWS: &str = "each migration's row is written, closed and asserted, 710 thousand of the server's instructions beside the 4,220 of its script, and the \
     session is reset behind it, 190 more; psql writes no row";

fn ratio(figures: &[Figures], one: &str, other: &str) -> f64 {
    median(figures, one) / median(figures, other)
}

fn median(figures: &[Figures], name: &str) -> f64 {
    let found = figures.iter().find(|figures| figures.name == name);
    found.unwrap_or_else(|| panic!("nobody is called {name}")).median()
}

const OURS: &str = "prisma-migrate-task";
const PRISMA: &str = "prisma migrate deploy";

fn nothing_pending(stage: &Stage) -> Measured {
    const SELECT: &str = "psql -c 'SELECT … FROM _prisma_migrations'";
    let project = Project::new(100);
    let database = stage.database();
    record(&database, &project, 100, 1);
    let ours = || Job::new(stage.ours(&database, Way::Tcp, &project.folder()), ());
    let select = || {
        let mut psql = stage.psql(&database, Way::Tcp);
        psql.args(["-c", "SELECT * FROM _prisma_migrations ORDER BY started_at"]);
        Job::new(psql, ())
    };
    let mut figures = race_with_memory(
        2 * rounds() + 1,
        &mut [Contender::new(SELECT, select), Contender::new(OURS, ours)],
    );
    let prisma = || stage.prisma(&database, Way::Tcp, &project.folder());
    figures.extend(race_with_memory(rounds(), &mut [Contender::new(PRISMA, prisma)]));
    let megabytes = figures[1].memory.unwrap_or_default() as f64 / 1e6;
    Measured {
        criteria: vec![
            Criterion::at_most("times psql", ratio(&figures, OURS, SELECT), 1.0, ""),
            Criterion::at_least("times faster than Prisma", ratio(&figures, PRISMA, OURS), 40.0, ""),
            Criterion::at_most("peak memory in MB", megabytes, 15.0, ""),
        ],
        figures,
        notes: vec![],
    }
}

const LIMIT: &str = "psql, each file one message";
const BARE: &str = "psql, the same with the least of a ledger";
const PLAIN: &str = "psql -f, each statement by itself";

fn pending(stage: &Stage, count: usize, way: Way) -> Measured {
    let project = Project::new(count);
    let bare: Vec<String> = project
        .names
        .iter()
        .zip(&project.scripts)
        .map(|(name, script)| with_bare_ledger(name, script))
        .collect();
    let fresh = |make: &dyn Fn(&harness::postgres::Database) -> Command| {
        let database = stage.database();
        Job::new(make(&database), database)
    };
    let limit = || fresh(&|database| stage.psql_messages(database, way, &project.scripts));
    let bare = || {
        let database = stage.database();
        database.execute(LEDGER);
        Job::new(stage.psql_messages(&database, way, &bare), database)
    };
    let ours = || fresh(&|database| stage.ours(database, way, &project.folder()));
    let mut contenders = vec![
        Contender::new(LIMIT, limit),
        Contender::new(BARE, bare),
        Contender::new(OURS, ours),
    ];
    if way == Way::Tcp {
        let plain = || {
            fresh(&|database| {
                let mut psql = stage.psql(database, way);
                for at in 0..count {
                    psql.arg("-f").arg(project.file(at));
                }
                psql
            })
        };
        let prisma = || {
            let database = stage.database();
            let job = stage.prisma(&database, way, &project.folder());
            Job::new(job.command, database)
        };
        contenders.push(Contender::new(PLAIN, plain));
        contenders.push(Contender::new(PRISMA, prisma));
        contenders.push(Contender::new("sqlx migrate run", || {
            fresh(&|database| stage.peers.sqlx(stage, database, way, &project))
        }));
        contenders.push(Contender::new("dbmate migrate", || {
            fresh(&|database| stage.peers.dbmate(stage, database, way, &project))
        }));
        let figures = race(rounds(), &mut contenders);
        return of_pending(figures);
    }
    of_pending(race(rounds(), &mut contenders))
}

fn of_pending(figures: Vec<Figures>) -> Measured {
    let with_least = ratio(&figures, OURS, BARE);
    Measured {
        criteria: vec![Criterion::at_most(
            "times psql without a ledger",
            ratio(&figures, OURS, LIMIT),
            1.05,
            OF_A_LEDGER,
        )],
        figures,
        notes: vec![format!(
            "Against psql with the least of a ledger it is {with_least:.3} times."
        )],
    }
}

/// So many milliseconds for each round trip.
fn link(stage: &Stage, milliseconds: u64) -> Measured {
    let link = Proxy::link_to(stage.server.port());
    link.delay(Direction::ToServer, Duration::from_millis(milliseconds));
    let way = Way::Port(link.port());
    let project = Project::new(100);
    let limit = || {
        let database = stage.database();
        Job::new(stage.psql_messages(&database, way, &project.scripts), database)
    };
    let ours = || {
        let database = stage.database();
        Job::new(stage.ours(&database, way, &project.folder()), database)
    };
    let prisma = || {
        let database = stage.database();
        Job::new(stage.prisma(&database, way, &project.folder()).command, database)
    };
    let figures = race(
        rounds(),
        &mut [
            Contender::new(LIMIT, limit),
            Contender::new(OURS, ours),
            Contender::new(PRISMA, prisma),
        ],
    );
    let mut criteria = vec![];
    if milliseconds == 10 {
        let many = Project::new(1_000);
        let database = stage.database();
        let proxy = Proxy::to(&stage.server);
        let mut command = stage.ours(&database, Way::Port(proxy.port()), &many.folder());
        assert!(command.output().expect("it can be run").status.success());
        criteria.push(Criterion::at_most(
            "round trips for 1,000 pending",
            proxy.round_trips() as f64,
            1_010.0,
            "",
        ));
        criteria.push(Criterion::at_least(
            "times faster than Prisma",
            ratio(&figures, PRISMA, OURS),
            3.0,
            "Prisma's start takes longer than all of the round trips",
        ));
    }
    Measured {
        criteria,
        figures,
        notes: vec![
            "The link waits with a timer of 1 ms, so that a round trip takes up to 1 ms more than its name says, for all alike.".to_owned(),
        ],
    }
}

fn all_or_nothing(stage: &Stage) -> Measured {
    const SINGLE: &str = "psql -1 -f, all files";
    let project = Project::new(1_000);
    let single = || {
        let database = stage.database();
        let mut psql = stage.psql(&database, Way::Tcp);
        psql.arg("-1");
        for at in 0..project.names.len() {
            psql.arg("-f").arg(project.file(at));
        }
        Job::new(psql, database)
    };
    let ours = || {
        let database = stage.database();
        let mut command = stage.ours(&database, Way::Tcp, &project.folder());
        command.arg("--all-or-nothing");
        Job::new(command, database)
    };
    let figures = race(
        rounds(),
        &mut [Contender::new(SINGLE, single), Contender::new(OURS, ours)],
    );
    Measured {
        criteria: vec![Criterion::at_most(
            "times psql -1",
            ratio(&figures, OURS, SINGLE),
            1.05,
            OF_ROWS,
        )],
        figures,
        notes: vec![],
    }
}

fn folder(stage: &Stage) -> Measured {
    let projects = [10, 5_000, 10_000].map(Project::new);
    let names = ["10 in the folder", "5,000 in the folder", "10,000 in the folder"];
    let contender = |at: usize| {
        let project = &projects[at];
        Contender::new(names[at], move || {
            let database = stage.database();
            record(&database, project, project.names.len() - 10, 1);
            Job::new(stage.ours(&database, Way::Tcp, &project.folder()), database)
        })
    };
    let figures = race(rounds(), &mut [contender(0), contender(1), contender(2)]);
    let more = |at: usize| (median(&figures, names[at]) - median(&figures, names[0])) * 1e3;
    Measured {
        criteria: vec![
            Criterion::at_most(
                "milliseconds more than with 10",
                more(2),
                100.0,
                "each file is opened, asked for its size, read and closed",
            ),
            Criterion::at_most(
                "times the cost of a migration among 5,000",
                more(2) / more(1).max(1.0) / (9_990.0 / 4_990.0),
                1.25,
                "",
            ),
        ],
        figures,
        notes: vec![
            "The ledger holds all but ten of them. The first are read while the session is being opened.".to_owned(),
        ],
    }
}

fn ledger(stage: &Stage) -> Measured {
    const SELECT: &str = "psql -c 'SELECT … FROM _prisma_migrations'";
    let project = Project::new(100);
    let database = stage.database();
    record(&database, &project, 100, 1_000);
    let ours = || Job::new(stage.ours(&database, Way::Tcp, &project.folder()), ());
    let select = || {
        let mut psql = stage.psql(&database, Way::Tcp);
        psql.args(["-A", "-t", "-c", "SELECT * FROM _prisma_migrations ORDER BY started_at"]);
        Job::new(psql, ())
    };
    let figures = race_with_memory(
        rounds(),
        &mut [Contender::new(SELECT, select), Contender::new(OURS, ours)],
    );
    Measured {
        criteria: vec![Criterion::at_most(
            "seconds",
            median(&figures, OURS),
            0.3,
            "the server sorts and writes out the rows for most of it",
        )],
        figures,
        notes: vec!["100 migrations with 1,000 rows each, as those leave them that write a row at every run. Nothing is pending.".to_owned()],
    }
}

/// The S3 of the harness, as far away as a task's.
fn far_s3() -> (S3, Proxy, Vec<(String, String)>) {
    let s3 = S3::start();
    let port = s3.endpoint().rsplit(':').next().and_then(|port| port.parse().ok());
    let link = Proxy::link_to(port.expect("an endpoint with a port"));
    link.delay(Direction::ToServer, Duration::from_millis(5));
    link.rate(Direction::ToClient, 50_000_000);
    let far = format!("http://127.0.0.1:{}", link.port());
    let environment = s3.environment().into_iter().map(|(name, value)| match name.as_str() {
        "AWS_ENDPOINT_URL_S3" => (name, far.clone()),
        _ => (name, value),
    });
    let environment = environment.collect();
    (s3, link, environment)
}

/// A folder of its own for everything that one run unpacks.
fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("out")).expect("a folder");
    folder
}
