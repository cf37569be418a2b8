//! The classes of hazards: few, and stable, since `--fail-on` names them.

use clap::ValueEnum;
use serde::Serialize;
use std::fmt;

/// What kind of harm a statement may do to a database that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ValueEnum)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A large table is written anew while nobody can use it
    TableRewrite,
    /// A large table is read through while nobody can write to it
    TableScan,
    /// An index on a large table is built without CONCURRENTLY: nobody can write to the table meanwhile
    IndexBuild,
    /// Rows of a large table are changed in one transaction
    DataChange,
    /// Data are dropped that are there now, or a view
    Drop,
    /// The running application may still use the old name
    Rename,
}

impl Class {
    /// As `--fail-on` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Class::TableRewrite => "table-rewrite",
            Class::TableScan => "table-scan",
            Class::IndexBuild => "index-build",
            Class::DataChange => "data-change",
            Class::Drop => "drop",
            Class::Rename => "rename",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
