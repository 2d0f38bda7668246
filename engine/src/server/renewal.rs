//! Certificates, keys, staples, authorities, revocation lists and keys of tickets that are renewed while the process runs:
//! their files are watched, and what has changed is loaded and takes the place of what was loaded before.
//!
//! ```text
//! directories of the files, and of the links to them ── change ──> quiet for 100 ms ──> load ──> in use, or refused
//!           └── and a look every second ──────────────────────────────────────────────────┘
//! ```
//!
//! What cannot be used at first is tried again for a second before that counts: half of a pair is nothing to be told of.

use crate::shard::{Plan, Renewable, Renewed};
use crate::stats::{Registry, ServerStats};
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Files that belong together are written one after the other.
const QUIET: Duration = Duration::from_millis(100);
/// A directory that is never quiet does not keep them waiting.
const QUIET_MAX: Duration = Duration::from_millis(500);
/// How long what cannot be used may be half of what is being written.
const SETTLE: Duration = Duration::from_secs(1);
/// What a watch cannot see: changes from other machines, and of links and directories far up the path.
const LOOK: Duration = Duration::from_secs(1);
/// The part of the thread's time that looks take at most: those at very many files are rarer.
const LOOKING_MAX: u32 = 100;
/// Links in one path; the kernel's limit.
const LINKS_MAX: usize = 40;

enum Event {
    /// Another plan is in force.
    Follow(Renewable),
    /// Something in a directory has changed.
    Changed,
}

/// The server's end of the thread. There is none until a plan has files.
pub(super) struct Renewal {
    stats: Arc<ServerStats>,
    events: Option<Sender<Event>>,
}

impl Renewal {
    pub(super) fn new(registry: &Registry) -> Self {
        Self { stats: registry.scope("", 0), events: None }
    }

    /// This plan is in force from now on.
    pub(super) fn follow(&mut self, plan: &Plan) {
        let renewable = Renewable::new(plan);
        if self.events.is_none() && !renewable.files().is_empty() {
            self.events = self.start();
        }
        if let Some(events) = &self.events {
            let _ = events.send(Event::Follow(renewable));
        }
    }

    fn start(&self) -> Option<Sender<Event>> {
        let (sender, events) = channel();
        let watching = Watching {
            watcher: watcher(sender.clone()),
            watched: BTreeSet::new(),
            renewable: None,
            stats: self.stats.clone(),
            patience: Patience::default(),
            pause: LOOK,
            told_until: None,
        };
        let thread = std::thread::Builder::new().name("tls-files".into()).spawn(move || watching.run(&events));
        match thread {
            Ok(_) => Some(sender),
            Err(error) => {
                tracing::error!(target: "ringway::tls", %error, "no thread to watch files of TLS: SIGHUP reads them again");
                None
            }
        }
    }
}

struct Watching {
    /// Absent where the kernel has none left.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<Watched>,
    renewable: Option<Renewable>,
    stats: Arc<ServerStats>,
    patience: Patience,
    /// From one look to the next.
    pause: Duration,
    /// Until when it has been told what comes to its end, in seconds since the epoch.
    told_until: Option<i64>,
}

/// A directory, with its device and inode: one that takes its place needs a watch of its own.
type Watched = (PathBuf, u64, u64);

/// When what cannot be used is refused.
#[derive(Debug, Default)]
struct Patience {
    ends: Option<Instant>,
}

