//! `run -- execute`: SQL goes to the task in its command or by S3, rows come back on standard output.

use super::world::World;

const QUERY: &str = "SELECT n AS id, 'x' || n AS name FROM generate_series(1, 3) AS n";

#[test]
fn rows_are_on_standard_output_and_nothing_else_is() {
    let world = World::simple();
    let run = world.run(&["--", "execute", QUERY]).run().expect(0);
    assert_eq!(
        run.stdout, "{\"id\":1,\"name\":\"x1\"}\n{\"id\":2,\"name\":\"x2\"}\n{\"id\":3,\"name\":\"x3\"}\n",
        "{run}"
    );
    let last = run.stderr.lines().last().unwrap();
    let said: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(
        (&said["verb"], &said["result"]),
        (&"execute".into(), &"executed".into()),
        "{run}"
    );

    let run = world
        .run(&["--log-format", "text", "--", "execute", QUERY])
        .run()
        .expect(0);
    assert!(
        run.stdout.contains("  1 | x1") && run.stderr.contains("1 statement executed"),
        "{run}"
    );

    let run = world.run(&["--", "execute", "--format", "csv", QUERY]).run().expect(0);
    assert_eq!(run.stdout, "id,name\n1,x1\n2,x2\n3,x3\n");
}

#[test]
fn confirm_goes_with_it() {
    let world = World::simple();
    world
        .run(&["--", "execute", "CREATE TABLE a (id int)"])
        .run()
        .expect(24);
    assert_eq!(world.tables(), "0");
    world
        .run(&["--confirm", "--", "execute", "CREATE TABLE a (id int)"])
        .run()
        .expect(0);
    assert_eq!(world.tables(), "1");
}

#[test]
fn a_file_and_standard_input_are_read_here() {
    let world = World::simple();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mend.sql");
    std::fs::write(&file, "-- begins with a dash\nSELECT 7 AS seven").unwrap();
    let run = world
        .run(&["--", "execute", "--file", file.to_str().unwrap()])
        .run()
        .expect(0);
    assert_eq!(run.stdout, "{\"seven\":7}\n", "{run}");
    let run = world.run(&["--", "execute"]).stdin("SELECT 8 AS eight").run().expect(0);
    assert_eq!(run.stdout, "{\"eight\":8}\n", "{run}");
    let run = world.run(&["--", "execute", "--file", "/nowhere.sql"]).run().expect(2);
    assert!(run.stdout.contains("/nowhere.sql cannot be read"), "{run}");
    assert_eq!(world.tasks(), 2);
}

#[test]
fn sql_that_is_too_long_for_a_command_goes_by_s3() {
    let world = World::simple();
    let long = format!("SELECT 1 AS one /* {} */", "x".repeat(9000));
    let run = world.run(&["--", "execute", &long]).run().expect(2);
    assert!(
        run.stdout.contains("the SQL is too long for the task's command") && run.stdout.contains("--reports"),
        "{run}"
    );
    assert_eq!(world.tasks(), 0);

    let run = world
        .run(&["--reports", "s3://reports/shop/", "--", "execute", &long])
        .run()
        .expect(0);
    assert_eq!(run.stdout, "{\"one\":1}\n", "{run}");
    let url = world
        .command()
        .into_iter()
        .skip_while(|word| word != "--file")
        .nth(1)
        .unwrap();
    let key = url.strip_prefix("s3://reports/").unwrap();
    assert!(key.starts_with("shop/sql/") && key.ends_with(".sql"), "{key}");
    assert_eq!(world.s3.get("reports", key).unwrap(), long.as_bytes());
}

#[test]
fn sql_that_nobody_else_is_to_see_goes_by_s3() {
    let world = World::simple();
    let run = world.run(&["--sql-by-s3", "--", "execute", QUERY]).run().expect(2);
    assert!(run.stdout.contains("--sql-by-s3 needs a place in S3"), "{run}");
    let run = world
        .run(&["--sql-by-s3", "--reports", "s3://reports", "--", "execute", QUERY])
        .run()
        .expect(0);
    assert_eq!(run.stdout.lines().count(), 3, "{run}");
    let command = world.command().join(" ");
    assert!(
        !command.contains("generate_series") && command.contains("--file s3://reports/sql/"),
        "{command}"
    );
}
