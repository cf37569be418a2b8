//! What a `CHECK` proves, as PostgreSQL sees it: `SET NOT NULL` and `ATTACH PARTITION` do not read a table whose constraints imply what they ask.
//!
//! Only what PostgreSQL's own prover finds counts (`predtest.c`): parts joined by `AND` that compare a column to constants.

use super::name::Name;
use super::tree::{name_in, string_of, text};
use squawk_syntax::ast::AstNode;
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};
use std::cmp::Ordering;

/// One of the parts of a condition that are joined by `AND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// `column IS NOT NULL`.
    NotNull(String),
    /// `column >= constant` and the like.
    Compared(String, Comparison, Constant),
    /// `column = constant`, or one of several.
    OneOf(String, Vec<Constant>),
    /// Anything else, with the columns that it may speak of.
    Other(Vec<String>),
}

/// An order of a column and a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A constant, without the type that it is cast to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    text: String,
    number: bool,
}

impl Constant {
    /// Reads one; none of any other expression.
    pub fn read(node: &SyntaxNode) -> Option<Constant> {
        match node.kind() {
            SyntaxKind::PAREN_EXPR | SyntaxKind::CAST_EXPR => Constant::read(&node.children().next()?),
            SyntaxKind::PREFIX_EXPR => {
                let inner = Constant::read(&node.children().next()?)?;
                let negative = text(node).starts_with('-') && inner.number;
                negative.then(|| Constant {
                    text: format!("-{}", inner.text),
                    number: true,
                })
            }
            SyntaxKind::LITERAL => match string_of(node) {
                Some(text) => Some(Constant { text, number: false }),
                None => {
                    let text = text(node);
                    let number = text.parse::<f64>().is_ok();
                    (number || text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")).then(|| {
                        Constant {
                            text: text.to_ascii_lowercase(),
                            number,
                        }
                    })
                }
            },
            _ => None,
        }
    }

    /// How two constants of one type are ordered; none if that is for the type to say.
    pub fn order(&self, other: &Constant) -> Option<Ordering> {
        if self.text == other.text {
            return Some(Ordering::Equal);
        }
        let number = |constant: &Constant| constant.text.trim().parse::<i64>().ok();
        // Two quoted texts may be of a type that orders them as texts.
        if (self.number || other.number)
            && let (Some(left), Some(right)) = (number(self), number(other))
        {
            return Some(left.cmp(&right));
        }
        let (left, left_zone) = instant(&self.text)?;
        let (right, right_zone) = instant(&other.text)?;
        // The catalogue shows a time with the session's offset, which is what a time without one has.
        let comparable = left_zone == right_zone || left_zone.is_empty() || right_zone.is_empty();
        comparable.then(|| left.cmp(&right))
    }

    /// Whether two constants of one type are the same; none if that is for the type to say.
    pub fn same(&self, other: &Constant) -> Option<bool> {
        let order = self.order(other).map(|order| order == Ordering::Equal);
        let words = |constant: &Constant| !constant.text.contains(|c: char| c.is_ascii_digit());
        order.or_else(|| (words(self) && words(other)).then_some(false))
    }
}

/// A date or a time in ISO form, padded, and its offset from UTC; a time without one is the session's.
fn instant(text: &str) -> Option<(String, String)> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let rest = shape.strip_prefix("0000-00-00")?;
    let date = &text[..10];
    if rest.is_empty() {
        return Some((format!("{date} 00:00:00"), String::new()));
    }
    let rest = rest.strip_prefix([' ', 'T'])?;
    let time = rest.strip_prefix("00:00:00")?;
    let clock = &text[11..19];
    let zoned = matches!(time, "" | "+00" | "-00" | "+00:00" | "-00:00" | "Z");
    zoned.then(|| (format!("{date} {clock}"), text[19..].to_owned()))
}

/// The parts of a condition.
pub fn known(expression: &SyntaxNode) -> Vec<Known> {
    let mut parts = Vec::new();
    collect(expression, &mut parts);
    parts
}

/// The same for a constraint as `pg_get_constraintdef` writes it.
pub fn of_definition(definition: &str) -> Vec<Known> {
    let Some(at) = definition.find('(').filter(|_| definition.starts_with("CHECK")) else {
        return Vec::new();
    };
    let Some(end) = definition.rfind(')') else {
        return Vec::new();
    };
    let statement = format!("SELECT {}", &definition[at..=end]);
    let parsed = SourceFile::parse(&statement);
    let target = parsed
        .tree()
        .syntax()
        .descendants()
        .find(|node| node.kind() == SyntaxKind::TARGET)
        .and_then(|target| target.children().next());
    match target {
        Some(target) if parsed.errors().is_empty() => known(&target),
        _ => vec![Known::Other(Vec::new())],
    }
}

fn collect(node: &SyntaxNode, parts: &mut Vec<Known>) {
    let children: Vec<SyntaxNode> = node.children().collect();
    match (node.kind(), children.as_slice()) {
        (SyntaxKind::PAREN_EXPR, [inner]) => collect(inner, parts),
        (SyntaxKind::BIN_EXPR, [left, right]) if operator(node) == "AND" => {
            collect(left, parts);
            collect(right, parts);
        }
        (SyntaxKind::BETWEEN_EXPR, [value, low, high]) if !text(node).to_ascii_lowercase().contains("symmetric") => {
            match (column(value), Constant::read(low), Constant::read(high), negated(node)) {
                (Some(column), Some(low), Some(high), false) => {
                    parts.push(Known::Compared(column.clone(), Comparison::GreaterOrEqual, low));
                    parts.push(Known::Compared(column, Comparison::LessOrEqual, high));
                }
                _ => parts.push(other(node)),
            }
        }
        _ => parts.push(one(node, &children).unwrap_or_else(|| other(node))),
    }
}

