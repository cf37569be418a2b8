use super::*;

/// Surveys paths as a zip lists them: a trailing slash marks a directory, a trailing `@` a symbolic link.
fn find(paths: &[&str], root: Option<&str>, wanted: Option<&str>) -> Result<String, LayoutError> {
    let mut survey = Survey::new(root, wanted);
    for path in paths {
        let (path, kind) = match (path.strip_suffix('@'), path.ends_with('/')) {
            (Some(path), _) => (path, Kind::Symlink),
            (None, true) => (*path, Kind::Directory),
            (None, false) => (*path, Kind::File),
        };
        survey.see(&clean(path).path, kind);
    }
    survey.choose()
}

#[test]
fn the_layouts_that_deployers_make_are_found() {
    let table: [(&str, &[&str], &str); 17] = [
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
            "one named migrations beats another",
            &["prisma/migrations/1_a/migration.sql", "old/1_a/migration.sql"],
            "prisma/migrations",
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
        "several folders hold migrations: a/migrations, b/migrations"
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
