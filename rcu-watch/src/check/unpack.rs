//! A module file as distributions ship it: as it is, or packed by gzip, xz or zstd, which its first bytes tell.
//!
//! A packed file says little about what it unpacks to: 64 KiB can become gigabytes. So the limit is on what comes out, and
//! on what the unpacking itself keeps.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

/// Modules have some hundred KiB, the largest of distributions 10 MiB, and livepatches are small ones.
const MODULE_MAX: u64 = 64 << 20;
/// What xz may keep of what it has unpacked, in KiB. The kernel's build asks for 1 MiB (scripts/Makefile.modinst).
const XZ_KEEPS_KIB: u32 = 65 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("cannot unpack it, though it begins as {0} does: {1}; it is damaged, get it again")]
    Unpack(&'static str, String),
    #[error("it has more than {most} MiB{when}, and no livepatch has; name the functions by hand", most = MODULE_MAX >> 20)]
    TooLong { when: &'static str },
}

/// The bytes of the module in the file at `path`.
///
/// # Errors
/// Where it cannot be read or unpacked, or is longer than any module.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, UnpackError> {
    module(File::open(path)?)
}

fn module(file: impl Read) -> Result<Vec<u8>, UnpackError> {
    let mut file = BufReader::new(file);
    match file.fill_buf()? {
        [0x1f, 0x8b, ..] => unpacked("gzip", GzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            unpacked("xz", XzReader::new_mem_limit(file, true, XZ_KEEPS_KIB))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = StreamingDecoder::new(file)
                .map_err(|error| UnpackError::Unpack("zstd", error.to_string()))?;
            unpacked("zstd", decoder)
        }
        _ => limited(file)?.ok_or(UnpackError::TooLong { when: "" }),
    }
}

fn unpacked(format: &'static str, packed: impl Read) -> Result<Vec<u8>, UnpackError> {
    limited(packed)
        .map_err(|error| UnpackError::Unpack(format, error.to_string()))?
        .ok_or(UnpackError::TooLong { when: " when it is unpacked" })
}

/// All that is there; `None` where that is more than any module has.
fn limited(input: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    input.take(MODULE_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MODULE_MAX).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: impl Read) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        io::copy(&mut { bytes }, &mut packed).unwrap();
        packed.finish().unwrap()
    }

    /// `printf 'module\n' | xz --check=crc32 --lzma2=dict=1MiB`
    const XZ: &[u8] =
        b"\xfd7zXZ\x00\x00\x01i\x22\xde6\x02\x00!\x01\x10\x00\x00\x00\xa8p\x8e\x86\x01\x00\x06module\
        \x0a\x00\x00O\x8an\x07\x00\x01\x1b\x07\x12\xeb\xd4\x17\x90B\x99\x0d\x01\x00\x00\x00\x00\
        \x01YZ";
    /// `printf 'module\n' | zstd`
    const ZSTD: &[u8] = b"(\xb5/\xfd\x04X9\x00\x00module\x0a&\xd1Q%";

    #[test]
    fn a_module_is_the_same_however_it_is_packed() {
        for packed in [&b"module\n"[..], &gzip(&b"module\n"[..]), XZ, ZSTD] {
            assert_eq!(module(packed).unwrap(), b"module\n");
        }
    }

    #[test]
    fn what_is_cut_or_damaged_is_refused_with_its_format() {
        for (packed, format) in [(&gzip(&b"module\n"[..])[..], "gzip"), (XZ, "xz"), (ZSTD, "zstd")] {
            for len in 6..packed.len() - 9 {
                let error = module(&packed[..len]).unwrap_err().to_string();
                assert!(
                    error.starts_with(&format!("cannot unpack it, though it begins as {format}")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_file_without_end_is_refused_packed_or_not() {
        let plain = module(io::repeat(b'x')).unwrap_err().to_string();
        assert!(plain.starts_with("it has more than 64 MiB, and"), "{plain}");
        let bomb = gzip(io::repeat(0).take(MODULE_MAX + 1));
        assert!(bomb.len() < 1 << 20);
        let packed = module(&bomb[..]).unwrap_err().to_string();
        assert!(packed.starts_with("it has more than 64 MiB when it is unpacked"), "{packed}");
    }

    #[test]
    fn an_xz_that_wants_more_memory_than_any_module_is_refused_before_it_gets_it() {
        // The dictionary's size is a byte of the block's header: 4 GiB.
        let mut greedy = XZ.to_vec();
        greedy[16] = 40;
        greedy[20..24].copy_from_slice(&[0xe6, 0xa0, 0x11, 0xb3]);
        let error = module(&greedy[..]).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }
}
