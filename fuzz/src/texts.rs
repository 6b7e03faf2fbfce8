//! Texts that people type: whatever parses is printed in a form that parses back to the same.

use std::fmt::Display;

use tepui_core::attributes::Attributes;
use tepui_core::ids::TaskId;
use tepui_core::resources::{Milli, Quantities, Resources};
use tepui_core::roles::Role;

/// Parses a text as everything that has a text form.
pub fn texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    parses_back(text, Resources::parse);
    parses_back(text, Attributes::parse);
    parses_back(text, Quantities::parse);
    parses_back(text, |t| t.parse::<Milli>());
    parses_back(text, Role::new);
    parses_back(text, TaskId::new);
}

fn parses_back<T, E>(text: &str, parse: impl Fn(&str) -> Result<T, E>)
where
    T: Display + PartialEq + std::fmt::Debug,
    E: Display + std::fmt::Debug,
{
    match parse(text) {
        Ok(value) => {
            let printed = value.to_string();
            let again = parse(&printed);
            assert_eq!(again.ok().as_ref(), Some(&value), "{text:?} -> {printed:?}");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n'), "an error is one line: {line:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEEDS: [&str; 6] = [
        "cpus:2;mem(eng):1024;ports:[31000-31005]",
        "rack:r1;zone:[1-3];speed:2.5",
        "a:{x,y};b:[1-2,4-18446744073709551615]",
        "cpus:1e3;mem:.5;disk:3.",
        "[0-18446744073709551615]",
        "é:1;\u{7f}:2;;",
    ];

    #[test]
    fn seeds_and_every_prefix_of_them() {
        for seed in SEEDS {
            for end in 0..=seed.len() {
                texts(&seed.as_bytes()[..end]);
            }
        }
    }

    proptest! {
        #[test]
        fn anything(data in "[a-z0-9:;,.\\[\\]{}()*/ +eE-]{0,40}") {
            texts(data.as_bytes());
        }
    }
}
