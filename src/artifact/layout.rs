//! Finds the migrations folder among the paths of an archive or a folder: pure, one path at a time.
//!
//! A candidate is a folder that holds `migration_lock.toml` or `<anything>/migration.sql`. Nothing below `node_modules`, `__MACOSX` or a folder whose name
//! starts with a dot is one: packages bring migrations of their own. What lies inside a migration's own directory (tests, copies) does not count either.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::migration::SCRIPT_FILE;

/// The file in which Prisma keeps the provider, directly inside the migrations folder.
pub const LOCK_FILE: &str = "migration_lock.toml";

/// The name that Prisma gives the migrations folder.
const MIGRATIONS: &str = "migrations";

/// How many top-level names an error lists.
const SHOWN: usize = 12;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A plain file.
    File,
    /// A symbolic link, whatever it points to.
    Symlink,
}

/// Why there is no telling where the migrations are. Paths are relative to the source's root, `.` is the root itself.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    /// Several folders could be it.
    #[error("several folders hold migrations: {}", first(.0))]
    Several(Vec<String>),
    /// Nothing of Prisma's.
    #[error("no migrations folder was found: {looked_for}; {found}")]
    Nothing {
        /// What would have been one.
        looked_for: &'static str,
        /// What stands at the top level.
        found: String,
    },
    /// The folder that was asked for is not there.
    #[error("the migrations folder {folder} is not there; {found}")]
    Absent {
        /// As asked for.
        folder: String,
        /// What stands at the top level.
        found: String,
    },
    /// The migrations folder is a link.
    #[error("the migrations folder {0} is a symbolic link, which is not followed")]
    Symlink(String),
    /// Prisma 8's bundles are another system.
    #[error(
        "{0} holds Prisma 8 migrations (migration.json and ops.json), which are another system: this program applies the migration.sql files of Prisma 7 and before"
    )]
    Prisma8(String),
}

impl LayoutError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            LayoutError::Several(_) => "say which one with --migrations-path".into(),
            LayoutError::Nothing { .. } => {
                "pack the prisma folder (prisma/schema.prisma and prisma/migrations) into the artifact, or say where the migrations are with --migrations-path".into()
            }
            LayoutError::Absent { .. } => "correct --migrations-path: it is relative to the root of the artifact".into(),
            LayoutError::Symlink(_) => "put the folder itself in the place of the link, or name it with --migrations-path".into(),
            LayoutError::Prisma8(_) => "apply them with Prisma 8 itself (prisma db migrate)".into(),
        }
    }
}

const LOOKED_FOR: &str = "a folder with migration_lock.toml or <name>/migration.sql, or a schema.prisma, outside node_modules and dot-folders";

#[derive(Default)]
struct Candidate {
    lock: bool,
    scripts: bool,
}

/// Collects what the paths of a source say about where the migrations are. Its memory grows with the folders that matter, not with the number of paths.
#[derive(Default)]
pub struct Survey {
    root_is_migrations: bool,
    wanted: Option<String>,
    wanted_exists: bool,
    candidates: BTreeMap<String, Candidate>,
    migration_folders: BTreeSet<String>,
    schemas: BTreeSet<String>,
    links: BTreeSet<String>,
    bundled_metadata: BTreeSet<String>,
    bundled_operations: BTreeSet<String>,
    top: BTreeSet<String>,
}

impl Survey {
    /// `root` is the name of the source's root folder, where it has one; `wanted` is `--migrations-path`.
    pub fn new(root: Option<&str>, wanted: Option<&str>) -> Self {
        let wanted = wanted.map(|path| clean(path).path);
        Survey {
            root_is_migrations: root == Some(MIGRATIONS),
            wanted_exists: wanted.as_deref() == Some(""),
            wanted,
            ..Survey::default()
        }
    }

    /// Takes note of one path, cleaned by [`clean`].
    pub fn see(&mut self, path: &str, kind: Kind) {
        let top = path.split('/').next().unwrap_or_default();
        if !top.is_empty() && self.top.len() <= SHOWN && !self.top.contains(top) {
            self.top.insert(top.to_owned());
        }
        if let Some(wanted) = &self.wanted
            && !self.wanted_exists
            && within(path, wanted).is_some_and(|rest| !rest.is_empty() || kind == Kind::Directory)
        {
            self.wanted_exists = true;
        }
        let (folder, name) = split(path);
        if kind == Kind::Symlink && name == MIGRATIONS {
            self.links.insert(path.to_owned());
        }
        if kind != Kind::File && !(kind == Kind::Symlink && name == SCRIPT_FILE) {
            return;
        }
        match name {
            LOCK_FILE if searched(folder) => self.candidates.entry(folder.to_owned()).or_default().lock = true,
            SCRIPT_FILE if !folder.is_empty() => {
                let (parent, migration) = split(folder);
                if searched(parent) && !matches!(migration, "node_modules" | "__MACOSX") {
                    self.migration_folders.insert(folder.to_owned());
                    self.candidates.entry(parent.to_owned()).or_default().scripts = true;
                }
            }
            "migration.json" if searched(folder) => {
                self.bundled_metadata.insert(folder.to_owned());
            }
            "ops.json" if searched(folder) => {
                self.bundled_operations.insert(folder.to_owned());
            }
            _ if name.ends_with(".prisma") && searched(folder) => {
                self.schemas.insert(schema_root(folder));
            }
            _ => {}
        }
    }

    /// Whether nothing that lies deeper in this folder can change anything: it holds a lock file, so that it is a candidate and nothing below it is
    /// another, and a migration.
    pub fn is_settled(&self, folder: &str) -> bool {
        let candidate = self.candidates.get(folder);
        candidate.is_some_and(|candidate| candidate.lock && candidate.scripts)
    }

