//! Standard error and standard output of the running proxy, each behind a bounded buffer and a thread.
//!
//! A write to a pipe that is not read blocks for ever, and the descriptor cannot be made non-blocking, because its flags
//! belong to the parent process, too. So only the output's own thread writes, and what finds no room is lost and counted.

use super::log_file;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Bytes that may wait for the thread; as many more are being written.
const CAPACITY: usize = 256 * 1024;

static STDERR: OnceLock<Output> = OnceLock::new();
static STDOUT: OnceLock<Output> = OnceLock::new();

/// Standard error.
pub fn stderr() -> &'static Output {
    STDERR.get_or_init(|| Output::start("stderr", duplicate(io::stderr())))
}

/// Standard output.
pub fn stdout() -> &'static Output {
    STDOUT.get_or_init(|| Output::start("stdout", duplicate(io::stdout())))
}

/// Waits until everything is written, but not past `deadline`. For the end of the process.
pub fn finish(deadline: Instant) {
    [&STDOUT, &STDERR].into_iter().filter_map(OnceLock::get).for_each(|output| output.finish(deadline));
}

/// Lines of standard error that were lost.
pub fn lost_lines() -> u64 {
    STDERR.get().map_or(0, |output| output.shared.lock().lost)
}

/// Without the standard library's lock, which a blocked write would hold.
fn duplicate(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// One stream.
pub struct Output {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread writes now.
    is_writing: bool,
    /// Lines, since the start.
    lost: u64,
    /// Of these, the lines whose loss is not written yet.
    untold: u64,
}

impl Output {
    fn start(name: &str, file: io::Result<File>) -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let started = file.and_then(|file| {
            let thread = std::thread::Builder::new().name(name.into());
            thread.spawn(move || of_thread.write_all(file))
        });
        if started.is_err() {
            // All that is said is lost, and counted.
            shared.lock().is_writing = true;
        }
        Self { shared }
    }

    /// Has `text`, whole lines, written soon. Never waits: where too much waits already, `text` is lost.
    pub fn say(&self, text: &[u8]) {
        let mut state = self.shared.lock();
        // A first text has room, however long it is.
        if state.waiting.is_empty() || state.waiting.len() + text.len() <= CAPACITY {
            state.waiting.extend_from_slice(text);
            self.shared.changed.notify_all();
        } else {
            let lines = lines(text);
            state.lost += lines;
            state.untold += lines;
        }
    }

    fn finish(&self, deadline: Instant) {
        let mut state = self.shared.lock();
        while state.is_writing || !state.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread, which ends with the process.
    fn write_all(&self, mut file: impl Write) {
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() {
                state.is_writing = false;
                self.changed.notify_all();
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.is_writing = true;
            let mut text = std::mem::take(&mut state.waiting);
            // What was lost came after the text that filled the buffer.
            let untold = std::mem::take(&mut state.untold);
            drop(state);
            if untold > 0 {
                text.extend_from_slice(format!("{untold} lines are lost here: this output was not read\n").as_bytes());
            }
            // Another process may have made the descriptor non-blocking; that is waited for as well.
            let (written, _) = log_file::write(&mut file, &text, || false);
            state = self.lock();
            state.lost += lines(&text[written..]);
        }
    }
}

fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::time::Duration;

    fn pipe() -> (io::PipeReader, Output) {
        let (reader, writer) = io::pipe().expect("a pipe");
        (reader, Output::start("test", duplicate(writer)))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn what_is_said_is_written_in_order() {
        let (mut reader, output) = pipe();
        (0..100).for_each(|i| output.say(format!("line {i}\n").as_bytes()));
        output.finish(soon());
        let mut text = vec![0; 10 * 7 + 90 * 8];
        reader.read_exact(&mut text).expect("all of it");
        let text = String::from_utf8(text).expect("text");
        assert!(text.lines().enumerate().all(|(i, line)| line == format!("line {i}")), "{text}");
        assert_eq!(output.shared.lock().lost, 0);
    }

    /// A pipe that is not read: memory is bounded, no call waits, and the loss is told in its place.
    #[test]
    fn a_full_pipe_blocks_no_call_and_the_lines_lost_are_counted_and_told() {
        const LINES: u64 = 20_000;
        let (reader, output) = pipe();
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        (0..LINES).for_each(|_| output.say(&line));
        output.finish(Instant::now() + Duration::from_millis(1));
        let lost = output.shared.lock().lost;
        assert!(output.shared.lock().waiting.len() <= CAPACITY);
        assert!((LINES - 3 * CAPACITY as u64 / 100..LINES).contains(&lost), "{lost} lines lost");
        let reading = std::thread::spawn(move || {
            let lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
            lines.take_while(|line| line != "the last").collect::<Vec<_>>()
        });
        output.finish(soon());
        output.say(b"the last\n");
        let (written, told): (Vec<_>, Vec<_>) =
            reading.join().expect("no panic").into_iter().partition(|line| line.starts_with("xxx"));
        let told: u64 = told.iter().filter_map(|line| line.split_once(' ')?.0.parse::<u64>().ok()).sum();
        assert_eq!((written.len() as u64, told), (LINES - lost, lost));
    }

    #[test]
    fn a_text_longer_than_the_buffer_has_room_where_nothing_waits() {
        let (mut reader, output) = pipe();
        let text = b"y".repeat(2 * CAPACITY);
        output.say(&text);
        let mut read = vec![0; text.len()];
        reader.read_exact(&mut read).expect("all of it");
        assert_eq!(read, text);
    }

    /// As where the reader went away.
    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (reader, output) = pipe();
        drop(reader);
        output.say(b"one\ntwo\n");
        output.finish(soon());
        assert_eq!(output.shared.lock().lost, 2);
    }
}
