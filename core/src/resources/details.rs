//! The part of the text form that Mesos does not have: everything about a resource that is not
//! plain and not reserved by one static level.
//!
//! It stands between the role and the value, where Mesos' grammar has nothing (RM-10), as
//! `<word,word="text",…>` with these words:
//!
//! | word | says |
//! |---|---|
//! | `dynamic="ROLE"` | one more level of the reservation |
//! | `principal="WHO"` | who made the level, or the volume, that stands before |
//! | `label="KEY"="VALUE"`, `label="KEY"` | a label of the level, or of the disk, that stands before |
//! | `path="ROOT"`, `mount="ROOT"`, `path`, `mount`, `block`, `raw` | the sort of disk |
//! | `vendor="…"`, `id="…"`, `profile="…"` | more about the disk that stands before |
//! | `volume="ID"`, then `rw="PATH"` or `ro="PATH"` | the persistent volume and where a container sees it |
//! | `provider="ID"` | who provides it |
//! | `revocable`, `shared`, `shared=3` | its sort, and how many copies there are |
//!
//! Called by the parser and by `Display`; what one writes the other reads. Deliberately not here:
//! the rules about what goes together, which are checked where a resource is made.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::invalid::InvalidResource;
use super::labels::{Label, Labels, check_text};
use super::metadata::{
    Access, DiskKind, Metadata, ProfileId, ProviderId, Source, Volume, VolumeId,
};
use super::parse::{Cursor, ParseError};
use super::reservation::Reservation;
use super::resource::Resource;
use crate::limits;
use crate::roles::Role;

const ONCE: &str = "a detail that is not there yet";
const WORD: &str = "a detail such as dynamic=\"ROLE\", mount=\"ROOT\" or revocable";
const PLACE: &str = "something before it that this says more about";

/// What the details say so far.
#[derive(Default)]
pub(super) struct Details {
    metadata: Metadata,
    copies: Option<u32>,
    /// Labels of the disk, not yet sorted.
    disk_labels: Vec<Label>,
    last: Last,
    levels: Vec<Level>,
    volume: Option<Mounted>,
}

/// What a principal or a label says more about.
#[derive(Clone, Copy, Default)]
enum Last {
    #[default]
    Nothing,
    Level,
    Disk,
    Volume,
}

/// A dynamic level that is being read.
struct Level {
    /// Where it begins.
    start: usize,
    role: Role,
    principal: Option<Arc<str>>,
    labels: Vec<Label>,
}

/// A volume that is being read.
struct Mounted {
    /// Where it begins.
    start: usize,
    id: VolumeId,
    principal: Option<Arc<str>>,
    at: Option<(Access, Arc<str>)>,
}

impl Details {
    /// Starts with what stands in the parentheses.
    pub(super) fn of(metadata: Metadata) -> Self {
        Self {
            metadata,
            ..Self::default()
        }
    }

    /// Describes a resource. The error says what was expected and at which of the details, if it
    /// is about one.
    pub(super) fn describe(self, resource: Resource) -> Result<Resource, Misplaced> {
        let mut metadata = self.metadata;
        for level in self.levels {
            let at = |expected| (Some(level.start), expected);
            let labels = Labels::from_unordered(level.labels).map_err(|_| at(LABELS))?;
            let level = Reservation::Dynamic {
                role: level.role,
                principal: level.principal,
                labels,
            };
            let pushed = metadata.reservations.push(level);
            pushed.map_err(|_| at(LEVELS))?;
        }
        if let Some(source) = &mut metadata.source {
            source.metadata =
                Labels::from_unordered(self.disk_labels).map_err(|_| (None, LABELS))?;
        }
        if let Some(volume) = self.volume {
            let (access, container_path) = volume.at.ok_or((Some(volume.start), MOUNTED))?;
            metadata.volume = Some(Volume {
                id: volume.id,
                principal: volume.principal,
                access,
                container_path,
            });
        }
        if metadata.is_plain() {
            return Ok(resource);
        }
        let described = resource.with_metadata(metadata);
        let copied = described.and_then(|it| it.with_copies(self.copies.unwrap_or(1)));
        copied.map_err(|why| (None, expected(why)))
    }

    fn set_source(&mut self, kind: DiskKind) -> Result<(), &'static str> {
        self.last = Last::Disk;
        set(&mut self.metadata.source, Source::of(kind))
    }

    fn source(&mut self) -> Result<&mut Source, &'static str> {
        self.metadata.source.as_mut().ok_or(PLACE)
    }

    fn set_principal(&mut self, who: String) -> Result<(), &'static str> {
        let place = match self.last {
            Last::Level => self.levels.last_mut().map(|level| &mut level.principal),
            Last::Volume => self.volume.as_mut().map(|volume| &mut volume.principal),
            Last::Nothing | Last::Disk => None,
        };
        set(place.ok_or(PLACE)?, who.into())
    }

    fn add_label(&mut self, label: Label) -> Result<(), &'static str> {
        let place = match self.last {
            Last::Level => self.levels.last_mut().map(|level| &mut level.labels),
            Last::Disk => Some(&mut self.disk_labels),
            Last::Nothing | Last::Volume => None,
        };
        let labels = place.ok_or(PLACE)?;
        if labels.len() >= limits::LABELS || label.check().is_err() {
            return Err(LABELS);
        }
        labels.push(label);
        Ok(())
    }
}