    /// The migrations folder, relative to the source's root, once every path was seen; empty for the root itself. Beside a schema without migrations it
    /// need not exist.
    ///
    /// # Errors
    /// When there is not exactly one answer.
    pub fn choose(self) -> Result<String, LayoutError> {
        if let Some(wanted) = &self.wanted {
            if self.links.contains(wanted) {
                return Err(LayoutError::Symlink(shortened(&shown(wanted))));
            }
            if !self.wanted_exists {
                let (folder, found) = (shortened(&shown(wanted)), self.found());
                return Err(LayoutError::Absent { folder, found });
            }
            return self.settle(wanted);
        }

        let mut candidates: Vec<&str> = self.candidates.keys().map(String::as_str).collect();
        candidates.retain(|path| !self.is_nested(path));
        if candidates.iter().any(|path| self.named_migrations(path)) {
            candidates.retain(|path| self.named_migrations(path));
        }
        if candidates.is_empty()
            && let Some(bundle) = self.bundles().next()
        {
            return Err(LayoutError::Prisma8(shortened(&shown(bundle_root(bundle)))));
        }
        let beside_schemas = self.beside_schemas();
        if candidates.is_empty() {
            candidates = beside_schemas.iter().map(String::as_str).collect();
            if candidates.is_empty() && self.root_is_migrations {
                candidates.push("");
            }
        }
        match candidates[..] {
            [folder] if self.links.contains(folder) => Err(LayoutError::Symlink(shortened(&shown(folder)))),
            [folder] => self.settle(folder),
            [] => Err(LayoutError::Nothing {
                looked_for: LOOKED_FOR,
                found: self.found(),
            }),
            _ => Err(LayoutError::Several(candidates.into_iter().map(shown).collect())),
        }
    }

    fn settle(&self, folder: &str) -> Result<String, LayoutError> {
        let scripts = self.candidates.get(folder).is_some_and(|candidate| candidate.scripts);
        if !scripts && self.bundles().any(|bundle| within(bundle, folder).is_some()) {
            return Err(LayoutError::Prisma8(shortened(&shown(folder))));
        }
        Ok(folder.to_owned())
    }

    fn bundles(&self) -> impl Iterator<Item = &String> {
        self.bundled_metadata.intersection(&self.bundled_operations)
    }

    /// Where Prisma would look for the migrations of the schemas that were seen; a schema's parts in folders below it belong to it.
    fn beside_schemas(&self) -> Vec<String> {
        self.schemas
            .iter()
            .filter(|root| !ancestors(root).any(|above| self.schemas.contains(above)))
            .map(|root| join(root, MIGRATIONS))
            .collect()
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

    fn found(&self) -> String {
        if self.top.is_empty() {
            return "it is empty".into();
        }
        format!("at its top level: {}", first(&self.top))
    }
}

/// A path as it stands in an archive, made comparable.
#[derive(Debug, PartialEq, Eq)]
pub struct Clean {
    /// Without leading and doubled slashes, `.` and `..`, with `/` for a backslash.
    pub path: String,
    /// What was wrong with it: such a path is not used for more than naming it.
    pub fault: Option<&'static str>,
}

/// Reduces a path to its plain form, and says whether it held what no honest archive holds.
pub fn clean(raw: &str) -> Clean {
    let mut fault = None;
    if raw.starts_with('/') {
        fault = Some("is absolute");
    }
    if raw.contains('\\') {
        fault = Some("holds a backslash");
    }
    if raw.contains('\0') {
        fault = Some("holds a NUL byte");
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in raw.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => {
                fault = Some("holds \"..\"");
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    Clean {
        path: parts.join("/"),
        fault,
    }
}

/// The part of `path` below `folder`; empty when it is the folder itself.
pub fn within<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(folder)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('/')
    }
}

/// Joins two relative paths, either of which may be empty.
pub fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}

/// The first of these names, for a message.
fn first<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<String> = names.by_ref().take(SHOWN).map(|name| shortened(name)).collect();
    let more = if names.next().is_some() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// A folder as messages name it.
pub fn shown(folder: &str) -> String {
    if folder.is_empty() {
        ".".into()
    } else {
        folder.to_owned()
    }
}

/// A name of an archive as messages show it: it may have 64 KiB there, and nobody reads more than its beginning.
pub fn shortened(name: &str) -> String {
    const MOST: usize = 120;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// Whether migrations are looked for directly inside a folder.
pub fn searched(folder: &str) -> bool {
    folder.is_empty() || !folder.split('/').any(is_skipped)
}

/// Whether a folder of this name, and what lies below it, is left out of the search.
pub fn is_skipped(name: &str) -> bool {
    name == "node_modules" || name == "__MACOSX" || name.starts_with('.')
}

/// The folder that a path lies in; empty for the root.
pub fn parent(path: &str) -> &str {
    split(path).0
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The folder beside whose schema the migrations stand: of `prisma/schema/user.prisma` it is `prisma`.
fn schema_root(folder: &str) -> String {
    folder
        .split('/')
        .take_while(|&part| part != "schema")
        .collect::<Vec<_>>()
        .join("/")
}

/// The folders that a path lies in, the root last; none for the root.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(
        Some(path),
        |&folder| if folder.is_empty() { None } else { Some(split(folder).0) },
    )
    .skip(1)
}

/// The migrations folder of a Prisma 8 bundle's `<folder>/<space>/<name>`.
fn bundle_root(bundle: &str) -> &str {
    ancestors(bundle).nth(1).unwrap_or_default()
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
