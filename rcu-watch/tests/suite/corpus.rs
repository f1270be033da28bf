//! Recordings of stock kernels, made in the lab, and what replaying them must say: to the byte.
//!
//! After a wanted change run with `RCU_WATCH_BLESS=1` and read the diff of tests/corpus.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcu_watch::recording::play;
use rcu_watch::sink::Sink;
use rcu_watch::sink::Stream;
use rcu_watch_core::recording::Terms;
use rcu_watch_core::report::{Baseline, Envelope};

fn corpus() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the corpus is checked in")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rec"))
        .collect();
    files.sort();
    files
}

#[test]
fn replaying_the_corpus_says_what_it_always_said() {
    let files = corpus();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let out = Command::new(env!("CARGO_BIN_EXE_rcu-watch"))
            .args(["replay", "--format", "json"])
            .arg(&file)
            .output()
            .unwrap();
        // Each holds a self-test's finding.
        assert_eq!(
            out.status.code(),
            Some(2),
            "{}: {}",
            file.display(),
            String::from_utf8_lossy(&out.stderr)
        );
        let golden = file.with_extension("ndjson");
        if std::env::var_os("RCU_WATCH_BLESS").is_some() {
            fs::write(&golden, &out.stdout).unwrap();
        }
        let expected = fs::read(&golden).unwrap();
        assert!(
            out.stdout == expected,
            "{} differs:\n{}",
            golden.display(),
            String::from_utf8_lossy(&out.stdout)
        );
    }
}

struct Silent;

impl Sink for Silent {
    fn message(&mut self, _envelope: &Envelope) -> io::Result<()> {
        Ok(())
    }
}

/// Where the frames of a recording end.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut at = 12;
    let mut boundaries = vec![0, 8, at];
    while let Some(len) = bytes.get(at + 1..at + 5) {
        at += 9 + u32::from_le_bytes(len.try_into().expect("a slice of four bytes")) as usize;
        boundaries.push(at);
    }
    assert_eq!(at, bytes.len(), "the corpus is whole");
    boundaries
}

#[test]
fn a_recording_cut_at_any_frame_or_near_it_never_panics() {
    for file in corpus() {
        let bytes = fs::read(&file).unwrap();
        let near = boundaries(&bytes).into_iter().flat_map(|at| [at.saturating_sub(1), at, at + 1, at + 5]);
        let anywhere = (0..bytes.len()).step_by(bytes.len() / 100 + 1);
        for len in near.chain(anywhere).filter(|&len| len <= bytes.len()) {
            let terms = Terms::default();
            let stream = Stream::new(Box::new(Silent), Baseline::default());
            let exit = play(&bytes[..len], stream, &terms);
            assert!(len >= 12 || exit.is_err(), "{}: {len} bytes are no recording", file.display());
        }
    }
}
