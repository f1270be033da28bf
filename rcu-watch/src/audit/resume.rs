//! `--resume FILE`: what an audit that was interrupted had found, so that the next run does not find it again.
//!
//! A line for each step, written when it is done: what is being audited, the first phase as a whole, and each
//! function that turned out watched. Exposed functions are not in it: they are few, and the run that reports
//! them is to have seen them. A last line that was cut short is a step that was not done.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::trace::Traced;

/// What is audited: work on one kernel is of no use on another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub version: String,
    pub release: String,
    pub functions: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Subject(Subject),
    Traced(Traced),
    Watched { function: String, calls: u64 },
}

/// What is known from before, and where what becomes known goes.
#[derive(Default)]
pub(crate) struct Resume {
    file: Option<File>,
    pub traced: Option<Traced>,
    watched: HashMap<String, u64>,
}

impl Resume {
    /// Opens or makes the file; without a name nothing is kept.
    ///
    /// # Errors
    /// Where it is of another audit or cannot be used.
    pub(crate) fn open(path: Option<&Path>, subject: &Subject) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let name = path.display();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .with_context(|| {
                format!("cannot open {name}; name a file that can be written, and no link, with --resume")
            })?;
        // What it says was watched is not looked at again: whoever could write it could hide a function.
        let (owner, own) = (file.metadata()?.uid(), fs::metadata("/proc/self")?.uid());
        if owner != 0 && owner != own {
            bail!(
                "{name} belongs to user {owner}, who may have written anything; name a file of your own with --resume"
            );
        }
        let mut resume = Self::default();
        let is_new = !resume.read(&file, subject).with_context(|| format!("cannot resume from {name}"))?;
        if is_new {
            write(&mut file, &Line::Subject(subject.clone()))?;
        } else {
            // After a line that was cut short the next one begins afresh.
            file.write_all(b"\n")?;
        }
        resume.file = Some(file);
        Ok(resume)
    }

    /// Whether there was anything.
    fn read(&mut self, file: &File, subject: &Subject) -> Result<bool> {
        let mut is_ours = false;
        for line in BufReader::new(file).lines() {
            match serde_json::from_str(&line?) {
                Ok(Line::Subject(known)) if known == *subject => is_ours = true,
                Ok(Line::Subject(Subject { version, release, functions })) => bail!(
                    "it is of an audit of {release} by version {version} with --function {functions:?}; \
                     name another file"
                ),
                Ok(_) | Err(_) if !is_ours => bail!("it is no state of an audit; name another file"),
                Ok(Line::Traced(traced)) => self.traced = Some(traced),
                Ok(Line::Watched { function, calls }) => {
                    self.watched.insert(function, calls);
                }
                // Cut short, or the gap after it.
                Err(_) => {}
            }
        }
        Ok(is_ours)
    }

    /// Calls that an earlier run saw of this function, all of them watched.
    #[must_use]
    pub(crate) fn watched(&self, function: &str) -> Option<u64> {
        self.watched.get(function).copied()
    }

    /// Keeps the first phase.
    ///
    /// # Errors
    /// That of the write.
    pub(crate) fn keep_traced(&mut self, traced: &Traced) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| write(file, &Line::Traced(traced.clone())))
    }

    /// Keeps that a function was seen and watched.
    ///
    /// # Errors
    /// That of the write.
    pub(crate) fn keep_watched(&mut self, function: &str, calls: u64) -> io::Result<()> {
        let line = Line::Watched { function: function.to_owned(), calls };
        self.file.as_mut().map_or(Ok(()), |file| write(file, &line))
    }
}

fn write(file: &mut File, line: &Line) -> io::Result<()> {
    let text = serde_json::to_string(line)?;
    file.write_all(format!("{text}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(release: &str) -> Subject {
        Subject { version: "0.1.0".into(), release: release.into(), functions: vec!["arch_*".into()] }
    }

    #[test]
    fn what_was_done_is_known_to_the_next_run_and_half_a_line_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("again");
        let traced = Traced { audited: 7, ..Traced::default() };
        let mut first = Resume::open(Some(&path), &subject("6.1")).unwrap();
        assert_eq!(first.traced, None);
        first.keep_traced(&traced).unwrap();
        first.keep_watched("arch_cpu_idle_enter", 12).unwrap();
        first.file.as_mut().unwrap().write_all(b"{\"watched\":{\"func").unwrap();
        let mut second = Resume::open(Some(&path), &subject("6.1")).unwrap();
        assert_eq!(second.traced, Some(traced));
        second.keep_watched("arch_cpu_idle_exit", 3).unwrap();
        let third = Resume::open(Some(&path), &subject("6.1")).unwrap();
        assert_eq!(third.watched("arch_cpu_idle_enter"), Some(12));
        assert_eq!(third.watched("arch_cpu_idle_exit"), Some(3));
        assert_eq!(third.watched("func"), None);
    }

    #[test]
    fn a_file_of_another_kernel_or_of_something_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other");
        Resume::open(Some(&path), &subject("6.1")).unwrap();
        assert!(Resume::open(Some(&path), &subject("6.12")).is_err());
        fs::write(&path, "precious\n").unwrap();
        assert!(Resume::open(Some(&path), &subject("6.1")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious\n");
    }
}
