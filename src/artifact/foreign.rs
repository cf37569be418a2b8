//! Migrations of other tools, known by how they lie in a folder: they must not be applied as Prisma's, and "up to date" beside them is no answer.

use super::layout::{Kind, parent};
use std::fmt;

/// Another tool for migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// `meta/_journal.json` beside the scripts; since 1.0 `<name>/migration.sql` and `<name>/snapshot.json`.
    Drizzle,
    /// `V1__init.sql`.
    Flyway,
    /// `20240101000000_init.js`.
    Knex,
    /// `20240101000000-init.js`.
    Sequelize,
    /// `1704067200000-Init.ts`.
    TypeOrm,
    /// `000001_init.up.sql`.
    GolangMigrate,
    /// `supabase/migrations/20240101000000_init.sql`.
    Supabase,
    /// `atlas.sum`.
    Atlas,
    /// `db.changelog-master.xml`.
    Liquibase,
}

impl Tool {
    /// What applies these migrations.
    pub fn command(self) -> &'static str {
        match self {
            Tool::Drizzle => "drizzle-kit migrate",
            Tool::Flyway => "flyway migrate",
            Tool::Knex => "knex migrate:latest",
            Tool::Sequelize => "sequelize db:migrate",
            Tool::TypeOrm => "typeorm migration:run",
            Tool::GolangMigrate => "migrate up",
            Tool::Supabase => "supabase db push",
            Tool::Atlas => "atlas migrate apply",
            Tool::Liquibase => "liquibase update",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tool::Drizzle => "Drizzle",
            Tool::Flyway => "Flyway",
            Tool::Knex => "Knex",
            Tool::Sequelize => "Sequelize",
            Tool::TypeOrm => "TypeORM",
            Tool::GolangMigrate => "golang-migrate",
            Tool::Supabase => "Supabase",
            Tool::Atlas => "Atlas",
            Tool::Liquibase => "Liquibase",
        })
    }
}

/// The tool whose file this is, and the folder of its migrations.
pub(super) fn tool(path: &str, kind: Kind) -> Option<(&str, Tool)> {
    if kind != Kind::File {
        return None;
    }
    let folder = parent(path);
    let name = path.rsplit('/').next().unwrap_or(path);
    if name == "_journal.json" {
        return (folder == "meta" || folder.ends_with("/meta")).then(|| (parent(folder), Tool::Drizzle));
    }
    let is_migrations = folder == "migrations" || folder.ends_with("/migrations");
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let after = &name[digits..];
    let is_program = ["js", "ts", "cjs", "mjs", "cts", "mts"]
        .iter()
        .any(|ending| name.strip_suffix(ending).is_some_and(|stem| stem.ends_with('.')));
    let tool = match name.strip_suffix(".sql") {
        Some(stem) if is_versioned(stem) => Tool::Flyway,
        Some(stem) if digits > 0 && (stem.ends_with(".up") || stem.ends_with(".down")) => Tool::GolangMigrate,
        Some(_) if digits == 14 && folder.ends_with("supabase/migrations") => Tool::Supabase,
        None if name == "atlas.sum" => Tool::Atlas,
        None if name.contains("changelog-master") || name.contains("changelog-root") => Tool::Liquibase,
        None if is_program && is_migrations && digits == 14 && after.starts_with('_') => Tool::Knex,
        None if is_program && is_migrations && digits == 14 && after.starts_with('-') => Tool::Sequelize,
        None if is_program && is_migrations && digits == 13 && after.starts_with('-') => Tool::TypeOrm,
        _ => return None,
    };
    Some((folder, tool))
}

/// Flyway's names: a prefix, a version, two underscores, a description (its documentation, "Migrations: Naming").
fn is_versioned(stem: &str) -> bool {
    let Some((version, description)) = stem.split_once("__") else {
        return false;
    };
    let is_version = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'_')
    };
    !description.is_empty() && (version == "R" || version.strip_prefix(['V', 'U', 'B']).is_some_and(is_version))
}

/// Whether a script holds the line by which Drizzle separates statements.
pub(super) fn is_drizzle_script(script: &str) -> bool {
    script.contains("--> statement-breakpoint")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tools_are_known_by_their_files() {
        for (path, expected) in [
            ("drizzle/meta/_journal.json", Some(("drizzle", Tool::Drizzle))),
            ("meta/_journal.json", Some(("", Tool::Drizzle))),
            ("drizzle/_journal.json", None),
            ("db/migration/V1__init.sql", Some(("db/migration", Tool::Flyway))),
            ("V1.2_3__more.sql", Some(("", Tool::Flyway))),
            ("db/R__views.sql", Some(("db", Tool::Flyway))),
            ("db/U2__undo.sql", Some(("db", Tool::Flyway))),
            ("db/VIEW__a.sql", None),
            ("db/V1_init.sql", None),
            ("migrations/20240101000000_init.js", Some(("migrations", Tool::Knex))),
            ("src/20240101000000_init.js", None),
            (
                "a/migrations/20240101000000-init.cjs",
                Some(("a/migrations", Tool::Sequelize)),
            ),
            (
                "a/migrations/1704067200000-Init.ts",
                Some(("a/migrations", Tool::TypeOrm)),
            ),
            (
                "a/migrations/000001_init.up.sql",
                Some(("a/migrations", Tool::GolangMigrate)),
            ),
            (
                "supabase/migrations/20240101000000_init.sql",
                Some(("supabase/migrations", Tool::Supabase)),
            ),
            ("migrations/20240101000000_init.sql", None),
            ("migrations/atlas.sum", Some(("migrations", Tool::Atlas))),
            ("prisma/migrations/migration_lock.toml", None),
            ("prisma/migrations/20240101000000_init/migration.sql", None),
        ] {
            assert_eq!(tool(path, Kind::File), expected, "{path}");
        }
        assert_eq!(tool("db/V1__init.sql", Kind::Directory), None);
    }

    #[test]
    fn drizzle_separates_statements_by_a_comment() {
        assert!(is_drizzle_script(
            "CREATE TABLE a (id int);\n--> statement-breakpoint\nSELECT 1;"
        ));
        assert!(is_drizzle_script(
            "CREATE TABLE a (id int);--> statement-breakpoint\nSELECT 1;"
        ));
        assert!(!is_drizzle_script("-- statement-breakpoint\nSELECT 1;"));
    }
}
