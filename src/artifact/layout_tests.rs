use super::*;

/// Surveys paths as a zip lists them: a trailing slash marks a directory, a trailing `@` a symbolic link. After a `=` stands the content of a config file.
fn survey(paths: &[&str], root: Option<&str>, wanted: Option<&str>) -> Survey {
    let mut survey = Survey::new(root, wanted);
    let mut configs = Vec::new();
    for path in paths {
        let path = match path.split_once('=') {
            Some((path, content)) => {
                configs.push((path, content));
                path
            }
            None => path,
        };
        let (path, kind) = match (path.strip_suffix('@'), path.ends_with('/')) {
            (Some(path), _) => (path, Kind::Symlink),
            (None, true) => (path, Kind::Directory),
            (None, false) => (path, Kind::File),
        };
        survey.see(&clean(path).path, kind);
    }
    for (path, content) in configs {
        survey.read_config(path, Some(content.as_bytes()));
    }
    survey
}

fn find(paths: &[&str], root: Option<&str>, wanted: Option<&str>) -> Result<String, LayoutError> {
    survey(paths, root, wanted).choose()
}

#[test]
fn the_layouts_that_deployers_make_are_found() {
    let table: [(&str, &[&str], &str); 16] = [
        (
            "a zipped prisma folder",
            &[
                "prisma/schema.prisma",
                "prisma/migrations/migration_lock.toml",
                "prisma/migrations/1_a/migration.sql",
            ],
            "prisma/migrations",
        ),
        (
            "beside package.json and node_modules with migrations of their own",
            &[
                "package.json",
                "node_modules/x/migrations/1_a/migration.sql",
                "node_modules/x/prisma/migrations/migration_lock.toml",
                "packages/y/node_modules/z/migrations/1_a/migration.sql",
                "prisma/schema.prisma",
                "prisma/migrations/1_a/migration.sql",
            ],
            "prisma/migrations",
        ),
        (
            "at the root",
            &["schema.prisma", "migrations/1_a/migration.sql"],
            "migrations",
        ),
        (
            "a schema folder of several files",
            &[
                "prisma/schema/user.prisma",
                "prisma/schema/post.prisma",
                "prisma/migrations/1_a/migration.sql",
            ],
            "prisma/migrations",
        ),
        (
            "below one more folder",
            &["app-main/prisma/migrations/1_a/migration.sql"],
            "app-main/prisma/migrations",
        ),
        (
            "the migrations folder itself",
            &["migration_lock.toml", "1_a/migration.sql"],
            "",
        ),
        (
            "the migrations folder itself, without a lock file",
            &["1_a/migration.sql", "2_b/migration.sql"],
            "",
        ),
        (
            "another name than migrations",
            &["db/steps/1_a/migration.sql", "readme"],
            "db/steps",
        ),
        (
            "tests inside a migration",
            &[
                "prisma/migrations/1_a/migration.sql",
                "prisma/migrations/1_a/tests/migrations/x/migration.sql",
            ],
            "prisma/migrations",
        ),
        (
            "a migration without a script, with some further down",
            &[
                "m/migrations/migration_lock.toml",
                "m/migrations/1_a/old/1/migration.sql",
            ],
            "m/migrations",
        ),
        (
            "a stray migration.sql outside",
            &["docs/migration.sql", "prisma/migrations/1_a/migration.sql"],
            "prisma/migrations",
        ),
        (
            "a stray migration.sql beside the migrations",
            &["prisma/migrations/migration.sql", "prisma/migrations/1_a/migration.sql"],
            "prisma/migrations",
        ),
        (
            "what macOS and git leave",
            &[
                "__MACOSX/prisma/migrations/1_a/migration.sql",
                ".git/x/migrations/1/migration.sql",
                "prisma/migrations/1_a/migration.sql",
            ],
            "prisma/migrations",
        ),
        (
            "a hidden migration",
            &["prisma/migrations/.hidden/migration.sql"],
            "prisma/migrations",
        ),
        (
            "only a lock file",
            &["prisma/migrations/migration_lock.toml"],
            "prisma/migrations",
        ),
        (
            "a script that is a link",
            &["prisma/migrations/1_a/migration.sql@"],
            "prisma/migrations",
        ),
    ];
    for (case, paths, expected) in table {
        assert_eq!(find(paths, None, None).as_deref(), Ok(expected), "{case}");
        let reversed: Vec<&str> = paths.iter().rev().copied().collect();
        assert_eq!(find(&reversed, None, None).as_deref(), Ok(expected), "{case}, reversed");
    }
}

