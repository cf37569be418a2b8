//! Which of a statement's acts are hazards: what its text tells, held against what the database is like.
//!
//! A hazard of time (a rewrite, a scan, a build, a change of rows) is one only for a table that is large and there now. What a pending statement made
//! is nobody's yet.

use super::act::{Act, Column, Rows, Work};
use super::catalogue::Relation;
use super::class::Class;
use super::mode::Mode;
use super::retype;
use super::size;
use super::world::{Found, World};

/// A hazard, before it is told where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its class.
    pub class: Class,
    /// What happens, to what.
    pub what: String,
    /// What to do instead.
    pub recipe: String,
}

const RECIPE_RETYPE: &str =
    "add a column of the new type, keep it in step by a trigger, fill it in batches, then swap the two";
const RECIPE_DEFAULT: &str = "add the column without it, fill it in batches, then set the default";
const RECIPE_NOT_NULL: &str = "add CHECK (column IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in a later migration, then SET NOT NULL: \
     it trusts the CHECK (PostgreSQL 12)";
const RECIPE_CHECK: &str = "add it NOT VALID, and VALIDATE CONSTRAINT in a later migration: that one only keeps others from altering the table";
const RECIPE_PARTITIONED: &str = "CREATE INDEX … ON ONLY the parent, CREATE INDEX CONCURRENTLY on each partition, then ALTER INDEX … ATTACH PARTITION";
const RECIPE_DROP: &str =
    "first deploy an application that no longer uses it; drop it in a later migration, with a backup at hand";
const RECIPE_RENAME: &str = "add the new name beside the old one (a view, a column kept in step), deploy the application, then drop the old one; \
     or keep the name and @map it in Prisma's schema";
const RECIPE_CHANGE: &str = "change the rows in batches that each commit, in a job beside the deploy";
const RECIPE_SPLIT: &str = "put it into a migration of its own, so that the stronger lock is gone by then";

/// The hazard of one act, if it is one.
pub fn judge(act: &Act, world: &World<'_>, large: u64) -> Option<Finding> {
    let Found::There(table) = world.find(act) else {
        return None;
    };
    let case = Case {
        act,
        world,
        table,
        large,
    };
    match &act.work {
        Work::Brief | Work::Create | Work::DropConstraint { .. } => None,
        Work::Build { harmless: true, .. } => None,
        Work::Rewrite { by, recipe } => case.slow(Class::TableRewrite, &format!("{by} writes"), "anew", recipe),
        Work::Scan { to, recipe } => case.slow(Class::TableScan, "reads all of", &format!("to {to}"), recipe),
        Work::Build { recipe, .. } => {
            let recipe = if table.partitions > 0 {
                RECIPE_PARTITIONED
            } else {
                recipe
            };
            case.slow(Class::IndexBuild, "builds an index on", "", recipe)
        }
        Work::AddColumn(column) => case.add_column(column),
        Work::Retype { column, to, using } => case.retype(column, to, *using),
        Work::SetNotNull { column } => {
            let known = table
                .column(column)
                .is_some_and(|facts| facts.not_null || facts.proven && world.facts.version >= 120_000);
            if known || world.proves_not_null(&act.on, column) {
                return None;
            }
            case.slow(
                Class::TableScan,
                "reads all of",
                &format!("to see that no {column} is null"),
                RECIPE_NOT_NULL,
            )
        }
        Work::AddCheck { not_valid: true, .. } => None,
        Work::AddCheck { .. } => case.slow(Class::TableScan, "reads all of", "to check each row", RECIPE_CHECK),
        Work::Validate { constraint } => {
            if table.constraint(constraint).is_some_and(|constraint| constraint.valid) {
                return None;
            }
            case.slow(
                Class::TableScan,
                "reads all of",
                &format!("to validate {constraint}"),
                RECIPE_CHECK,
            )
        }
        Work::DropColumn { column } if !table.empty && !world.added(&act.on, column) => Some(Finding {
            class: Class::Drop,
            what: format!("drops the column {column} of {}, and what is in it", case.table()),
            recipe: RECIPE_DROP.to_owned(),
        }),
        Work::DropTable if !table.empty => Some(Finding {
            class: Class::Drop,
            what: format!("drops {}, and what is in it", case.table()),
            recipe: RECIPE_DROP.to_owned(),
        }),
        Work::Truncate { cascade } if !table.empty => Some(Finding {
            class: Class::Drop,
            what: match (cascade, table.referencing.as_slice()) {
                (true, [_, ..]) => format!("empties {}, and {} with it", case.table(), table.referencing.join(", ")),
                _ => format!("empties {}", case.table()),
            },
            recipe: "see that nobody needs the rows; keep a copy in another table".to_owned(),
        }),
        Work::DropColumn { .. } | Work::DropTable | Work::Truncate { .. } => None,
        Work::Rename { to } => Some(Finding {
            class: Class::Rename,
            what: format!(
                "{} becomes {to}: an application that knows the old name fails from then on",
                case.table()
            ),
            recipe: RECIPE_RENAME.to_owned(),
        }),
        Work::RenameColumn { from, .. } if world.added(&act.on, from) => None,
        Work::RenameColumn { from, to } => Some(Finding {
            class: Class::Rename,
            what: format!(
                "{from} of {} becomes {to}: an application that knows the old name fails from then on",
                case.table()
            ),
            recipe: RECIPE_RENAME.to_owned(),
        }),
        Work::Change { verb, rows } => case.change(verb, rows),
    }
}

