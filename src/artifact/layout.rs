//! What the paths of an archive or a folder say about where the migrations are: collected here, one path at a time, and decided in
//! [`decide`](super::decide). Pure.
//!
//! A candidate is a folder that holds `migration_lock.toml` or `<anything>/migration.sql`. Nothing below `node_modules`, `__MACOSX` or `.git` is one:
//! packages bring migrations of their own. Below any other folder whose name starts with a dot one is never taken unasked, but it is an error to pass it
//! over in silence. What lies inside a migration's own directory (tests, copies) does not count either.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::foreign::{self, Tool};
use super::project::config::{PrismaConfig, is_config};
use crate::migration::SCRIPT_FILE;

/// The file in which Prisma keeps the provider, directly inside the migrations folder.
pub const LOCK_FILE: &str = "migration_lock.toml";

/// The name that Prisma gives the migrations folder.
pub(super) const MIGRATIONS: &str = "migrations";

/// How many top-level names an error lists.
const SHOWN: usize = 12;

/// How many paths of one kind that are not the migrations' own are remembered: no project has more of them.
const MOST: usize = 1_000;

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
    /// One folder holds nothing but a lock file, and another one holds migrations.
    #[error("{empty} holds a lock file and no migration.sql, and there are migrations in {}", first(.others))]
    Leftover {
        /// The one with the lock file alone.
        empty: String,
        /// Those with migrations.
        others: Vec<String>,
    },
    /// A config file names a folder without migrations, and another one holds some.
    #[error("{config} says that the migrations are in {folder}, where there are none; there are migrations in {}", first(.others))]
    Elsewhere {
        /// The config file and its key.
        config: String,
        /// What it names.
        folder: String,
        /// Those with migrations.
        others: Vec<String>,
    },
    /// A config file names a folder outside the artifact.
    #[error("{config} says that the migrations are in {path:?}, which is not inside the artifact")]
    Outside {
        /// The config file and its key.
        config: String,
        /// What it names.
        path: String,
    },
    /// The only migrations are in hidden folders.
    #[error("the only migrations are in {}, and a hidden folder is used only if it is named", first(.0))]
    Hidden(Vec<String>),
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
    /// Another tool's migrations.
    #[error("{folder} holds the migrations of {tool}: this program applies Prisma's")]
    Foreign {
        /// Where they are.
        folder: String,
        /// Whose they are.
        tool: Tool,
    },
}

impl LayoutError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        let choose = |folders: &[String]| match folders {
            [folder] => format!("if that is the folder, add --migrations-path {}", quoted(folder)),
            _ => {
                let folder = folders.first().map_or("PATH", String::as_str);
                format!(
                    "say which one with --migrations-path, such as --migrations-path {}, or with migrations.path in prisma.config.ts",
                    quoted(folder)
                )
            }
        };
        match self {
            LayoutError::Several(folders) => choose(folders),
            LayoutError::Leftover { others, .. } => {
                format!("{}; or take the folder out of the artifact that is not used any more", choose(others))
            }
            LayoutError::Elsewhere { others, config, .. } => {
                format!("{}; or correct {config}", choose(others))
            }
            LayoutError::Hidden(folders) => choose(folders),
            LayoutError::Outside { .. } => {
                "pack the folder into the artifact and correct the path, which is relative to the config file; or name the folder that is in the artifact with --migrations-path".into()
            }
            LayoutError::Nothing { .. } => {
                "pack the prisma folder (prisma/schema.prisma and prisma/migrations) into the artifact, or say where the migrations are with --migrations-path".into()
            }
            LayoutError::Absent { .. } => "correct --migrations-path: it is relative to the root of the artifact".into(),
            LayoutError::Symlink(_) => "put the folder itself in the place of the link, or name it with --migrations-path".into(),
            LayoutError::Prisma8(_) => "apply them with Prisma 8 itself (prisma db migrate)".into(),
            LayoutError::Foreign { tool, .. } => format!(
                "apply them with {tool} itself (`{}`); if Prisma's migrations are elsewhere, name their folder with --migrations-path",
                tool.command()
            ),
        }
    }
}

/// A path for a command line.
fn quoted(path: &str) -> String {
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || "/._-@+".contains(c));
    match is_plain && !path.starts_with('-') {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

/// What was seen of a folder that may hold migrations.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    pub(super) lock: bool,
    pub(super) scripts: bool,
    /// A script has Drizzle's snapshot beside it.
    pub(super) snapshots: bool,
    /// The name of a migration begins with a digit, as Prisma names them.
    pub(super) dated: bool,
}

