//! Decides, from what a [`Survey`] has seen, which folder holds the migrations and which files say more about them. Pure.
//!
//! In this order: `--migrations-path`; `migrations.path` or `schema` of a config file, as Prisma reads it; the only folder that holds migrations. Where
//! more than one could be meant nothing is guessed.

use std::collections::BTreeSet;

use super::foreign::Tool;
use super::layout::{
    Candidate, LayoutError, MIGRATIONS, Survey, Zone, ancestors, clean, config_root, join, parent, searched, shortened,
    shown, split, within, zone,
};
use super::project::MAX_FILES;
use super::project::config::{Literal, PrismaConfig, Url};

const LOOKED_FOR: &str = "a folder with migration_lock.toml or <name>/migration.sql, or a schema.prisma, outside node_modules and dot-folders";

/// The variable that holds the URL past a pooler, by Prisma's convention.
pub const DIRECT_URL: &str = "DIRECT_URL";

/// What is known of the chosen folder beside its migrations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The schema files that may hold its datasource, the likeliest first.
    pub schema_files: Vec<String>,
    /// Directories in it that are Prisma 8's, and no migrations.
    pub not_migrations: BTreeSet<String>,
    /// A folder of Prisma 8's migrations.
    pub prisma8: Option<String>,
    /// One of Prisma 8's migrations.
    pub bundle: Option<String>,
    /// `tables.external` of the config.
    pub external_tables: Vec<String>,
    /// The config file that names `env("DIRECT_URL")`.
    pub direct_url: Option<String>,
    /// The config file whose `datasource.url` is computed.
    pub computed_url: Option<String>,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// A folder that a config file names.
struct Named {
    config: String,
    key: &'static str,
    folder: String,
}

impl Survey {
    /// The migrations folder, relative to the source's root, once every path was seen and every config read; empty for the root itself. Beside a schema
    /// without migrations it need not exist.
    ///
    /// # Errors
    /// When there is not exactly one answer, or it is not Prisma's.
    pub fn choose(&self) -> Result<String, LayoutError> {
        let folder = match &self.wanted {
            Some(wanted) => self.wanted(wanted)?,
            None => match self.named()? {
                Some(named) => self.as_named(named)?,
                None => self.only()?,
            },
        };
        if self.links.contains(&folder) {
            return Err(LayoutError::Symlink(shortened(&shown(&folder))));
        }
        self.check(&folder)?;
        Ok(folder)
    }

    /// Whether there are migrations in a folder that was searched.
    pub fn has_scripts(&self) -> bool {
        let mut candidates = self.candidates.iter();
        candidates.any(|(path, candidate)| candidate.scripts && searched(path))
    }

    /// Whether a config file names a folder in which nothing was searched: one that is hidden.
    pub fn names_hidden(&self) -> bool {
        let named = self.named().ok().flatten();
        named.is_some_and(|named| !searched(&named.folder))
    }

    fn wanted(&self, wanted: &str) -> Result<String, LayoutError> {
        if !self.wanted_exists && !self.links.contains(wanted) {
            let (folder, found) = (shortened(&shown(wanted)), self.found());
            return Err(LayoutError::Absent { folder, found });
        }
        Ok(wanted.to_owned())
    }

