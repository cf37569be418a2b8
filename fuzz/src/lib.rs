//! What must hold for any input. The fuzz targets call these functions, and `tests/e2e/seeds.rs` runs them over the seeds.

pub mod archive;
pub mod script;
pub mod url;
