//! The archive reader.

use std::collections::HashSet;
use std::io::Cursor;

use prisma_migrate_task::artifact::{Limits, archive};

/// Small, so that what the reader holds in memory shows at once.
const LIMITS: Limits = Limits {
    entry_bytes: 1 << 20,
    total_bytes: 2 << 20,
    ..Limits::DEFAULT
};

/// What is read keeps to the limits and has names that mean one thing each; what is refused is said in few words.
///
/// # Panics
/// When one of these does not hold.
pub fn check(data: &[u8]) {
    match archive::read(Cursor::new(data), None, &LIMITS) {
        Ok(contents) => {
            let scripts = contents
                .migrations
                .iter()
                .filter_map(|migration| migration.script.size());
            let lock_file = contents.lock_file.as_ref().map(Vec::len);
            let sizes: Vec<u64> = scripts.chain(lock_file).map(|size| size as u64).collect();
            assert!(
                sizes.iter().all(|&size| size <= LIMITS.entry_bytes),
                "an entry is above its limit"
            );
            assert!(
                sizes.iter().sum::<u64>() <= LIMITS.total_bytes,
                "the entries are above their limit"
            );
            let mut names = HashSet::new();
            for migration in &contents.migrations {
                let name = migration.name.as_str();
                assert!(
                    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0']),
                    "{name:?}"
                );
                assert!(names.insert(name), "{name:?} is there twice");
            }
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.len() < 8000, "an endless message: {shown:?}");
            assert!(!error.next_step().is_empty());
        }
    }
}
