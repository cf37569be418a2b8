//! What a statement does to a relation, as far as its text tells: the lock that it takes, and the work that it does under it.

use super::mode::Mode;
use super::name::Name;

/// One thing that a statement does to one relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The relation.
    pub on: Name,
    /// Set where the name is an index's and its table is meant.
    pub table_of_index: bool,
    /// The lock on it; none where it is only made now.
    pub mode: Option<Mode>,
    /// What is done under the lock.
    pub work: Work,
}

impl Act {
    /// Something done to a relation under a lock.
    pub fn new(on: &Name, mode: Mode, work: Work) -> Act {
        Act {
            on: on.clone(),
            table_of_index: false,
            mode: Some(mode),
            work,
        }
    }

    /// A lock, held for as long as it takes to change the catalogue.
    pub fn brief(on: &Name, mode: Mode) -> Act {
        Act::new(on, mode, Work::Brief)
    }

    /// The same for the table of an index.
    pub fn on_table_of(index: &Name, mode: Mode, work: Work) -> Act {
        Act {
            table_of_index: true,
            ..Act::new(index, mode, work)
        }
    }

    /// A new relation.
    pub fn create(name: &Name) -> Act {
        Act {
            on: name.clone(),
            table_of_index: false,
            mode: None,
            work: Work::Create,
        }
    }
}

/// What is done under a lock, by what has to be known to say how long it takes and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A change of the catalogue: done at once.
    Brief,
    /// Makes the relation.
    Create,
    /// Writes the relation anew, whatever is in it.
    Rewrite {
        /// What does, in SQL's words.
        by: &'static str,
        /// What to do instead.
        recipe: &'static str,
    },
    /// Reads the relation through, whatever is in it.
    Scan {
        /// What for.
        to: &'static str,
        /// What to do instead.
        recipe: &'static str,
    },
    /// Builds or rebuilds an index.
    Build {
        /// `CONCURRENTLY`, or over an index that is there already.
        harmless: bool,
        /// What to do instead.
        recipe: &'static str,
    },
    /// `ADD COLUMN`.
    AddColumn(Column),
    /// `ALTER COLUMN … TYPE`.
    Retype {
        /// The column.
        column: String,
        /// The new type, as written.
        to: String,
        /// Whether `USING` does more than name the column or cast it to the new type.
        using: bool,
    },
    /// `SET NOT NULL`.
    SetNotNull {
        /// The column.
        column: String,
    },
    /// A `CHECK` that is validated at once, or `NOT VALID`.
    AddCheck {
        /// The constraint.
        constraint: Option<String>,
        /// The column, where it says `column IS NOT NULL` and nothing else.
        not_null: Option<String>,
        /// `NOT VALID`.
        not_valid: bool,
    },
    /// `VALIDATE CONSTRAINT`.
    Validate {
        /// The constraint.
        constraint: String,
    },
    /// `DROP CONSTRAINT`.
    DropConstraint {
        /// The constraint.
        constraint: String,
    },
    /// `DROP COLUMN`.
    DropColumn {
        /// The column.
        column: String,
    },
    /// `DROP TABLE`.
    DropTable,
    /// `TRUNCATE`.
    Truncate {
        /// `CASCADE`: the tables that refer to it too.
        cascade: bool,
    },
    /// A new name for the relation.
    Rename {
        /// Its new name.
        to: String,
    },
    /// A new name for a column.
    RenameColumn {
        /// Its old name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// `UPDATE`, `DELETE`, `MERGE`.
    Change {
        /// The statement's first word.
        verb: &'static str,
        /// What its `WHERE` says.
        rows: Rows,
    },
}

/// Which rows a statement changes, as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// It has no `WHERE`.
    All,
    /// It has one, and how many rows that leaves cannot be told.
    Some,
    /// Those where one of these columns has a given value.
    With(Vec<String>),
}

/// What `ADD COLUMN` says of the new column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type is `serial`, it is an identity, or it is computed and stored: each row gets a value of its own.
    pub computed: bool,
    /// `DEFAULT`: the functions that it calls.
    pub default: Option<Vec<Name>>,
    /// `NOT NULL`, or part of a primary key.
    pub not_null: bool,
    /// A `CHECK` of its own.
    pub checked: bool,
}

/// What a statement's text tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What it does to relations.
    pub acts: Vec<Act>,
    /// Schemas that it drops.
    pub dropped_schemas: Vec<String>,
    /// Why more may happen than is said here.
    pub note: Option<&'static str>,
}
