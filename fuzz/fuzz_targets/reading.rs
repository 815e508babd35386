#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hoiam_fuzz::reading::check(data));
