//! The kernel's own type information, read as a stream.
//!
//! What is needed of `/sys/kernel/btf/vmlinux` is a few members, a few variables, and which of some names are
//! functions. The crates that parse BTF build every one of its types first: `btf` 0.5.1 took 200 to 310 ms
//! and 55 to 84 MB for 5.10 to 7.2, more than all the rest of the start. This reader makes one pass over the strings
//! (name to offset), one over the types (which keeps four bytes each: where it starts), and follows
//! the types that matter from there.
//!
//! BTF: include/uapi/linux/btf.h. Bits 16 to 23 and 31 of `info` were zero until newer kernels gave them to
//! the vector length and the kind; taking them all reads both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::kernel::read::name::Names;

const MAGIC: u16 = 0xeb9f;
const BUFFER_BYTES: usize = 64 * 1024;
/// Modifiers and nesting that a member's type can be wrapped in.
const DEPTH_MAX: u32 = 32;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

#[derive(Debug, Error)]
pub(crate) enum BtfError {
    #[error("the kernel's BTF cannot be read")]
    Read(#[from] io::Error),
    #[error("the kernel's BTF starts with {0:#06x} instead of {MAGIC:#06x}; is this machine big-endian?")]
    Magic(u16),
    #[error(
        "the kernel's BTF has types of kind {0}, which this version does not know; a newer rcu-watch may"
    )]
    Kind(u32),
    #[error("the kernel's BTF refers to type {0}, which it does not have")]
    Type(u32),
}

/// What to look for. Names that are not in the BTF are simply not in the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub functions: BTreeSet<String>,
    pub typedefs: BTreeSet<String>,
    pub variables: BTreeSet<String>,
    /// Members by struct; those of unnamed structs and unions inside count as the struct's own.
    pub members: BTreeMap<String, BTreeSet<String>>,
}

/// Where a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub offset_bytes: u32,
    pub size_bytes: u32,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTypes {
    /// With the type id, which is how BPF programs name their target.
    pub functions: BTreeMap<String, u32>,
    pub typedefs: BTreeSet<String>,
    /// Size of each variable. Empty for a kernel whose BTF has none (before pahole 1.22).
    pub variables: BTreeMap<String, u32>,
    pub members: BTreeMap<String, BTreeMap<String, Member>>,
    /// The structs that exist, with or without the members.
    pub structs: BTreeSet<String>,
}

impl FoundTypes {
    #[must_use]
    pub fn member(&self, of: &str, name: &str) -> Option<Member> {
        self.members.get(of)?.get(name).copied()
    }
}

/// One type's fixed part.
#[derive(Clone, Copy, Debug)]
struct Type {
    name: u32,
    kind: u32,
    kind_flag: bool,
    len: u32,
    /// Size in bytes, or the id of the type it refers to.
    size_or_type: u32,
}

impl Type {
    fn parse(bytes: [u8; 12]) -> Self {
        let [name, info, size_or_type] =
            [0, 4, 8].map(|at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        Self {
            name,
            kind: (info >> 24) & 0x7f,
            kind_flag: info >> 31 != 0,
            len: info & 0x00ff_ffff,
            size_or_type,
        }
    }

    /// Bytes that follow the fixed part.
    fn tail_bytes(self) -> Result<u32, BtfError> {
        Ok(match self.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => self.len * 12,
            kind::ENUM | kind::FUNC_PROTO => self.len * 8,
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            other => return Err(BtfError::Kind(other)),
        })
    }
}

