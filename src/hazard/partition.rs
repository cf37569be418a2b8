//! `ATTACH PARTITION`: whether the partition's constraints already say which rows are in it, so that PostgreSQL does not read it.

use super::proof::{Comparison, Constant, Known};
use super::tree::text;
use squawk_syntax::ast::{self, AstNode, PartitionType};
use std::cmp::Ordering;

/// Which rows belong into a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// `FROM (…) TO (…)` for a key of one column; none is `MINVALUE` or `MAXVALUE`.
    Range(Option<Constant>, Option<Constant>),
    /// `IN (…)`.
    List(Vec<Constant>),
    /// `DEFAULT`.
    Default,
    /// Anything else.
    Other,
}

impl Bounds {
    /// Reads what `FOR VALUES` says.
    pub fn read(partition: Option<PartitionType>) -> Bounds {
        match partition {
            Some(PartitionType::PartitionDefault(_)) => Bounds::Default,
            Some(PartitionType::PartitionForValuesIn(list)) => {
                let values: Option<Vec<Constant>> =
                    list.syntax().children().map(|node| Constant::read(&node)).collect();
                values.map_or(Bounds::Other, Bounds::List)
            }
            Some(PartitionType::PartitionForValuesFrom(range)) => {
                let side = |node: Option<squawk_syntax::SyntaxNode>| {
                    let values: Vec<_> = node?.children().collect();
                    let [value] = values.as_slice() else { return None };
                    let word = text(value);
                    if word.eq_ignore_ascii_case("minvalue") || word.eq_ignore_ascii_case("maxvalue") {
                        return Some(None);
                    }
                    Constant::read(value).map(Some)
                };
                let find =
                    |is: fn(squawk_syntax::SyntaxKind) -> bool| range.syntax().children().find(|node| is(node.kind()));
                let from = side(find(ast::PartitionFromValues::can_cast));
                let to = side(find(ast::PartitionToValues::can_cast));
                match (from, to) {
                    (Some(from), Some(to)) => Bounds::Range(from, to),
                    _ => Bounds::Other,
                }
            }
            _ => Bounds::Other,
        }
    }
}

/// Whether constraints imply bounds; none if that is not certain here.
pub fn implied(bounds: &Bounds, key: &[String], known: &[Known], not_null: bool) -> Option<bool> {
    let of_key = |known: &&Known| match known {
        Known::NotNull(_) => false,
        Known::Compared(column, ..) | Known::OneOf(column, _) => key.contains(column),
        Known::Other(columns) => columns.is_empty() || columns.iter().any(|column| key.contains(column)),
    };
    // What says nothing of the key proves nothing of it.
    if !known.iter().any(|known| of_key(&known)) {
        return Some(false);
    }
    let [column] = key else { return None };
    let not_null = not_null || known.contains(&Known::NotNull(column.clone()));
    let proved = match bounds {
        Bounds::List(values) => {
            let within = |constant: &Constant| values.iter().any(|value| value.same(constant) == Some(true));
            known.iter().any(|known| match known {
                Known::OneOf(name, constants) => name == column && constants.iter().all(within),
                _ => false,
            })
        }
        Bounds::Range(from, to) => {
            let lower = from
                .as_ref()
                .is_none_or(|from| known.iter().any(|known| at_least(known, column, from)));
            let upper = to
                .as_ref()
                .is_none_or(|to| known.iter().any(|known| below(known, column, to)));
            lower && upper
        }
        Bounds::Default | Bounds::Other => false,
    };
    match proved && not_null {
        true => Some(true),
        false => known
            .iter()
            .filter(of_key)
            .all(|known| comparable(known, bounds))
            .then_some(false),
    }
}

/// Whether each of its constants can be compared to each of the bounds: otherwise it may prove more than is seen here.
fn comparable(known: &Known, bounds: &Bounds) -> bool {
    let constants = match known {
        Known::NotNull(_) => return true,
        Known::Compared(_, _, constant) => std::slice::from_ref(constant),
        Known::OneOf(_, constants) => constants.as_slice(),
        Known::Other(_) => return false,
    };
    constants.iter().all(|constant| match bounds {
        Bounds::Range(from, to) => from.iter().chain(to).all(|bound| bound.order(constant).is_some()),
        Bounds::List(values) => values.iter().all(|value| value.same(constant).is_some()),
        Bounds::Default | Bounds::Other => false,
    })
}

fn at_least(known: &Known, column: &str, bound: &Constant) -> bool {
    let enough = |constant: &Constant| matches!(constant.order(bound), Some(Ordering::Greater | Ordering::Equal));
    match known {
        Known::Compared(name, Comparison::Greater | Comparison::GreaterOrEqual, constant) => {
            name == column && enough(constant)
        }
        Known::OneOf(name, constants) => name == column && constants.iter().all(enough),
        _ => false,
    }
}

fn below(known: &Known, column: &str, bound: &Constant) -> bool {
    let less = |constant: &Constant| constant.order(bound) == Some(Ordering::Less);
    match known {
        Known::Compared(name, Comparison::Less, constant) => {
            name == column && matches!(constant.order(bound), Some(Ordering::Less | Ordering::Equal))
        }
        Known::Compared(name, Comparison::LessOrEqual, constant) => name == column && less(constant),
        Known::OneOf(name, constants) => name == column && constants.iter().all(less),
        _ => false,
    }
}
