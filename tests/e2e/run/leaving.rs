//! Ctrl-C, SIGTERM and SIGHUP: the task goes on unless a person says otherwise.

use harness::process::{Running, Signal};
use harness::until;
use serde_json::json;

use super::world::{World, outcome};

fn running(world: &World, terminal: bool) -> Running {
    let call = world.run(&["--confirm"]);
    let call = if terminal { call.terminal() } else { call };
    let mut running = call.spawn();
    running.wait_for_stderr("applying");
    running
}

fn ends_by_itself(world: &World) {
    let task = world.ecs.task(&world.task());
    assert_eq!(
        (&task["lastStatus"], &task["desiredStatus"]),
        (&json!("RUNNING"), &json!("RUNNING"))
    );
    assert!(world.ecs.requests("StopTask").is_empty());
}

#[test]
fn away_from_a_terminal_every_signal_detaches() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let world = World::slow();
        let running = running(&world, false);
        running.signal(signal);
        let run = running.wait().expect(82);
        let said = outcome(&run);
        assert_eq!((&said["verb"], &said["result"]), (&json!("run"), &json!("detached")));
        let next = format!(
            "follow it again with `prisma-migrate-task wait --task {} --cluster {} --task-definition shop-migrate`",
            world.task(),
            world.ecs.cluster()
        );
        assert_eq!(said["failure"]["next"], next.as_str());
        assert_eq!(said["task"]["arn"], world.task().as_str());
        assert_eq!(
            said["failure"]["state"],
            "not known to this side: the task goes on by itself"
        );
        ends_by_itself(&world);
    }
}

#[test]
fn at_a_terminal_ctrl_c_asks_and_detaches() {
    let world = World::slow();
    let mut running = running(&world, true);
    running.signal(Signal::INT);
    running.wait_for_stderr("[d]etach from it, [s]top it, or [c]ontinue to follow it?");
    running.types("d\n");
    running.wait().expect(82);
    ends_by_itself(&world);
}

#[test]
fn a_second_ctrl_c_detaches() {
    let world = World::slow();
    let mut running = running(&world, true);
    running.signal(Signal::INT);
    running.wait_for_stderr("[s]top it");
    running.signal(Signal::INT);
    running.wait().expect(82);
    ends_by_itself(&world);
}

#[test]
fn whoever_stops_it_gets_its_true_end() {
    let world = World::slow();
    let mut running = running(&world, true);
    running.signal(Signal::INT);
    running.wait_for_stderr("[s]top it");
    running.types("s\n");
    let run = running.wait().expect(60);
    let said = outcome(&run);
    assert_eq!(
        (&said["verb"], &said["exit_code"]),
        (&json!("deploy"), &json!(60)),
        "{run}"
    );
    assert_eq!(world.tables(), "0");
    let stop = world.ecs.requests("StopTask").pop().unwrap();
    assert!(
        stop["reason"]
            .as_str()
            .unwrap()
            .starts_with("stopped by prisma-migrate-task/"),
        "{stop}"
    );
}

#[test]
fn whoever_changes_his_mind_follows_on() {
    let world = World::slow();
    let mut running = running(&world, true);
    running.signal(Signal::INT);
    running.wait_for_stderr("[s]top it");
    running.types("c\n");
    world.cancel();
    running.wait().expect(20);
}

#[test]
fn a_container_that_does_not_stop_is_killed_and_told_so() {
    let world = World::slow();
    world.ecs.stop_timeout(std::time::Duration::ZERO);
    let mut running = running(&world, true);
    running.signal(Signal::INT);
    running.wait_for_stderr("[s]top it");
    running.types("stop\n");
    let run = running.wait().expect(81);
    assert!(
        outcome(&run)["failure"]["what"].as_str().unwrap().contains("SIGKILL"),
        "{run}"
    );
}

#[test]
fn before_there_is_a_task_a_signal_ends_it_all() {
    let world = World::simple();
    world
        .ecs
        .fault("DescribeTaskDefinition", harness::ecs::Fault::Close, 1000);
    let mut running = world.run(&["--confirm"]).spawn();
    running.wait_for_stderr("was not answered");
    running.signal(Signal::TERM);
    let run = running.wait().expect(60);
    assert_eq!(outcome(&run)["failure"]["state"], "nothing was changed");
    assert_eq!(world.tasks(), 0);
}

#[test]
fn a_task_that_may_have_been_started_is_told_as_such() {
    let world = World::simple();
    world.ecs.fault("RunTask", harness::ecs::Fault::CloseAfter, 1000);
    let mut running = world.run(&["--confirm"]).spawn();
    running.wait_for_stderr("ecs:RunTask on shop-migrate was not answered");
    running.signal(Signal::TERM);
    let run = running.wait().expect(81);
    let said = outcome(&run);
    assert!(
        said["failure"]["what"]
            .as_str()
            .unwrap()
            .contains("it is not known whether ECS has started the task"),
        "{run}"
    );
    assert!(
        said["failure"]["next"]
            .as_str()
            .unwrap()
            .contains("--started-by prisma-migrate-task/"),
        "{run}"
    );
    until("the task that was started is over", || world.tables() == "1");
}
