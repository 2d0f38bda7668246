//! The program log: tracing to standard error, with a level per target that can be changed at run time, and panics.

use super::output;
use ringway_config::model::LogFormat;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

static HANDLE: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Start logging with `directives` (`info`, or `warn,ringway::listener=debug`). RUST_LOG, when set, takes their place.
pub fn start(directives: &str, format: LogFormat) {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| directives.into());
    let filter = filter(&directives).or_else(|_| filter("info")).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let output = fmt::layer().with_writer(|| Line).log_internal_errors(false);
    let output = match format {
        LogFormat::Text => output.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => output.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    // A second start in one process (tests) keeps the first.
    if tracing_subscriber::registry().with(filter).with(output).try_init().is_ok() {
        let _ = HANDLE.set(handle);
        std::panic::set_hook(Box::new(move |panic| tell_panic(panic, format)));
    }
}

/// Where events are written to, each in one piece.
struct Line;

impl Write for Line {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        output::stderr().say(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As the standard library does it, but never waiting for standard error. Not an event, which could be filtered.
fn tell_panic(panic: &PanicHookInfo<'_>, format: LogFormat) {
    let thread = std::thread::current();
    let mut text = format!("thread '{}' {panic}\n", thread.name().unwrap_or("unnamed"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text += &format!("{backtrace}\n");
    }
    if format == LogFormat::Json {
        let line = serde_json::json!({ "level": "ERROR", "target": "panic", "message": text.trim_end() });
        text = format!("{line}\n");
    }
    output::stderr().say(text.as_bytes());
}

/// glommio warns where it cannot lock memory for I/O buffers, which nothing uses.
const WITHOUT: &str = "glommio::sys=off";

fn filter(directives: &str) -> Result<EnvFilter, String> {
    // An empty part is no directive.
    EnvFilter::try_new(format!("{WITHOUT},{directives}")).map_err(|error| error.to_string())
}

/// Change the levels: of everything to `level`, if there is one, and then of each target in `targets` (`ringway::listener=debug`).
/// What is not named stays as it is.
///
/// # Errors
/// A directive is not valid.
pub fn set(level: Option<&str>, targets: &[String]) -> Result<(), String> {
    let all = level.map(filter).transpose()?;
    let targets: Result<Vec<Directive>, _> = targets.iter().map(|target| target.parse()).collect();
    let targets = targets.map_err(|error| error.to_string())?;
    let handle = HANDLE.get().ok_or("the program log is not ours to change")?;
    let change = |filter: &mut EnvFilter| {
        let all = all.unwrap_or_else(|| std::mem::take(filter));
        *filter = targets.into_iter().fold(all, EnvFilter::add_directive);
    };
    handle.modify(change).map_err(|error| error.to_string())
}

/// What `act` logs on this thread, at all levels, for tests.
#[cfg(test)]
pub(crate) fn captured(act: impl FnOnce()) -> String {
    use std::sync::{Arc, Mutex};
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);
    impl Write for Kept {
        fn write(&mut self, event: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(event);
            Ok(event.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let kept = Kept::default();
    let writer = kept.clone();
    let output = fmt::layer().with_writer(move || writer.clone()).with_ansi(false).without_time();
    tracing::subscriber::with_default(Registry::default().with(output), act);
    let bytes = kept.0.lock().expect("no panic").clone();
    String::from_utf8_lossy(&bytes).into_owned()
}
