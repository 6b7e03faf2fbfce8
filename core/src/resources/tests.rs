//! Vectors and properties of bags.
