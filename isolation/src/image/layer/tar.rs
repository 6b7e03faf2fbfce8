//! Reads a layer: a tar archive as Docker, GNU and POSIX write it.
//!
//! An own reader, because extended attributes hold any byte, which the tar library takes for the
//! end of a record, and because some tools leave out what stands after the last file, also its
//! padding. What is missing of an archive otherwise is an error. Sparse files are not known.

use std::io::{self, Read};

use tar::{EntryType, Header};

const BLOCK: usize = 512;
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse";
const NANOS: usize = 9;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    HardLink,
    Pipe,
    Device,
    Sparse,
    /// Of a type that nobody has defined.
    Unknown,
}

/// What an archive says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Where a link leads.
    pub(super) target: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Since 1970: seconds, and nanoseconds after them.
    pub(super) modified: (i64, u32),
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads entries one after the other.
pub(super) struct Reader<R> {
    from: R,
    /// What is left of the content of the last entry.
    content: u64,
    /// What stands after it.
    padding: u64,
}

/// What the headers before an entry say of it.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            content: 0,
            padding: 0,
        }
    }

    /// The next entry, after what is left of the last one; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = header.entry_size()?;
            if kind.is_pax_local_extensions() {
                extended.records = records(&self.text(size)?)?;
            } else if kind.is_pax_global_extensions() {
                self.text(size)?;
            } else if kind.is_gnu_longname() {
                extended.name = Some(cut(self.text(size)?));
            } else if kind.is_gnu_longlink() {
                extended.target = Some(cut(self.text(size)?));
            } else {
                return self.entry(&header, extended).map(Some);
            }
        }
    }

    /// Reads what is left of the archive, which says nothing.
    pub(super) fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self.from, &mut io::sink()).map(drop)
    }

    fn entry(&mut self, header: &Header, extended: Extended) -> io::Result<Entry> {
        let mut entry = Entry {
            name: header.path_bytes().into_owned(),
            kind: kind(header.entry_type()),
            target: header.link_name_bytes().unwrap_or_default().into_owned(),
            size: header.entry_size()?,
            mode: header.mode()?,
            uid: id(header.uid()?)?,
            gid: id(header.gid()?)?,
            modified: (i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), 0),
            attributes: Vec::new(),
        };
        if let Some(name) = extended.name {
            entry.name = name;
        }
        if let Some(target) = extended.target {
            entry.target = target;
        }
        for (key, value) in extended.records {
            match key.as_slice() {
                b"path" => entry.name = value,
                b"linkpath" => entry.target = value,
                b"size" => entry.size = number(&value)?,
                b"uid" => entry.uid = id(number(&value)?)?,
                b"gid" => entry.gid = id(number(&value)?)?,
                b"mtime" => entry.modified = time(&value)?,
                key if key.starts_with(SPARSE) => entry.kind = Kind::Sparse,
                key => {
                    if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                        entry.attributes.push((name.to_owned(), value));
                    }
                }
            }
        }
        match entry.kind {
            Kind::File | Kind::Unknown => self.follows(entry.size)?,
            // Whatever size they state, nothing follows.
            Kind::Directory | Kind::Link | Kind::HardLink => {}
            Kind::Pipe | Kind::Device | Kind::Sparse => {}
        }
        // Old archives have directories as files with a slash.
        if entry.kind == Kind::File && entry.name.ends_with(b"/") {
            entry.kind = Kind::Directory;
        }
        Ok(entry)
    }

    /// Content of this size comes next.
    fn follows(&mut self, size: u64) -> io::Result<()> {
        let whole = size.checked_next_multiple_of(BLOCK as u64);
        let whole = whole.ok_or_else(|| invalid("an entry larger than any file"))?;
        (self.content, self.padding) = (size, whole - size);
        Ok(())
    }

    fn skip(&mut self) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.from).take(self.content), &mut io::sink())?;
        if skipped < self.content {
            return Err(ended());
        }
        // May be missing at the end.
        io::copy(&mut (&mut self.from).take(self.padding), &mut io::sink())?;
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads a whole header; the meter behind the reader bounds it.
    fn text(&mut self, size: u64) -> io::Result<Vec<u8>> {
        self.follows(size)?;
        let mut text = Vec::new();
        self.read_to_end(&mut text)?;
        Ok(text)
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block == [0; BLOCK] {
            return match self.block()? {
                Some(block) if block != [0; BLOCK] => Err(invalid("a lone block of zeros")),
                Some(_) | None => Ok(None),
            };
        }
        let header = Header::from_byte_slice(&block);
        let sum = |signed: bool| -> i64 {
            let value = |(at, byte): (usize, &u8)| match at {
                148..156 => i64::from(b' '),
                _ if signed => i64::from(byte.cast_signed()),
                _ => i64::from(*byte),
            };
            block.iter().enumerate().map(value).sum()
        };
        let stated = i64::from(header.cksum()?);
        if stated != sum(false) && stated != sum(true) {
            return Err(invalid("the sum of a header is wrong"));
        }
        Ok(Some(header.clone()))
    }

    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = Vec::with_capacity(BLOCK);
        (&mut self.from)
            .take(BLOCK as u64)
            .read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(None);
        }
        block.try_into().map(Some).map_err(|_| ended())
    }
}

