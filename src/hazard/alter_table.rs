//! `ALTER TABLE`: the lock of each of its forms.
//!
//! Source: PostgreSQL's documentation, ALTER TABLE ("an ACCESS EXCLUSIVE lock is acquired unless explicitly noted"), and `AlterTableGetLockLevel` in
//! its sources for what that leaves open. `tests/e2e/locks.rs` runs each form on a server and reads what it took.

use super::act::{Act, Column, Storage, Using, When, Work};
use super::mode::Mode;
use super::name::Name;
use super::partition::Bounds;
use super::proof::{self, Known};
use super::tree::{calls, columns_in, if_exists, if_not_exists, name_in, text};
use super::types::TypeRef;
use squawk_syntax::SyntaxKind;
use squawk_syntax::ast::{self, AlterColumnOption, AlterTableAction, AstNode, Constraint, GeneratedAs};

const CONCURRENTLY: &str = "build the index with CREATE UNIQUE INDEX CONCURRENTLY in a migration of its own, then ADD CONSTRAINT … USING INDEX";
const NOT_VALID: &str = "add it NOT VALID, and VALIDATE CONSTRAINT in a later migration: that one only keeps others from altering the table";
const EXCLUDE: &str = "there is no way to build it CONCURRENTLY: choose a quiet hour, or keep the rule in a trigger";

/// What the forms of one `ALTER TABLE` do.
pub fn all(table: &Name, statement: &squawk_syntax::SyntaxNode, actions: Vec<AlterTableAction>) -> Vec<Act> {
    let mut all: Vec<Act> = actions.iter().flat_map(|action| acts(table, action)).collect();
    let only = super::tree::child(statement, SyntaxKind::TABLE_RELATION_NAME)
        .is_some_and(|name| super::tree::has_token(&name, SyntaxKind::ONLY_KW));
    // One statement takes the strongest of its forms' locks, and before all else.
    let strongest = all
        .iter()
        .filter(|act| act.on == *table)
        .filter_map(|act| act.mode)
        .max();
    let recurses = !only && all.iter().any(|act| act.recurses);
    for act in all.iter_mut().filter(|act| act.on == *table) {
        act.mode = strongest;
        act.recurses = recurses;
    }
    all
}

/// What one form of `ALTER TABLE` does.
fn acts(table: &Name, action: &AlterTableAction) -> Vec<Act> {
    let mut acts = of_action(table, action);
    for act in acts.iter_mut().filter(|act| act.on == *table) {
        act.recurses = recurses(action);
    }
    acts
}

/// Whether partitions and children are locked too: measured, since the documentation does not say it of each form.
fn recurses(action: &AlterTableAction) -> bool {
    use AlterTableAction as A;
    matches!(
        action,
        A::AddColumn(_)
            | A::AddConstraint(_)
            | A::AlterColumn(_)
            | A::AlterConstraint(_)
            | A::DropColumn(_)
            | A::DropConstraint(_)
            | A::RenameColumn(_)
            | A::ValidateConstraint(_)
    )
}

