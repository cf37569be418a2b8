//! What a statement does to a relation, as far as its text tells: the lock that it takes, and the work that it does under it.

use super::mode::Mode;
use super::name::Name;
use super::partition::Bounds;
use super::proof::Known;
use super::types::TypeRef;

/// One thing that a statement does to one relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The relation.
    pub on: Name,
    /// Set if the name is an index's and its table is meant.
    pub table_of_index: bool,
    /// The lock on it; none if it is only made now.
    pub mode: Option<Mode>,
    /// What is done under the lock.
    pub work: Work,
    /// `IF [NOT] EXISTS`: what must be so, or nothing is done.
    pub when: Vec<When>,
    /// Whether its partitions and children are locked and worked on as well.
    pub recurses: bool,
}

/// What `IF [NOT] EXISTS` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The relation exists; without it nothing is locked either.
    Exists(Name),
    /// No relation has this name; otherwise nothing is locked either.
    Missing(Name),
    /// The table has no column of this name.
    NoColumn(Name, String),
    /// The table has a column of this name.
    Column(Name, String),
    /// The table has a constraint of this name.
    Constraint(Name, String),
    /// No relation of this name is in the table's schema; the table is locked in any case.
    NoIndex(Name, String),
}

impl Act {
    /// Something done to a relation under a lock.
    pub fn new(on: &Name, mode: Mode, work: Work) -> Act {
        Act {
            on: on.clone(),
            table_of_index: false,
            mode: Some(mode),
            work,
            when: Vec::new(),
            recurses: false,
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
    pub fn create(name: &Name, made: Made) -> Act {
        Act {
            on: name.clone(),
            table_of_index: false,
            mode: None,
            work: Work::Create(Box::new(made)),
            when: Vec::new(),
            recurses: false,
        }
    }

    /// The same, if this holds.
    pub fn only(mut self, when: When) -> Act {
        self.when.push(when);
        self
    }
}

/// What is known of a relation that a statement makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `ON COMMIT DROP`.
    pub until_commit: bool,
    /// Its columns; none if the text does not tell them all.
    pub columns: Option<Vec<MadeColumn>>,
    /// Its constraints that have a name.
    pub constraints: Vec<String>,
    /// `PARTITION BY`: its strategy's first letter and the columns of its key.
    pub partitioned: Option<(char, Vec<String>)>,
    /// The parent that it is the default partition of.
    pub default_of: Option<Name>,
}

/// A column of such a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Option<TypeRef>,
    /// `NOT NULL`, or part of the primary key.
    pub not_null: bool,
}

/// What is done under a lock, by what has to be known to say how long it takes and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A change of the catalogue: done at once.
    Brief,
    /// Makes the relation.
    Create(Box<Made>),
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
        /// The name of a new one, or of its constraint.
        makes: Option<String>,
        /// `CONCURRENTLY`, or `ON ONLY`.
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
        /// The new type.
        to: TypeRef,
        /// How the values become ones of it.
        using: Using,
        /// `COLLATE`.
        collation: Option<String>,
    },
    /// `DROP NOT NULL`.
    DropNotNull {
        /// The column.
        column: String,
    },
    /// Where and how a table is stored: nothing is done if it is so already.
    Store {
        /// What does, in SQL's words.
        by: &'static str,
        /// What it is to be.
        to: Storage,
    },
    /// `SET EXPRESSION`.
    SetExpression {
        /// The column.
        column: String,
    },
    /// A constraint over an index that exists.
    OverIndex {
        /// The index.
        index: Name,
        /// The constraint, if it has a name.
        constraint: Option<String>,
        /// `PRIMARY KEY`: its columns become `NOT NULL`.
        primary: bool,
    },
    /// A column of a new primary key: `NOT NULL` from now on.
    PrimaryKey {
        /// The column.
        column: String,
    },
    /// The partition of `ATTACH PARTITION`.
    Attach {
        /// The table that it becomes a partition of.
        to: Name,
        /// Which rows belong into it.
        bounds: Bounds,
    },
    /// A new partition keeps rows out of the default partition of this parent.
    NewPartition,
    /// `SET NOT NULL`.
    SetNotNull {
        /// The column.
        column: String,
    },
    /// A `CHECK` that is validated at once, or `NOT VALID`.
    AddCheck {
        /// The constraint.
        constraint: Option<String>,
        /// What it says of each row.
        says: Vec<Known>,
        /// `NOT VALID`.
        not_valid: bool,
    },
    /// A foreign key that has a name.
    AddForeignKey {
        /// The constraint.
        constraint: String,
        /// The table that it refers to.
        to: Name,
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
    /// `DROP TABLE`, `DROP VIEW`, `DROP MATERIALIZED VIEW`, `DROP FOREIGN TABLE`.
    Drop {
        /// `CASCADE`.
        cascade: bool,
    },
    /// A new name for an index or a sequence, which the application does not use.
    RenameIndex {
        /// Its new name.
        to: String,
    },
    /// `DROP INDEX`, and what else may be dropped without a loss.
    DropOther,
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
    /// `SET SCHEMA`.
    Move {
        /// Its new schema.
        to: String,
    },
    /// A new name for a constraint.
    RenameConstraint {
        /// Its old name.
        from: String,
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

/// What `USING` does with a column, as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Using {
    /// Casts it to these types, one after the other; to none without `USING`.
    Casts(Vec<TypeRef>),
    /// More than that.
    Computes,
}

/// What a table's storage is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In this tablespace.
    Tablespace(String),
    /// `LOGGED`, or not.
    Logged(bool),
    /// By this access method; none is the default.
    AccessMethod(Option<String>),
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
    /// Its type.
    pub ty: Option<TypeRef>,
    /// Its type is `serial`, it is an identity, or it is computed and stored: each row gets a value of its own.
    pub computed: bool,
    /// `DEFAULT`: the functions that it calls.
    pub default: Option<Vec<Name>>,
    /// `NOT NULL`, or part of a primary key.
    pub not_null: bool,
    /// A `CHECK` of its own.
    pub checked: bool,
}

