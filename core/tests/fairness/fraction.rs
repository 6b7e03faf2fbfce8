//! Exact fractions of 128 bits, in lowest terms. What does not fit panics; nothing is rounded.

use std::cmp::Ordering;
use std::iter::Sum;
use std::ops::{Add, Div, Mul, Sub};

/// A number `top / bottom` with `bottom` above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fraction {
    top: i128,
    bottom: i128,
}

pub(crate) fn whole(number: i128) -> Fraction {
    Fraction::new(number, 1)
}

impl Fraction {
    pub(crate) const ZERO: Self = Self { top: 0, bottom: 1 };
    pub(crate) const ONE: Self = Self { top: 1, bottom: 1 };

    pub(crate) fn new(top: i128, bottom: i128) -> Self {
        assert_ne!(bottom, 0, "{top} / 0");
        let common = common(top.unsigned_abs(), bottom.unsigned_abs());
        let common = i128::try_from(common).unwrap() * bottom.signum();
        Self {
            top: top / common,
            bottom: bottom / common,
        }
    }

    /// The greatest whole number that is not above it.
    pub(crate) fn floor(self) -> i128 {
        self.top.div_euclid(self.bottom)
    }

    pub(crate) fn abs(self) -> Self {
        Self {
            top: self.top.abs(),
            ..self
        }
    }
}

/// The greatest common divisor; of 64 bits where possible, which is much faster.
fn common(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        if let (Ok(mut small), Ok(mut other)) = (u64::try_from(a), u64::try_from(b)) {
            while other != 0 {
                (small, other) = (other, small % other);
            }
            return u128::from(small);
        }
        (a, b) = (b, a % b);
    }
    a
}

fn times(a: i128, b: i128) -> i128 {
    a.checked_mul(b).expect("instances are chosen to fit")
}

impl Add for Fraction {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let common = common(self.bottom.unsigned_abs(), other.bottom.unsigned_abs());
        let common = i128::try_from(common).unwrap();
        let (mine, theirs) = (self.bottom / common, other.bottom / common);
        let top = times(self.top, theirs).checked_add(times(other.top, mine));
        Self::new(top.unwrap(), times(self.bottom, theirs))
    }
}

impl Sub for Fraction {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let top = -other.top;
        self + Self { top, ..other }
    }
}

impl Mul for Fraction {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        // Reduced crosswise first, so that what fits in the end fits in between.
        let (a, b) = (
            Self::new(self.top, other.bottom),
            Self::new(other.top, self.bottom),
        );
        Self {
            top: times(a.top, b.top),
            bottom: times(a.bottom, b.bottom),
        }
    }
}

impl Div for Fraction {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let (a, b) = (
            Self::new(self.top, other.top),
            Self::new(other.bottom, self.bottom),
        );
        Self::new(times(a.top, b.top), times(a.bottom, b.bottom))
    }
}

impl Sum for Fraction {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Self::add)
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        (*self - *other).top.cmp(&0)
    }
}

#[test]
fn fractions_are_exact() {
    let third = Fraction::new(-2, -6);
    assert_eq!(third + Fraction::new(1, 6), Fraction::new(1, 2));
    assert_eq!(third - Fraction::new(5, 6), Fraction::new(-1, 2));
    assert_eq!((third * whole(3), third / third), (Fraction::ONE, whole(1)));
    assert_eq!(whole(0), Fraction::new(0, -7));
    let huge = Fraction::new(i128::MAX / 4, 3);
    assert_eq!(huge * Fraction::new(3, i128::MAX / 4), Fraction::ONE);
    assert!(third > Fraction::new(33, 100) && third < Fraction::new(34, 100));
    assert_eq!((Fraction::new(-1, 2).floor(), huge.abs()), (-1, huge));
}