fn one(node: &SyntaxNode, children: &[SyntaxNode]) -> Option<Known> {
    if node.kind() != SyntaxKind::BIN_EXPR {
        return None;
    }
    if let [value, is_not, null] = children {
        let null = is_not.kind() == SyntaxKind::IS_NOT && text(null).eq_ignore_ascii_case("null");
        return null.then(|| column(value).map(Known::NotNull)).flatten();
    }
    let [left, right] = children else { return None };
    let sign = operator(node);
    if let Some(name) = column(left) {
        if let Some(constant) = Constant::read(right) {
            return compared(name, &sign, constant, false);
        }
        let list = match sign.as_str() {
            "IN" => right.clone(),
            "=" => any(right)?,
            _ => return None,
        };
        let constants: Option<Vec<Constant>> = list.children().map(|child| Constant::read(&child)).collect();
        return constants.map(|constants| Known::OneOf(name, constants));
    }
    compared(column(right)?, &sign, Constant::read(left)?, true)
}

fn compared(column: String, sign: &str, constant: Constant, turned: bool) -> Option<Known> {
    use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
    let comparison = match (sign, turned) {
        ("=", _) => return Some(Known::OneOf(column, vec![constant])),
        ("<", false) | (">", true) => Less,
        ("<=", false) | (">=", true) => LessOrEqual,
        (">", false) | ("<", true) => Greater,
        (">=", false) | ("<=", true) => GreaterOrEqual,
        _ => return None,
    };
    Some(Known::Compared(column, comparison, constant))
}

/// The array of `ANY (ARRAY[…])`.
fn any(node: &SyntaxNode) -> Option<SyntaxNode> {
    let inside = |node: &SyntaxNode| node.children().find(|child| child.kind() == SyntaxKind::ANY_FN);
    let mut inner = inside(node)?.children().next()?;
    while matches!(inner.kind(), SyntaxKind::PAREN_EXPR | SyntaxKind::CAST_EXPR) {
        inner = inner.children().next()?;
    }
    (inner.kind() == SyntaxKind::ARRAY_EXPR).then_some(inner)
}

/// A column, in parentheses or cast to a type that it is a text of.
fn column(node: &SyntaxNode) -> Option<String> {
    match node.kind() {
        SyntaxKind::NAME_REF => name_in(node).map(|name| name.name),
        SyntaxKind::PAREN_EXPR => column(&node.children().next()?),
        SyntaxKind::CAST_EXPR => {
            let to_text = text(node).to_ascii_lowercase().ends_with("::text");
            column(&node.children().next()?).filter(|_| to_text)
        }
        _ => None,
    }
}

fn other(node: &SyntaxNode) -> Known {
    let names = node.descendants().filter(|node| node.kind() == SyntaxKind::NAME_REF);
    Known::Other(
        names
            .filter_map(|name| Name::read(&text(&name)))
            .map(|name| name.name)
            .collect(),
    )
}

/// The operator between two expressions, in upper case.
pub fn operator(node: &SyntaxNode) -> String {
    let tokens = node.children_with_tokens().filter_map(|element| element.into_token());
    let words = tokens.filter(|token| !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT));
    words.map(|token| token.text().to_ascii_uppercase()).collect()
}

fn negated(node: &SyntaxNode) -> bool {
    let mut tokens = node.children_with_tokens().filter_map(|element| element.into_token());
    tokens.any(|token| token.kind() == SyntaxKind::NOT_KW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_check() {
        let definition = "CHECK (((k IS NOT NULL) AND (k >= 10) AND ('20' > k) AND ((r)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))))";
        let parts = of_definition(definition);
        let number = |text: &str, number| Constant {
            text: text.to_owned(),
            number,
        };
        assert_eq!(
            parts,
            [
                Known::NotNull("k".into()),
                Known::Compared("k".into(), Comparison::GreaterOrEqual, number("10", true)),
                Known::Compared("k".into(), Comparison::Less, number("20", false)),
                Known::OneOf("r".into(), vec![number("a", false), number("b", false)]),
            ]
        );
        assert_eq!(
            of_definition("CHECK (((k > 1) OR (k IS NOT NULL))) NOT VALID"),
            [Known::Other(vec!["k".into(), "k".into()])]
        );
        assert_eq!(of_definition("FOREIGN KEY (a) REFERENCES b(c)"), []);
    }

    #[test]
    fn constants_are_ordered_only_as_far_as_that_is_certain() {
        let constant = |text: &str| Constant {
            text: text.to_owned(),
            number: text == "9",
        };
        let cases = [
            ("10", "9", Some(Ordering::Greater)),
            ("2024-01-01", "2024-01-01 00:00:00", Some(Ordering::Equal)),
            ("2024-01-01", "2023-12-31", Some(Ordering::Greater)),
            ("2024-01-01 00:00:00+02", "2024-01-01", Some(Ordering::Equal)),
            ("2024-01-01 00:00:00+02", "2024-01-01 00:00:00+00", None),
            ("2024-01-01 00:00:00+00", "2024-02-01 00:00:00+00", Some(Ordering::Less)),
            ("eu", "eu", Some(Ordering::Equal)),
            ("eu", "us", None),
        ];
        for (left, right, order) in cases {
            assert_eq!(constant(left).order(&constant(right)), order, "{left} {right}");
        }
    }
}
