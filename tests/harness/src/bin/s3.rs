//! `s3 ADDRESS FOLDER`: the harness's S3 as a program, for tests whose program is in a container.
//!
//! `FOLDER/BUCKET/KEY` becomes an object; the one access key is that of `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a harness fails by panicking with a sentence: there is nobody to hand an error to"
)]

use std::fs;
use std::path::{Path, PathBuf};

use harness::s3::S3;

fn main() {
    let [address, folder] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .expect("usage: s3 ADDRESS FOLDER");
    let key = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let s3 = S3::listen(
        address.parse().expect("ADDRESS is an IP address and a port"),
        key("AWS_ACCESS_KEY_ID"),
        key("AWS_SECRET_ACCESS_KEY"),
    );
    let folder = PathBuf::from(folder);
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().to_str().expect("names in UTF-8");
        let (bucket, object) = name.split_once('/').expect("FOLDER holds buckets");
        s3.put(bucket, object, fs::read(&path).unwrap());
    }
    eprintln!("listening on {}", s3.endpoint());
    loop {
        std::thread::park();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}
