//! SIGHUP: a new configuration replaces the old one, or, if anything is wrong with it, nothing changes.

use super::bind::Binder;
use super::orders::Orders;
use super::passed::Assigned;
use super::running::{Running, Shard};
use super::warnings;
use crate::admin::Source;
use crate::base::clock::Wall;
use crate::base::span::Span;
use crate::cluster::transport_scopes;
use crate::net::{ListenOptions, sys};
use crate::shard::{Command, Plan, PlanContext};
use crate::stats::Kind;
use ringway_config::LoadError;
use ringway_config::model::{Address, Config, Listener, SocketAccess};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a reload waits for all shards together. A shard switches over between two requests.
const SHARDS_MAX: Duration = Duration::from_secs(10);

/// Reads the file again and switches over to it.
pub(super) fn reload(running: &mut Running, orders: &mut Orders) {
    let Some(file) = running.state.source().file else {
        tracing::warn!(target: "ringway::server", "the built-in example cannot be reloaded");
        return;
    };
    running.notifier.reloading();
    let result = try_reload(running, &file, orders);
    running.notifier.reloaded(result.is_ok());
    match result {
        Ok(()) => tracing::info!(target: "ringway::server", file = %file.display(), "configuration reloaded"),
        Err(why) => {
            tracing::error!(target: "ringway::server", "configuration not reloaded, the old one stays in force:\n{why}");
        }
    }
}

fn try_reload(running: &mut Running, file: &Path, orders: &mut Orders) -> Result<(), String> {
    let name = file.display().to_string();
    let unreadable = |error| LoadError::Unreadable { file: name.clone(), error }.to_string();
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error).trim_end().to_owned())?;
    let config = ringway_config::load_str(&name, &text).map_err(|problems| problems.to_string())?;
    warn_of_fixed_keys(&running.plan.config, &config);
    warnings::warn(&config, running.descriptors);
    let old: HashSet<_> = running.plan.config.listeners.iter().map(Listener::binding).collect();
    let new = config.listeners.iter().filter(|listener| !old.contains(&listener.binding()));
    if let Some(address) = running.admin.as_ref()
        && new.clone().any(|listener| listener.address.to_string() == *address)
    {
        return Err(format!("cannot listen on {address}: the admin endpoint has it until the next start"));
    }
    let passed = running.passed.assign(&config)?;
    let options = ListenOptions { backlog: config.runtime.backlog, loopback: running.loopback };
    let bound = Binder::new(orders, passed.clone()).listeners(new, running.shards.len(), options)?;
    let dns = running.dns.ready(&config)?;
    let supervision = running.supervision.ready(&config)?;
    let exports = running.exports.ready(&config)?;
    let context = PlanContext {
        writer: &running.writer,
        registry: &running.registry,
        descriptors: running.descriptors,
        shards: running.shards.len(),
        wall: Wall::System,
    };
    let plan = Plan::new(config, &context, Some(&running.plan)).map_err(|error| error.to_string())?;
    give_access(&running.plan.config, &plan.config, &passed)?;
    // From here on nothing fails. New clusters have endpoints before their first request.
    running.dns.apply(dns, plan.clusters.clone(), orders);
    running.supervision.apply(supervision, plan.clusters.clone(), orders);
    plan.put_in_force(Some(&running.plan));
    running.exports.apply(exports, plan.clone(), orders);
    let ask = |((mailbox, _), sockets): (&Shard, _)| {
        let (done, answer) = channel();
        mailbox.send(Command::Apply { plan: plan.clone(), sockets, done });
        answer
    };
    let answers: Vec<_> = running.shards.iter().zip(bound.shards).map(ask).collect();
    for (shard, missing) in missing(&answers, Instant::now() + SHARDS_MAX) {
        match missing {
            RecvTimeoutError::Disconnected => tracing::error!(
                target: "ringway::server", shard, "the shard has ended: its connections are lost, restart the process"
            ),
            RecvTimeoutError::Timeout => tracing::error!(
                target: "ringway::server", shard, waited = %Span(SHARDS_MAX),
                "the shard hangs: it serves the old configuration until it recovers"
            ),
        }
    }
    // The admin endpoint goes first: it makes cells for the clusters that it shows.
    running.state.replace(Source { file: Some(file.into()), text }, plan.clone());
    let limited: HashMap<_, _> =
        plan.clusters.iter().map(|cluster| (&*cluster.config.name, cluster.limits.is_limited())).collect();
    let matched: HashSet<_> = plan.clusters.iter().flat_map(|cluster| transport_scopes(&cluster.config)).collect();
    running.registry.retain(|kind, name| match kind {
        Kind::CircuitBreakers => limited.get(name) == Some(&true),
        Kind::TransportMatch => matched.contains(name),
        kind => kind.cluster_of(name).is_none_or(|cluster| limited.contains_key(cluster)),
    });
    running.renewal.follow(&plan);
    running.plan = plan;
    Ok(())
}