/// Finds what `query` asks for in the BTF that `source` holds.
///
/// # Errors
/// Where the BTF cannot be read or is not understood.
pub(crate) fn search<R: Read + Seek>(source: R, query: &Query) -> Result<FoundTypes, BtfError> {
    let mut btf = Btf::open(source)?;
    let wanted = query
        .functions
        .iter()
        .chain(&query.typedefs)
        .chain(&query.variables)
        .chain(query.members.keys())
        .chain(query.members.values().flatten());
    let names = btf.offsets_of(&wanted.map(String::as_str).collect())?;
    let hits = btf.index(&names)?;
    let mut found = FoundTypes::default();
    for hit in hits {
        let Some(name) = names.get(&hit.1.name) else { continue };
        match hit.1.kind {
            kind::FUNC if query.functions.contains(name) => {
                found.functions.entry(name.clone()).or_insert(hit.0);
            }
            kind::TYPEDEF if query.typedefs.contains(name) => {
                found.typedefs.insert(name.clone());
            }
            kind::VAR if query.variables.contains(name) => {
                let size = btf.size_of(hit.1.size_or_type, DEPTH_MAX)?;
                found.variables.insert(name.clone(), size);
            }
            kind::STRUCT => {
                if let Some(wanted) = query.members.get(name) {
                    found.structs.insert(name.clone());
                    let mut members = BTreeMap::new();
                    btf.members(hit.0, 0, DEPTH_MAX, &names, wanted, &mut members)?;
                    let known = found.members.entry(name.clone()).or_default();
                    // Two structs of one name: the one that has more of what is wanted is meant.
                    if members.len() > known.len() {
                        *known = members;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The names of the functions that have these type ids.
///
/// # Errors
/// Where the BTF cannot be read or is not understood.
pub(crate) fn function_names<R: Read + Seek>(
    source: R,
    ids: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, String>, BtfError> {
    let mut btf = Btf::open(source)?;
    btf.index(&HashMap::new())?;
    let mut names = BTreeMap::new();
    for &id in ids {
        if let Ok(function) = btf.type_at(id)
            && function.kind == kind::FUNC
        {
            names.insert(id, btf.string_at(function.name)?);
        }
    }
    Ok(names)
}

struct Btf<R> {
    source: BufReader<R>,
    types_at: u64,
    types_len: u32,
    strings_at: u64,
    strings_len: u32,
    /// Where each type starts within the types, by id; id 0 is `void`.
    starts: Vec<u32>,
}

impl<R: Read + Seek> Btf<R> {
    fn open(source: R) -> Result<Self, BtfError> {
        let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
        let mut header = [0; 24];
        source.read_exact(&mut header)?;
        let magic = u16::from_le_bytes([header[0], header[1]]);
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let [header_len, types_at, types_len, strings_at, strings_len] = [4, 8, 12, 16, 20]
            .map(|at| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        Ok(Self {
            source,
            types_at: u64::from(header_len) + u64::from(types_at),
            types_len,
            strings_at: u64::from(header_len) + u64::from(strings_at),
            strings_len,
            starts: Vec::new(),
        })
    }

    /// Names by the offset that types refer to them with.
    fn offsets_of(&mut self, wanted: &Names<'_>) -> Result<HashMap<u32, String>, BtfError> {
        self.source.seek(SeekFrom::Start(self.strings_at))?;
        let mut strings = (&mut self.source).take(u64::from(self.strings_len));
        let mut offsets = HashMap::new();
        let mut at = 0;
        let mut name = Vec::with_capacity(64);
        loop {
            name.clear();
            let len = io::BufRead::read_until(&mut strings, 0, &mut name)?;
            if len == 0 {
                return if at == self.strings_len {
                    Ok(offsets)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
            if let Ok(text) = std::str::from_utf8(&name[..len - 1])
                && wanted.contains(text)
            {
                offsets.insert(at, text.to_owned());
            }
            at += u32::try_from(len).map_err(io::Error::other)?;
        }
    }

    fn string_at(&mut self, offset: u32) -> Result<String, BtfError> {
        self.source.seek(SeekFrom::Start(self.strings_at + u64::from(offset)))?;
        let mut name = Vec::new();
        io::BufRead::read_until(&mut self.source, 0, &mut name)?;
        name.pop();
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    /// Walks all types; returns those with one of these names.
    fn index(&mut self, names: &HashMap<u32, String>) -> Result<Vec<(u32, Type)>, BtfError> {
        self.source.seek(SeekFrom::Start(self.types_at))?;
        // `void`, whose place is never looked at.
        self.starts = Vec::with_capacity(self.types_len as usize / 32);
        self.starts.push(u32::MAX);
        let mut hits = Vec::new();
        let mut at = 0;
        while at < self.types_len {
            let mut fixed = [0; 12];
            self.source.read_exact(&mut fixed)?;
            let this = Type::parse(fixed);
            let tail = this.tail_bytes()?;
            self.source.seek_relative(i64::from(tail))?;
            let can_be_asked_for = matches!(this.kind, kind::STRUCT | kind::TYPEDEF | kind::VAR | kind::FUNC);
            if can_be_asked_for && names.contains_key(&this.name) {
                hits.push((u32::try_from(self.starts.len()).map_err(io::Error::other)?, this));
            }
            self.starts.push(at);
            at += 12 + tail;
        }
        Ok(hits)
    }

    /// Seeks to the tail of type `id`.
    fn type_at(&mut self, id: u32) -> Result<Type, BtfError> {
        let start = match self.starts.get(id as usize) {
            Some(&start) if id != 0 => start,
            _ => return Err(BtfError::Type(id)),
        };
        self.source.seek(SeekFrom::Start(self.types_at + u64::from(start)))?;
        let mut fixed = [0; 12];
        self.source.read_exact(&mut fixed)?;
        Ok(Type::parse(fixed))
    }

    fn words(&mut self, count: u32) -> Result<Vec<u32>, BtfError> {
        let mut bytes = vec![0; count as usize * 4];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect())
    }

    fn size_of(&mut self, id: u32, depth: u32) -> Result<u32, BtfError> {
        let this = self.type_at(id)?;
        let below = depth.checked_sub(1).ok_or(BtfError::Type(id))?;
        match this.kind {
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                Ok(this.size_or_type)
            }
            kind::PTR => Ok(8),
            kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                self.size_of(this.size_or_type, below)
            }
            kind::ARRAY => {
                let array = self.words(3)?;
                Ok(self.size_of(array[0], below)?.saturating_mul(array[2]))
            }
            _ => Err(BtfError::Type(id)),
        }
    }

    fn members(
        &mut self,
        id: u32,
        base_bytes: u32,
        depth: u32,
        names: &HashMap<u32, String>,
        wanted: &BTreeSet<String>,
        found: &mut BTreeMap<String, Member>,
    ) -> Result<(), BtfError> {
        let this = self.type_at(id)?;
        let Some(below) = depth.checked_sub(1) else { return Ok(()) };
        if !matches!(this.kind, kind::STRUCT | kind::UNION) {
            return Ok(());
        }
        for member in self.words(this.len * 3)?.chunks_exact(3) {
            let (name, of_type) = (member[0], member[1]);
            let bits = if this.kind_flag { member[2] & 0x00ff_ffff } else { member[2] };
            let offset_bytes = base_bytes + bits / 8;
            match names.get(&name).filter(|name| wanted.contains(*name)) {
                Some(name) => {
                    let size_bytes = self.size_of(of_type, DEPTH_MAX)?;
                    found.insert(name.clone(), Member { offset_bytes, size_bytes });
                }
                None if name == 0 => self.members(of_type, offset_bytes, below, names, wanted, found)?,
                None => {}
            }
        }
        Ok(())
    }
}
