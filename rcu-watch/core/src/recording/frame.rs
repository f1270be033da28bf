//! The file's frames: `kind u8, length u32, payload, checksum u32`, little-endian, after magic and version.
//!
//! Reading is total: any bytes give frames and then the end or one typed error, and never a panic. A length
//! is believed only as far as there are bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;

use super::{MAGIC, PROBES_MAX, VERSION, VERSION_FNV};

/// JSON that is longer is no recording's: what begins one of a kernel with 50,000 traced functions has 6 MiB.
const JSON_MAX: u32 = 8 << 20;
/// The same of the last frame: it has a book for each CPU and probe, of which 512 CPUs have some ten million bytes.
const END_MAX: u32 = 24 << 20;
/// Records that are longer are none: one with a stack has less than 1 KiB.
const RECORD_MAX: u32 = 64 << 10;
/// How much is read at once of a length that only says that it is there.
const CHUNK: usize = 64 << 10;

/// The kind of a record's frame.
const RECORD: u8 = 2;
/// The kind of the last frame.
const END: u8 = 6;

/// The longest payload of a frame of this kind.
const fn payload_max(kind: u8) -> u32 {
    match kind {
        RECORD => RECORD_MAX,
        END => END_MAX,
        _ => JSON_MAX,
    }
}

/// One part of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// JSON of [`super::part::Start`].
    Start(Vec<u8>),
    /// A record as it came out of the ring.
    Record(Vec<u8>),
    /// JSON of [`super::part::NumberedProbe`]: a probe that came or changed.
    Probe(Vec<u8>),
    /// JSON of [`super::part::Said`]: a message that no record makes.
    Said(Vec<u8>),
    /// JSON of [`super::part::Names`].
    Names(Vec<u8>),
    /// JSON of [`super::part::End`].
    End(Vec<u8>),
}

impl Frame {
    const fn kind(&self) -> u8 {
        match self {
            Self::Start(_) => 1,
            Self::Record(_) => RECORD,
            Self::Probe(_) => 3,
            Self::Said(_) => 4,
            Self::Names(_) => 5,
            Self::End(_) => END,
        }
    }

    fn new(kind: u8, payload: Vec<u8>) -> Option<Self> {
        Some(match kind {
            1 => Self::Start(payload),
            RECORD => Self::Record(payload),
            3 => Self::Probe(payload),
            4 => Self::Said(payload),
            5 => Self::Names(payload),
            END => Self::End(payload),
            _ => return None,
        })
    }

    /// The JSON or the record, without the frame's head and checksum.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let (Self::Start(payload)
        | Self::Record(payload)
        | Self::Probe(payload)
        | Self::Said(payload)
        | Self::Names(payload)
        | Self::End(payload)) = self;
        payload
    }

    /// Appends the frame to `out`, as it lies in a file.
    ///
    /// # Errors
    /// Where the payload is longer than any reader takes.
    pub fn append(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        append(out, self.kind(), self.payload())
    }
}

/// A payload that no frame can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are more than a frame of a recording holds")]
pub struct TooLong(usize);

/// Appends a record's frame to `out`.
///
/// # Errors
/// Where the record is longer than any reader takes.
pub fn append_record(out: &mut Vec<u8>, record: &[u8]) -> Result<(), TooLong> {
    append(out, RECORD, record)
}

fn append(out: &mut Vec<u8>, kind: u8, payload: &[u8]) -> Result<(), TooLong> {
    let len = u32::try_from(payload.len()).ok().filter(|&len| len <= payload_max(kind));
    let len = len.ok_or(TooLong(payload.len()))?;
    out.push(kind);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32(kind, payload).to_le_bytes());
    Ok(())
}

