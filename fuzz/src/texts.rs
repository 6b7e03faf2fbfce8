//! Texts that people type: whatever parses is printed in a form that parses back to the same.

use std::fmt::{self, Debug, Display};

use tepui_core::attributes::Attributes;
use tepui_core::ids::TaskId;
use tepui_core::resources::{
    Ceilings, Items, Milli, ParseError, Quantities, Ranges, Resource, Resources,
};
use tepui_core::roles::Role;

/// Parses a text as everything that has a text form.
pub fn texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    parses_back(text, Resources::parse);
    parses_back(text, Attributes::parse);
    parses_back(text, Quantities::parse);
    parses_back(text, Ceilings::parse);
    parses_back(text, Ranges::parse);
    parses_back(text, Items::parse);
    parses_back(text, Entries::parse);
    parses_back(text, |t| t.parse::<Milli>());
    parses_back(text, Role::new);
    parses_back(text, TaskId::new);
}

/// What the flag of an agent gives it, entry by entry.
#[derive(Debug, PartialEq)]
struct Entries(Vec<Resource>);

impl Entries {
    fn parse(text: &str) -> Result<Self, ParseError> {
        Resources::parse_entries(text).map(Self)
    }
}

impl Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|entry| write!(f, "{entry};"))
    }
}

fn parses_back<T, E>(text: &str, parse: impl Fn(&str) -> Result<T, E>)
where
    T: Display + PartialEq + Debug,
    E: Display + Debug,
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
    use crate::corpus;

    #[test]
    fn the_corpus_and_every_prefix_of_it() {
        for entry in corpus::entries("texts") {
            for end in 0..=entry.len() {
                texts(&entry[..end]);
            }
        }
    }

    #[test]
    fn the_corpus_has_what_is_read_and_what_is_not() {
        let entries = corpus::entries("texts");
        let texts: Vec<&str> = entries
            .iter()
            .filter_map(|entry| std::str::from_utf8(entry).ok())
            .collect();
        assert!(texts.iter().any(|text| Resources::parse(text).is_ok()));
        assert!(texts.iter().any(|text| Attributes::parse(text).is_ok()));
        assert!(texts.iter().any(|text| Quantities::parse(text).is_ok()));
        assert!(texts.iter().any(|text| text.parse::<Milli>().is_ok()));
        assert!(texts.iter().any(|text| Role::new(text).is_ok()));
        assert!(texts.iter().any(|text| Resources::parse(text).is_err()));
        assert!(texts.iter().any(|text| Ceilings::parse(text).is_ok()));
        assert!(texts.iter().any(|text| Ranges::parse(text).is_ok()));
        assert!(texts.iter().any(|text| Items::parse(text).is_ok()));
        assert!(
            texts
                .iter()
                .any(|text| Entries::parse(text).is_ok_and(|it| it.0.len() > 1))
        );
        // RM-07: blanks that are none of ASCII.
        assert!(texts.iter().any(|text| text.contains('\u{a0}')));
    }

    proptest! {
        #[test]
        fn anything(data in "[a-z0-9:;,.\\[\\]{}()*/ +eE-]{0,40}") {
            texts(data.as_bytes());
        }

        #[test]
        fn any_signs_in_the_places_of_names(
            name in "[^:;()]{1,4}|\\PC{1,4}",
            role in "[^)]{1,4}|\\PC{1,4}",
            detail in "[^\"\\\\]{1,4}|\\PC{1,4}",
        ) {
            // RM-07, RM-10
            texts(format!("{name}:1").as_bytes());
            texts(format!("cpus({role}):1").as_bytes());
            let level = format!("dynamic=\"{role}/b\",principal=\"{detail}\"");
            texts(format!("cpus({role})<{level}>:1").as_bytes());
            texts(format!("disk(*)<mount=\"{detail}\",label=\"{detail}\">:1").as_bytes());
            texts(format!("{{{name}}}").as_bytes());
            texts(name.as_bytes());
        }
    }
}
