//! Tests of the access log's way to the file.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway_config::model::{AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink, ComparisonOp, FormatPiece};

use super::*;
use crate::http::format::Record;
use crate::stats::{AccessLogStats, Registry};

const PATIENCE: Duration = Duration::from_secs(10);

fn literal(text: &str) -> FormatPiece {
    FormatPiece::Literal(text.to_owned())
}

struct Fixture {
    registry: Arc<Registry>,
    writer: Arc<Writer>,
    shard: ShardLog,
}

fn fixture() -> Fixture {
    let registry = Registry::new();
    let writer = Writer::new(&registry);
    let shard = ShardLog::new(&registry, 0);
    Fixture { registry, writer, shard }
}

impl Fixture {
    /// A log whose lines are `line\n`.
    fn log(&self, sink: &AccessLogSink, line: &str) -> CompiledLog {
        let format = AccessLogFormat::Text(vec![literal(line), literal("\n")]);
        CompiledLog::new(&AccessLog { sink: sink.clone(), format, filter: None }, &self.writer).unwrap()
    }

    fn counter(&self, read: fn(&AccessLogStats) -> u64) -> u64 {
        self.registry.sum("", |stats: &AccessLogStats| read(stats) as i64) as u64
    }

    fn wait_until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn file(path: &Path) -> AccessLogSink {
    AccessLogSink::File(path.to_owned())
}

#[test]
fn lines_of_two_shards_and_two_logs_share_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    fs::write(&path, "before\n").unwrap();
    let fixture = fixture();
    let (a, b) = (fixture.log(&file(&path), "a"), fixture.log(&file(&path), "b"));
    assert_eq!(a.sink.id, b.sink.id);
    let other = ShardLog::new(&fixture.registry, 1);
    for _ in 0..3 {
        fixture.shard.append(&a, &Record::default());
        other.append(&b, &Record::default());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "before\n");
    fixture.shard.flush();
    drop(other);
    assert!(fixture.writer.stop(PATIENCE));
    let text = fs::read_to_string(&path).unwrap();
    let count = |line: &str| text.lines().filter(|shown| *shown == line).count();
    assert_eq!((count("before"), count("a"), count("b"), text.lines().count()), (1, 3, 3, 7));
    assert_eq!(fixture.counter(|stats| stats.lines_written.get()), 6);
    assert_eq!(fixture.counter(|stats| stats.lines_lost.get()), 0);
    // After the end lines are lost, and counted.
    fixture.shard.append(&a, &Record::default());
    drop(fixture.shard);
    let lost = fixture.registry.value("access_log.lines_lost");
    assert_eq!(lost, Some(1));
}

#[test]
fn a_full_buffer_is_handed_over_without_a_flush_and_nothing_is_lost() {
    const LINES: u64 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let fixture = fixture();
    let log = fixture.log(&file(&path), &"x".repeat(99));
    for line in 0..LINES {
        fixture.shard.append(&log, &Record::default());
        if line % 600 == 599 {
            // Slower than the disk: no batch has to wait for more than the one before it.
            fixture.wait_until("the batches before", |fixture| {
                line.saturating_sub(fixture.counter(|stats| stats.lines_written.get())) < 1400
            });
        }
    }
    assert!(fixture.counter(|stats| stats.lines_written.get()) > LINES / 2, "without a flush");
    fixture.shard.flush();
    assert!(fixture.writer.stop(PATIENCE));
    assert_eq!(fixture.counter(|stats| stats.lines_written.get()), LINES);
    assert_eq!(fs::metadata(&path).unwrap().len(), LINES * 100);
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let fixture = fixture();
    let log = fixture.log(&file(Path::new("/dev/full")), "x");
    let directory = tempfile::tempdir().unwrap();
    let good = fixture.log(&file(&directory.path().join("good.log")), "y");
    for _ in 0..5 {
        fixture.shard.append(&log, &Record::default());
        fixture.shard.append(&good, &Record::default());
    }
    fixture.shard.flush();
    fixture.wait_until("the loss", |fixture| fixture.counter(|stats| stats.lines_lost.get()) == 5);
    fixture.wait_until("the other file", |fixture| fixture.counter(|stats| stats.lines_written.get()) == 5);
    assert_eq!(fixture.counter(|stats| stats.write_failed.get()), 1);
}