/// Where a fault is, if it is of one detail, and what was expected there.
type Misplaced = (Option<usize>, &'static str);

const LEVELS: &str = "levels of a reservation, each to a role below the one before";
const MOUNTED: &str = "rw=\"PATH\" or ro=\"PATH\"";
const TEXTS: &str = "texts of 1 to 4096 bytes without control characters";

const LABELS: &str = "at most 256 labels of 1 to 4096 bytes without control characters";

/// Says what should stand in the place of details that make no resource.
fn expected(why: InvalidResource) -> &'static str {
    match why {
        InvalidResource::NotADisk { .. } => "no disk or volume on what is no scalar \"disk\"",
        InvalidResource::Copies { .. } => "1 to 65536 copies of what is shared",
        InvalidResource::Text { .. } => TEXTS,
        InvalidResource::Together { .. } => {
            "details that go together: a volume is reserved, only volumes are shared, and what is \
             revocable is neither"
        }
        InvalidResource::Name { .. }
        | InvalidResource::Reservation { .. }
        | InvalidResource::Unreserved { .. }
        | InvalidResource::Undividable { .. }
        | InvalidResource::NotCanonical { .. } => "a resource",
    }
}

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), &'static str> {
    if place.is_some() {
        return Err(ONCE);
    }
    *place = Some(value);
    Ok(())
}

fn fit(root: Option<Arc<str>>) -> Result<Option<Arc<str>>, &'static str> {
    match root.as_deref().map(|root| check_text("disk root", root)) {
        Some(Err(_)) => Err(TEXTS),
        Some(Ok(())) | None => Ok(root),
    }
}

fn set_flag(place: &mut bool) -> Result<(), &'static str> {
    if *place {
        return Err(ONCE);
    }
    *place = true;
    Ok(())
}

impl Cursor<'_> {
    /// Reads details up to and with `>`.
    pub(super) fn details(&mut self, mut details: Details) -> Result<Details, ParseError> {
        loop {
            self.skip_blanks();
            let start = self.at();
            let word = self.take_until(&['=', ',', '>', ' ', '"']);
            self.detail(start, word, &mut details)?;
            if self.eat('>') {
                return Ok(details);
            }
            self.expect(',', r#""," or ">""#)?;
        }
    }

    /// Reads what follows a word that begins at `start`.
    fn detail(
        &mut self,
        start: usize,
        word: &str,
        details: &mut Details,
    ) -> Result<(), ParseError> {
        let taken = match word {
            "revocable" => set_flag(&mut details.metadata.revocable),
            "shared" => {
                let copies = self.copies()?;
                set_flag(&mut details.metadata.shared).map(|()| details.copies = copies)
            }
            "block" => details.set_source(DiskKind::Block),
            "raw" => details.set_source(DiskKind::Raw),
            "path" => {
                let root = self.root()?;
                fit(root).and_then(|root| details.set_source(DiskKind::Path { root }))
            }
            "mount" => {
                let root = self.root()?;
                fit(root).and_then(|root| details.set_source(DiskKind::Mount { root }))
            }
            "label" => {
                let key = self.text()?.into();
                let value = self.root()?;
                details.add_label(Label { key, value })
            }
            "dynamic" | "principal" | "vendor" | "id" | "profile" | "volume" | "rw" | "ro"
            | "provider" => {
                let text = self.text()?;
                told(start, word, text, details)
            }
            _ => Err(WORD),
        };
        taken.map_err(|expected| self.error(start, expected))
    }

    fn text(&mut self) -> Result<String, ParseError> {
        self.expect('=', r#""=" and a text in double quotes"#)?;
        self.quoted()
    }

    /// Reads a text that may be missing.
    fn root(&mut self) -> Result<Option<Arc<str>>, ParseError> {
        if !self.sees('=') {
            return Ok(None);
        }
        self.text().map(|text| Some(text.into()))
    }

    fn copies(&mut self) -> Result<Option<u32>, ParseError> {
        if !self.eat('=') {
            return Ok(None);
        }
        let start = self.at();
        let digits = self.take_until(&[',', '>']).trim_ascii();
        let is_number = digits.bytes().all(|b| b.is_ascii_digit());
        match digits.parse().ok().filter(|_| is_number) {
            Some(copies) => Ok(Some(copies)),
            None => Err(self.error(start, "a number of copies")),
        }
    }
}

/// Takes in a word that begins at `start` and has a text.
fn told(start: usize, word: &str, text: String, details: &mut Details) -> Result<(), &'static str> {
    check_text("text", &text).map_err(|_| TEXTS)?;
    match word {
        "dynamic" => {
            details.last = Last::Level;
            details.levels.push(Level {
                start,
                role: Role::new(&text).map_err(|_| "a valid role")?,
                principal: None,
                labels: Vec::new(),
            });
            Ok(())
        }
        "principal" => details.set_principal(text),
        "vendor" => set(&mut details.source()?.vendor, text.into()),
        "id" => set(&mut details.source()?.id, text.into()),
        "profile" => {
            let profile = ProfileId::new(&text).map_err(|_| "a disk profile")?;
            set(&mut details.source()?.profile, profile)
        }
        "provider" => {
            let provider = ProviderId::new(&text).map_err(|_| "a resource provider id")?;
            set(&mut details.metadata.provider, provider)
        }
        "volume" => {
            details.last = Last::Volume;
            let id = VolumeId::new(&text).map_err(|_| "a volume id")?;
            let mounted = Mounted {
                start,
                id,
                principal: None,
                at: None,
            };
            set(&mut details.volume, mounted)
        }
        "rw" | "ro" => {
            let access = if word == "rw" {
                Access::ReadWrite
            } else {
                Access::ReadOnly
            };
            let volume = details.volume.as_mut().ok_or(PLACE)?;
            set(&mut volume.at, (access, text.into()))
        }
        _ => Err(WORD),
    }
}

