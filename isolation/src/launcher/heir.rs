//! Tells cheaply whether the launcher has inherited orphans.
//!
//! A child belongs to the thread that made it, an orphan to the first thread of its subreaper. So
//! the launcher makes its children in a second thread, and the first has no children but orphans:
//! one system call of that thread answers what else takes a search through all processes. It does
//! nothing else.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::wait;

/// Asks the first thread.
#[derive(Debug)]
pub(super) struct Heirs {
    question: SyncSender<()>,
    answer: Receiver<bool>,
}

/// Answers, in the first thread.
#[derive(Debug)]
pub(super) struct Inheritance {
    question: Receiver<()>,
    answer: SyncSender<bool>,
}

/// Makes the two ends.
pub(super) fn pair() -> (Heirs, Inheritance) {
    let (ask, question) = sync_channel(1);
    let (give, answer) = sync_channel(1);
    let heirs = Heirs {
        question: ask,
        answer,
    };
    let inheritance = Inheritance {
        question,
        answer: give,
    };
    (heirs, inheritance)
}

impl Heirs {
    /// Returns whether there are orphans. Without an answer there may be: then one has to search.
    pub(super) fn has_orphans(&self) -> bool {
        self.question.send(()).is_err() || self.answer.recv().unwrap_or(true)
    }
}

impl Inheritance {
    /// Answers until nobody asks any more. Must run in the first thread of the process.
    pub(super) fn serve(self) {
        while self.question.recv().is_ok() {
            let has_orphans = wait::has_children().unwrap_or(true);
            if self.answer.send(has_orphans).is_err() {
                return;
            }
        }
    }
}