/// The content of the last entry.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(ended());
        }
        self.content -= count as u64;
        Ok(count)
    }
}

fn kind(kind: EntryType) -> Kind {
    if kind.is_file() || kind.is_contiguous() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Link
    } else if kind.is_hard_link() {
        Kind::HardLink
    } else if kind.is_fifo() {
        Kind::Pipe
    } else if kind.is_character_special() || kind.is_block_special() {
        Kind::Device
    } else if kind.is_gnu_sparse() {
        Kind::Sparse
    } else {
        Kind::Unknown
    }
}

/// Records of `LENGTH KEY=VALUE` and a new line, where the length counts all of it.
fn records(mut text: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let record = record(text).ok_or_else(|| invalid("a broken extended header"))?;
        let (length, key, value) = record;
        found.push((key.to_owned(), value.to_owned()));
        text = &text[length..];
    }
    Ok(found)
}

fn record(text: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let length = number(&text[..space]).ok()?;
    let length = usize::try_from(length).ok()?;
    let body = text.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((length, &body[..equals], &body[equals + 1..]))
}

/// Up to the first zero byte.
fn cut(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}

fn number(text: &[u8]) -> io::Result<u64> {
    let digits = str::from_utf8(text).ok();
    let digits = digits.filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok());
    number.ok_or_else(|| invalid("a broken number in an extended header"))
}

fn id(number: u64) -> io::Result<u32> {
    // The last one means none to the kernel.
    let id = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
    id.ok_or_else(|| invalid("an owner that no file can have"))
}

/// `SECONDS[.FRACTION]`, before 1970 with a minus.
fn time(text: &[u8]) -> io::Result<(i64, u32)> {
    let wrong = || invalid("a broken time in an extended header");
    let text = str::from_utf8(text).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_before = whole.starts_with('-');
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let fraction: String = fraction
        .chars()
        .chain("0".repeat(NANOS).chars())
        .take(NANOS)
        .collect();
    let nanos: u32 = fraction.parse().map_err(|_| wrong())?;
    match (is_before, nanos) {
        (true, 1..) => Ok((whole.saturating_sub(1), 1_000_000_000 - nanos)),
        (_, nanos) => Ok((whole, nanos)),
    }
}

fn ended() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the archive ends within an entry",
    )
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: EntryType, size: u64) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(7);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while format!("{length}").len() + rest != length {
            length = format!("{length}").len() + rest;
        }
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn extended_headers_hold_any_byte() {
        let value = b"\0a\nb=c\xff\n";
        let records = [
            record("SCHILY.xattr.user.x", value),
            record("path", b"long/name"),
            record("mtime", b"-1.25"),
            record("uid", b"70000"),
        ]
        .concat();
        let mut archive = header("PaxHeaders/x", EntryType::XHeader, records.len() as u64);
        archive = padded([archive, records].concat());
        archive.extend(header("x", EntryType::Regular, 3));
        archive.extend(b"abc");
        let mut reader = Reader::new(archive.as_slice());
        let entry = reader.next().unwrap().unwrap();
        assert_eq!(entry.name, b"long/name");
        assert_eq!((entry.uid, entry.modified), (70_000, (-2, 750_000_000)));
        assert_eq!(entry.attributes, [(b"user.x".to_vec(), value.to_vec())]);
        let mut content = String::new();
        reader.read_to_string(&mut content).unwrap();
        assert_eq!(content, "abc");
        // Neither padding nor end.
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn broken_archives_are_errors() {
        let whole = header("x", EntryType::Regular, 3);
        let broken = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            loop {
                match reader.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => return Some(error.to_string()),
                }
            }
        };
        assert!(broken(&whole[..100]).is_some());
        assert!(broken(&whole).is_some());
        assert!(broken(&[&whole[..], b"ab"].concat()).is_some());
        assert!(broken(&[&whole[..], b"abc"].concat()).is_none());
        let mut wrong = whole.clone();
        wrong[0] = b'y';
        assert!(broken(&wrong).is_some());
        let lone = [vec![0; BLOCK], header("x", EntryType::Regular, 0)].concat();
        assert!(broken(&lone).is_some());
        assert!(broken(&[0; BLOCK]).is_none());
        for bad in [
            &b"9 a=b"[..],
            b"x a=b\n",
            b"99 a=b\n",
            b"6 a=bc\n",
            b"6 abc\n",
            b"0 a=b\n",
        ] {
            let header = header("p", EntryType::XHeader, bad.len() as u64);
            assert!(
                broken(&padded([header, bad.to_vec()].concat())).is_some(),
                "{bad:?}"
            );
        }
        for bad in ["", "-", "1.x", "x", "1.-1"] {
            assert!(time(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