/// Writes what stands between the name and the colon.
pub(super) fn write(metadata: &Metadata, copies: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut levels = metadata.reservations.levels();
    match levels.split_first() {
        Some((Reservation::Static { role }, refinements)) => {
            write!(f, "({role})")?;
            levels = refinements;
        }
        Some((Reservation::Dynamic { .. }, _)) | None => f.write_str("(*)")?,
    }
    let mut words = Words { f, open: false };
    levels.iter().try_for_each(|level| words.level(level))?;
    if let Some(source) = &metadata.source {
        words.source(source)?;
    }
    if let Some(volume) = &metadata.volume {
        words.volume(volume)?;
    }
    if let Some(provider) = &metadata.provider {
        words.pair("provider", provider.as_str())?;
    }
    if metadata.revocable {
        words.word("revocable")?;
    }
    if metadata.shared {
        words.word("shared")?;
        if copies > 1 {
            write!(words.f, "={copies}")?;
        }
    }
    words.close()
}

/// Writes words with commas between them, in angle brackets if there are any.
struct Words<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    open: bool,
}

impl Words<'_, '_> {
    fn word(&mut self, word: &str) -> fmt::Result {
        self.f.write_str(if self.open { "," } else { "<" })?;
        self.open = true;
        self.f.write_str(word)
    }

    fn text(&mut self, text: &str) -> fmt::Result {
        self.f.write_str("=\"")?;
        for part in text.split_inclusive(['"', '\\']) {
            let plain = part.trim_end_matches(['"', '\\']);
            self.f.write_str(plain)?;
            if plain.len() < part.len() {
                write!(self.f, "\\{}", &part[plain.len()..])?;
            }
        }
        self.f.write_str("\"")
    }

    fn pair(&mut self, word: &str, text: &str) -> fmt::Result {
        self.word(word)?;
        self.text(text)
    }

    fn optional(&mut self, word: &str, text: Option<&str>) -> fmt::Result {
        text.map_or(Ok(()), |text| self.pair(word, text))
    }

    fn labels(&mut self, labels: &Labels) -> fmt::Result {
        labels.iter().try_for_each(|label| {
            self.pair("label", &label.key)?;
            label.value.as_deref().map_or(Ok(()), |v| self.text(v))
        })
    }

    fn level(&mut self, level: &Reservation) -> fmt::Result {
        match level {
            Reservation::Static { .. } => unreachable!("only the first level is static"),
            Reservation::Dynamic {
                role,
                principal,
                labels,
            } => {
                self.pair("dynamic", role.as_str())?;
                self.optional("principal", principal.as_deref())?;
                self.labels(labels)
            }
        }
    }

    fn source(&mut self, source: &Source) -> fmt::Result {
        let (word, root) = match &source.kind {
            DiskKind::Path { root } => ("path", root.as_deref()),
            DiskKind::Mount { root } => ("mount", root.as_deref()),
            DiskKind::Block => ("block", None),
            DiskKind::Raw => ("raw", None),
        };
        self.word(word)?;
        root.map_or(Ok(()), |root| self.text(root))?;
        self.optional("vendor", source.vendor.as_deref())?;
        self.optional("id", source.id.as_deref())?;
        self.optional("profile", source.profile.as_ref().map(ProfileId::as_str))?;
        self.labels(&source.metadata)
    }

    fn volume(&mut self, volume: &Volume) -> fmt::Result {
        self.pair("volume", volume.id.as_str())?;
        self.optional("principal", volume.principal.as_deref())?;
        let word = match volume.access {
            Access::ReadWrite => "rw",
            Access::ReadOnly => "ro",
        };
        self.pair(word, &volume.container_path)
    }

    fn close(self) -> fmt::Result {
        self.f.write_str(if self.open { ">" } else { "" })
    }
}