fn of_action(table: &Name, action: &AlterTableAction) -> Vec<Act> {
    use AlterTableAction as A;
    let brief = |mode| vec![Act::brief(table, mode)];
    let one = |mode, work| vec![Act::new(table, mode, work)];
    let store = |by, to| one(Mode::AccessExclusive, Work::Store { by, to });
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
        A::DropColumn(drop) => {
            let column = named(drop.column_name_ref());
            let when = if_exists(drop.syntax()).then(|| When::Column(table.clone(), column.clone()));
            vec![Act {
                when: when.into_iter().collect(),
                ..Act::new(table, Mode::AccessExclusive, Work::DropColumn { column })
            }]
        }
        A::DropConstraint(drop) => {
            let constraint = named(drop.constraint_name_ref());
            let when = if_exists(drop.syntax()).then(|| When::Constraint(table.clone(), constraint.clone()));
            vec![Act {
                when: when.into_iter().collect(),
                ..Act::new(table, Mode::AccessExclusive, Work::DropConstraint { constraint })
            }]
        }
        A::RenameConstraint(rename) => one(
            Mode::AccessExclusive,
            Work::RenameConstraint {
                from: named(rename.constraint_name_ref()),
                to: named(rename.constraint_name()),
            },
        ),
        A::SetSchema(set) => one(
            Mode::AccessExclusive,
            Work::Move {
                to: named(set.schema_ref()),
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
                let bounds = Bounds::read(attach.partition_type());
                let to = table.clone();
                acts.push(Act::new(&partition, Mode::AccessExclusive, Work::Attach { to, bounds }));
                acts.push(Act::new(table, Mode::ShareUpdateExclusive, Work::NewPartition));
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
        A::SetLogged(_) => store("SET LOGGED", Storage::Logged(true)),
        A::SetUnlogged(_) => store("SET UNLOGGED", Storage::Logged(false)),
        A::SetTablespace(set) => store("SET TABLESPACE", Storage::Tablespace(last_word(set.syntax()))),
        A::SetAccessMethod(set) => {
            let method = last_word(set.syntax());
            let method = (method != "default").then_some(method);
            store("SET ACCESS METHOD", Storage::AccessMethod(method))
        }
        _ => brief(Mode::AccessExclusive),
    }
}

/// What to do instead of writing a table anew where there is no other way.
pub const QUIET_HOUR: &str =
    "there is no way to do it without shutting everybody out: choose a quiet hour, or copy into a new table";

/// The name at the end of a node.
fn last_word(node: &squawk_syntax::SyntaxNode) -> String {
    let text = text(node);
    let at = text.rfind(' ').map_or(0, |at| at + 1);
    Name::read(&text[at..]).map(|name| name.name).unwrap_or_default()
}

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
            let to = set.ty().map(|ty| TypeRef::read(&text(ty.syntax()))).unwrap_or_default();
            let using = set.using_expr().and_then(|using| using.expr());
            let using = using.map_or(Using::Casts(Vec::new()), |using| {
                read_using(using.syntax(), &column, &to)
            });
            let collation = set
                .collate()
                .and_then(|collate| name_in(collate.syntax()))
                .map(|name| name.name);
            let retype = Work::Retype {
                column,
                to,
                using,
                collation,
            };
            (Mode::AccessExclusive, retype)
        }
        Some(O::SetNotNull(_)) => (Mode::AccessExclusive, Work::SetNotNull { column }),
        Some(O::DropNotNull(_)) => (Mode::AccessExclusive, Work::DropNotNull { column }),
        Some(O::SetExpression(_)) => (Mode::AccessExclusive, Work::SetExpression { column }),
        Some(O::SetStatistics(_) | O::SetOptions(_) | O::SetOptionsList(_) | O::ResetOptions(_)) => {
            (Mode::ShareUpdateExclusive, Work::Brief)
        }
        _ => (Mode::AccessExclusive, Work::Brief),
    };
    vec![Act::new(table, mode, work)]
}

