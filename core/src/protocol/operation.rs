//! Operations on what an agent has: what is asked for, and what has become of its resources.
//!
//! Operations of one agent are numbered: its master orders them, the agent carries them out in
//! that order, and both keep [`Converted`], so that they never differ about more than what is on
//! its way. Deliberately not here: what each operation does to resources
//! ([`crate::resources::operations`]), and who may ask for it.

use serde::{Deserialize, Serialize};

use crate::resources::operations::OperationError;
use crate::resources::{Overflow, Resources, Value};

/// What operations have made of an agent's resources so far: `after` stands where its own
/// description says `before`. What was made and unmade again is in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Converted {
    /// The number of the last operation; zero if there was none.
    pub last: u64,
    /// What of the description is not there as such any more.
    pub before: Resources,
    /// What there is instead.
    pub after: Resources,
}

impl Converted {
    /// Returns what an agent has that describes itself with these resources.
    ///
    /// An error means that it has less, or something else, than what operations have made something
    /// of.
    pub fn total(&self, described: &Resources) -> Result<Resources, OperationError> {
        let mut total = described.checked_sub(&self.before)?;
        if let Some(both) = total.overlap(&self.after) {
            return Err(OperationError::Overlap { both });
        }
        total.add(&self.after)?;
        Ok(total)
    }

    /// Notes that an operation has made `after` of `before`, a part of the total; or that there is
    /// more of something than a number holds, and then changes nothing.
    pub fn note(
        &mut self,
        number: u64,
        before: &Resources,
        after: &Resources,
    ) -> Result<(), Overflow> {
        // What an earlier operation has made is not described, and what is given back to what is
        // described needs no word.
        let described = less(before, &self.after);
        let made = less(&self.after, before);
        let mut owed = self.before.clone();
        owed.add(&described)?;
        let new = less(after, &owed);
        let owed = less(&owed, after);
        let mut all = made;
        all.add(&new)?;
        (self.last, self.before, self.after) = (number, owed, all);
        Ok(())
    }
}

/// Returns what is left of resources without what they have in common with others, amounts
/// included.
pub(crate) fn less(of: &Resources, others: &Resources) -> Resources {
    let mut rest = of.clone();
    for entry in others {
        let one = others.filter(|other| core::ptr::eq(other, entry));
        if rest.subtract(&one).is_err() {
            // There is less of it: of numbers and names some, of an amount nothing is left.
            let other = rest.without_shared(&one);
            rest = match entry.value() {
                Value::Ranges(_) | Value::Items(_) => other,
                Value::Scalar(_) => other.filter(|it| !it.is_scalar() || !is_alike(it, entry)),
            };
        }
    }
    rest
}

/// Returns whether two amounts are of the same, so that one may be a part of the other.
fn is_alike(one: &crate::resources::Resource, other: &crate::resources::Resource) -> bool {
    let whole = one.is_exclusive() || one.is_shared();
    (one.name(), one.metadata()) == (other.name(), other.metadata())
        && (!whole || one.value() == other.value())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn res(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    /// Notes conversions one after the other, and returns what an agent has then.
    fn after(described: &str, steps: &[(&str, &str)]) -> (Converted, Resources) {
        let mut converted = Converted::default();
        let mut total = res(described);
        for (number, (before, after)) in (1..).zip(steps) {
            let (before, after) = (res(before), res(after));
            converted.note(number, &before, &after).unwrap();
            total.subtract(&before).unwrap();
            total.add(&after).unwrap();
            assert_eq!(converted.last, number);
            assert_eq!(converted.total(&res(described)).unwrap(), total);
        }
        (converted, total)
    }

    const RESERVED: &str = r#"cpus(*)<dynamic="eng">:2"#;

    #[test]
    fn the_total_is_what_conversions_have_made_of_the_description() {
        // OF-14, RM-32
        let (converted, total) = after("cpus:4;mem:64", &[("cpus:2", RESERVED)]);
        assert_eq!(total.to_string(), format_reserved("cpus:2;", ":2;mem:64"));
        // The same conversions of a machine that has grown meanwhile.
        let larger = converted.total(&res("cpus:8;mem:64")).unwrap();
        assert_eq!(larger.to_string(), format_reserved("cpus:6;", ":2;mem:64"));
        // What was reserved is still owed by one that has shrunk.
        assert!(converted.total(&res("cpus:1;mem:64")).is_err());
    }

    fn format_reserved(before: &str, after: &str) -> alloc::string::String {
        alloc::format!(r#"{before}cpus(*)<dynamic="eng">{after}"#)
    }

    #[test]
    fn what_is_unmade_leaves_no_trace() {
        // RM-37
        let back = (r#"cpus(*)<dynamic="eng">:1"#, "cpus:1");
        let (converted, total) = after("cpus:4", &[("cpus:2", RESERVED), back, back]);
        assert_eq!(total, res("cpus:4"));
        let none = Converted {
            last: 3,
            ..Converted::default()
        };
        assert_eq!(converted, none);
    }

    #[test]
    fn numbers_and_volumes_are_told_apart() {
        // RM-19, RM-44, RM-46
        let disk = r#"disk(*)<dynamic="eng">"#;
        let volume = r#"disk(*)<dynamic="eng",volume="v",rw="/data">"#;
        let steps = [
            ("ports:[3-5]", r#"ports(*)<dynamic="eng">:[3-5]"#),
            (r#"ports(*)<dynamic="eng">:[4-4]"#, "ports:[4-4]"),
            ("disk:9", &alloc::format!("{disk}:9")),
            (&alloc::format!("{disk}:4"), &alloc::format!("{volume}:4")),
            (
                &alloc::format!("{volume}:4;{disk}:2"),
                &alloc::format!("{volume}:6"),
            ),
        ];
        let (converted, total) = after("ports:[1-9];disk:10", &steps);
        assert_eq!(converted.before, res("ports:[3-3,5-5];disk:9"));
        assert_eq!(converted.total(&res("ports:[1-9];disk:10")).unwrap(), total);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut converted = Converted::default();
        let most = res("cpus(eng):9000000000000000");
        converted.note(1, &Resources::new(), &most).unwrap();
        let before = converted.clone();
        assert!(converted.note(2, &Resources::new(), &most).is_err());
        assert_eq!(converted, before);
    }
}
