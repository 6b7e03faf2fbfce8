//! `cargo fuzz run frames --features libfuzzer`; see `tepui_fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tepui_fuzz::frames(data));
