//! The keys of connections, written to a file for programs that decrypt recorded traffic (NSS key log format).
//!
//! A thread writes, so that a slow disk delays no handshake. The file is opened for each batch, so that one that is renamed is
//! released without a signal.

use super::identity::hex;
use crate::base::log_file;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Lines on their way; a handshake has five. Further ones are lost.
const QUEUE_LEN: usize = 4096;
/// Bytes that are written at a time.
const BATCH: usize = 64 * 1024;

/// The handle on a thread, which ends with its last handle.
#[derive(Debug)]
pub(super) struct KeyLog {
    path: PathBuf,
    lines: SyncSender<String>,
    /// The last line was lost; the program log has it once for each row of them.
    is_behind: AtomicBool,
}

impl KeyLog {
    /// All that name the same file share one.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(path: &Path) -> io::Result<Arc<Self>> {
        static ALL: Mutex<Vec<Weak<KeyLog>>> = Mutex::new(Vec::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|log| log.strong_count() > 0);
        if let Some(known) = all.iter().filter_map(Weak::upgrade).find(|log| log.path == path) {
            return Ok(known);
        }
        let (lines, received) = sync_channel(QUEUE_LEN);
        let path = path.to_owned();
        let log = Arc::new(Self { path: path.clone(), lines, is_behind: AtomicBool::new(false) });
        std::thread::Builder::new().name("key-log".into()).spawn(move || write(&path, &received))?;
        all.push(Arc::downgrade(&log));
        Ok(log)
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        let is_behind = self.lines.try_send(line).is_err();
        if !self.is_behind.swap(is_behind, Relaxed) && is_behind {
            tracing::warn!(target: "ringway::tls", path = %self.path.display(), "the key log is behind: keys are lost");
        }
    }
}

/// The thread.
fn write(path: &Path, lines: &Receiver<String>) {
    // The program log has it once for each row of failures.
    let mut is_failing = false;
    while let Ok(mut batch) = lines.recv() {
        while batch.len() < BATCH
            && let Ok(line) = lines.try_recv()
        {
            batch.push_str(&line);
        }
        let outcome = append(path, batch.as_bytes());
        let was_failing = std::mem::replace(&mut is_failing, outcome.is_err());
        if let (Err(error), false) = (outcome, was_failing) {
            tracing::error!(target: "ringway::tls", path = %path.display(), %error, "the key log cannot be written: keys are lost");
        }
    }
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(mut file) = log_file::open_private(path)? else {
        return Err(io::Error::other("the FIFO has no reader"));
    };
    log_file::write(&mut file, bytes, || true).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::KeyLog as _;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lines_of_all_handles_come_to_one_private_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys");
        let (first, second) = (KeyLog::start(&path).expect("started"), KeyLog::start(&path).expect("started"));
        assert!(Arc::ptr_eq(&first, &second));
        first.log("CLIENT_RANDOM", &[0, 0xff], &[1, 0xab]);
        second.log("EXPORTER_SECRET", &[2], &[3]);
        let expected = "CLIENT_RANDOM 00ff 01ab\nEXPORTER_SECRET 02 03\n";
        let written = || std::fs::read_to_string(&path).is_ok_and(|text| text == expected);
        let start = std::time::Instant::now();
        while !written() {
            assert!(start.elapsed().as_secs() < 60, "{:?}", std::fs::read_to_string(&path));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