#[test]
fn the_folder_that_was_named_beats_what_it_holds() {
    let paths = ["1_a/migration.sql", "2_b/migrations/x/migration.sql"];
    assert_eq!(find(&paths, Some("migrations"), None).as_deref(), Ok(""));
    assert_eq!(find(&[], Some("migrations"), None).as_deref(), Ok(""));
}

#[test]
fn a_schema_without_migrations_is_no_error() {
    let table: [(&[&str], &str); 8] = [
        (&["prisma/schema.prisma"], "prisma/migrations"),
        (
            &["prisma/schema.prisma", "prisma/models/user.prisma"],
            "prisma/migrations",
        ),
        (
            &["prisma/schema/schema.prisma", "prisma/schema/models/user.prisma"],
            "prisma/migrations",
        ),
        (
            &["prisma/schema.prisma", "src/ops.json", "x/migration.json"],
            "prisma/migrations",
        ),
        (&["prisma/schema.prisma", "prisma/migrations/"], "prisma/migrations"),
        (&["schema.prisma"], "migrations"),
        (
            &["prisma/schema/a.prisma", "prisma/schema/b.prisma"],
            "prisma/migrations",
        ),
        (&["schema/a.prisma", "node_modules/x/schema.prisma"], "migrations"),
    ];
    for (paths, expected) in table {
        assert_eq!(find(paths, None, None).as_deref(), Ok(expected), "{paths:?}");
    }
}

#[test]
fn several_folders_are_listed() {
    let paths = [
        "a/migrations/1/migration.sql",
        "b/migrations/1/migration.sql",
        "c/other/1/migration.sql",
    ];
    let error = find(&paths, None, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "several folders hold migrations: a/migrations, b/migrations, c/other"
    );
    assert!(error.next_step().contains("--migrations-path"));
    assert_eq!(find(&paths, None, Some("b/migrations")).as_deref(), Ok("b/migrations"));
    assert_eq!(find(&paths, None, Some("./c/other/")).as_deref(), Ok("c/other"));
}

