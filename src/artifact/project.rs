//! What a project's own files say of its database, as far as they say it in literals: `schema.prisma` and `prisma.config.*`. Nothing is run.

pub mod config;
pub mod schema;
pub mod tokens;

use super::decide::{DIRECT_URL, Surroundings};
use schema::Block;

/// The largest schema or config file that is read, in bytes. The largest schema that is known has half of it.
pub const MAX_BYTES: u64 = 2 << 20;

/// How many files of one schema are read.
pub const MAX_FILES: usize = 200;

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datasource {
    /// `schemas` of the datasource: which schemas must be empty before the first deploy, besides the connection's own.
    pub schemas: Vec<String>,
    /// `tables.external` of the config, each `schema.table`: tables that Prisma does not manage.
    pub external_tables: Vec<String>,
    /// Which file names the variable `DIRECT_URL` as the URL for migrations.
    pub direct_url: Option<String>,
    /// The config file whose URL is computed, so that it may name that variable or not.
    pub computed_url: Option<String>,
    /// A folder of Prisma 8's migrations in the artifact.
    pub prisma8: Option<String>,
}

/// What was read of a project.
#[derive(Debug, Default)]
pub struct Project {
    /// What it says of the database.
    pub datasource: Datasource,
    /// The schema file and the provider that it names.
    pub provider: Option<(String, String)>,
    /// The config file that names `DIRECT_URL`.
    pub direct_url_config: Option<String>,
    /// The schema files that were read.
    pub schema_files: Vec<String>,
    /// The directory of one of Prisma 8's migrations.
    pub bundle: Option<String>,
    /// What the user should hear of.
    pub warnings: Vec<String>,
}

impl Project {
    /// Puts together what the surroundings say and what is in the schema files, each with its path; none for one that could not be read.
    pub fn of(around: Surroundings, files: &[(String, Option<Vec<u8>>)]) -> Project {
        let mut project = Project {
            warnings: around.warnings,
            direct_url_config: around.direct_url.clone(),
            schema_files: files.iter().map(|(path, _)| path.clone()).collect(),
            bundle: around.bundle,
            datasource: Datasource {
                external_tables: around.external_tables,
                direct_url: around.direct_url,
                computed_url: around.computed_url,
                prisma8: around.prisma8,
                schemas: Vec::new(),
            },
            provider: None,
        };
        if let Some(folder) = &project.datasource.prisma8 {
            project.warnings.push(format!(
                "{folder} holds Prisma 8 migrations, which this program does not apply: apply them with Prisma 8 (prisma db migrate)"
            ));
        }
        let mut blocks: Vec<(&str, Block)> = Vec::new();
        for (path, content) in files {
            let text = content.as_deref().and_then(|content| std::str::from_utf8(content).ok());
            match text.map(schema::datasource) {
                Some(Ok(Some(block))) => blocks.push((path, block)),
                Some(Ok(None)) => {}
                None | Some(Err(schema::Unreadable)) => project
                    .warnings
                    .push(format!("{path} could not be read, so its datasource is not known")),
            }
            // The file that Prisma reads where nobody says which stands first.
            if blocks.len() == 1 && path.rsplit('/').next() == Some("schema.prisma") {
                break;
            }
        }
        if let [first, others @ ..] = &blocks[..] {
            match others.iter().find(|other| other.1 != first.1) {
                None => project.take(first.0, first.1.clone()),
                Some(other) => project.warnings.push(format!(
                    "{} and {} have different datasources, so neither was read: say which one with schema in prisma.config.ts",
                    first.0, other.0
                )),
            }
        }
        project
    }

    fn take(&mut self, path: &str, block: Block) {
        self.datasource.schemas = block.schemas;
        if block.direct_url.as_deref() == Some(DIRECT_URL) {
            self.datasource.direct_url = Some(path.to_owned());
        }
        self.provider = block.provider.map(|provider| (path.to_owned(), provider));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Project {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), Some(text.as_bytes().to_vec())))
            .collect();
        Project::of(Surroundings::default(), &files)
    }

    #[test]
    fn the_datasource_is_that_of_the_schema() {
        let block = "datasource db { provider = \"postgresql\" schemas = [\"shop\"] directUrl = env(\"DIRECT_URL\") }";
        let other = "datasource db { provider = \"sqlite\" }";
        for (files, schemas, warned) in [
            (&[("prisma/schema.prisma", block)][..], 1, false),
            (
                &[
                    ("prisma/schema/a.prisma", "model A {}"),
                    ("prisma/schema/b.prisma", block),
                ],
                1,
                false,
            ),
            // The usual file beats others; of others none does.
            (
                &[("prisma/schema.prisma", block), ("prisma/test.prisma", other)],
                1,
                false,
            ),
            (&[("prisma/a.prisma", block), ("prisma/b.prisma", other)], 0, true),
            (&[("prisma/a.prisma", block), ("prisma/b.prisma", block)], 1, false),
            (&[("prisma/schema.prisma", "datasource db { url = \"")], 0, true),
            (&[], 0, false),
        ] {
            let project = of(files);
            assert_eq!(project.datasource.schemas.len(), schemas, "{files:?}");
            assert_eq!(project.datasource.direct_url.is_some(), schemas == 1, "{files:?}");
            assert_eq!(
                !project.warnings.is_empty(),
                warned,
                "{files:?}: {:?}",
                project.warnings
            );
        }
    }

    #[test]
    fn another_variable_is_not_taken_for_the_direct_url() {
        let project = of(&[("schema.prisma", "datasource db { directUrl = env(\"PATH\") }")]);
        assert_eq!(project.datasource.direct_url, None);
    }
}
