//! A binary that can be nothing but a launcher or an init: what tests and examples start, whose
//! own `main` is not theirs to choose.

fn main() {
    tepui_isolation::entry::run_if_hidden();
}
