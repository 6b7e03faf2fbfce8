//! `cargo fuzz run texts --features libfuzzer`; see `tepui_fuzz::texts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tepui_fuzz::texts(data));
