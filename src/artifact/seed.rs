//! The seed: what Prisma projects fill a new database with, in a file beside the migrations folder.

use super::layout;
use crate::migration::Script;

/// The name of a seed that is SQL.
pub const SEED_FILE: &str = "seed.sql";

/// The names under which Prisma's documentation keeps a seed that is a program.
const PROGRAMS: [&str; 6] = ["seed.ts", "seed.mts", "seed.js", "seed.mjs", "seed.cjs", "seed.py"];

/// A seed of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Where it is, from the artifact's root.
    pub path: String,
    /// What it is.
    pub content: Content,
}

/// What a seed is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// SQL.
    Sql(Script),
    /// A program, which this one does not run.
    Program,
}

/// Whether this path is that of a seed beside this migrations folder (of the root, there is nothing beside it).
pub fn is_seed(path: &str, migrations: &str) -> bool {
    let Some(name) = (!migrations.is_empty())
        .then(|| layout::within(path, layout::parent(migrations)))
        .flatten()
    else {
        return false;
    };
    name == SEED_FILE || PROGRAMS.contains(&name)
}

/// Of several seeds the one that counts: SQL before a program.
pub fn choose(mut seeds: Vec<Seed>) -> Option<Seed> {
    seeds.sort_by(|a, b| a.path.cmp(&b.path));
    let sql = seeds.iter().position(|seed| matches!(seed.content, Content::Sql(_)));
    match sql {
        Some(at) => Some(seeds.swap_remove(at)),
        None => seeds.into_iter().next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_beside_the_migrations_folder() {
        let cases = [
            ("prisma/seed.sql", "prisma/migrations", true),
            ("prisma/seed.ts", "prisma/migrations", true),
            ("seed.sql", "migrations", true),
            ("seed.sql", "prisma/migrations", false),
            ("prisma/migrations/seed.sql", "prisma/migrations", false),
            ("prisma/seeds/seed.sql", "prisma/migrations", false),
            ("seed.sql", "", false),
            ("prisma/seed.sh", "prisma/migrations", false),
        ];
        for (path, migrations, expected) in cases {
            assert_eq!(is_seed(path, migrations), expected, "{path} {migrations}");
        }
    }

    #[test]
    fn sql_comes_before_a_program() {
        let seed = |path: &str, content| Seed {
            path: path.into(),
            content,
        };
        let sql = seed("prisma/seed.sql", Content::Sql(Script::read(Vec::new())));
        let both = vec![seed("prisma/seed.js", Content::Program), sql.clone()];
        assert_eq!(choose(both), Some(sql));
        assert_eq!(choose(Vec::new()), None);
    }
}
