//! What a framework says it wants, so that it is not offered anything else.
//!
//! The allocator cuts offers to it, if it is told to honour demands. Deliberately not here: what
//! is offered and refused meanwhile, which the allocator counts.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::resources::{Milli, Quantities};

/// What a framework wants in a role, until it says something else.
///
/// ```
/// use tepui_core::demand::{Demand, Shape};
/// use tepui_core::resources::Quantities;
///
/// // Three of these, two cores of them in offers at a time.
/// let shape = Shape::new(Quantities::parse("cpus:1;mem:512;ports:1")?, 3)?;
/// let demand = Demand::new(vec![shape])?.with_at_once(Quantities::parse("cpus:2")?)?;
/// assert_eq!(demand.shapes().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StatedDemand")]
pub struct Demand {
    shapes: Vec<Shape>,
    at_once: Option<Quantities>,
}

/// So many of the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StatedShape")]
pub struct Shape {
    each: Quantities,
    count: u32,
}

/// Why something is not a demand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDemand {
    /// There are too many shapes.
    #[error("{count} shapes are demanded; there may be 256")]
    TooManyShapes {
        /// How many there are.
        count: usize,
    },
    /// A shape, or the bound on offers, has too many names.
    #[error("{count} names are demanded together; there may be 64")]
    TooManyNames {
        /// How many there are.
        count: usize,
    },
    /// Nothing is in a shape.
    #[error("a shape of which {count} are demanded is empty")]
    Nothing {
        /// How many of it were demanded.
        count: u32,
    },
    /// A device cannot be divided (RM-55).
    #[error("{amount} gpus are demanded; they come in whole ones")]
    PartOfGpu {
        /// How much was demanded.
        amount: Milli,
    },
}

/// A demand as a peer sends it, before it is checked.
#[derive(Deserialize)]
struct StatedDemand {
    shapes: Vec<Shape>,
    at_once: Option<Quantities>,
}

/// The same of a shape.
#[derive(Deserialize)]
struct StatedShape {
    each: Quantities,
    count: u32,
}

impl Demand {
    /// Demands some shapes, the most wanted first. None at all: nothing is wanted for now.
    pub fn new(shapes: Vec<Shape>) -> Result<Self, InvalidDemand> {
        if shapes.len() > limits::SHAPES {
            let count = shapes.len();
            return Err(InvalidDemand::TooManyShapes { count });
        }
        Ok(Self {
            shapes,
            at_once: None,
        })
    }

    /// Bounds what is to be held in offers at once: of each name, whosever it is and of whatever
    /// sort; ranges and sets by how many. A name that is not there is unbounded.
    pub fn with_at_once(self, at_once: Quantities) -> Result<Self, InvalidDemand> {
        check_names(&at_once)?;
        Ok(Self {
            at_once: Some(at_once),
            ..self
        })
    }

    /// Returns the shapes that are wanted, the most wanted first.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Returns the most that is to be held in offers at once; `None` is no bound.
    pub const fn at_once(&self) -> Option<&Quantities> {
        self.at_once.as_ref()
    }
}

impl Shape {
    /// Demands so many of something, which may be none for now. Each is of one agent; of ranges and
    /// sets it is how many, of any, rounded up. A disk or volume that cannot be divided serves one,
    /// if it alone is enough. `gpus` are whole (RM-55).
    pub fn new(each: Quantities, count: u32) -> Result<Self, InvalidDemand> {
        if each.is_empty() {
            return Err(InvalidDemand::Nothing { count });
        }
        check_names(&each)?;
        let amount = each.amount("gpus");
        if !amount.is_whole() {
            return Err(InvalidDemand::PartOfGpu { amount });
        }
        Ok(Self { each, count })
    }

    /// Returns what each one takes.
    pub const fn each(&self) -> &Quantities {
        &self.each
    }

    /// Returns how many of them are wanted.
    pub const fn count(&self) -> u32 {
        self.count
    }
}

fn check_names(quantities: &Quantities) -> Result<(), InvalidDemand> {
    let count = quantities.iter().count();
    if count > limits::SHAPE_NAMES {
        return Err(InvalidDemand::TooManyNames { count });
    }
    Ok(())
}

impl TryFrom<StatedDemand> for Demand {
    type Error = InvalidDemand;

    fn try_from(stated: StatedDemand) -> Result<Self, InvalidDemand> {
        let demand = Self::new(stated.shapes)?;
        match stated.at_once {
            Some(at_once) => demand.with_at_once(at_once),
            None => Ok(demand),
        }
    }
}

impl TryFrom<StatedShape> for Shape {
    type Error = InvalidDemand;

    fn try_from(stated: StatedShape) -> Result<Self, InvalidDemand> {
        Self::new(stated.each, stated.count)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec;

    use super::*;

    fn shape(each: &str) -> Result<Shape, InvalidDemand> {
        Shape::new(Quantities::parse(each).unwrap(), 2)
    }

    fn names(count: usize) -> String {
        let names: Vec<_> = (0..count).map(|n| format!("n{n}:1")).collect();
        names.join(";")
    }

    #[test]
    fn a_demand_is_checked_where_it_is_made() {
        let nothing = "a shape of which 2 are demanded is empty";
        assert_eq!(shape("").unwrap_err().to_string(), nothing);
        // RM-55
        let part = "1.5 gpus are demanded; they come in whole ones";
        assert_eq!(shape("gpus:1.5").unwrap_err().to_string(), part);
        let wide = "65 names are demanded together; there may be 64";
        assert_eq!(shape(&names(65)).unwrap_err().to_string(), wide);
        let fine = shape(&names(64)).unwrap();
        let at_once = Quantities::parse(&names(65)).unwrap();
        let bounded = Demand::new(vec![fine.clone()])
            .unwrap()
            .with_at_once(at_once);
        assert_eq!(bounded.unwrap_err().to_string(), wide);

        let long = "257 shapes are demanded; there may be 256";
        let error = Demand::new(vec![fine.clone(); 257]).unwrap_err();
        assert_eq!(error.to_string(), long);
        assert!(Demand::new(vec![fine; 256]).is_ok());
    }

    #[test]
    fn what_a_peer_demands_is_checked() {
        let one = Quantities::parse("cpus:1").unwrap();
        let fine = Demand::new(vec![shape("cpus:1").unwrap()]).unwrap();
        let fine = fine.with_at_once(one.clone()).unwrap();
        let sent = postcard::to_allocvec(&fine).unwrap();
        assert_eq!(postcard::from_bytes(&sent), Ok(fine));

        let of = |each: &Quantities, shapes| (vec![(each.clone(), 2_u32); shapes], None::<()>);
        let is_read = |demand: (Vec<(Quantities, u32)>, Option<()>)| {
            let sent = postcard::to_allocvec(&demand).unwrap();
            postcard::from_bytes::<Demand>(&sent).is_ok()
        };
        assert!(is_read(of(&one, 256)) && is_read(of(&one, 0)));
        let gpu = Quantities::parse("gpus:0.5").unwrap();
        for wrong in [of(&one, 257), of(&Quantities::new(), 1), of(&gpu, 1)] {
            assert!(!is_read(wrong));
        }
    }
}