impl Patience {
    /// Whether there is any left.
    fn has_some(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    /// The time to the next try, if that is earlier than `limit`.
    fn limit(&self, limit: Duration, now: Instant) -> Duration {
        self.ends.map_or(limit, |ends| limit.min(ends.saturating_duration_since(now)))
    }

    /// Takes out what is not to be told yet. `now`: before the files were loaded.
    fn take(&mut self, renewed: &mut Renewed, now: Instant) {
        if renewed.refused.is_empty() || !self.has_some(now) {
            self.ends = None;
        } else {
            renewed.refused.clear();
            self.ends.get_or_insert(now + SETTLE);
        }
    }
}

impl Watching {
    /// Until the process ends: the watcher keeps a sender.
    fn run(mut self, events: &Receiver<Event>) {
        loop {
            let event = events.recv_timeout(self.patience.limit(self.pause, Instant::now()));
            let is_look = event.is_err();
            match event {
                Ok(Event::Follow(renewable)) => self.renewable = Some(renewable),
                Ok(Event::Changed) => self.wait_for_quiet(events),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let Some(renewable) = &mut self.renewable else { continue };
            // What had ended before it was loaded has been told then.
            let (ended, now) = renewable.ended(self.told_until);
            self.told_until = Some(now);
            for what in ended {
                tracing::warn!(target: "ringway::tls", "{what}");
            }
            if is_look {
                let begun = Instant::now();
                let is_stale = renewable.is_stale();
                self.pause = LOOK.max(begun.elapsed() * LOOKING_MAX);
                if !is_stale {
                    self.patience = Patience::default();
                    continue;
                }
            }
            // First, so that what changes while files are loaded is seen.
            watch(&mut self.watcher, &mut self.watched, &renewable.files());
            let now = Instant::now();
            let mut renewed = renewable.renew(self.patience.has_some(now));
            self.patience.take(&mut renewed, now);
            tell(&renewed, &self.stats);
        }
    }

    fn wait_for_quiet(&mut self, events: &Receiver<Event>) {
        let end = Instant::now() + QUIET_MAX;
        while Instant::now() < end {
            match events.recv_timeout(QUIET) {
                Ok(Event::Changed) => {}
                Ok(Event::Follow(renewable)) => self.renewable = Some(renewable),
                Err(_) => return,
            }
        }
    }
}

fn watcher(sender: Sender<Event>) -> Option<RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // Reading the files makes events, too.
        let is_read =
            |kind| matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
        if !event.is_ok_and(|event| is_read(event.kind)) {
            let _ = sender.send(Event::Changed);
        }
    };
    notify::recommended_watcher(told).inspect_err(unwatched).ok()
}

fn unwatched(error: &notify::Error) {
    tracing::warn!(
        target: "ringway::tls", %error,
        "directories with files of TLS cannot be watched (fs.inotify.max_user_watches, max_user_instances): looking every second only"
    );
}

/// Watches the directories of these files, and no others.
fn watch(watcher: &mut Option<RecommendedWatcher>, watched: &mut BTreeSet<Watched>, files: &BTreeSet<PathBuf>) {
    let Some(all) = watcher else { return };
    let known = |directory: PathBuf| {
        let facts = directory.metadata().ok()?;
        Some((directory, facts.dev(), facts.ino()))
    };
    let wanted: BTreeSet<Watched> = files.iter().flat_map(|file| directories(file)).filter_map(known).collect();
    for (gone, ..) in watched.difference(&wanted) {
        let _ = all.unwatch(gone);
    }
    for (new, ..) in wanted.difference(watched) {
        if let Err(error) = all.watch(new, RecursiveMode::NonRecursive) {
            unwatched(&error);
            *watcher = None;
            return;
        }
    }
    *watched = wanted;
}

/// Where a change makes this path another file: the directory that the file is in, and those of all symbolic links on the way.
/// Kubernetes mounts a secret as links into a directory that is itself behind a link, and changes only that one.
fn directories(file: &Path) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = Vec::new();
    let push = |left: &mut Vec<PathBuf>, path: &Path| {
        left.extend(path.components().rev().map(|component| PathBuf::from(component.as_os_str())));
    };
    push(&mut left, &std::path::absolute(file).unwrap_or_else(|_| file.into()));
    let (mut at, mut found, mut links) = (PathBuf::from("/"), Vec::new(), 0);
    while let Some(next) = left.pop() {
        match next.components().next() {
            Some(Component::RootDir) => at = "/".into(),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(name)) => match std::fs::read_link(at.join(name)) {
                Ok(target) if links < LINKS_MAX => {
                    links += 1;
                    found.push(at.clone());
                    push(&mut left, &target);
                }
                _ if left.is_empty() => found.push(at.clone()),
                _ => at.push(name),
            },
            _ => {}
        }
    }
    found.retain(|directory| directory.is_dir());
    found
}

