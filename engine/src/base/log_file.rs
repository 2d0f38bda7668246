//! Files that logs append to. Opening one never waits, and writing to one waits only as long as the caller likes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// The first and the longest pause between two tries of a write that would block.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// Opens a file for appending, so that a rotation that truncates it works as well as one that renames it; creates it if
/// need be. `None`: a FIFO that has no reader yet.
///
/// # Errors
/// What open(2) reports.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    open_with_mode(path, 0o666)
}

/// The same; a file that is created is its owner's alone.
///
/// # Errors
/// The same.
pub fn open_private(path: &Path) -> io::Result<Option<File>> {
    open_with_mode(path, 0o600)
}

fn open_with_mode(path: &Path, mode: u32) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    // The flags are those of this open file alone, whatever else has the FIFO or the terminal open.
    options.append(true).create(true).mode(mode).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) && is_fifo(path) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

/// Writes `bytes`; how many were written, and why not all of them. Where the file is full for now and writing would
/// block, it is tried again until `gives_up` says otherwise.
pub fn write(file: &mut impl Write, bytes: &[u8], gives_up: impl Fn() -> bool) -> (usize, io::Result<()>) {
    let mut done = 0;
    let mut pause = PAUSES[0];
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                done += written;
                pause = PAUSES[0];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !gives_up() => {
                std::thread::sleep(pause);
                pause = PAUSES[1].min(2 * pause);
            }
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("coreutils are installed");
        assert!(made.success());
    }

    #[test]
    fn a_fifo_is_opened_without_waiting_and_written_to_while_it_has_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("fifo");
        fifo(&path);
        assert!(open(&path).expect("no error").is_none(), "no reader yet");
        let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("opened");
        let mut file = open(&path).expect("no error").expect("a reader");
        assert!(matches!(write(&mut file, b"line\n", || true), (5, Ok(()))));
        let long = [b'x'; 1 << 20];
        let (first, full) = write(&mut file, &long, || true);
        assert_eq!(full.map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        assert!((1..long.len()).contains(&first), "{first} bytes have room");
        let reading = std::thread::spawn(move || {
            let mut bytes = vec![0; 5 + (1 << 20)];
            let mut read = 0;
            while read < bytes.len() {
                match reader.read(&mut bytes[read..]) {
                    Ok(some) => read += some,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            (bytes, reader)
        });
        assert!(matches!(write(&mut file, &long[first..], || false), (_, Ok(()))));
        let (bytes, reader) = reading.join().expect("no panic");
        assert!(bytes.starts_with(b"line\nxxx") && bytes.ends_with(b"xxx"));
        drop(reader);
        let broken = write(&mut file, b"x", || false).1.map_err(|error| error.kind());
        assert_eq!(broken, Err(io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn a_file_is_made_and_appended_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        for line in ["one\n", "two\n"] {
            let mut file = open(&path).expect("no error").expect("not a FIFO");
            assert!(matches!(write(&mut file, line.as_bytes(), || true), (4, Ok(()))));
        }
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "one\ntwo\n");
        // A socket cannot be opened, and never will.
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        assert_eq!(open(&socket).map_err(|error| error.raw_os_error()).err(), Some(Some(libc::ENXIO)));
    }
}
