//! Reading of files that the configuration names, with limits of time and size.
//!
//! A file must not block the daemon. open(2) blocks for a FIFO without a writer, and any call may block for a file on a
//! network file system whose server doesn't respond. So files are opened non-blocking, reading a pipe fails after
//! [`TIMEOUT`], and a reload, which reads only regular files, runs on a separate thread (see `reload`).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Kinds of files that may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// Regular files, pipes and character devices such as `/dev/null`, at a start.
    Any,
    /// Regular files, at a reload: what a pipe contained was read at the start.
    RegularOnly,
}

/// A file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file doesn't exist.
    #[error("no such file")]
    NotFound,
    /// This user may not read the file.
    #[error("permission denied; let the daemon's user read it, or pass it as a systemd credential")]
    PermissionDenied,
    /// The path names a directory.
    #[error("a directory; name the file in it")]
    Directory,
    /// A reload doesn't read files of this kind.
    #[error("not a regular file; a reload reads regular files only")]
    NotRegular,
    /// A pipe stayed open without data.
    #[error("no data within 5 s; a pipe needs a writer that closes it")]
    TimedOut,
    /// The file is larger than 64 MiB.
    #[error("larger than 64 MiB")]
    TooLarge,
    /// Any other error of a system call.
    #[error("{0}")]
    Other(#[source] io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Other(error),
        }
    }
}

/// Reads a whole file.
pub fn read(path: &Path, accept: Accept) -> Result<Vec<u8>, ReadError> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(ReadError::Directory);
    }
    if !kind.is_file() && accept == Accept::RegularOnly {
        return Err(ReadError::NotRegular);
    }
    // A pipe without a writer reads as empty, so it is waited for even before the first byte.
    let deadline = (kind.is_fifo() || kind.is_char_device()).then(|| Instant::now() + TIMEOUT);
    let mut bytes = Vec::new();
    loop {
        if let Some(deadline) = deadline {
            wait(&file, deadline)?;
        }
        match (&mut file).take(CHUNK).read_to_end(&mut bytes) {
            Ok(0) => return Ok(bytes),
            Ok(_) if bytes.len() > MAX_SIZE => return Err(ReadError::TooLarge),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until a file has data, or all writers have closed it.
fn wait(file: &File, deadline: Instant) -> Result<(), ReadError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(0) => Err(ReadError::TimedOut),
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(ReadError::Other(error.into())),
    }
}

/// Time limit for reading a pipe to its end.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of a file: far above any list of authorities, revocations or tokens.
const MAX_SIZE: usize = 64 << 20;

/// Bytes between two checks of the size.
const CHUNK: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::thread;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_regular_file_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let text = vec![7; 3 * CHUNK as usize + 1];
        fs::write(&path, &text).unwrap();
        assert_eq!(read(&path, Accept::RegularOnly).unwrap(), text);
        fs::write(&path, "").unwrap();
        assert!(read(&path, Accept::Any).unwrap().is_empty());
    }

    #[test]
    fn a_start_reads_pipes_and_devices_and_a_reload_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&path, Accept::RegularOnly), Err(ReadError::NotRegular)));
        assert!(matches!(read(Path::new("/dev/null"), Accept::RegularOnly), Err(ReadError::NotRegular)));
        assert!(read(Path::new("/dev/null"), Accept::Any).unwrap().is_empty());
        let writer = thread::spawn({
            let path = path.clone();
            move || OpenOptions::new().write(true).open(path).unwrap().write_all(&[7; 100_000]).unwrap()
        });
        assert_eq!(read(&path, Accept::Any).unwrap().len(), 100_000);
        writer.join().unwrap();
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        assert!(matches!(wait(&file, Instant::now()), Err(ReadError::TimedOut)));
    }

    #[test]
    fn files_that_cannot_be_read_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), Accept::Any), Err(ReadError::Directory)));
        assert!(matches!(read(&folder.path().join("missing"), Accept::Any), Err(ReadError::NotFound)));
    }
}
