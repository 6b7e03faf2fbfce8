//! Thousandths: the only number type of resources, and the only door for floats of others.
//!
//! Amounts are added and compared as integers, so 0.1 + 0.2 is 0.3 (RM-02). Deliberately not here:
//! units. Cores, MiB and devices are all just numbers.

use alloc::format;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many thousandths make one unit.
const PER_UNIT: i64 = 1_000;

/// A quantity in thousandths (RM-02).
///
/// It is never negative: neither text, nor a float, nor a peer's bytes, nor code makes one that is.
/// A difference that may be is one of plain `i64` [`thousandths`](Milli::thousandths).
///
/// What comes from elsewhere is checked where it becomes a quantity:
/// [`Milli::try_from_thousandths`] and [`Milli::try_from_units`] refuse what does not fit. The
/// constructors without `try` are for what the code knows to fit, and stop at [`Milli::ZERO`] and
/// [`Milli::MAX`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "i64")]
pub struct Milli(i64);

/// Why something is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScalar {
    /// The text or the float is not a number.
    #[error("it is not a number")]
    NotANumber,
    /// It is infinite, or a double would be.
    #[error("it is infinite")]
    Infinite,
    /// It is below zero.
    #[error("it is negative")]
    Negative,
    /// It does not fit into 64 bits of thousandths.
    #[error("it is above 9223372036854775.807")]
    TooLarge,
    /// It is so small that a double loses digits (RM-03).
    #[error("it is too small to be exact")]
    Subnormal,
}

/// A number as it stood in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its rounded value.
    pub(crate) value: Milli,
    /// Whether rounding made nothing out of something.
    pub(crate) vanished: bool,
}

impl Milli {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most that can be expressed.
    pub const MAX: Self = Self(i64::MAX);

    /// Makes a quantity from thousandths; of a negative number it is [`Milli::ZERO`].
    pub const fn from_thousandths(thousandths: i64) -> Self {
        Self(if thousandths < 0 { 0 } else { thousandths })
    }

    /// Makes a quantity from thousandths, unless there are less than none.
    pub const fn try_from_thousandths(thousandths: i64) -> Result<Self, InvalidScalar> {
        if thousandths < 0 {
            return Err(InvalidScalar::Negative);
        }
        Ok(Self(thousandths))
    }

    /// Makes a quantity from whole units; of a negative number it is [`Milli::ZERO`], of one that
    /// does not fit [`Milli::MAX`].
    pub const fn from_units(units: i64) -> Self {
        Self::from_thousandths(units.saturating_mul(PER_UNIT))
    }

    /// Makes a quantity from whole units, unless there are less than none or it does not fit.
    pub const fn try_from_units(units: i64) -> Result<Self, InvalidScalar> {
        match units.checked_mul(PER_UNIT) {
            Some(thousandths) => Self::try_from_thousandths(thousandths),
            None if units < 0 => Err(InvalidScalar::Negative),
            None => Err(InvalidScalar::TooLarge),
        }
    }

    /// Makes a quantity from a number of things; [`Milli::MAX`] if it does not fit.
    pub fn from_count(count: u128) -> Self {
        i64::try_from(count).map_or(Self::MAX, Self::from_units)
    }

    /// Rounds a float to thousandths, half away from zero, as its shortest text would be: so a
    /// number is the same whether it was read as a text or, in JSON, as a float.
    pub fn from_f64(value: f64) -> Result<Self, InvalidScalar> {
        if value.is_nan() {
            return Err(InvalidScalar::NotANumber);
        }
        if value < 0.0 {
            return Err(InvalidScalar::Negative);
        }
        if value.is_infinite() {
            return Err(InvalidScalar::Infinite);
        }
        if value == 0.0 {
            return Ok(Self::ZERO);
        }
        let text = format!("{value:e}");
        let decimal = Decimal::split(&text).expect("a finite float is written in this form");
        decimal.round().ok_or(InvalidScalar::TooLarge)
    }

