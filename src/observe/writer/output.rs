//! Where lines go.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that fails is opened again, but not more often than this.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, made if need be and appended to. A FIFO may be without a reader.
    File(PathBuf),
}

/// A target that is open.
#[derive(Debug)]
pub struct Output {
    target: Target,
    file: Option<File>,
    /// The last write ended inside a line.
    is_mid_line: bool,
    /// When a file that fails was opened last.
    tried: Option<Instant>,
}

/// How a write ended.
#[derive(Debug)]
pub(super) enum Written {
    /// All is written.
    All,
    /// Some or nothing is written.
    Failed(io::Error),
    /// The process ends and can not wait any longer.
    Stopped,
}

impl Output {
    /// Opens a target.
    ///
    /// # Errors
    ///
    /// When a file can not be opened for appending.
    pub fn open(target: Target) -> io::Result<Output> {
        let file = open(&target)?;
        Ok(Output { target, file, is_mid_line: false, tried: None })
    }

    /// Whether lines go anywhere.
    pub fn is_on(&self) -> bool {
        self.target != Target::Off
    }

    /// Opens the same target again. On an error the old file is kept.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let file @ Some(_) = open(&self.target)? {
            self.file = file;
            self.is_mid_line = false;
        }
        Ok(())
    }

    /// Writes all of it. `wait` is called when the output is not ready; it says whether to go on.
    pub(super) fn write(&mut self, text: &[u8], mut wait: impl FnMut() -> bool) -> Written {
        // After a write that was cut, a line end keeps the next line whole.
        if self.is_mid_line {
            match self.write_all(b"\n", &mut wait) {
                Written::All => {}
                failed => return failed,
            }
        }
        let written = self.write_all(text, &mut wait);
        if let Written::Failed(_) = written {
            self.revive();
        }
        written
    }

    fn write_all(&mut self, mut text: &[u8], wait: &mut impl FnMut() -> bool) -> Written {
        let Some(file) = &mut self.file else { return Written::All };
        while !text.is_empty() {
            match file.write(text) {
                Ok(0) => return Written::Failed(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let (done, rest) = text.split_at(count.min(text.len()));
                    self.is_mid_line = done.last() != Some(&b'\n');
                    text = rest;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Standard output may have been made non-blocking by another program.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !wait() {
                        return Written::Stopped;
                    }
                }
                Err(error) => return Written::Failed(error),
            }
        }
        Written::All
    }

    /// Opens a file that fails again: it may be on a disk that was mounted anew.
    fn revive(&mut self) {
        if self.tried.is_none_or(|tried| tried.elapsed() >= REOPEN_INTERVAL) {
            self.tried = Some(Instant::now());
            let was_mid_line = self.is_mid_line;
            if self.reopen().is_ok() {
                // It is most likely the same file.
                self.is_mid_line = was_mid_line;
            }
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Off => f.write_str("off"),
            Target::Stdout => f.write_str("stdout"),
            Target::Stderr => f.write_str("stderr"),
            Target::File(path) => path.display().fmt(f),
        }
    }
}

fn open(target: &Target) -> io::Result<Option<File>> {
    match target {
        Target::Off => Ok(None),
        // A descriptor of its own: the handle of the standard library buffers and locks.
        Target::Stdout => io::stdout().as_fd().try_clone_to_owned().map(|fd| Some(fd.into())),
        Target::Stderr => io::stderr().as_fd().try_clone_to_owned().map(|fd| Some(fd.into())),
        Target::File(path) => open_file(path).map(Some),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    // fifo(7): opening a FIFO for writing waits for a reader, opening it for both does not; and
    // as we could read ourselves, a reader that leaves is no error.
    if path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        options.read(true);
    }
    options.open(path)
}