/// A pipe that is not read: its lines are lost, and those of another log are not.
#[test]
fn a_writer_that_is_stuck_costs_lines_and_bounded_memory_but_never_blocks() {
    const LINES: u64 = 20_000;
    let (reader, pipe) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
    let fixture = fixture();
    let log = fixture.log(&file(Path::new(&path)), &"x".repeat(99));
    for _ in 0..LINES {
        fixture.shard.append(&log, &Record::default());
    }
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("good.log");
    let other = fixture.log(&file(&good), "y");
    fixture.shard.append(&other, &Record::default());
    fixture.shard.flush();
    fixture.wait_until("the other log", |_| fs::read_to_string(&good).unwrap() == "y\n");
    let lost = fixture.counter(|stats| stats.lines_lost.get());
    // One buffer is being written, two may wait, one is being filled: 4 x 64 KiB of 100 byte lines.
    assert!(lost >= LINES - 4 * 660, "{lost} lines lost");
    assert!(!fixture.writer.stop(Duration::from_millis(50)), "stop is patient, but not for ever");
    // A reader that goes away frees the writer; what was on its way is lost as well.
    drop(reader);
    assert!(fixture.writer.stop(PATIENCE));
    let Fixture { registry, writer: _writer, shard } = fixture;
    drop(shard);
    let total = |name: &str| registry.value(name).unwrap() as u64;
    assert_eq!(total("access_log.lines_lost") + total("access_log.lines_written"), LINES + 1);
}

fn fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A FIFO: without a reader lines are lost, neither opening nor reopening waits, and a reader gets what comes then.
#[test]
fn a_fifo_is_written_once_it_has_a_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    fifo(&path);
    let fixture = fixture();
    let log = fixture.log(&file(&path), "x");
    let append = || {
        fixture.shard.append(&log, &Record::default());
        fixture.shard.flush();
    };
    append();
    fixture.wait_until("the loss", |fixture| fixture.counter(|stats| stats.lines_lost.get()) == 1);
    fixture.writer.reopen();
    fixture.wait_until("the reopening", |fixture| fixture.counter(|stats| stats.reopened.get()) == 1);
    // The open waits for a writer: that is the next line's.
    let reading = std::thread::spawn(move || {
        let mut reader = std::io::BufReader::new(fs::File::open(path).unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        line
    });
    fixture.wait_until("a line is read", |fixture| {
        append();
        std::thread::sleep(Duration::from_millis(5));
        fixture.counter(|stats| stats.lines_written.get()) > 0
    });
    assert_eq!(reading.join().unwrap(), "x\n");
    assert!(fixture.writer.stop(PATIENCE));
}

/// A FIFO that is full does not keep the thread from letting it go.
#[test]
fn a_full_fifo_is_let_go_on_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    fifo(&path);
    // Opening it in both directions waits for no other side.
    let held = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let fixture = fixture();
    let log = fixture.log(&file(&path), &"x".repeat(99));
    while fixture.counter(|stats| stats.lines_lost.get()) == 0 {
        fixture.shard.append(&log, &Record::default());
    }
    fs::remove_file(&path).unwrap();
    fixture.writer.reopen();
    fixture.wait_until("the new file", |_| path.exists());
    assert!(fixture.writer.stop(PATIENCE));
    assert!(fs::metadata(&path).unwrap().is_file());
    drop(held);
}