    /// Returns the thousandths.
    pub const fn thousandths(self) -> i64 {
        self.0
    }

    /// Returns the nearest float.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / PER_UNIT as f64
    }

    /// Returns whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Returns whether this is a whole number of units, as devices must be (RM-55).
    pub const fn is_whole(self) -> bool {
        self.0 % PER_UNIT == 0
    }

    /// Adds, unless the sum does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Subtracts, unless the difference is below zero.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) if rest >= 0 => Some(Self(rest)),
            Some(_) | None => None,
        }
    }

    /// Adds; a sum that does not fit becomes [`Milli::MAX`].
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Subtracts; a difference below zero becomes [`Milli::ZERO`] (RM-28).
    pub const fn saturating_sub(self, other: Self) -> Self {
        let rest = self.0.saturating_sub(other.0);
        if rest < 0 { Self::ZERO } else { Self(rest) }
    }

    /// Reads a decimal number and tells whether rounding made it vanish (TV-01).
    pub(crate) fn read(text: &str) -> Result<Written, InvalidScalar> {
        let decimal = Decimal::split(text).ok_or(InvalidScalar::NotANumber)?;
        if !decimal.digits().any(|d| d != 0) {
            return Ok(Written {
                value: Self::ZERO,
                vanished: false,
            });
        }
        if decimal.negative {
            return Err(InvalidScalar::Negative);
        }
        // The float only classifies, as Mesos' parser does; the value comes from the digits.
        let float: f64 = text.parse().map_err(|_| InvalidScalar::NotANumber)?;
        if float.is_infinite() {
            return Err(InvalidScalar::Infinite);
        }
        if float.is_subnormal() {
            return Err(InvalidScalar::Subnormal);
        }
        let value = decimal.round().ok_or(InvalidScalar::TooLarge)?;
        let vanished = value.is_zero() && float > 0.0;
        Ok(Written { value, vanished })
    }
}