    /// The folder that the config files name.
    fn named(&self) -> Result<Option<Named>, LayoutError> {
        let mut all: Vec<Named> = Vec::new();
        for (path, config) in self.effective_configs() {
            let named = match (&config.migrations_path, &config.schema) {
                (Literal::Given(text), _) => {
                    let key = "migrations.path";
                    let outside = || LayoutError::Outside {
                        config: format!("{path} ({key})"),
                        path: shortened(text),
                    };
                    let folder = resolve(parent(path), text).ok_or_else(outside)?;
                    Some((key, folder))
                }
                (Literal::Absent, Literal::Given(text)) => {
                    let schema = resolve(parent(path), text);
                    schema.map(|schema| ("schema", self.beside(&schema)))
                }
                _ => None,
            };
            if let Some((key, folder)) = named
                && !all.iter().any(|other| other.folder == folder)
            {
                let config = path.to_owned();
                all.push(Named { config, key, folder });
            }
        }
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(LayoutError::Several(
                all.iter().map(|named| shown(&named.folder)).collect(),
            )),
        }
    }

    /// Where Prisma looks for the migrations of a schema: beside the file with its datasource. Of a folder of files that may be one above.
    fn beside(&self, schema: &str) -> String {
        if schema.ends_with(".prisma") {
            return join(parent(schema), MIGRATIONS);
        }
        let (inside, above) = (join(schema, MIGRATIONS), join(parent(schema), MIGRATIONS));
        match self.candidates.contains_key(&above) && !self.candidates.contains_key(&inside) {
            true => above,
            false => inside,
        }
    }

    /// The folder that a config names, unless it is another one that holds the migrations.
    fn as_named(&self, named: Named) -> Result<String, LayoutError> {
        let has_scripts = self
            .candidates
            .get(&named.folder)
            .is_some_and(|candidate| candidate.scripts);
        if has_scripts || self.links.contains(&named.folder) {
            return Ok(named.folder);
        }
        self.check(&named.folder)?;
        let mut others = self.plausible(|path| zone(path) != Zone::Skipped);
        others.retain(|(path, candidate)| candidate.scripts && **path != named.folder);
        if others.is_empty() {
            self.nothing_elsewhere()?;
            return Ok(named.folder);
        }
        Err(LayoutError::Elsewhere {
            config: format!("{} ({})", named.config, named.key),
            folder: shown(&named.folder),
            others: others.into_iter().map(|(path, _)| shown(path)).collect(),
        })
    }

    /// The only folder that can be meant where nobody says which.
    fn only(&self) -> Result<String, LayoutError> {
        let candidates = self.plausible(searched);
        let paths = |scripts: bool| -> Vec<&str> {
            let candidates = candidates.iter().filter(|(_, candidate)| candidate.scripts == scripts);
            candidates.map(|(path, _)| path.as_str()).collect()
        };
        let owned = |paths: &[&str]| paths.iter().map(|path| shown(path)).collect::<Vec<_>>();
        let (full, empty) = (paths(true), paths(false));
        match (&full[..], &empty[..]) {
            ([folder], []) => return Ok((*folder).to_owned()),
            ([_, ..], [empty, ..]) => {
                return Err(LayoutError::Leftover {
                    empty: shown(empty),
                    others: owned(&full),
                });
            }
            ([_, _, ..], []) => return Err(LayoutError::Several(owned(&full))),
            ([], _) => {}
        }
        self.without_migrations(&empty)
    }

    /// The folder that will hold the migrations where there are none yet; that must not be because they lie where nobody looks.
    fn without_migrations(&self, empty: &[&str]) -> Result<String, LayoutError> {
        let beside_schemas = self.beside_schemas();
        let mut folders = empty.to_vec();
        if folders.is_empty() && self.bundles().next().is_none() {
            folders.extend(beside_schemas.iter().map(String::as_str));
            if folders.is_empty() && self.root_is_migrations {
                folders.push("");
            }
        }
        if let [folder] = folders[..] {
            self.check(folder)?;
        }
        let mut hidden = self.plausible(|path| zone(path) == Zone::Hidden);
        hidden.retain(|(_, candidate)| candidate.scripts);
        if !hidden.is_empty() {
            let others: Vec<String> = hidden.iter().map(|(path, _)| shown(path)).collect();
            return Err(match empty.first() {
                Some(empty) => LayoutError::Leftover {
                    empty: shown(empty),
                    others,
                },
                None => LayoutError::Hidden(others),
            });
        }
        self.nothing_elsewhere()?;
        match folders[..] {
            [folder] => Ok(folder.to_owned()),
            [] => Err(LayoutError::Nothing {
                looked_for: LOOKED_FOR,
                found: self.found(),
            }),
            _ => Err(LayoutError::Several(folders.iter().map(|path| shown(path)).collect())),
        }
    }

    /// The candidates that can be meant: none that lies inside a migration, none of another tool, and no stray script beside others.
    fn plausible(&self, is_meant: impl Fn(&str) -> bool) -> Vec<(&String, &Candidate)> {
        let mut candidates: Vec<(&String, &Candidate)> = self.candidates.iter().collect();
        candidates.retain(|(path, candidate)| is_meant(path) && !self.is_nested(path) && !is_drizzle(candidate));
        let is_stray =
            |path: &str, candidate: &Candidate| !candidate.lock && !candidate.dated && !self.named_migrations(path);
        if candidates.iter().any(|(path, candidate)| !is_stray(path, candidate)) {
            candidates.retain(|(path, candidate)| !is_stray(path, candidate));
        }
        candidates
    }

    /// What a folder must not be, whoever chose it.
    fn check(&self, folder: &str) -> Result<(), LayoutError> {
        let candidate = self.candidates.get(folder);
        let has_scripts = candidate.is_some_and(|candidate| candidate.scripts);
        if !has_scripts && self.bundles().any(|bundle| within(bundle, folder).is_some()) {
            return Err(LayoutError::Prisma8(shortened(&shown(folder))));
        }
        let tool = match candidate {
            Some(candidate) if is_drizzle(candidate) => Some(Tool::Drizzle),
            _ if !has_scripts => self.foreign.get(folder).copied(),
            _ => None,
        };
        match tool {
            Some(tool) => Err(LayoutError::Foreign {
                folder: shortened(&shown(folder)),
                tool,
            }),
            None => Ok(()),
        }
    }

    /// Where Prisma has no migrations, those of Prisma 8 or of another tool are what was meant.
    fn nothing_elsewhere(&self) -> Result<(), LayoutError> {
        if let Some(bundle) = self.bundles().next() {
            return Err(LayoutError::Prisma8(shortened(&shown(bundle_root(bundle)))));
        }
        let drizzle = self
            .candidates
            .iter()
            .find(|(path, candidate)| is_drizzle(candidate) && searched(path));
        let drizzle = drizzle.map(|(path, _)| (path, Tool::Drizzle));
        let foreign = drizzle.or_else(|| self.foreign.iter().next().map(|(path, tool)| (path, *tool)));
        match foreign {
            Some((folder, tool)) => Err(LayoutError::Foreign {
                folder: shortened(&shown(folder)),
                tool,
            }),
            None => Ok(()),
        }
    }

    fn bundles(&self) -> impl Iterator<Item = &String> {
        self.bundled_metadata.intersection(&self.bundled_operations)
    }

    /// Where Prisma would look for the migrations of the schemas that were seen; a schema's parts in folders below it belong to it.
    fn beside_schemas(&self) -> Vec<String> {
        let roots: BTreeSet<String> = self.schemas.iter().map(|file| schema_root(parent(file))).collect();
        let is_own = |root: &&String| !ancestors(root).any(|above| roots.contains(above));
        roots.iter().filter(is_own).map(|root| join(root, MIGRATIONS)).collect()
    }

    fn named_migrations(&self, path: &str) -> bool {
        match path {
            "" => self.root_is_migrations,
            _ => split(path).1 == MIGRATIONS,
        }
    }

    /// Whether a candidate lies inside a migration of another one.
    fn is_nested(&self, path: &str) -> bool {
        let is_migration = |folder: &str| self.migration_folders.contains(folder) && split(folder).1 != MIGRATIONS;
        let is_certain = |folder: &str| {
            self.candidates
                .get(folder)
                .is_some_and(|candidate| candidate.lock || self.named_migrations(folder))
        };
        is_migration(path) || ancestors(path).any(|folder| is_migration(folder) || is_certain(folder))
    }

    /// The config files of Prisma 6 and 7 that count, with what they say. Prisma 7.10 prefers `prisma7.config.*`, and a file in `.config` is the last.
    fn effective_configs(&self) -> Vec<(&str, &PrismaConfig)> {
        let rank = |path: &str| match (split(path).1.starts_with("prisma7."), config_root(path) == parent(path)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        let read = self
            .configs
            .iter()
            .filter_map(|(path, config)| Some((path.as_str(), config.as_ref()?)));
        let own: Vec<(&str, &PrismaConfig)> = read.filter(|(_, config)| !config.is_prisma8).collect();
        let is_first = |path: &str| {
            let mut beside = own.iter().filter(|(other, _)| config_root(other) == config_root(path));
            !beside.any(|(other, _)| rank(other) < rank(path))
        };
        own.iter().copied().filter(|(path, _)| is_first(path)).collect()
    }

    /// What is known of this folder, chosen by [`Survey::choose`] or by hand.
    pub fn surroundings(&self, folder: &str) -> Surroundings {
        let mut around = Surroundings {
            schema_files: self.schema_files(folder),
            not_migrations: self.not_migrations(folder),
            ..Surroundings::default()
        };
        let bundle = self.bundles().next();
        around.bundle = bundle.cloned();
        around.prisma8 = bundle.map(|bundle| match within(bundle, folder) {
            Some(below) => join(folder, below.split('/').next().unwrap_or_default()),
            None => shown(bundle_root(bundle)),
        });
        for (path, config) in self.effective_configs() {
            around.warnings.extend(self.unread(path, config));
            if let Literal::Given(tables) = &config.external_tables {
                around.external_tables.extend(tables.iter().cloned());
            }
            match &config.url {
                Literal::Given(Url::Variable(name)) if name == DIRECT_URL => around.direct_url = Some(path.to_owned()),
                Literal::Computed => around.computed_url = Some(path.to_owned()),
                _ => {}
            }
        }
        let is_schema = |link: &&String| link.ends_with(".prisma") && [parent(folder), ""].contains(&parent(link));
        for link in self.links.iter().filter(is_schema) {
            around
                .warnings
                .push(format!("{link} is a symbolic link, so it was not read"));
        }
        if around.schema_files.len() > MAX_FILES {
            around.schema_files.truncate(MAX_FILES);
            let what = format!("the schema has more than {MAX_FILES} files: the others were not read");
            around.warnings.push(what);
        }
        for table in around.external_tables.iter().filter(|table| !table.contains('.')) {
            let what = format!(
                "tables.external: {table:?} names no schema, so it has no effect: write it as \"public.{table}\""
            );
            around.warnings.push(what);
        }
        around
    }

    /// What could not be read of a config file.
    fn unread(&self, path: &str, config: &PrismaConfig) -> Vec<String> {
        if config.is_opaque {
            return vec![format!(
                "{path} could not be read as an object of plain values, so nothing in it was used"
            )];
        }
        let keys = [
            (
                "migrations.path",
                config.migrations_path == Literal::Computed && self.wanted.is_none(),
            ),
            ("schema", config.schema == Literal::Computed),
            ("tables.external", config.external_tables == Literal::Computed),
        ];
        let unread = keys.iter().filter(|(_, is_computed)| *is_computed);
        unread
            .map(|(key, _)| format!("{path}: {key} is computed and no plain string, so it was not read"))
            .collect()
    }

    /// Directories of this folder that hold what Prisma 8 keeps there.
    fn not_migrations(&self, folder: &str) -> BTreeSet<String> {
        let top = |path: &String| {
            let below = within(path, folder)?;
            let name = below.split('/').next().filter(|name| !name.is_empty())?;
            (!self.migration_folders.contains(&join(folder, name))).then(|| name.to_owned())
        };
        let mut names: BTreeSet<String> = self.bundles().filter_map(top).collect();
        if !names.is_empty() {
            names.extend(self.spaces.iter().filter_map(top));
            names.extend(top(&join(folder, "snapshots")));
        }
        names
    }

    fn schema_files(&self, folder: &str) -> Vec<String> {
        // A migration's own directory may hold the schema as it was then.
        let is_old = |file: &str| ancestors(file).any(|above| self.migration_folders.contains(above));
        let all = || {
            self.schemas
                .iter()
                .filter(|file| !is_old(file) && (folder.is_empty() || within(file, folder).is_none()))
        };
        for (path, config) in self.effective_configs() {
            let Literal::Given(text) = &config.schema else { continue };
            let Some(schema) = resolve(parent(path), text) else {
                continue;
            };
            let files: Vec<String> = self
                .schemas
                .iter()
                .filter(|file| within(file, &schema).is_some())
                .cloned()
                .collect();
            if !files.is_empty() {
                return files;
            }
        }
        // The file that Prisma reads where nobody says which, then its parts.
        let in_order = |root: &str| {
            let mut files: Vec<String> = all().filter(|file| within(file, root).is_some()).cloned().collect();
            let usual = [join(root, "schema.prisma"), join(root, "prisma/schema.prisma")];
            files.sort_by_key(|file| usual.iter().position(|usual| usual == file).unwrap_or(usual.len()));
            files
        };
        let beside = match folder {
            "" => Vec::new(),
            folder => in_order(parent(folder)),
        };
        match beside.is_empty() {
            true => in_order(""),
            false => beside,
        }
    }
}

fn is_drizzle(candidate: &Candidate) -> bool {
    candidate.snapshots && !candidate.lock
}

/// A path that a file in this folder gives, from the source's root; none where it leads out of it.
fn resolve(folder: &str, text: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    if text.starts_with('/') || text.contains(['\\', '\0']) {
        return None;
    }
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(clean(&parts.join("/")).path)
}

/// The folder beside whose schema the migrations stand: of `prisma/schema/user.prisma` it is `prisma`.
fn schema_root(folder: &str) -> String {
    folder
        .split('/')
        .take_while(|&part| part != "schema")
        .collect::<Vec<_>>()
        .join("/")
}

/// The migrations folder of a Prisma 8 bundle's `<folder>/<space>/<name>`.
fn bundle_root(bundle: &str) -> &str {
    ancestors(bundle).nth(1).unwrap_or_default()
}
