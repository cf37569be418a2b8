//! See the library's module `script`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| prisma_migrate_task_fuzz::script::check(data));
