//! What goes wrong while a deploy runs, and when.

use crate::history::Drawn;
use crate::migrate;
use fastrand::Rng;
use harness::postgres::{Database, Mode, Server};
use harness::prisma;
use harness::process::{Run, Running, Signal};
use harness::proxy::{Direction, Proxy};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL of the client.
    Kill,
    /// SIGTERM of the client.
    Terminate,
    /// The connection cut behind a byte of the client's.
    CutToServer,
    /// The connection cut behind a byte of the server's.
    CutToClient,
    /// Nothing passes for a while, then the connection is cut.
    FreezeThenCut,
    /// The server shut down in good order, and started.
    RestartFast,
    /// The server crashed, and started.
    RestartImmediate,
    /// `pg_terminate_backend` of every session of ours.
    TerminateBackend,
    /// Another deploy of ours.
    Rival,
    /// A deploy of the real Prisma.
    RivalPrisma,
    /// A table locked by somebody else for a moment.
    LockedTable,
}

/// How often each kind is drawn: consecutive rounds go through this table, so that a few of them hold every kind. What takes long is rarer.
pub const SHARES: [Kind; 24] = [
    Kind::CutToServer,
    Kind::Kill,
    Kind::CutToClient,
    Kind::Terminate,
    Kind::TerminateBackend,
    Kind::FreezeThenCut,
    Kind::CutToServer,
    Kind::RestartFast,
    Kind::Kill,
    Kind::CutToClient,
    Kind::Rival,
    Kind::LockedTable,
    Kind::CutToServer,
    Kind::Terminate,
    Kind::CutToClient,
    Kind::Kill,
    Kind::TerminateBackend,
    Kind::RestartImmediate,
    Kind::CutToServer,
    Kind::Terminate,
    Kind::CutToClient,
    Kind::Kill,
    Kind::Rival,
    Kind::RivalPrisma,
];

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Behind how many of the run's bytes: of one direction for a cut, of both for all else.
    bytes: u64,
    /// How long after that byte; nothing for a cut.
    after: Duration,
    /// How long it lasts, where it lasts.
    lasts: Duration,
}

/// How many bytes an undisturbed run takes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// Requests.
    pub to_server: u64,
    /// Answers.
    pub to_client: u64,
}

impl Fault {
    /// Draws a point of a run.
    pub fn new(kind: Kind, rng: &mut Rng, of: Bytes) -> Fault {
        let bytes = match kind {
            Kind::CutToServer => of.to_server,
            Kind::CutToClient => of.to_client,
            _ => of.to_server + of.to_client,
        };
        Fault {
            kind,
            bytes: rng.u64(1..=bytes.max(2) - 1),
            after: Duration::from_millis(rng.u64(0..60)),
            lasts: Duration::from_millis(rng.u64(20..900)),
        }
    }

    /// The exit codes that this may end a run with.
    pub fn allows(&self, drawn: &Drawn) -> Vec<i32> {
        let mut codes = vec![0];
        match self.kind {
            Kind::Kill => codes.push(137),
            Kind::Terminate => codes.push(60),
            _ => {}
        }
        if drawn.has(crate::history::Kind::needs_a_person) {
            codes.push(21);
            if self.kind == Kind::Terminate {
                codes.push(61);
            }
        }
        codes
    }
}

/// The two kinds of servers: those that many rounds share, and one that a single round may restart.
pub enum Place<'a> {
    /// Not to be restarted.
    Shared(&'static Server),
    /// This round's alone.
    Own(&'a mut Server),
}

impl Place<'_> {
    /// The server.
    pub fn server(&self) -> &Server {
        match self {
            Place::Shared(server) => server,
            Place::Own(server) => server,
        }
    }

    fn restart(&mut self, mode: Mode) {
        match self {
            Place::Own(server) => server.restart(mode),
            Place::Shared(_) => panic!("a server that others use is not restarted"),
        }
    }
}