/// Gives the files of Unix sockets that stay the owner and mode that the new configuration says. Those that were passed are
/// the service manager's.
fn give_access(old: &Config, new: &Config, passed: &Assigned<'_>) -> Result<(), String> {
    let mut done: Vec<(&Path, &SocketAccess)> = Vec::new();
    for listener in &new.listeners {
        let before = old.listeners.iter().find(|before| before.address == listener.address);
        let (Some(before), Address::Unix(path)) = (before, &listener.address) else { continue };
        if before.access == listener.access || passed.contains_key(&listener.binding()) {
            continue;
        }
        if let Err(why) = sys::give_access(path, &listener.access) {
            done.iter().for_each(|(path, access)| drop(sys::give_access(path, access)));
            return Err(format!("the socket {}: {why}", listener.address));
        }
        done.push((path, &before.access));
    }
    Ok(())
}

/// The shards that do not answer by `deadline`, with the reason.
fn missing(answers: &[Receiver<()>], deadline: Instant) -> Vec<(usize, RecvTimeoutError)> {
    let wait = |answer: &Receiver<()>| answer.recv_timeout(deadline.saturating_duration_since(Instant::now())).err();
    answers.iter().enumerate().filter_map(|(shard, answer)| wait(answer).map(|why| (shard, why))).collect()
}

/// Keys that only a restart changes.
fn warn_of_fixed_keys(old: &Config, new: &Config) {
    let (a, b) = (&old.runtime, &new.runtime);
    let admin = |config: &Config| {
        config.admin.as_ref().map(|admin| (admin.address.clone(), admin.access.clone(), admin.access_log.clone()))
    };
    let changed = [
        ("runtime.shards or runtime.cpus", a.shards != b.shards),
        ("runtime.placement", a.placement != b.placement),
        ("runtime.ring_entries", a.ring_entries != b.ring_entries),
        ("runtime.buffer_count", a.buffer_count != b.buffer_count),
        ("runtime.buffer_size", a.buffer_size != b.buffer_size),
        ("runtime.loopback_pacing", a.loopback_pacing != b.loopback_pacing),
        ("runtime.access_log_flush_interval", a.access_log_flush_interval != b.access_log_flush_interval),
        ("runtime.user or runtime.group", a.user != b.user || a.group != b.group),
        ("runtime.log (POST /logging changes it at run time)", a.log != b.log),
        ("runtime.log_format", a.log_format != b.log_format),
        ("admin, save for allowed_hosts,", admin(old) != admin(new)),
    ];
    for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!(target: "ringway::server", "{key} has changed and takes effect with the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_that_have_ended_or_hang_are_named_and_a_slow_one_is_waited_for() {
        let (ended, slow, hanging) = (channel(), channel(), channel());
        drop(ended.0);
        let answering = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            slow.0.send(()).expect("it is read");
        });
        let answers = [ended.1, slow.1];
        let far = Instant::now() + Duration::from_secs(3600);
        assert_eq!(missing(&answers, far), [(0, RecvTimeoutError::Disconnected)]);
        answering.join().expect("it has answered");
        let quick = channel();
        quick.0.send(()).expect("it is read");
        let answers = [hanging.1, quick.1];
        assert_eq!(missing(&answers, Instant::now()), [(0, RecvTimeoutError::Timeout)]);
    }
}