/// What `USING` does with a column.
fn read_using(expression: &squawk_syntax::SyntaxNode, column: &str, to: &TypeRef) -> Using {
    let mut casts = Vec::new();
    let mut node = expression.clone();
    loop {
        let children: Vec<squawk_syntax::SyntaxNode> = node.children().collect();
        match (node.kind(), children.as_slice()) {
            (SyntaxKind::NAME_REF, _) if Name::read(&text(&node)).is_some_and(|name| name.name == column) => {
                casts.reverse();
                return Using::Casts(casts);
            }
            (SyntaxKind::PAREN_EXPR, [inner]) => node = inner.clone(),
            (SyntaxKind::CAST_EXPR, [inner, .., ty]) => {
                casts.push(TypeRef::read(&text(ty)));
                node = inner.clone();
            }
            // A type's name called like a function is a cast.
            (SyntaxKind::CALL_EXPR, [name, list]) if list.kind() == SyntaxKind::ARG_LIST => {
                let called = TypeRef::read(&text(name));
                let arguments: Vec<_> = list
                    .children()
                    .filter_map(|argument| argument.children().next())
                    .collect();
                let [argument] = arguments.as_slice() else {
                    return Using::Computes;
                };
                if called.name != to.name {
                    return Using::Computes;
                }
                casts.push(called);
                node = argument.clone();
            }
            _ => return Using::Computes,
        }
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
        ty: add.ty().map(|ty| TypeRef::read(&text(ty.syntax()))),
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
                acts.push(build(table, None, CONCURRENTLY));
            }
            Constraint::UniqueConstraint(_) => acts.push(build(table, None, CONCURRENTLY)),
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
    let when = if_not_exists(add.syntax()).then(|| When::NoColumn(table.clone(), column.name.clone()));
    acts.insert(0, Act::new(table, Mode::AccessExclusive, Work::AddColumn(column)));
    for act in &mut acts {
        act.when.extend(when.clone());
    }
    acts
}

fn build(table: &Name, makes: Option<String>, recipe: &'static str) -> Act {
    Act::new(
        table,
        Mode::AccessExclusive,
        Work::Build {
            makes,
            harmless: false,
            recipe,
        },
    )
}

fn add_constraint(table: &Name, constraint: &Constraint) -> Vec<Act> {
    // NOT ENFORCED (PostgreSQL 18) looks at no row either.
    let not_valid =
        constraint.is_not_valid() || text(constraint.syntax()).to_ascii_uppercase().contains("NOT ENFORCED");
    let name = constraint
        .constraint_name()
        .and_then(|name| name_in(name.syntax()))
        .map(|name| name.name);
    let over_index = |index: Option<Name>, primary| {
        let work = index.map_or(Work::Brief, |index| Work::OverIndex {
            index,
            constraint: name.clone(),
            primary,
        });
        vec![Act::new(table, Mode::AccessExclusive, work)]
    };
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
            if let (Some(constraint), Some(to)) = (name, &referenced) {
                let key = Work::AddForeignKey {
                    constraint,
                    to: to.clone(),
                    not_valid,
                };
                acts.push(Act::new(table, Mode::ShareRowExclusive, key));
            }
            acts.extend(referenced.map(|name| Act::brief(&name, Mode::ShareRowExclusive)));
            acts
        }
        Constraint::CheckConstraint(check) => {
            let says = check.expr().map(|expr| proof::known(expr.syntax())).unwrap_or_default();
            vec![Act::new(
                table,
                Mode::AccessExclusive,
                Work::AddCheck {
                    constraint: name,
                    says,
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
                    says: vec![Known::NotNull(column)],
                    not_valid,
                }
            } else {
                Work::SetNotNull { column }
            };
            vec![Act::new(table, Mode::AccessExclusive, work)]
        }
        Constraint::UniqueConstraint(unique) if unique.using_index().is_some() => {
            over_index(unique.using_index().and_then(|index| name_in(index.syntax())), false)
        }
        Constraint::PrimaryKeyConstraint(key) if key.using_index().is_some() => {
            over_index(key.using_index().and_then(|index| name_in(index.syntax())), true)
        }
        Constraint::ExcludeConstraint(_) => vec![build(table, name, EXCLUDE)],
        Constraint::PrimaryKeyConstraint(key) => {
            let not_null = columns_in(key.syntax());
            let mut acts = vec![build(table, name, CONCURRENTLY)];
            // The index is built over the rows anyway: to see that none is null costs nothing more.
            acts.extend(
                not_null
                    .into_iter()
                    .map(|column| Act::new(table, Mode::AccessExclusive, Work::PrimaryKey { column })),
            );
            acts
        }
        _ => vec![build(table, name, CONCURRENTLY)],
    }
}