/// What a statement does to a type or a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeAct {
    /// The type.
    pub on: Name,
    /// What is done.
    pub work: TypeWork,
}

/// What is done to a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeWork {
    /// `CREATE TYPE … AS ENUM`, with its values.
    CreateEnum(Vec<String>),
    /// `CREATE DOMAIN`.
    CreateDomain {
        /// The type below it.
        base: TypeRef,
        /// Its `CHECK`s, by their names.
        checks: Vec<Option<String>>,
        /// `NOT NULL`.
        not_null: bool,
        /// The functions that its default calls.
        default: Vec<Name>,
    },
    /// Any other `CREATE TYPE`.
    CreateOther,
    /// `ADD VALUE`.
    AddValue {
        /// The value.
        value: String,
        /// `IF NOT EXISTS`.
        if_missing: bool,
    },
    /// `RENAME VALUE`.
    RenameValue {
        /// Its old name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// `RENAME ATTRIBUTE`.
    RenameAttribute {
        /// Its old name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// `RENAME TO`.
    Rename {
        /// Its new name.
        to: String,
    },
    /// `SET SCHEMA`.
    Move {
        /// Its new schema.
        to: String,
    },
    /// `ALTER DOMAIN … ADD CONSTRAINT … CHECK`.
    AddCheck {
        /// The constraint.
        constraint: Option<String>,
        /// `NOT VALID`.
        not_valid: bool,
    },
    /// `ALTER DOMAIN … VALIDATE CONSTRAINT`.
    Validate {
        /// The constraint.
        constraint: String,
    },
    /// `ALTER DOMAIN … DROP CONSTRAINT`.
    DropCheck {
        /// The constraint.
        constraint: String,
    },
    /// `ALTER DOMAIN … SET NOT NULL`, or `DROP NOT NULL`.
    NotNull(bool),
    /// `DROP TYPE`, `DROP DOMAIN`.
    Drop {
        /// `CASCADE`.
        cascade: bool,
    },
}

/// What a statement does to a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaAct {
    /// `DROP SCHEMA`.
    Drop {
        /// The schema.
        name: String,
        /// `CASCADE`: without it a schema that holds anything stays, and the statement fails.
        cascade: bool,
    },
    /// `ALTER SCHEMA … RENAME TO`.
    Rename {
        /// Its old name.
        from: String,
        /// Its new name.
        to: String,
    },
}

/// A setting that changes what later statements of the migration mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `search_path`; none if it cannot be read.
    Path(Option<Vec<String>>),
    /// `TimeZone`; none if it cannot be read.
    TimeZone(Option<String>),
    /// Back to how the session began.
    All,
}

/// What later statements may meet that the text does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opaque {
    /// Other schemas may be searched.
    Path,
    /// Anything may have been made.
    Anything,
}

/// What a statement needs to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The relation.
    pub relation: Name,
    /// Columns of it.
    pub columns: Vec<String>,
}

/// What a statement's text tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What it does to relations.
    pub acts: Vec<Act>,
    /// What it does to types.
    pub types: Vec<TypeAct>,
    /// What it does to schemas.
    pub schemas: Vec<SchemaAct>,
    /// Extensions that it drops with all that uses them.
    pub dropped_extensions: Vec<String>,
    /// What it sets, and whether only for its transaction.
    pub setting: Option<(Setting, bool)>,
    /// What it needs to exist.
    pub needs: Vec<Need>,
    /// What else may happen.
    pub opaque: Option<Opaque>,
    /// Why more may happen than is said here.
    pub note: Option<&'static str>,
}

impl Reading {
    /// Whether nothing follows from it for what comes later.
    pub fn is_empty(&self) -> bool {
        self.acts.is_empty()
            && self.types.is_empty()
            && self.schemas.is_empty()
            && self.dropped_extensions.is_empty()
            && self.setting.is_none()
            && self.needs.is_empty()
            && self.opaque.is_none()
    }
}
