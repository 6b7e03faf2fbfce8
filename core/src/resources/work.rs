//! How much work the algebra does: comparisons of identities, ranges that are put in order, and
//! entries of bags that are looked at whole.
//!
//! Compiled for tests only, which compare how it grows with what is given; time would not tell.

use core::cell::Cell;

std::thread_local! {
    static DONE: Cell<usize> = const { Cell::new(0) };
}

/// Counts some.
pub(super) fn done(steps: usize) {
    DONE.with(|all| all.set(all.get() + steps));
}

/// Does something and returns how much work that was.
pub(crate) fn of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = DONE.with(Cell::get);
    let made = run();
    (made, DONE.with(Cell::get) - before)
}
