//! Reads in which order a role is offered agents.
//!
//! Deliberately not here: what the orders are, which the allocator says.

use tepui_core::allocator::drf::Packing;
use tepui_core::roles::Role;

/// Reads a role and its order, as in `web=best-fit`.
pub(super) fn of_role(text: &str) -> Result<(Role, Packing), String> {
    const EXPECTED: &str = "expected a role and random, spread or best-fit, such as web=best-fit";
    let Some((role, order)) = text.split_once('=') else {
        return Err(format!("at {}: there is no =; {EXPECTED}", text.len()));
    };
    let role = Role::new(role).map_err(|error| format!("{error}; {EXPECTED}"))?;
    let packing = match order {
        "random" => Packing::Random,
        "spread" => Packing::Spread,
        "best-fit" => Packing::BestFit,
        _ => return Err(format!("after the =: {EXPECTED}")),
    };
    Ok((role, packing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_an_order() {
        for (text, name, packing) in [
            ("web=random", "web", Packing::Random),
            ("eng/web=spread", "eng/web", Packing::Spread),
            ("*=best-fit", "*", Packing::BestFit),
        ] {
            assert_eq!(of_role(text), Ok((Role::new(name).unwrap(), packing)));
        }
        for (bad, begin) in [
            ("web", "at 3: there is no =; expected a role"),
            ("web=", "after the =: expected a role"),
            ("web=fit", "after the =: expected a role"),
        ] {
            let error = of_role(bad).unwrap_err();
            assert!(error.starts_with(begin), "{error}");
        }
        assert!(of_role("w b=spread").is_err());
    }
}
