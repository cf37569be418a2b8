//! The statement splitter and what is concluded from its statements.

use prisma_migrate_task::existing;
use prisma_migrate_task::sql::script::{Shape, Strings, is_enclosed, is_unterminated, shape, statements};
use prisma_migrate_task::sql::steps::Cut;
use prisma_migrate_task::sql::{kind, local, password, steps};

/// The statements lie in order and leave out nothing but comments, spaces and semicolons; split again, alone or joined, they come out the same; the
/// places that are derived from them can be cut at; nothing moves in a text whose passwords are starred out.
///
/// # Panics
/// When one of these does not hold.
pub fn check(data: &[u8]) {
    let Ok(script) = std::str::from_utf8(data) else { return };
    // As a migration's text: a byte order mark is taken off before it is split, and one within it is part of a word to PostgreSQL, while at the
    // beginning of a piece the lexer would take it for blank.
    if script.contains('\u{feff}') {
        return;
    }
    let found = statements(script);

    let mut end = 0;
    for statement in &found {
        let range = statement.range.clone();
        assert!(
            range.start >= end && range.start < range.end,
            "statements overlap or are empty"
        );
        assert!(statements(&script[end..range.start]).is_empty(), "text is left out");
        end = range.end;
        let text = &script[range.clone()];
        let alone = statements(text);
        assert_eq!(alone.len(), 1, "a piece is no single statement: {text:?}");
        assert_eq!(
            (alone[0].range.clone(), &alone[0].kind),
            (0..text.len(), &statement.kind),
            "{text:?}"
        );
        assert_eq!(kind::kind(text), statement.kind);
        kind::may_commit(text);
        existing::expected(text, Strings::Standard);
    }
    assert!(statements(&script[end..]).is_empty(), "text is left out at the end");

    let texts = |script: &str| -> Vec<String> {
        let found = statements(script).into_iter();
        found.map(|statement| script[statement.range].to_owned()).collect()
    };
    let pieces = texts(script);
    assert_eq!(texts(&pieces.join(";\n")), pieces);

    if let Shape::Atomic { head, .. } = shape(&found) {
        assert!(script.is_char_boundary(head), "the head would be put into a character");
    }
    is_enclosed(&found);
    is_unterminated(script);

    for cut in [Cut::Transactions, Cut::Statements] {
        let mut end = 0;
        for step in steps::steps(script, &found, 0, cut) {
            assert!(
                step.range.start >= end && step.range.end <= script.len(),
                "steps overlap"
            );
            let mut at = step.range.start;
            for place in [step.head].into_iter().chain(step.notes.iter().map(|note| note.at)) {
                assert!(
                    place >= at && place <= step.range.end && script.is_char_boundary(place),
                    "statements of ours would stand in the wrong place"
                );
                at = place;
            }
            end = step.range.end;
        }
    }
    let mut end = 0;
    for boundary in steps::boundaries(script, &found) {
        assert!(boundary.at >= end && boundary.text.len() == 64, "boundaries overlap");
        end = boundary.at;
    }
    local::obstacle(script, &found, 0, true);

    let starred = password::starred(script);
    assert_eq!(starred.chars().count(), script.chars().count());
    let hides = |(shown, given): (char, char)| shown == given || shown == '*';
    assert!(
        starred.chars().zip(script.chars()).all(hides),
        "a character was changed"
    );
}
