//! Migrations whose names differ in case only.
//!
//! On Linux they are two migrations, and Prisma applies both there; on macOS and Windows one takes the place of the other when the folder is copied or
//! unpacked, mostly after a rename that left the old directory in the repository. Where both are applied already, nothing can be done about it and
//! nothing needs to be; while one is pending, somebody must say which one is meant.

use std::collections::BTreeMap;

use super::{Defect, Migration};

/// Gives every migration whose name has a twin a [`Defect`], which counts while it is pending.
pub fn mark(migrations: &mut [Migration]) {
    let mut twins: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, migration) in migrations.iter().enumerate() {
        twins.entry(migration.name.to_lowercase()).or_default().push(at);
    }
    for places in twins.into_values() {
        let [first, others @ ..] = places.as_slice() else {
            continue;
        };
        for other in others {
            let (one, two) = (migrations[*first].name.clone(), migrations[*other].name.clone());
            for at in [*first, *other] {
                let (one, other) = (one.clone(), two.clone());
                migrations[at].script.refuse(Defect::Case { one, other });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Script;

    #[test]
    fn twins_are_refused_and_keep_their_checksums() {
        let mut migrations = ["1_a", "1_A", "2_b", "3_É", "3_é"].map(|name| Migration {
            name: name.into(),
            script: Script::read(b"SELECT 1".into()),
        });
        let checksum = migrations[0].script.checksum().map(str::to_owned);
        mark(&mut migrations);
        let refused: Vec<bool> = migrations.iter().map(|migration| migration.text().is_err()).collect();
        assert_eq!(refused, [true, true, false, true, true]);
        let said = migrations[1].text().unwrap_err().to_string();
        assert!(said.starts_with("1_a and 1_A differ in case only"), "{said}");
        assert_eq!(migrations[0].script.checksum(), checksum.as_deref());
    }
}
