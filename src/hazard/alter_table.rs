//! `ALTER TABLE`: the lock of each of its forms.
//!
//! Source: PostgreSQL's documentation, ALTER TABLE ("an ACCESS EXCLUSIVE lock is acquired unless explicitly noted"), and `AlterTableGetLockLevel` in
//! its sources for what that leaves open. `tests/e2e/locks.rs` runs each form on a server and reads what it took.

use super::act::{Act, Column, Work};
use super::mode::Mode;
use super::name::Name;
use super::tree::{calls, name_in, text};
use squawk_syntax::SyntaxKind;
use squawk_syntax::ast::{self, AlterColumnOption, AlterTableAction, AstNode, Constraint, GeneratedAs};

const CONCURRENTLY: &str = "build the index with CREATE UNIQUE INDEX CONCURRENTLY in a migration of its own, then ADD CONSTRAINT … USING INDEX";
const NOT_VALID: &str = "add it NOT VALID, and VALIDATE CONSTRAINT in a later migration: that one only keeps others from altering the table";
const EXCLUDE: &str = "there is no way to build it CONCURRENTLY: choose a quiet hour, or keep the rule in a trigger";

/// What one form of `ALTER TABLE` does.
pub fn acts(table: &Name, action: &AlterTableAction) -> Vec<Act> {
    use AlterTableAction as A;
    let brief = |mode| vec![Act::brief(table, mode)];
    let one = |mode, work| vec![Act::new(table, mode, work)];
    let rewrite = |by, recipe| one(Mode::AccessExclusive, Work::Rewrite { by, recipe });
    match action {
        A::AddColumn(column) => add_column(table, column),
        A::AddConstraint(add) => add.constraint().map_or_else(
            || brief(Mode::AccessExclusive),
            |constraint| add_constraint(table, &constraint),
        ),
        A::AlterColumn(column) => {
            let name = column.column_name_ref().and_then(|name| name_in(name.syntax()));
            alter_column(table, &name.map(|name| name.name).unwrap_or_default(), column.option())
        }
        A::DropColumn(column) => one(
            Mode::AccessExclusive,
            Work::DropColumn {
                column: named(column.column_name_ref()),
            },
        ),
        A::DropConstraint(drop) => one(
            Mode::AccessExclusive,
            Work::DropConstraint {
                constraint: named(drop.constraint_name_ref()),
            },
        ),
        A::ValidateConstraint(validate) => one(
            Mode::ShareUpdateExclusive,
            Work::Validate {
                constraint: named(validate.constraint_name_ref()),
            },
        ),
        A::TableRenameTo(rename) => one(
            Mode::AccessExclusive,
            Work::Rename {
                to: named(rename.table_name()),
            },
        ),
        A::RenameColumn(rename) => one(
            Mode::AccessExclusive,
            Work::RenameColumn {
                from: named(rename.column_name_ref()),
                to: named(rename.column_name()),
            },
        ),
        A::AttachPartition(attach) => {
            let mut acts = brief(Mode::ShareUpdateExclusive);
            if let Some(partition) = attach.table_name_ref().and_then(|name| name_in(name.syntax())) {
                acts.push(Act::new(
                    &partition,
                    Mode::AccessExclusive,
                    Work::Scan {
                        to: "see that its rows belong into the partition",
                        recipe: "give it a validated CHECK with the partition's bounds first, then ATTACH need not read it",
                    },
                ));
            }
            acts
        }
        A::DetachPartition(detach) => {
            let concurrently = matches!(
                detach.detach_partition_option(),
                Some(ast::DetachPartitionOption::DetachConcurrently(_) | ast::DetachPartitionOption::DetachFinalize(_))
            );
            let (parent, partition) = if concurrently {
                (Mode::ShareUpdateExclusive, Mode::AccessExclusive)
            } else {
                (Mode::AccessExclusive, Mode::AccessExclusive)
            };
            let mut acts = brief(parent);
            acts.extend(
                detach
                    .table_name_ref()
                    .and_then(|name| name_in(name.syntax()))
                    .map(|name| Act::brief(&name, partition)),
            );
            acts
        }
        A::InheritTable(inherit) => {
            let mut acts = brief(Mode::AccessExclusive);
            let parent = inherit.table_name_ref().and_then(|name| name_in(name.syntax()));
            acts.extend(parent.map(|parent| Act::brief(&parent, Mode::ShareUpdateExclusive)));
            acts
        }
        A::EnableTrigger(_) | A::DisableTrigger(_) | A::EnableAlwaysTrigger(_) | A::EnableReplicaTrigger(_) => {
            brief(Mode::ShareRowExclusive)
        }
        A::ClusterOn(_) | A::SetWithoutCluster(_) => brief(Mode::ShareUpdateExclusive),
        // Only user_catalog_table needs more (`reloptions.c`).
        A::SetOptions(_) | A::ResetOptions(_) if !text(action.syntax()).contains("user_catalog_table") => {
            brief(Mode::ShareUpdateExclusive)
        }
        A::SetLogged(_) => rewrite("SET LOGGED", QUIET_HOUR),
        A::SetUnlogged(_) => rewrite("SET UNLOGGED", QUIET_HOUR),
        A::SetTablespace(_) => rewrite("SET TABLESPACE", QUIET_HOUR),
        A::SetAccessMethod(_) => rewrite("SET ACCESS METHOD", QUIET_HOUR),
        _ => brief(Mode::AccessExclusive),
    }
}