/// A deploy, as every round calls it.
pub fn deploy(folder: &Path, database: &Database, url: &str, progress_every: &str) -> Running {
    migrate()
        .deploy(folder)
        .database_url(database, url)
        .arg("--lock-timeout=300ms")
        .arg("--connect-timeout=30s")
        .arg("--lock-wait=60s")
        .arg(format!("--progress-every={progress_every}"))
        .arg("--log-format=text")
        .spawn()
}

/// What a run with a fault came to.
pub struct Disturbed {
    /// The deploy.
    pub run: Run,
    /// Whether the fault happened before the deploy had ended.
    pub happened: bool,
    /// What ran at the same time.
    pub rival: Option<Run>,
}

/// Runs a deploy during which this goes wrong.
pub fn disturbed(fault: Fault, place: &mut Place<'_>, database: &Database, folder: &Path, progress: &str) -> Disturbed {
    if fault.kind == Kind::RivalPrisma {
        // It needs most of a second until it asks for the lock: ours begins somewhere before or behind that.
        let mut rival = prisma::start(&database.url(), folder, ["deploy"]);
        sleep(fault.lasts + fault.after);
        let happened = rival.is_running();
        let run = deploy(folder, database, &database.url(), progress).wait();
        return Disturbed {
            run,
            happened,
            rival: Some(rival.wait()),
        };
    }
    let proxy = Proxy::to(place.server());
    let url = proxy.url_for(database);
    let direction = match fault.kind {
        Kind::CutToServer => Some(Direction::ToServer),
        Kind::CutToClient => Some(Direction::ToClient),
        _ => None,
    };
    if let Some(direction) = direction {
        proxy.cut_after(direction, fault.bytes);
        let run = deploy(folder, database, &url, progress).wait();
        return Disturbed {
            run,
            happened: !proxy.is_cut_due(),
            rival: None,
        };
    }
    let mut running = deploy(folder, database, &url, progress);
    while running.is_running() && passed(&proxy) < fault.bytes {
        sleep(Duration::from_micros(300));
    }
    // A random moment cannot be waited for: it is drawn.
    sleep(fault.after);
    if !running.is_running() {
        return Disturbed {
            run: running.wait(),
            happened: false,
            rival: None,
        };
    }
    let mut rival = None;
    match fault.kind {
        Kind::Kill => {
            return Disturbed {
                run: running.kill(),
                happened: true,
                rival,
            };
        }
        Kind::Terminate => running.signal(Signal::TERM),
        Kind::FreezeThenCut => {
            proxy.freeze();
            lasting(fault.lasts, &mut running);
            proxy.cut();
            proxy.thaw();
        }
        Kind::RestartFast => place.restart(Mode::Fast),
        Kind::RestartImmediate => place.restart(Mode::Immediate),
        Kind::TerminateBackend => {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND application_name LIKE 'prisma-migrate-task%'";
            database.superuser().simple_query(sql).unwrap();
        }
        Kind::Rival => rival = Some(deploy(folder, database, &database.url(), progress).wait()),
        Kind::LockedTable => lock_a_table(fault.lasts, database, &mut running),
        Kind::CutToServer | Kind::CutToClient | Kind::RivalPrisma => {}
    }
    Disturbed {
        run: running.wait(),
        happened: true,
        rival,
    }
}

fn passed(proxy: &Proxy) -> u64 {
    proxy.bytes(Direction::ToServer) + proxy.bytes(Direction::ToClient)
}

/// Lets a state last, unless the run ends in it.
fn lasting(time: Duration, running: &mut Running) {
    let begin = Instant::now();
    while begin.elapsed() < time && running.is_running() {
        sleep(Duration::from_millis(5));
    }
}

fn lock_a_table(time: Duration, database: &Database, running: &mut Running) {
    let mut client = database.superuser();
    let lock = "SET application_name = 'a stranger'; SET lock_timeout = '1s'; BEGIN; LOCK TABLE items, counter IN ACCESS EXCLUSIVE MODE";
    // Where the tables are not there yet, or the migration has them, there is nothing to hold.
    if client.batch_execute(lock).is_ok() {
        lasting(time, running);
    }
    let _ = client.batch_execute("ROLLBACK");
}