/// The parts of a decimal number: `whole.fraction` times ten to the `exponent`.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Takes a text apart; `None` if it is not `[+-]digits[.digits][e[+-]digits]`, where the
    /// digits of one side of the point may be missing.
    fn split(text: &'a str) -> Option<Self> {
        let (negative, text) = signed(text);
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        Some(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole
            .bytes()
            .chain(self.fraction.bytes())
            .map(|b| b - b'0')
    }

    /// Returns the thousandths, rounded half away from zero; `None` if they do not fit. Needs a
    /// digit other than zero: without one a large exponent would never overflow.
    fn round(&self) -> Option<Milli> {
        let zeros = self.digits().take_while(|d| *d == 0).count();
        let point = self.exponent + self.whole.len() as i64 - zeros as i64;
        // How many significant digits count; the one after them decides the rounding.
        let mut kept = point + 3;
        if kept < 0 {
            return Some(Milli::ZERO);
        }
        let mut digits = self.digits().skip(zeros);
        let mut value = 0_i64;
        while kept > 0 {
            let digit = i64::from(digits.next().unwrap_or(0));
            value = value.checked_mul(10)?.checked_add(digit)?;
            kept -= 1;
        }
        let up = i64::from(digits.next().is_some_and(|d| d >= 5));
        value.checked_add(up).map(Milli)
    }
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Reads a whole exponent; one that is absurd saturates far beyond any text's length.
fn read_exponent(text: &str) -> Option<i64> {
    const ABSURD: i64 = 1 << 60;
    let (negative, digits) = signed(text);
    if digits.is_empty() || !is_digits(digits) {
        return None;
    }
    let size = digits.parse().map_or(ABSURD, |size: i64| size.min(ABSURD));
    Some(if negative { -size } else { size })
}

impl TryFrom<i64> for Milli {
    type Error = InvalidScalar;

    /// Takes thousandths of somebody else.
    fn try_from(thousandths: i64) -> Result<Self, InvalidScalar> {
        Self::try_from_thousandths(thousandths)
    }
}

impl FromStr for Milli {
    type Err = InvalidScalar;

    /// Reads a decimal number such as `3`, `+3`, `.5` or `1e3` exactly; rounds half away from
    /// zero.
    fn from_str(text: &str) -> Result<Self, InvalidScalar> {
        Self::read(text).map(|written| written.value)
    }
}

impl fmt::Display for Milli {
    /// Writes up to three decimals, without trailing zeros; what is written reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, rest) = (self.0 / PER_UNIT, self.0 % PER_UNIT);
        if rest == 0 {
            write!(f, "{units}")
        } else if rest % 100 == 0 {
            write!(f, "{units}.{}", rest / 100)
        } else if rest % 10 == 0 {
            write!(f, "{units}.{:02}", rest / 10)
        } else {
            write!(f, "{units}.{rest:03}")
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const fn m(thousandths: i64) -> Milli {
        Milli::from_thousandths(thousandths)
    }

    #[test]
    fn tv_01_scalars_are_fixed_point() {
        // TV-01, RM-02
        let sum = Milli::from_f64(0.1)
            .unwrap()
            .checked_add(Milli::from_f64(0.2).unwrap());
        assert_eq!(sum, Some(Milli::from_f64(0.3).unwrap()));
        for (float, text, expected) in [
            (1.0005, "1.0005", 1_001),
            (0.0005, "0.0005", 1),
            (0.0004, "0.0004", 0),
            (1.9999, "1.9999", 2_000),
            (0.0, "-0", 0),
        ] {
            assert_eq!(Milli::from_f64(float), Ok(m(expected)), "{float}");
            assert_eq!(text.parse(), Ok(m(expected)), "{text}");
        }
        assert_eq!(
            Milli::from_units(2).checked_sub("1.9999".parse().unwrap()),
            Some(Milli::ZERO)
        );
        assert_eq!(Milli::from_f64(-0.0), Ok(Milli::ZERO));
    }

    #[test]
    fn numbers_that_are_read() {
        // RM-07
        for (text, expected) in [
            ("+3", 3_000),
            ("3.", 3_000),
            (".5", 500),
            ("1e3", 1_000_000),
            ("1E+3", 1_000_000),
            ("25e-1", 2_500),
            ("1e-400", 0),
            ("0e999999999999999999999", 0),
            ("0.00000000000000000000001e22", 100),
            ("9223372036854775.807", i64::MAX),
            ("9223372036854775.8074", i64::MAX),
            ("00000000000000000000000000000000000000001", 1_000),
        ] {
            assert_eq!(text.parse(), Ok(m(expected)), "{text}");
        }
    }

    #[test]
    fn tv_07_numbers_that_are_refused() {
        // RM-03, RM-07, TV-07
        use InvalidScalar::{Infinite, Negative, NotANumber, Subnormal, TooLarge};
        for (text, expected) in [
            ("", NotANumber),
            (".", NotANumber),
            ("e3", NotANumber),
            ("1e", NotANumber),
            ("0x10", NotANumber),
            ("inf", NotANumber),
            ("nan", NotANumber),
            ("+-3", NotANumber),
            ("1 0", NotANumber),
            ("1.2.3", NotANumber),
            ("١", NotANumber),
            ("-3", Negative),
            ("-0.0001", Negative),
            ("1e400", Infinite),
            ("1e99999999999999999999999", Infinite),
            ("1e308", TooLarge),
            ("9223372036854775.8075", TooLarge),
            ("9223372036854775.808", TooLarge),
            ("1e-310", Subnormal),
        ] {
            assert_eq!(text.parse::<Milli>(), Err(expected), "{text}");
        }
        for (float, expected) in [
            (f64::NAN, NotANumber),
            (f64::INFINITY, Infinite),
            (f64::NEG_INFINITY, Negative),
            (-0.001, Negative),
            (1e308, TooLarge),
            (9_223_372_036_854_775.807, TooLarge),
        ] {
            assert_eq!(Milli::from_f64(float), Err(expected), "{float}");
        }
    }

    #[test]
    fn the_ends_hold() {
        assert_eq!(Milli::MAX.checked_add(m(1)), None);
        assert_eq!(Milli::MAX.saturating_add(m(1)), Milli::MAX);
        assert_eq!(m(1).checked_sub(m(2)), None);
        assert_eq!(m(1).saturating_sub(m(2)), Milli::ZERO); // RM-28
        assert_eq!(Milli::from_units(i64::MAX), Milli::MAX);
        assert_eq!(Milli::from_count(1 << 64), Milli::MAX); // RM-04
        assert_eq!(Milli::from_count(3), Milli::from_units(3));
        assert!(m(2_000).is_whole() && !m(2_001).is_whole());
        assert_eq!(m(1_050).to_string(), "1.05");
        assert_eq!(m(1_500).to_string(), "1.5");
    }

    #[test]
    fn nothing_makes_a_negative_quantity() {
        // RM-03
        use InvalidScalar::{Negative, TooLarge};
        assert_eq!(Milli::try_from_thousandths(-1), Err(Negative));
        assert_eq!(Milli::try_from_thousandths(1), Ok(m(1)));
        assert_eq!(Milli::try_from_units(-3), Err(Negative));
        assert_eq!(Milli::try_from_units(i64::MIN), Err(Negative));
        assert_eq!(Milli::try_from_units(i64::MAX), Err(TooLarge));
        assert_eq!(Milli::try_from_units(3), Ok(m(3_000)));
        for made in [
            m(-1),
            m(i64::MIN),
            Milli::from_units(-3),
            Milli::from_units(i64::MIN),
        ] {
            assert_eq!(made, Milli::ZERO);
        }
    }

    #[test]
    fn a_peer_cannot_send_a_negative_quantity() {
        let bytes = postcard::to_allocvec(&-1_i64).unwrap();
        assert!(postcard::from_bytes::<Milli>(&bytes).is_err());
        let bytes = postcard::to_allocvec(&Milli::MAX).unwrap();
        assert_eq!(postcard::from_bytes(&bytes), Ok(Milli::MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(thousandths in 0..=i64::MAX) {
            let value = m(thousandths);
            prop_assert_eq!(value.to_string().parse(), Ok(value));
        }

        #[test]
        fn text_and_float_agree(units in 0_u32.., fraction in 0_u32..1_000) {
            let text = format!("{units}.{fraction:03}");
            let value: Milli = text.parse().unwrap();
            prop_assert_eq!(value, m(i64::from(units) * 1_000 + i64::from(fraction)));
            prop_assert_eq!(Milli::from_f64(text.parse().unwrap()), Ok(value));
            prop_assert_eq!(Milli::from_f64(value.to_f64()), Ok(value));
        }

        #[test]
        fn a_float_is_what_its_text_is(bits in any::<u64>(), near in 0_u32.., tenths in 0_u32..10) {
            // RM-02: halves of thousandths above all, which a product of floats may miss.
            let half = format!("{}.{tenths}005", near % 10_000);
            for float in [f64::from_bits(bits), half.parse().unwrap()] {
                let read: Result<Milli, _> = format!("{float}").parse();
                if !float.is_subnormal() && float.is_finite() {
                    prop_assert_eq!(Milli::from_f64(float), read, "{}", float);
                }
            }
        }

        #[test]
        fn the_point_may_stand_anywhere(digits in 0_u32.., shift in 0_i64..12) {
            let expected: Milli = format!("{digits}").parse().unwrap();
            let zeros = "0".repeat(usize::try_from(shift).unwrap());
            let longer: Milli = format!("{digits}{zeros}e-{shift}").parse().unwrap();
            prop_assert_eq!(longer, expected);
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,24}") {
            let _ = text.parse::<Milli>();
        }
    }
}
