//! Tests of the master through `handle` and `tick` only.
