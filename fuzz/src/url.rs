//! The connection string.

use prisma_migrate_task::database::target::Target;
use prisma_migrate_task::secret::Secret;

/// Stands for a password: each `~` of the input becomes it.
const MARKER: &str = "Zq7Xw9KpVu";

/// A target can be shown without its password; an error shows nothing of a password that stood anywhere in the string.
///
/// # Panics
/// When one of these does not hold.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = text.replace('~', MARKER);
    match Target::from_url(&Secret::new(text.as_str())) {
        Ok((target, notes)) => {
            // What is shown does not depend on the secrets.
            let mut other = target.clone();
            other.password = other.password.map(|_| Secret::new("another"));
            other.tls.identity.iter_mut().for_each(|identity| {
                identity.password = identity.password.as_ref().map(|_| Secret::new("another"));
            });
            assert_eq!(format!("{target:?}"), format!("{other:?}"));
            assert_eq!(target.describe(), other.describe());
            assert!(
                !target.describe().contains(char::is_control),
                "a control character is shown"
            );
            for note in notes {
                assert!(
                    !note.to_string().contains(char::is_control),
                    "a control character is shown"
                );
            }
            for text in [&target.user, &target.database] {
                assert!(!text.contains('\0'));
            }
        }
        Err(error) => {
            let shown = format!("{error} {error:?} {}", error.next_step());
            assert!(!shown.contains(MARKER), "{shown}");
        }
    }
}
