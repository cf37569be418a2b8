//! See the library's module `archive`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| prisma_migrate_task_fuzz::archive::check(data));