const QUIET_HOUR: &str =
    "there is no way to do it without shutting everybody out: choose a quiet hour, or copy into a new table";

fn named(node: Option<impl AstNode>) -> String {
    node.and_then(|node| name_in(node.syntax()))
        .map(|name| name.name)
        .unwrap_or_default()
}

fn alter_column(table: &Name, column: &str, option: Option<AlterColumnOption>) -> Vec<Act> {
    use AlterColumnOption as O;
    let column = column.to_owned();
    let (mode, work) = match option {
        Some(O::SetType(set)) => {
            let to = set.ty().map(|ty| text(ty.syntax())).unwrap_or_default();
            let using = set.using_expr().and_then(|using| using.expr());
            let using = using.is_some_and(|expr| !is_plain(&text(expr.syntax()), &column, &to));
            (Mode::AccessExclusive, Work::Retype { column, to, using })
        }
        Some(O::SetNotNull(_)) => (Mode::AccessExclusive, Work::SetNotNull { column }),
        Some(O::SetExpression(_)) => (
            Mode::AccessExclusive,
            Work::Rewrite {
                by: "SET EXPRESSION",
                recipe: QUIET_HOUR,
            },
        ),
        Some(O::SetStatistics(_) | O::SetOptions(_) | O::SetOptionsList(_) | O::ResetOptions(_)) => {
            (Mode::ShareUpdateExclusive, Work::Brief)
        }
        _ => (Mode::AccessExclusive, Work::Brief),
    };
    vec![Act::new(table, mode, work)]
}

/// Whether `USING` says what would be done without it: `column`, or `column::type`.
fn is_plain(using: &str, column: &str, to: &str) -> bool {
    let same = |text: &str| Name::read(text).is_some_and(|name| name.name == column && name.schema.is_none());
    match using.split_once("::") {
        Some((value, ty)) => same(value) && ty.eq_ignore_ascii_case(to),
        None => same(using) && !using.contains(['(', ' ']),
    }
}

