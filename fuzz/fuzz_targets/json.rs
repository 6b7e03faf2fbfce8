//! `cargo fuzz run json --features libfuzzer`; see `tepui_fuzz::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tepui_fuzz::json(data));
