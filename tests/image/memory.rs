//! What the least of Fargate's tasks (512 MB, a quarter of a CPU) has in plenty. A limit that the engine enforces is the measure: beyond it the kernel
//! kills, and there is no swap.

use harness::history::History;

use crate::stage::{Stage, docker};

fn one_table() -> History {
    History::new().migration("20240101000000_init", "CREATE TABLE article (id int);")
}

#[test]
fn a_deploy_with_nothing_to_do_needs_less_than_20_mb() {
    let stage = Stage::new(&[("prisma.zip", &one_table())]);
    stage.task("prisma.zip").run().expect(0);
    stage.task("prisma.zip").memory("20m").run().expect(0);
}

#[test]
fn who_runs_out_of_memory_is_killed_and_the_next_run_carries_on() {
    // 48 MB of a comment: nothing as a zip, too much for 32 MB.
    let large = format!("CREATE TABLE article (id int); -- {}", "x".repeat(48 << 20));
    let history = History::new().migration("20240101000000_large", large);
    let stage = Stage::new(&[("prisma.zip", &history)]);
    let task = stage.task("prisma.zip").memory("32m");
    let name = task.name();
    task.run().expect(137);
    assert_eq!(
        docker(&["inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", &name]),
        "true 137"
    );
    assert!(stage.ledger().is_empty());

    stage.task("prisma.zip").memory("512m").run().expect(0);
    assert_eq!(stage.ledger(), ["20240101000000_large applied"]);
}