fn add_column(table: &Name, add: &ast::AddColumn) -> Vec<Act> {
    let ty = add
        .ty()
        .map(|ty| text(ty.syntax()).to_ascii_lowercase())
        .unwrap_or_default();
    let serial = ["serial", "serial2", "serial4", "serial8", "smallserial", "bigserial"];
    let mut column = Column {
        name: named(add.column_name()),
        computed: serial.contains(&ty.as_str()),
        ..Column::default()
    };
    let mut acts = Vec::new();
    for constraint in add.constraints() {
        match constraint {
            Constraint::DefaultConstraint(default) => {
                let expression = default.expr().map(|expr| text(expr.syntax())).unwrap_or_default();
                if !expression.eq_ignore_ascii_case("null") {
                    column.default = Some(calls(default.syntax()));
                }
            }
            Constraint::GeneratedConstraint(generated) => {
                let stored =
                    |node: &squawk_syntax::SyntaxNode| node.descendants().any(|node| node.kind() == SyntaxKind::STORED);
                column.computed |= match generated.generated_as() {
                    Some(GeneratedAs::GeneratedStored(as_)) => stored(as_.syntax()),
                    _ => true,
                };
            }
            Constraint::NotNullConstraint(_) => column.not_null = true,
            Constraint::CheckConstraint(_) => column.checked = true,
            Constraint::PrimaryKeyConstraint(_) => {
                column.not_null = true;
                acts.push(build(table, CONCURRENTLY));
            }
            Constraint::UniqueConstraint(_) => acts.push(build(table, CONCURRENTLY)),
            Constraint::ReferencesConstraint(references) => {
                let referenced = references.table().and_then(|name| name_in(name.syntax()));
                acts.extend(referenced.map(|name| Act::brief(&name, Mode::ShareRowExclusive)));
                // Without a default there is nothing to look at (`transformFKConstraints`, skipValidation).
                if column.default.is_some() {
                    acts.push(Act::new(
                        table,
                        Mode::AccessExclusive,
                        Work::Scan {
                            to: "look up each row's default in the referenced table",
                            recipe: NOT_VALID,
                        },
                    ));
                }
            }
            _ => {}
        }
    }
    acts.insert(0, Act::new(table, Mode::AccessExclusive, Work::AddColumn(column)));
    acts
}

fn build(table: &Name, recipe: &'static str) -> Act {
    Act::new(
        table,
        Mode::AccessExclusive,
        Work::Build {
            harmless: false,
            recipe,
        },
    )
}

fn add_constraint(table: &Name, constraint: &Constraint) -> Vec<Act> {
    let not_valid = constraint.is_not_valid();
    let name = constraint
        .constraint_name()
        .and_then(|name| name_in(name.syntax()))
        .map(|name| name.name);
    let over_index = vec![Act::new(
        table,
        Mode::AccessExclusive,
        Work::Build {
            harmless: true,
            recipe: "",
        },
    )];
    match constraint {
        Constraint::ForeignKeyConstraint(key) => {
            let work = if not_valid {
                Work::Brief
            } else {
                Work::Scan {
                    to: "look up each row in the referenced table",
                    recipe: NOT_VALID,
                }
            };
            let mut acts = vec![Act::new(table, Mode::ShareRowExclusive, work)];
            let referenced = key.table_name_ref().and_then(|name| name_in(name.syntax()));
            acts.extend(referenced.map(|name| Act::brief(&name, Mode::ShareRowExclusive)));
            acts
        }
        Constraint::CheckConstraint(check) => {
            let not_null = check.expr().and_then(|expr| not_null_of(&text(expr.syntax())));
            vec![Act::new(
                table,
                Mode::AccessExclusive,
                Work::AddCheck {
                    constraint: name,
                    not_null,
                    not_valid,
                },
            )]
        }
        // PostgreSQL 18.
        Constraint::NotNullConstraint(not_null) => {
            let column = named(not_null.column_name_ref());
            let work = if not_valid {
                Work::AddCheck {
                    constraint: name,
                    not_null: Some(column),
                    not_valid,
                }
            } else {
                Work::SetNotNull { column }
            };
            vec![Act::new(table, Mode::AccessExclusive, work)]
        }
        Constraint::UniqueConstraint(unique) if unique.using_index().is_some() => over_index,
        Constraint::PrimaryKeyConstraint(key) if key.using_index().is_some() => over_index,
        Constraint::ExcludeConstraint(_) => vec![build(table, EXCLUDE)],
        _ => vec![build(table, CONCURRENTLY)],
    }
}

/// The column of `column IS NOT NULL`.
fn not_null_of(expression: &str) -> Option<String> {
    let name = Name::read(expression).filter(|name| name.schema.is_none())?;
    let rest = match expression.strip_prefix('"') {
        Some(_) => expression.strip_prefix(&name.quoted())?,
        None => expression.get(name.name.len()..)?,
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|w: &&str| w.eq_ignore_ascii_case(word));
    (words.len() == 3 && is(0, "is") && is(1, "not") && is(2, "null")).then_some(name.name)
}