/// What a recording begins with.
#[must_use]
pub fn preamble() -> [u8; 12] {
    let mut bytes = [0; 12];
    let (magic, version) = bytes.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    version.copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Where the bytes of a recording come from: this crate has no files.
pub trait Source {
    /// Puts the next bytes into `bytes` and says how many; 0 is the end.
    ///
    /// # Errors
    /// Where the source cannot be read any further.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, SourceError>;
}

/// Why a [`Source`] gives no more.
pub type SourceError = Box<dyn Error + Send + Sync>;

impl Source for &[u8] {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, SourceError> {
        let (taken, left) = self.split_at(bytes.len().min(self.len()));
        bytes[..taken.len()].copy_from_slice(taken);
        *self = left;
        Ok(taken.len())
    }
}

/// Why a recording cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not even the preamble is there.
    #[error("recording is empty; was rcu-watch killed before it wrote anything?")]
    Empty,
    /// The first bytes are not [`MAGIC`].
    #[error("file is no recording of rcu-watch; make one with `rcu-watch record`")]
    Magic,
    #[error(
        "recording is of version {0}, this build reads versions {VERSION_FNV} to {VERSION}; use the rcu-watch that wrote it"
    )]
    /// The file's shape is of this version, which this build does not read.
    Version(u32),
    /// The file ends inside the frame that begins at this byte.
    #[error("recording is cut off at byte {0}; what came before it was replayed")]
    Cut(u64),
    /// The frame that begins at this byte has a wrong checksum, kind or place.
    #[error("recording is corrupt at byte {0}; what came before it was replayed")]
    Corrupt(u64),
    /// A probe's id is beyond any that a plan has: what is kept by id would fill the memory.
    #[error(
        "recording is corrupt at byte {at}: it names probe {id}, and no plan has more than {PROBES_MAX}; what came before it was replayed"
    )]
    Probe {
        /// The byte behind the frame that names it.
        at: u64,
        /// The id.
        id: u32,
    },
    /// The source gave an error instead of bytes.
    #[error("recording cannot be read at byte {at}; {error}")]
    Source {
        /// The byte at which the frame begins that was to be read.
        at: u64,
        /// What the source said.
        error: SourceError,
    },
}

/// The frames of a recording, as they are read.
pub struct Frames<S> {
    input: S,
    checksum: fn(u8, &[u8]) -> u32,
    at: u64,
    is_over: bool,
    /// Of the frame that was read last; reused.
    payload: Vec<u8>,
}

/// One part of a recording, as it lies in the reader.
pub enum Part<'a> {
    /// A record as it came out of the ring: by far the most of a recording.
    Record(&'a [u8]),
    /// Any other frame, with bytes of its own.
    Other(Frame),
}

impl<S: Source> Frames<S> {
    /// Reads the preamble.
    ///
    /// # Errors
    /// Where it is not that of a recording that this build reads.
    pub fn new(input: S) -> Result<Self, ReadError> {
        let mut frames = Self { input, checksum: crc32, at: 0, is_over: false, payload: Vec::new() };
        frames.read_payload(MAGIC.len())?;
        let magic = &frames.payload;
        if magic.is_empty() {
            return Err(ReadError::Empty);
        }
        if magic != &MAGIC {
            // The first bytes of the magic alone are a recording that was cut off there.
            return Err(if MAGIC.starts_with(magic) { ReadError::Cut(frames.at) } else { ReadError::Magic });
        }
        frames.checksum = match frames.number()? {
            VERSION => crc32,
            VERSION_FNV => fnv,
            version => return Err(ReadError::Version(version)),
        };
        Ok(frames)
    }

    /// Bytes that were read.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// The next part, a record without a copy. After an error there is nothing more.
    pub fn next_part(&mut self) -> Option<Result<Part<'_>, ReadError>> {
        if self.is_over {
            return None;
        }
        let next = self.next_kind();
        self.is_over = !matches!(next, Ok(Some(_)));
        match next {
            Ok(None) => None,
            Ok(Some(RECORD)) => Some(Ok(Part::Record(&self.payload))),
            // `next_kind` gives no kind that is none.
            Ok(Some(kind)) => Frame::new(kind, core::mem::take(&mut self.payload)).map(Part::Other).map(Ok),
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads a frame; gives its kind.
    fn next_kind(&mut self) -> Result<Option<u8>, ReadError> {
        let start = self.at;
        let mut kind = [0];
        if self.fill(&mut kind)? == 0 {
            return Ok(None);
        }
        let [kind] = kind;
        let len = self.number()?;
        if len > payload_max(kind) {
            return Err(ReadError::Corrupt(start));
        }
        self.read_payload(len as usize)?;
        if self.payload.len() != len as usize {
            return Err(ReadError::Cut(self.at));
        }
        let sum = self.number()?;
        if sum != (self.checksum)(kind, &self.payload) || Frame::new(kind, Vec::new()).is_none() {
            return Err(ReadError::Corrupt(start));
        }
        Ok(Some(kind))
    }

    /// Reads up to `most` bytes; fewer where the file ends.
    fn read_payload(&mut self, most: usize) -> Result<(), ReadError> {
        let mut payload = core::mem::take(&mut self.payload);
        payload.clear();
        let mut have = 0;
        while have < most {
            let want = CHUNK.min(most - have);
            payload.resize(have + want, 0);
            let got = self.fill(&mut payload[have..])?;
            have += got;
            if got != want {
                break;
            }
        }
        payload.truncate(have);
        self.payload = payload;
        Ok(())
    }

    fn number(&mut self) -> Result<u32, ReadError> {
        let mut bytes = [0; 4];
        if self.fill(&mut bytes)? < bytes.len() {
            return Err(ReadError::Cut(self.at));
        }
        Ok(u32::from_le_bytes(bytes))
    }

    /// Fills `bytes`, as far as there are any; gives how many there were.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ReadError> {
        let mut have = 0;
        while have < bytes.len() {
            match self.input.read(&mut bytes[have..]) {
                Ok(0) => break,
                Ok(got) => have += got,
                Err(error) => return Err(ReadError::Source { at: self.at, error }),
            }
        }
        self.at += have as u64;
        Ok(have)
    }
}