/// Collects what the paths of a source say about where the migrations are. Its memory grows with the folders that matter, not with the number of paths.
#[derive(Debug, Default)]
pub struct Survey {
    pub(super) root_is_migrations: bool,
    pub(super) wanted: Option<String>,
    pub(super) wanted_exists: bool,
    pub(super) candidates: BTreeMap<String, Candidate>,
    pub(super) migration_folders: BTreeSet<String>,
    /// Every schema file.
    pub(super) schemas: BTreeSet<String>,
    /// Every config file, once it was read with what it says.
    pub(super) configs: BTreeMap<String, Option<PrismaConfig>>,
    pub(super) links: BTreeSet<String>,
    pub(super) foreign: BTreeMap<String, Tool>,
    pub(super) snapshots: BTreeSet<String>,
    pub(super) bundled_metadata: BTreeSet<String>,
    pub(super) bundled_operations: BTreeSet<String>,
    /// Folders with a folder `refs` of JSON files: a space of Prisma 8's.
    pub(super) spaces: BTreeSet<String>,
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
        if kind == Kind::Symlink {
            self.see_link(path);
        }
        if kind == Kind::File || (kind == Kind::Symlink && split(path).1 == SCRIPT_FILE) {
            self.see_file(path, kind);
        }
    }

    fn see_link(&mut self, path: &str) {
        let (folder, name) = split(path);
        if name == MIGRATIONS {
            self.links.insert(path.to_owned());
        } else if zone(folder) != Zone::Skipped {
            remember(&mut self.links, path);
        }
        if is_config(path) && searched(config_root(path)) {
            // It is not followed, so what it says is not known.
            self.configs.insert(path.to_owned(), Some(PrismaConfig::opaque()));
        }
    }

    fn see_file(&mut self, path: &str, kind: Kind) {
        let (folder, name) = split(path);
        if is_config(path) && self.configs.len() < MOST && searched(config_root(path)) {
            self.configs.entry(path.to_owned()).or_default();
        }
        let is_searched = searched(folder);
        if self.foreign.len() < MOST
            && is_searched
            && let Some((folder, tool)) = foreign::tool(path, kind)
        {
            self.foreign.entry(folder.to_owned()).or_insert(tool);
        }
        match name {
            LOCK_FILE if zone(folder) != Zone::Skipped => {
                self.candidates.entry(folder.to_owned()).or_default().lock = true;
            }
            SCRIPT_FILE if !folder.is_empty() => {
                let (parent, migration) = split(folder);
                if zone(parent) != Zone::Skipped && !matches!(migration, "node_modules" | "__MACOSX" | ".git") {
                    self.migration_folders.insert(folder.to_owned());
                    let candidate = self.candidates.entry(parent.to_owned()).or_default();
                    candidate.scripts = true;
                    candidate.dated |= migration.starts_with(|c: char| c.is_ascii_digit());
                    candidate.snapshots |= self.snapshots.contains(folder);
                }
            }
            "snapshot.json" if !folder.is_empty() && zone(folder) != Zone::Skipped => {
                if self.migration_folders.contains(folder)
                    && let Some(candidate) = self.candidates.get_mut(split(folder).0)
                {
                    candidate.snapshots = true;
                }
                remember(&mut self.snapshots, folder);
            }
            "migration.json" if is_searched => remember(&mut self.bundled_metadata, folder),
            "ops.json" if is_searched => remember(&mut self.bundled_operations, folder),
            _ if name.ends_with(".json") && is_searched && split(folder).1 == "refs" => {
                remember(&mut self.spaces, split(folder).0);
            }
            _ if name.ends_with(".prisma") && is_searched => remember(&mut self.schemas, path),
            _ => {}
        }
    }

    /// The config files that were seen and not yet read.
    pub fn unread_configs(&self) -> Vec<String> {
        let unread = self.configs.iter().filter(|(_, config)| config.is_none());
        unread.map(|(path, _)| path.clone()).collect()
    }

    /// Takes note of what a config file says; without its content: that it cannot be read.
    pub fn read_config(&mut self, path: &str, content: Option<&[u8]>) {
        let text = content.and_then(|content| std::str::from_utf8(content).ok());
        let config = text.map_or_else(PrismaConfig::opaque, PrismaConfig::parse);
        self.configs.insert(path.to_owned(), Some(config));
    }

    /// Whether nothing in this folder but the directories that are no migrations can change anything: it holds a lock file, so that it is a candidate
    /// and nothing below it is another, and a migration.
    pub fn is_settled(&self, folder: &str) -> bool {
        let candidate = self.candidates.get(folder);
        candidate.is_some_and(|candidate| candidate.lock && candidate.scripts)
    }

    pub(super) fn found(&self) -> String {
        if self.top.is_empty() {
            return "it is empty".into();
        }
        format!("at its top level: {}", first(&self.top))
    }
}

fn remember(paths: &mut BTreeSet<String>, path: &str) {
    if paths.len() < MOST {
        paths.insert(path.to_owned());
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
pub(super) fn first<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
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

/// How a folder is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Migrations are looked for in it.
    Searched,
    /// It is hidden: migrations in it are seen, and not taken unasked.
    Hidden,
    /// It is another program's.
    Skipped,
}

/// How a folder is searched.
pub(super) fn zone(folder: &str) -> Zone {
    let mut zone = Zone::Searched;
    for name in folder.split('/') {
        match name {
            "node_modules" | "__MACOSX" | ".git" => return Zone::Skipped,
            _ if name.starts_with('.') => zone = Zone::Hidden,
            _ => {}
        }
    }
    zone
}

/// Whether migrations are looked for directly inside a folder.
pub fn searched(folder: &str) -> bool {
    zone(folder) == Zone::Searched
}

/// The folder that a config file is for: its own, and of `.config/prisma.ts` the one above.
pub(super) fn config_root(path: &str) -> &str {
    let folder = parent(path);
    match split(folder) {
        (above, ".config") => above,
        _ => folder,
    }
}

/// Whether a folder of this name, and what lies below it, is left out of the search.
pub fn is_skipped(name: &str) -> bool {
    name == "node_modules" || name == "__MACOSX" || name.starts_with('.')
}

/// Whether the search enters a folder of this name; a folder `.config` may hold Prisma's config file.
pub(super) fn is_entered(name: &str, hidden: bool) -> bool {
    match hidden {
        true => zone(name) != Zone::Skipped,
        false => !is_skipped(name) || name == ".config",
    }
}

/// The folder that a path lies in; empty for the root.
pub fn parent(path: &str) -> &str {
    split(path).0
}

pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The folders that a path lies in, the root last; none for the root.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(
        Some(path),
        |&folder| if folder.is_empty() { None } else { Some(split(folder).0) },
    )
    .skip(1)
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