fn tell(renewed: &Renewed, stats: &ServerStats) {
    if !renewed.taken.is_empty() {
        let files: Vec<_> = renewed.taken.iter().map(|file| file.display().to_string()).collect();
        tracing::info!(target: "ringway::tls", files = files.join(" "), "renewed: new connections use these files");
        stats.tls_files_renewed.add(files.len() as u64);
    }
    for fault in &renewed.refused {
        tracing::error!(target: "ringway::tls", "not renewed, what was there before stays in use: {}", fault.one_line());
        stats.tls_files_refused.inc();
    }
    for warning in &renewed.warnings {
        tracing::warn!(target: "ringway::tls", "{}", warning.one_line());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_config::model::Diagnostic;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_cannot_be_used_is_refused_when_it_has_had_its_time() {
        let (start, mut patience) = (Instant::now(), Patience::default());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let refused = |patience: &mut Patience, now| {
            let mut renewed = Renewed { refused: vec![Diagnostic::default()], ..Renewed::default() };
            patience.take(&mut renewed, now);
            renewed.refused.len()
        };
        assert!(patience.has_some(start));
        assert_eq!(patience.limit(LOOK, start), LOOK);
        assert_eq!([0, 100, 999].map(|now| refused(&mut patience, at(now))), [0; 3]);
        assert_eq!(patience.limit(LOOK, at(400)), Duration::from_millis(600));
        assert_eq!(patience.limit(LOOK, at(2000)), Duration::ZERO);
        assert!(!patience.has_some(at(1000)));
        assert_eq!(refused(&mut patience, at(1000)), 1);
        // Then it begins again, and ends with what can be used.
        assert_eq!(refused(&mut patience, at(3000)), 0);
        patience.take(&mut Renewed::default(), at(3100));
        assert_eq!(refused(&mut patience, at(4500)), 0);
    }

    /// Under the name of a directory that was moved away.
    #[test]
    fn a_directory_that_takes_the_place_of_another_one_is_watched() {
        let dir = tempfile::tempdir().expect("a directory");
        let [at, away, next] = ["at", "away", "next"].map(|name| dir.path().join(name));
        std::fs::create_dir(&at).expect("made");
        std::fs::create_dir(&next).expect("made");
        let (sender, events) = channel();
        let (mut watcher, mut watched) = (watcher(sender), BTreeSet::new());
        let files = BTreeSet::from([at.join("cert.pem")]);
        watch(&mut watcher, &mut watched, &files);
        std::fs::rename(&at, &away).expect("moved");
        std::fs::rename(&next, &at).expect("moved");
        watch(&mut watcher, &mut watched, &files);
        while events.recv_timeout(QUIET).is_ok() {}
        std::fs::write(files.first().expect("one"), "renewed").expect("written");
        assert!(events.recv_timeout(Duration::from_secs(60)).is_ok());
        assert!(watcher.is_some());
    }

    #[test]
    fn every_directory_with_a_link_on_the_way_is_watched() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().canonicalize().expect("it exists");
        std::fs::create_dir_all(root.join("mount/..2026_11")).expect("made");
        std::fs::write(root.join("mount/..2026_11/tls.crt"), "").expect("written");
        symlink("..2026_11", root.join("mount/..data")).expect("linked");
        symlink("..data/tls.crt", root.join("mount/tls.crt")).expect("linked");
        symlink(root.join("mount"), root.join("current")).expect("linked");
        let found = |path: &str| -> BTreeSet<PathBuf> { directories(&root.join(path)).into_iter().collect() };
        let mount = root.join("mount");
        assert_eq!(found("mount/tls.crt"), BTreeSet::from([mount.clone(), mount.join("..2026_11")]));
        assert_eq!(found("current/tls.crt"), BTreeSet::from([root.clone(), mount.clone(), mount.join("..2026_11")]));
        assert_eq!(found("mount/../mount/none.pem"), BTreeSet::from([mount.clone()]), "it may come");
        symlink("loop", root.join("loop")).expect("linked");
        assert!(found("loop/a.pem").contains(&root), "a circle ends");
    }
}