#[test]
fn a_renamed_file_is_let_go_on_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let fixture = fixture();
    let log = fixture.log(&file(&path), "x");
    let append = |lines_before: u64| {
        fixture.shard.append(&log, &Record::default());
        fixture.shard.flush();
        fixture
            .wait_until("the line", |fixture| fixture.counter(|stats| stats.lines_written.get()) == lines_before + 1);
    };
    append(0);
    fs::rename(&path, &rotated).unwrap();
    append(1);
    assert_eq!((fs::read_to_string(&rotated).unwrap().as_str(), path.exists()), ("x\nx\n", false));
    fixture.writer.reopen();
    append(2);
    assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    assert_eq!(fixture.counter(|stats| stats.reopened.get()), 1);
    // Where it cannot be opened again, the old file stays in use.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fixture.writer.reopen();
    append(3);
    assert_eq!(fixture.counter(|stats| stats.reopen_failed.get()), 1);
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "x\nx\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let fixture = fixture();
    let error = fixture.writer.open(&file(Path::new("/no/such/directory/access.log"))).unwrap_err();
    let shown = error.to_string();
    assert!(shown.starts_with("cannot open the access log /no/such/directory/access.log: No such file"), "{shown}");
    assert!(std::error::Error::source(&error).is_some());
    // The failure leaves the ids in order.
    let directory = tempfile::tempdir().unwrap();
    let log = fixture.log(&file(&directory.path().join("access.log")), "x");
    fixture.shard.append(&log, &Record::default());
    fixture.shard.flush();
    fixture.wait_until("the line", |fixture| fixture.counter(|stats| stats.lines_written.get()) == 1);
}

#[test]
fn the_thread_ends_with_its_last_handle_and_writes_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let fixture = fixture();
    let log = fixture.log(&file(&path), "x");
    fixture.shard.append(&log, &Record::default());
    drop((fixture.shard, fixture.writer));
    let deadline = Instant::now() + PATIENCE;
    while fs::read_to_string(&path).unwrap() != "x\n" {
        assert!(Instant::now() < deadline, "the line was not written");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_a_filter_does_not_take_is_no_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let fixture = fixture();
    let log = AccessLog {
        sink: file(&path),
        format: AccessLogFormat::Text(ringway_config::format_pieces("%RESPONSE_CODE%\n").unwrap()),
        filter: Some(AccessLogFilter::Status { op: ComparisonOp::AtLeast, value: 400 }),
    };
    let log = CompiledLog::new(&log, &fixture.writer).unwrap();
    for response_code in [200, 404, 399, 503] {
        fixture.shard.append(&log, &Record { response_code, ..Record::default() });
    }
    fixture.shard.flush();
    assert!(fixture.writer.stop(PATIENCE));
    assert_eq!(fs::read_to_string(&path).unwrap(), "404\n503\n");
    assert_eq!(fixture.counter(|stats| stats.lines_written.get()), 2);
}

/// Threads and descriptors of a log that no configuration has any more are gone, and nothing that was written for it is lost.
#[test]
fn a_file_is_closed_when_its_last_log_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a.log", "b.log"].map(|name| directory.path().join(name));
    let fixture = fixture();
    let is_open = |path: &Path| {
        let files = fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
        files.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == path)
    };
    let (first, again) = (fixture.log(&file(&paths[0]), "a"), fixture.log(&file(&paths[0]), "a"));
    let other = fixture.log(&file(&paths[1]), "b");
    assert_eq!((first.sink.id, again.sink.id, other.sink.id), (0, 0, 1));
    let second_shard = ShardLog::new(&fixture.registry, 1);
    for log in [&fixture.shard, &second_shard] {
        log.append(&first, &Record::default());
        log.flush();
    }
    drop(first);
    fixture.shard.append(&again, &Record::default());
    drop(again);
    assert!(is_open(&paths[0]), "a shard has a line for it");
    fixture.shard.flush();
    assert!(is_open(&paths[0]), "another shard may have one");
    second_shard.flush();
    fixture.wait_until("its end", |_| !is_open(&paths[0]));
    assert_eq!(fs::read_to_string(&paths[0]).unwrap(), "a\na\na\n");
    assert!(is_open(&paths[1]));
    // Its number is that of the next one, which is a file of its own.
    let third = fixture.log(&file(&directory.path().join("c.log")), "c");
    assert_eq!(third.sink.id, 0);
    fixture.shard.append(&third, &Record::default());
    fixture.shard.append(&other, &Record::default());
    fixture.shard.flush();
    assert!(fixture.writer.stop(PATIENCE));
    assert_eq!(fs::read_to_string(directory.path().join("c.log")).unwrap(), "c\n");
    assert_eq!(fixture.counter(|stats| stats.lines_written.get()), 5);
    assert_eq!(fixture.counter(|stats| stats.lines_lost.get()), 0);
}
