//! How long what we say is on the wire, texts that are cut, and lists in slices that fit a frame.
//!
//! Frames are postcard. Its lengths are counted here without writing a byte, by the same
//! derivations that the codec uses: a field that is added later counts at once. Called where a
//! message is put together out of parts that peers choose, and by `validate`, which bounds the
//! parts. Deliberately not here: encoding; it is the transport's.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::ser::{self, Serialize};

use crate::limits;

/// Returns how many bytes a value takes on the wire.
///
/// # Panics
///
/// If the value holds a sequence that does not know its length. Nothing of the protocol does.
pub fn size(value: &(impl Serialize + ?Sized)) -> usize {
    let mut counter = Counter { bytes: 0 };
    let counted = value.serialize(&mut counter);
    counted.expect("all lists of the protocol know their lengths");
    counter.bytes
}

/// Cuts a text for people to [`limits::TEXT_BYTES`]: it may quote what somebody says at any length.
pub fn cut_text(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::TEXT_BYTES));
    text.shrink_to_fit();
    text
}

/// Cuts a list into parts of at most [`limits::SLICE_BYTES`] on the wire. An entry that is longer
/// has a part of its own. No list, no part.
pub fn slices<T: Serialize>(list: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    let mut slices: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for entry in list {
        let bytes = size(&entry);
        match slices.last_mut().filter(|_| bytes <= room) {
            Some(slice) => {
                room -= bytes;
                slice.push(entry);
            }
            None => {
                room = limits::SLICE_BYTES.saturating_sub(bytes);
                slices.push(Vec::from([entry]));
            }
        }
    }
    slices
}

/// Counts what a serializer would write.
struct Counter {
    bytes: usize,
}

impl Counter {
    fn add(&mut self, bytes: usize) -> Result<(), Unknown> {
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Seven bits of a number go into a byte.
    fn varint(&mut self, number: u128) -> Result<(), Unknown> {
        let bits = 128 - number.leading_zeros() as usize;
        self.add(bits.div_ceil(7).max(1))
    }

    /// The sign goes to the lowest bit, so that small negative numbers are short.
    fn zigzag(&mut self, number: i128) -> Result<(), Unknown> {
        self.varint(((number << 1) ^ (number >> 127)).cast_unsigned())
    }

    fn variant(&mut self, index: u32) -> Result<(), Unknown> {
        self.varint(u128::from(index))
    }

    fn list(&mut self, length: Option<usize>) -> Result<&mut Self, Unknown> {
        self.varint(length.ok_or(Unknown)? as u128)?;
        Ok(self)
    }
}

/// A length that is not known before the end.
#[derive(Debug, thiserror::Error)]
#[error("a sequence without a length")]
struct Unknown;

impl ser::Error for Unknown {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl ser::Serializer for &mut Counter {
    type Ok = ();
    type Error = Unknown;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, _: bool) -> Result<(), Unknown> {
        self.add(1)
    }

    fn serialize_i8(self, _: i8) -> Result<(), Unknown> {
        self.add(1)
    }

    fn serialize_i16(self, number: i16) -> Result<(), Unknown> {
        self.zigzag(number.into())
    }

    fn serialize_i32(self, number: i32) -> Result<(), Unknown> {
        self.zigzag(number.into())
    }

    fn serialize_i64(self, number: i64) -> Result<(), Unknown> {
        self.zigzag(number.into())
    }

    fn serialize_i128(self, number: i128) -> Result<(), Unknown> {
        self.zigzag(number)
    }

    fn serialize_u8(self, _: u8) -> Result<(), Unknown> {
        self.add(1)
    }

    fn serialize_u16(self, number: u16) -> Result<(), Unknown> {
        self.varint(number.into())
    }

    fn serialize_u32(self, number: u32) -> Result<(), Unknown> {
        self.varint(number.into())
    }

    fn serialize_u64(self, number: u64) -> Result<(), Unknown> {
        self.varint(number.into())
    }

    fn serialize_u128(self, number: u128) -> Result<(), Unknown> {
        self.varint(number)
    }

    fn serialize_f32(self, _: f32) -> Result<(), Unknown> {
        self.add(4)
    }

    fn serialize_f64(self, _: f64) -> Result<(), Unknown> {
        self.add(8)
    }

    fn serialize_char(self, character: char) -> Result<(), Unknown> {
        self.add(1 + character.len_utf8())
    }

