//! The bodies of the fuzz targets over their seeds, so that a target that no longer holds is seen without a fuzzer.

#[path = "../../fuzz/src/archive.rs"]
mod archive;
#[path = "../../fuzz/src/script.rs"]
mod script;
#[path = "../../fuzz/src/url.rs"]
mod url;

use std::fs;
use std::path::Path;

#[test]
fn the_seeds_of_each_fuzz_target_hold() {
    type Check = fn(&[u8]);
    let targets: [(&str, Check); 3] = [
        ("archive", archive::check),
        ("script", script::check),
        ("url", url::check),
    ];
    for (target, check) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut seeds: Vec<_> = fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path()).collect();
        seeds.sort();
        assert!(seeds.len() >= 5, "{target} has hardly a seed");
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            check(&bytes);
            // Every prefix and a few changed bytes: a short walk around each seed.
            for end in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
                check(&bytes[..end]);
                let mut changed = bytes.clone();
                changed[end] = changed[end].wrapping_add((end as u8) | 1);
                check(&changed);
            }
        }
    }
}