impl<S: Source> Iterator for Frames<S> {
    type Item = Result<Frame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_part()?.map(|part| match part {
            Part::Record(record) => Frame::Record(record.to_vec()),
            Part::Other(frame) => frame,
        }))
    }
}

/// CRC-32 over kind and payload.
fn crc32(kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

/// FNV-1a, 32 bits, over kind and payload: the checksum of version 1.
fn fnv(kind: u8, payload: &[u8]) -> u32 {
    core::iter::once(&kind)
        .chain(payload)
        .fold(0x811c_9dc5, |sum: u32, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> (Vec<Frame>, Vec<u8>) {
        let frames = vec![
            Frame::Start(b"{}".to_vec()),
            Frame::Record(vec![7; 300]),
            Frame::Record(Vec::new()),
            Frame::End(b"{}".to_vec()),
        ];
        let mut bytes = preamble().to_vec();
        frames.iter().for_each(|frame| frame.append(&mut bytes).unwrap());
        (frames, bytes)
    }

    fn read(bytes: &[u8]) -> (Vec<Frame>, Option<ReadError>) {
        let mut read = Vec::new();
        match Frames::new(bytes) {
            Err(error) => return (read, Some(error)),
            Ok(frames) => {
                for frame in frames {
                    match frame {
                        Ok(frame) => read.push(frame),
                        Err(error) => return (read, Some(error)),
                    }
                }
            }
        }
        (read, None)
    }

    #[test]
    fn frames_come_back_as_they_were() {
        let (frames, bytes) = recording();
        let (read, error) = read(&bytes);
        assert_eq!(read, frames);
        assert!(error.is_none());
    }

    #[test]
    fn a_recording_cut_anywhere_keeps_what_is_whole() {
        let (frames, bytes) = recording();
        for len in 0..bytes.len() {
            let (read, error) = read(&bytes[..len]);
            assert_eq!(read, frames[..read.len()], "{len}");
            match error {
                Some(ReadError::Empty) => assert_eq!(len, 0),
                Some(ReadError::Cut(at)) => assert_eq!(at, len as u64),
                None => assert!(!read.is_empty() || len == 12, "{len}: a cut between two frames"),
                Some(other) => panic!("{len}: {other}"),
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_told_and_what_came_before_is_kept() {
        let (frames, bytes) = recording();
        for at in 12..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let (read, error) = read(&bytes);
            assert!(error.is_some(), "{at}");
            assert_eq!(read, frames[..read.len()], "{at}");
        }
    }

    #[test]
    fn a_recording_of_version_1_is_read_by_its_own_checksum() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION_FNV.to_le_bytes());
        bytes.extend([RECORD, 1, 0, 0, 0, 7]);
        bytes.extend(fnv(RECORD, &[7]).to_le_bytes());
        let (frames, error) = read(&bytes);
        assert_eq!(frames, [Frame::Record(vec![7])]);
        assert!(error.is_none());
    }

    #[test]
    fn strangers_and_the_future_are_refused() {
        assert!(matches!(read(b"\x7fELF and so on").1, Some(ReadError::Magic)));
        let mut future = MAGIC.to_vec();
        future.extend(3_u32.to_le_bytes());
        assert!(matches!(read(&future).1, Some(ReadError::Version(3))));
    }

    #[test]
    fn a_length_beyond_the_file_allocates_nothing_like_it() {
        for (kind, most) in [(RECORD, RECORD_MAX), (4, JSON_MAX), (END, END_MAX)] {
            let head = |len: u32| [&preamble()[..], &[kind], &len.to_le_bytes()].concat();
            assert!(matches!(read(&head(most)).1, Some(ReadError::Cut(_))));
            for len in [most + 1, u32::MAX] {
                assert!(matches!(read(&head(len)).1, Some(ReadError::Corrupt(12))));
            }
        }
    }
}