#[test]
fn nothing_of_prismas_says_what_was_found() {
    let error = find(
        &["index.html", "node_modules/a/migrations/1/migration.sql", "src/main.js"],
        None,
        None,
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("at its top level: index.html, node_modules, src"),
        "{text}"
    );
    assert!(text.contains("migration_lock.toml"), "{text}");

    let error = find(&[], None, None).unwrap_err();
    assert!(error.to_string().ends_with("it is empty"));

    let many: Vec<String> = (0..40).map(|n| format!("{n:02}/x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(find(&many, None, None).unwrap_err().to_string().ends_with("10, 11, …"));
}

#[test]
fn the_folder_asked_for_must_be_there() {
    let paths = [
        "prisma/migrations/1/migration.sql",
        "empty/",
        "file",
        "node_modules/x/m/1/migration.sql",
    ];
    for wanted in ["empty", "prisma/migrations/", "node_modules/x/m", "."] {
        assert!(find(&paths, None, Some(wanted)).is_ok(), "{wanted}");
    }
    for wanted in ["prisma/migration", "migrations", "file"] {
        let error = find(&paths, None, Some(wanted)).unwrap_err();
        assert!(matches!(error, LayoutError::Absent { .. }), "{wanted}: {error}");
    }
}

#[test]
fn a_linked_migrations_folder_is_not_taken_for_an_empty_one() {
    let paths = ["prisma/schema.prisma", "prisma/migrations@"];
    let expected = Err(LayoutError::Symlink("prisma/migrations".into()));
    assert_eq!(find(&paths, None, None), expected);
    assert_eq!(find(&paths, None, Some("prisma/migrations")), expected);
}

#[test]
fn a_prisma_8_bundle_is_recognised() {
    let bundle = [
        "migrations/snapshots/0a/contract.json",
        "migrations/app/20260101T0000_init/migration.json",
        "migrations/app/20260101T0000_init/ops.json",
    ];
    let expected = Err(LayoutError::Prisma8("migrations".into()));
    assert_eq!(find(&bundle, None, None), expected);
    assert_eq!(
        find(&[&bundle[..], &["migrations/migration_lock.toml"]].concat(), None, None),
        expected
    );
    assert_eq!(find(&bundle, None, Some("migrations")), expected);
    // Beside a history of Prisma 7 it does not matter.
    assert_eq!(
        find(
            &[&bundle[..], &["prisma/migrations/1/migration.sql"]].concat(),
            None,
            None
        )
        .as_deref(),
        Ok("prisma/migrations")
    );
}

#[test]
fn a_config_file_says_which_folder_it_is() {
    const PG: &str = "prisma/pg/20240101000000_a/migration.sql";
    const TOOLS: &str = "tools/migrations/20240101000000_b/migration.sql";
    let table: [(&[&str], &str); 13] = [
        (
            &[
                "prisma.config.ts=export default { migrations: { path: 'prisma/pg' } }",
                PG,
                TOOLS,
            ],
            "prisma/pg",
        ),
        (
            &[
                "prisma.config.ts=export default { migrations: { path: './prisma//pg/' } }",
                PG,
                TOOLS,
            ],
            "prisma/pg",
        ),
        (
            &[
                "prisma/prisma.config.js=module.exports = { migrations: { path: 'pg' } }",
                PG,
                TOOLS,
            ],
            "prisma/pg",
        ),
        (
            &[
                "a/prisma.config.mjs=export default { migrations: { path: '../prisma/pg' } }",
                PG,
                TOOLS,
            ],
            "prisma/pg",
        ),
        (
            &[
                ".config/prisma.ts=export default { migrations: { path: '../prisma/pg' } }",
                PG,
                TOOLS,
            ],
            "prisma/pg",
        ),
        (
            &[
                "prisma.config.ts=export default definePrismaConfig({ orm: orm({}) })",
                "prisma7.config.ts=export default { migrations: { path: 'prisma/pg' } }",
                PG,
                TOOLS,
            ],
            "prisma/pg",
        ),
        (
            &[
                "prisma.config.ts=export default { migrations: { path: 'tools/migrations' } }",
                "prisma7.config.ts=export default { migrations: { path: 'prisma/pg' } }",
                PG,
                TOOLS,
            ],
            "prisma/pg",
        ),
        (
            &[
                "prisma.config.ts=export default { migrations: { path: '.migrations' } }",
                ".migrations/1_a/migration.sql",
            ],
            ".migrations",
        ),
        (
            &[
                "prisma.config.ts=export default { schema: 'db/schema.prisma' }",
                "db/schema.prisma",
                "db/migrations/1_a/migration.sql",
                TOOLS,
            ],
            "db/migrations",
        ),
        (
            &[
                "prisma.config.ts=export default { schema: 'db' }",
                "db/a.prisma",
                "db/migrations/1_a/migration.sql",
                TOOLS,
            ],
            "db/migrations",
        ),
        (
            &[
                "prisma.config.ts=export default { schema: 'prisma/schema' }",
                "prisma/schema/a.prisma",
                "prisma/migrations/1_a/migration.sql",
                TOOLS,
            ],
            "prisma/migrations",
        ),
        // A project that has no migrations yet.
        (
            &[
                "prisma.config.ts=export default { migrations: { path: 'prisma/migrations' } }",
                "prisma/schema.prisma",
            ],
            "prisma/migrations",
        ),
        // It is computed, and there is one folder only.
        (
            &[
                "prisma.config.ts=export default { migrations: { path: join('prisma', 'pg') } }",
                PG,
            ],
            "prisma/pg",
        ),
    ];
    for (paths, expected) in table {
        assert_eq!(find(paths, None, None).as_deref(), Ok(expected), "{paths:?}");
        let reversed: Vec<&str> = paths.iter().rev().copied().collect();
        assert_eq!(
            find(&reversed, None, None).as_deref(),
            Ok(expected),
            "{paths:?}, reversed"
        );
    }
    let config = "prisma.config.ts=export default { migrations: { path: 'prisma/pg' } }";
    let wanted = Some("tools/migrations");
    assert_eq!(
        find(&[config, PG, TOOLS], None, wanted).as_deref(),
        Ok("tools/migrations")
    );
}

#[test]
fn nothing_is_guessed() {
    const PG: &str = "prisma/pg/20240101000000_a/migration.sql";
    const LOCK: &str = "prisma/migrations/migration_lock.toml";
    let table: [(&[&str], &str); 11] = [
        (
            &["prisma/migrations/1_a/migration.sql", "old/1_a/migration.sql"],
            "several folders hold migrations: old, prisma/migrations",
        ),
        (
            &[LOCK, PG],
            "prisma/migrations holds a lock file and no migration.sql, and there are migrations in prisma/pg",
        ),
        (
            &[
                "prisma.config.ts=export default { migrations: { path: 'prisma/migrations' } }",
                LOCK,
                PG,
            ],
            "prisma.config.ts (migrations.path) says that the migrations are in prisma/migrations, where there are none; \
             there are migrations in prisma/pg",
        ),
        (
            &[
                "prisma.config.ts=export default { schema: 'db/schema.prisma' }",
                "db/schema.prisma",
                PG,
            ],
            "prisma.config.ts (schema) says that the migrations are in db/migrations, where there are none; there are migrations in prisma/pg",
        ),
        (
            &[LOCK, ".migrations/1_a/migration.sql"],
            "and there are migrations in .migrations",
        ),
        (
            &["schema.prisma", ".migrations/1_a/migration.sql"],
            "the only migrations are in .migrations",
        ),
        (
            &["db/.old/migrations/1_a/migration.sql"],
            "the only migrations are in db/.old/migrations",
        ),
        (
            &["prisma.config.ts=export default { migrations: { path: '../pg' } }", PG],
            "prisma.config.ts (migrations.path) says that the migrations are in \"../pg\", which is not inside the artifact",
        ),
        (
            &[
                "prisma.config.ts=export default { migrations: { path: '/app/prisma/pg' } }",
                PG,
            ],
            "which is not inside the artifact",
        ),
        (
            &[
                "a/prisma.config.ts=export default { migrations: { path: 'pg' } }",
                "b/prisma.config.ts=export default { migrations: { path: 'pg' } }",
                "a/pg/1_a/migration.sql",
                "b/pg/1_a/migration.sql",
            ],
            "several folders hold migrations: a/pg, b/pg",
        ),
        (
            &[
                "prisma.config.ts=export default { migrations: { path: process.env.X ?? 'prisma/pg' } }",
                PG,
                "prisma/migrations/1_a/migration.sql",
            ],
            "several folders hold migrations: prisma/migrations, prisma/pg",
        ),
    ];
    for (paths, expected) in table {
        let error = find(paths, None, None).unwrap_err();
        assert!(error.to_string().contains(expected), "{paths:?}: {error}");
        assert!(
            error.next_step().contains("--migrations-path"),
            "{error}: {}",
            error.next_step()
        );
    }
}

#[test]
fn other_tools_are_refused_by_name() {
    let table: [(&[&str], &str); 9] = [
        (
            &["drizzle/2024_a/migration.sql", "drizzle/2024_a/snapshot.json"],
            "drizzle holds the migrations of Drizzle",
        ),
        (
            &["drizzle/2024_a/snapshot.json", "drizzle/2024_a/migration.sql"],
            "drizzle holds the migrations of Drizzle",
        ),
        (
            &["migrations/0000_a.sql", "migrations/meta/_journal.json"],
            "migrations holds the migrations of Drizzle",
        ),
        (
            &["schema.prisma", "migrations/V1__init.sql"],
            "migrations holds the migrations of Flyway",
        ),
        (
            &["prisma/schema.prisma", "db/migration/V1__init.sql"],
            "db/migration holds the migrations of Flyway",
        ),
        (
            &[
                "prisma/migrations/migration_lock.toml",
                "prisma/migrations/V1__init.sql",
            ],
            "prisma/migrations holds the migrations of Flyway",
        ),
        (
            &["migrations/20240101000000_a.js"],
            "migrations holds the migrations of Knex",
        ),
        (
            &[
                "prisma.config.ts=export default { migrations: { path: 'drizzle' } }",
                "drizzle/0000_a.sql",
                "drizzle/meta/_journal.json",
            ],
            "drizzle holds the migrations of Drizzle",
        ),
        (
            &["supabase/migrations/20240101000000_a.sql"],
            "supabase/migrations holds the migrations of Supabase",
        ),
    ];
    for (paths, expected) in table {
        let error = find(paths, None, None).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{paths:?}: {error}");
    }
    let wanted = find(&["d/2024_a/migration.sql", "d/2024_a/snapshot.json"], None, Some("d")).unwrap_err();
    assert!(wanted.to_string().contains("Drizzle"), "{wanted}");
    // Beside Prisma's own they do not matter, and a lock file says whose it is.
    for paths in [
        &[
            "prisma/migrations/1_a/migration.sql",
            "drizzle/2024_a/migration.sql",
            "drizzle/2024_a/snapshot.json",
        ][..],
        &["prisma/migrations/1_a/migration.sql", "db/migration/V1__init.sql"],
        &[
            "prisma/migrations/1_a/migration.sql",
            "prisma/migrations/1_a/snapshot.json",
            "prisma/migrations/migration_lock.toml",
        ],
    ] {
        assert_eq!(find(paths, None, None).as_deref(), Ok("prisma/migrations"), "{paths:?}");
    }
}

#[test]
fn prisma_8_beside_prisma_7_is_told_and_its_folders_are_no_migrations() {
    let seven = "prisma/migrations/20240101000000_a/migration.sql";
    let bundle = |folder: &str| [format!("{folder}/migration.json"), format!("{folder}/ops.json")];
    let beside = bundle("migrations/app/20260101T0000_init");
    let paths = [seven, &beside[0], &beside[1]];
    let seen = survey(&paths, None, None);
    let around = seen.surroundings(&seen.choose().unwrap());
    assert_eq!(
        (around.prisma8.as_deref(), around.not_migrations.len()),
        (Some("migrations"), 0)
    );

    let inside = bundle("prisma/migrations/app/20260101T0000_init");
    let paths = [
        seven,
        &inside[0],
        &inside[1],
        "prisma/migrations/snapshots/0a/contract.json",
        "prisma/migrations/ext/refs/head.json",
        "prisma/migrations/20240102000000_b/README.md",
    ];
    let seen = survey(&paths, None, None);
    let around = seen.surroundings(&seen.choose().unwrap());
    assert_eq!(around.prisma8.as_deref(), Some("prisma/migrations/app"));
    let names: Vec<&str> = around.not_migrations.iter().map(String::as_str).collect();
    assert_eq!(names, ["app", "ext", "snapshots"]);

    // Where Prisma 7 has nothing to apply, Prisma 8's are what was meant.
    for lock in ["prisma/migrations/migration_lock.toml", "prisma/schema.prisma"] {
        let error = find(&[lock, &beside[0], &beside[1]], None, None).unwrap_err();
        assert_eq!(error, LayoutError::Prisma8("migrations".into()));
    }
}

#[test]
fn the_schema_of_a_folder_is_found() {
    let table: [(&[&str], &str, &[&str]); 6] = [
        (
            &["prisma/schema.prisma", "prisma/a.prisma"],
            "prisma/migrations",
            &["prisma/schema.prisma", "prisma/a.prisma"],
        ),
        (
            &["prisma/schema.prisma", "other/schema.prisma"],
            "prisma/migrations",
            &["prisma/schema.prisma"],
        ),
        (
            &[
                "prisma/schema.prisma",
                "prisma/migrations/1_a/schema.prisma",
                "prisma/migrations/1_a/migration.sql",
            ],
            "prisma/migrations",
            &["prisma/schema.prisma"],
        ),
        (
            &["prisma/schema.prisma", "db/pg/1_a/migration.sql"],
            "db/pg",
            &["prisma/schema.prisma"],
        ),
        (
            &[
                "prisma.config.ts=export default { schema: 'x/main.prisma' }",
                "x/main.prisma",
                "prisma/schema.prisma",
            ],
            "prisma/migrations",
            &["x/main.prisma"],
        ),
        (
            &["schema.prisma", "1_a/migration.sql", "1_a/schema.prisma"],
            "",
            &["schema.prisma"],
        ),
    ];
    for (paths, folder, expected) in table {
        assert_eq!(
            survey(paths, None, None).surroundings(folder).schema_files,
            expected,
            "{paths:?}"
        );
    }
}

#[test]
fn paths_are_cleaned_and_their_faults_named() {
    let table: [(&str, &str, Option<&str>); 8] = [
        ("prisma/migrations/", "prisma/migrations", None),
        ("./prisma//migrations/.", "prisma/migrations", None),
        ("/etc/passwd", "etc/passwd", Some("is absolute")),
        ("a/../b", "b", Some("holds \"..\"")),
        ("../../b", "b", Some("holds \"..\"")),
        ("a\\b", "a/b", Some("holds a backslash")),
        ("a\0b", "a\0b", Some("holds a NUL byte")),
        ("a..b/.c", "a..b/.c", None),
    ];
    for (raw, path, fault) in table {
        assert_eq!(
            clean(raw),
            Clean {
                path: path.into(),
                fault
            },
            "{raw:?}"
        );
    }
}