    fn serialize_str(self, text: &str) -> Result<(), Unknown> {
        self.serialize_bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Unknown> {
        self.varint(bytes.len() as u128)?;
        self.add(bytes.len())
    }

    fn serialize_none(self) -> Result<(), Unknown> {
        self.add(1)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unknown> {
        self.add(1)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unknown> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unknown> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), Unknown> {
        self.variant(index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unknown> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unknown> {
        self.variant(index)?;
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Unknown> {
        self.list(length)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Unknown> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unknown> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unknown> {
        self.variant(index)?;
        Ok(self)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, Unknown> {
        self.list(length)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unknown> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unknown> {
        self.variant(index)?;
        Ok(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, text: &T) -> Result<(), Unknown> {
        struct Length(usize);
        impl fmt::Write for Length {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0 += part.len();
                Ok(())
            }
        }
        let mut length = Length(0);
        fmt::write(&mut length, format_args!("{text}")).map_err(|_| Unknown)?;
        self.varint(length.0 as u128)?;
        self.add(length.0)
    }
}

impl ser::SerializeSeq for &mut Counter {
    type Ok = ();
    type Error = Unknown;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unknown> {
        Ok(())
    }
}

impl ser::SerializeTuple for &mut Counter {
    type Ok = ();
    type Error = Unknown;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unknown> {
        Ok(())
    }
}

impl ser::SerializeTupleStruct for &mut Counter {
    type Ok = ();
    type Error = Unknown;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unknown> {
        Ok(())
    }
}

impl ser::SerializeTupleVariant for &mut Counter {
    type Ok = ();
    type Error = Unknown;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unknown> {
        Ok(())
    }
}

impl ser::SerializeMap for &mut Counter {
    type Ok = ();
    type Error = Unknown;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unknown> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unknown> {
        Ok(())
    }
}

impl ser::SerializeStruct for &mut Counter {
    type Ok = ();
    type Error = Unknown;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unknown> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unknown> {
        Ok(())
    }
}

impl ser::SerializeStructVariant for &mut Counter {
    type Ok = ();
    type Error = Unknown;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unknown> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unknown> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use alloc::vec;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::resources::Resources;

    /// One of each kind that can be derived, and of each kind of number.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    enum Kind {
        Unit,
        Newtype(i64),
        Tuple(u16, i16, char, bool),
        Struct { text: String, list: Vec<u32> },
        Map(BTreeMap<u8, u64>),
        Wide(u128, i128),
        Pair((i8, f32, f64), Option<i32>),
        Nothing((), Option<()>),
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Unit),
            (any::<i64>(), 0u32..64).prop_map(|(n, by)| Kind::Newtype(n >> by)),
            any::<(u16, i16, char, bool)>().prop_map(|(a, b, c, d)| Kind::Tuple(a, b, c, d)),
            any::<(String, Vec<u32>)>().prop_map(|(text, list)| Kind::Struct { text, list }),
            any::<BTreeMap<u8, u64>>().prop_map(Kind::Map),
            (any::<(u128, i128)>(), 0u32..128)
                .prop_map(|((a, b), by)| Kind::Wide(a >> by, b >> by)),
            any::<((i8, f32, f64), Option<i32>)>().prop_map(|(a, b)| Kind::Pair(a, b)),
            any::<Option<()>>().prop_map(|a| Kind::Nothing((), a)),
        ]
    }

    proptest! {
        #[test]
        fn sizes_are_those_of_postcard(kinds in prop::collection::vec(kinds(), 0..20)) {
            prop_assert_eq!(size(&kinds), postcard::to_allocvec(&kinds).unwrap().len());
        }
    }

    #[test]
    fn sizes_at_the_edges_of_numbers_are_those_of_postcard() {
        for n in [0u64, 1, 127, 128, 16_383, 16_384, u64::MAX >> 1, u64::MAX] {
            assert_eq!(size(&n), postcard::to_allocvec(&n).unwrap().len(), "{n}");
            let m = n.cast_signed();
            assert_eq!(size(&m), postcard::to_allocvec(&m).unwrap().len(), "{m}");
        }
        let text = format_args!("a {}", 1);
        assert_eq!(size(&text), 4);
        let resources: Resources = "cpus(web):0.5;ports:[1-9,11-70000];a:{b,c}"
            .parse()
            .unwrap();
        let bytes = postcard::to_allocvec(&resources).unwrap();
        assert_eq!(size(&resources), bytes.len());
    }

    #[test]
    fn slices_fit_and_lose_nothing() {
        assert_eq!(slices(Vec::<u8>::new()), Vec::<Vec<u8>>::new());
        let text = |bytes: usize| "x".repeat(bytes);
        let third = limits::SLICE_BYTES / 3;
        let list = vec![
            text(third),
            text(third),
            text(limits::SLICE_BYTES),
            text(third),
            text(third),
            text(third),
        ];
        let slices = slices(list.clone());
        let lengths: Vec<usize> = slices.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 2, 1]);
        assert_eq!(slices.concat(), list);
        for slice in &slices {
            assert!(size(slice) <= limits::FRAME_BYTES);
        }
    }
}
