//! `cargo fuzz run changes --features libfuzzer`; see `tepui_fuzz::changes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tepui_fuzz::changes(data));
