//! What is done to relations as a whole: `TRUNCATE`, `REINDEX`, `VACUUM`, `CLUSTER`, `REFRESH`, `LOCK`.

use super::act::{Act, Work};
use super::mode::Mode;
use super::name::Name;
use super::tree::{has, has_token, name_in, text};
use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

const REINDEX_CONCURRENTLY: &str = "REINDEX … CONCURRENTLY, in a migration of its own";
const REPACK: &str = "pg_repack does it while the table is in use";
const REFRESH: &str = "give it a unique index, and REFRESH MATERIALIZED VIEW CONCURRENTLY";

/// Its acts; none of any other statement.
pub fn maintained(statement: Stmt) -> Vec<Act> {
    let node = statement.syntax().clone();
    let paths = |root: Option<SyntaxNode>| -> Vec<Name> {
        let relation =
            |node: &SyntaxNode| matches!(node.kind(), SyntaxKind::TABLE_RELATION_NAME | SyntaxKind::RELATION_NAME);
        let nodes = root.into_iter().flat_map(|root| root.descendants().collect::<Vec<_>>());
        nodes.filter(relation).filter_map(|node| name_in(&node)).collect()
    };
    let all = |names: Vec<Name>, mode, work: Work| {
        names
            .iter()
            .map(|name| Act::new(name, mode, work.clone()))
            .collect::<Vec<_>>()
    };
    let rewrite = |by, recipe| Work::Rewrite { by, recipe };
    match statement {
        Stmt::Truncate(truncate) => {
            let names = paths(truncate.table_list().map(|list| list.syntax().clone()));
            let cascade = has(&node, SyntaxKind::CASCADE);
            all(names, Mode::AccessExclusive, Work::Truncate { cascade })
        }
        Stmt::Vacuum(_) => {
            let full = has_token(&node, SyntaxKind::FULL_KW);
            let (mode, work) = if full {
                (Mode::AccessExclusive, rewrite("VACUUM FULL", REPACK))
            } else {
                (Mode::ShareUpdateExclusive, Work::Brief)
            };
            all(paths(Some(node)), mode, work)
        }
        Stmt::Analyze(_) => all(paths(Some(node)), Mode::ShareUpdateExclusive, Work::Brief),
        Stmt::Cluster(cluster) => {
            let table = cluster.table_name_ref().and_then(|name| name_in(name.syntax()));
            all(
                table.into_iter().collect(),
                Mode::AccessExclusive,
                rewrite("CLUSTER", REPACK),
            )
        }
        Stmt::Refresh(refresh) => {
            let concurrently = has_token(&node, SyntaxKind::CONCURRENTLY_KW);
            let view = refresh.view_ref().and_then(|view| name_in(view.syntax()));
            let (mode, work) = if concurrently {
                (Mode::Exclusive, Work::Brief)
            } else {
                (Mode::AccessExclusive, rewrite("REFRESH MATERIALIZED VIEW", REFRESH))
            };
            all(view.into_iter().collect(), mode, work)
        }
        Stmt::Lock(lock) => {
            let words = lock.lock_mode_clause().map(|clause| text(clause.syntax()));
            let mode = words.and_then(|words| {
                let words = words.to_ascii_uppercase();
                Mode::from_words(words.trim_start_matches("IN ").trim_end_matches(" MODE"))
            });
            let names = paths(lock.relation_list().map(|list| list.syntax().clone()));
            all(names, mode.unwrap_or(Mode::AccessExclusive), Work::Brief)
        }
        Stmt::Reindex(reindex) => {
            let concurrently = has_token(&node, SyntaxKind::CONCURRENTLY_KW);
            let mode = if concurrently {
                Mode::ShareUpdateExclusive
            } else {
                Mode::Share
            };
            let work = Work::Build {
                makes: None,
                harmless: concurrently,
                recipe: REINDEX_CONCURRENTLY,
            };
            match reindex.reindex_target() {
                Some(ast::ReindexTarget::ReindexTargetTable(table)) => {
                    let name = name_in(table.syntax());
                    name.map(|name| Act::new(&name, mode, work)).into_iter().collect()
                }
                Some(ast::ReindexTarget::ReindexTargetIndex(index)) => match name_in(index.syntax()) {
                    Some(name) => {
                        let on_index = if concurrently { mode } else { Mode::AccessExclusive };
                        vec![Act::on_table_of(&name, mode, work), Act::brief(&name, on_index)]
                    }
                    None => Vec::new(),
                },
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}
