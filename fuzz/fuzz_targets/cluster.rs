//! `cargo fuzz run cluster --features libfuzzer`; see `tepui_fuzz::cluster`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tepui_fuzz::cluster(data));