/// What is worth saying of an act that is no hazard: that it will fail.
pub fn note(act: &Act, world: &World<'_>) -> Option<String> {
    let (Work::AddColumn(column), Found::There(table)) = (&act.work, world.find(act)) else {
        return None;
    };
    let given = column.default.is_some() || column.computed;
    (column.not_null && !given && !table.empty).then(|| {
        format!(
            "fails unless {} has no rows: {} is NOT NULL and has no default",
            table.name, column.name
        )
    })
}

struct Case<'a> {
    act: &'a Act,
    world: &'a World<'a>,
    table: &'a Relation,
    large: u64,
}

impl Case<'_> {
    /// The table with its size.
    fn table(&self) -> String {
        let mut about = vec![size::bytes(self.table.bytes)];
        about.extend(self.table.rows.map(size::rows));
        if self.table.partitions > 0 {
            about.push(format!("{} partitions", self.table.partitions));
        }
        format!("{} ({})", self.table.name, about.join(", "))
    }

    /// What takes time under a lock that shuts others out, on a large table.
    fn slow(&self, class: Class, does: &str, why: &str, recipe: &str) -> Option<Finding> {
        let own = self.act.mode?;
        let (mode, since) = match self.world.held(self.act) {
            Some((held, line)) if held > own => (held, Some(line)),
            _ => (own, None),
        };
        let shuts_out = mode.shuts_out()?;
        if self.table.bytes < self.large {
            return None;
        }
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(" {why}")
        };
        let under = match since {
            Some(line) => format!("{mode}, which line {line} took and its transaction holds"),
            None => mode.to_string(),
        };
        // Where the statement by itself would be harmless, the recipe is to leave it by itself.
        let recipe = if since.is_some() && own.shuts_out().is_none() {
            RECIPE_SPLIT
        } else {
            recipe
        };
        Some(Finding {
            class,
            what: format!("{does} {}{why}, under {under}: {shuts_out}", self.table()),
            recipe: recipe.to_owned(),
        })
    }

    fn add_column(&self, column: &Column) -> Option<Finding> {
        let facts = self.world.facts;
        let own_value = column.computed
            || column.default.as_ref().is_some_and(|calls| {
                // A function that is not there yet is VOLATILE unless it says otherwise.
                facts.version < 110_000 || calls.iter().any(|call| facts.volatile.get(&call.name) != Some(&false))
            });
        if own_value {
            let why = format!("anew, since each row gets its own {}", column.name);
            return self.slow(Class::TableRewrite, "writes", &why, RECIPE_DEFAULT);
        }
        if column.checked {
            return self.slow(Class::TableScan, "reads all of", "to check each row", RECIPE_CHECK);
        }
        None
    }

    fn retype(&self, column: &str, to: &str, using: bool) -> Option<Finding> {
        let from = self.table.column(column).map(|facts| facts.ty.as_str());
        if from.is_some_and(|from| !using && retype::keeps_rows(from, to)) {
            return None;
        }
        let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
        let why = format!("anew, since {column} changes{from} to {to}");
        self.slow(Class::TableRewrite, "writes", &why, RECIPE_RETYPE)
    }

    fn change(&self, verb: &str, rows: &Rows) -> Option<Finding> {
        if self.table.bytes < self.large {
            return None;
        }
        let which = match rows {
            Rows::All => "every row",
            // WHERE CURRENT OF, or a key: one row.
            Rows::With(columns) if columns.is_empty() => return None,
            Rows::With(columns)
                if columns
                    .iter()
                    .any(|name| self.table.column(name).is_some_and(|column| column.unique)) =>
            {
                return None;
            }
            Rows::Some | Rows::With(_) => "nobody knows how many rows",
        };
        let held = self.world.held(self.act).and_then(|(mode, line)| {
            let shuts_out = mode.shuts_out()?;
            Some(format!("; under {mode}, which line {line} took, {shuts_out}"))
        });
        Some(Finding {
            class: Class::DataChange,
            what: format!(
                "{verb} of {which} of {} in one transaction: each stays locked until its end{}",
                self.table(),
                held.unwrap_or_default()
            ),
            recipe: RECIPE_CHANGE.to_owned(),
        })
    }
}

/// The locks on other relations that an act takes by the catalogue's word: the other sides of foreign keys.
pub fn locks_elsewhere(act: &Act, table: &Relation) -> Vec<(Mode, String)> {
    let referenced = table
        .constraints
        .iter()
        .filter_map(|constraint| constraint.refers_to.clone());
    match &act.work {
        Work::DropConstraint { constraint } | Work::Validate { constraint } => {
            let mode = match act.work {
                Work::Validate { .. } => Mode::RowShare,
                _ => Mode::AccessExclusive,
            };
            let other = table
                .constraint(constraint)
                .and_then(|constraint| constraint.refers_to.clone());
            other.map(|other| (mode, other)).into_iter().collect()
        }
        Work::DropTable => referenced
            .chain(table.referencing.iter().cloned())
            .map(|other| (Mode::AccessExclusive, other))
            .collect(),
        Work::Truncate { cascade: true } => {
            let others = table.referencing.iter().cloned();
            others.map(|other| (Mode::AccessExclusive, other)).collect()
        }
        _ => Vec::new(),
    }
}
