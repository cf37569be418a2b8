//! Being process 1: signals arrive, nothing is left over, and who is killed has told the database enough.

use harness::history::History;
use harness::until;

use crate::engine::docker;
use crate::stage::Stage;

const SLEEPS: &str = "20240101000000_sleeps";

fn asleep() -> History {
    History::new().migration(SLEEPS, "CREATE TABLE article (id int); SELECT pg_sleep(600);")
}

fn mended() -> History {
    History::new().migration(SLEEPS, "CREATE TABLE article (id int);")
}

fn wait_for_sleep(stage: &Stage) {
    until("the migration sleeps on the server", || {
        stage.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    });
}

#[test]
fn docker_stop_in_the_middle_of_a_migration_leaves_nothing_half_done() {
    let stage = Stage::new(&[("asleep.zip", &asleep()), ("mended.zip", &mended())]);
    let task = stage.task("asleep.zip");
    let name = task.name();
    let running = task.spawn();
    wait_for_sleep(&stage);

    // Killed after 25 s, with 137, if it did not listen.
    docker(&["stop", "--time", "25", &name]);
    let run = running.wait().expect(60);
    assert!(run.stdout.contains(SLEEPS), "{run}");
    assert!(stage.ledger().is_empty());
    assert_eq!(stage.sql("SELECT to_regclass('article') IS NULL"), "t");

    stage.task("mended.zip").run().expect(0);
    assert_eq!(stage.ledger(), [format!("{SLEEPS} applied")]);
}

#[test]
fn a_killed_container_leaves_what_the_next_run_can_judge() {
    let stage = Stage::new(&[("asleep.zip", &asleep()), ("mended.zip", &mended())]);
    let task = stage.task("asleep.zip");
    let name = task.name();
    let running = task.spawn();
    wait_for_sleep(&stage);

    docker(&["kill", &name]);
    running.wait().expect(137);
    // The server notices within the run's client_connection_check_interval, and the next run waits for the lock until then.
    stage.task("mended.zip").run().expect(0);
    assert_eq!(stage.ledger(), [format!("{SLEEPS} applied")]);
}

#[test]
fn the_program_is_the_containers_only_process() {
    let stage = Stage::new(&[("asleep.zip", &asleep())]);
    let task = stage.task("asleep.zip");
    let name = task.name();
    let running = task.spawn();
    wait_for_sleep(&stage);

    let processes = docker(&["top", &name, "-eo", "pid,comm"]);
    assert_eq!(processes.lines().count(), 2, "{processes}");
    assert!(processes.contains("prisma-migrate"), "{processes}");

    docker(&["stop", &name]);
    running.wait().expect(60);
}
