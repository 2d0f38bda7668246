//! The endpoints, at Envoy's paths: GET reads, POST changes.

use super::body::Body;
use super::certs::certs;
use super::clusters::clusters;
use super::explain::{self, Question};
use super::message::{Answer, Call, Query, TEXT, pretty};
use super::process;
use super::state::{Control, State, resident_bytes};
use crate::base::{logging, version};
use crate::http::Method;
use crate::stats::{Format, Rendering, ServerState};
use regex::Regex;
use ringway_config::model::NetworkFilter;
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;
use tracing_subscriber::filter::LevelFilter;

struct Endpoint {
    path: &'static str,
    /// Needs POST: it changes something, or its question may be a body.
    changes: bool,
    help: &'static str,
    run: fn(&State, &Query) -> Answer,
}

const ENDPOINTS: &[Endpoint] = &[
    Endpoint { path: "/", changes: false, help: "this list", run: help },
    Endpoint { path: "/certs", changes: false, help: "certificates in use, as JSON", run: certs },
    Endpoint { path: "/clusters", changes: false, help: "clusters and their endpoints (?format=json)", run: clusters },
    Endpoint { path: "/config_dump", changes: false, help: "the configuration in force, as JSON", run: config_dump },
    Endpoint {
        path: "/drain_listeners",
        changes: true,
        help: "stop accepting, end connections with their current exchange",
        run: |_, _| Answer::then(Control::DrainListeners),
    },
    Endpoint {
        path: "/explain",
        changes: true,
        help: "what a request would meet (?method=&url=&header=NAME:VALUE&from=IP&listener=NAME, or the same as JSON)",
        run: explain,
    },
    Endpoint {
        path: "/healthcheck/fail",
        changes: true,
        help: "make /ready fail, so that load balancers turn away",
        run: |state, _| {
            state.set_failed(true);
            Answer::ok()
        },
    },
    Endpoint {
        path: "/healthcheck/ok",
        changes: true,
        help: "undo /healthcheck/fail",
        run: |state, _| {
            state.set_failed(false);
            Answer::ok()
        },
    },
    Endpoint { path: "/help", changes: false, help: "this list", run: help },
    Endpoint { path: "/listeners", changes: false, help: "listeners (?format=json)", run: listeners },
    Endpoint {
        path: "/logging",
        changes: true,
        help: "set the program log's levels (?level=debug: of everything; ?ringway::listener=debug: of this target only)",
        run: set_logging,
    },
    Endpoint { path: "/memory", changes: false, help: "memory of the process", run: memory },
    Endpoint { path: "/quitquitquit", changes: true, help: "drain and exit", run: |_, _| Answer::then(Control::Quit) },
    Endpoint { path: "/ready", changes: false, help: "200 while requests should come here, else 503", run: ready },
    Endpoint {
        path: "/reopen_logs",
        changes: true,
        help: "open the access logs again, after a rotation",
        run: |_, _| Answer::then(Control::ReopenLogs),
    },
    Endpoint {
        path: "/reset_counters",
        changes: true,
        help: "set all counters to zero",
        run: |state, _| {
            state.registry.reset_counters();
            Answer::ok()
        },
    },
    Endpoint { path: "/server_info", changes: false, help: "version, state, uptime", run: server_info },
    Endpoint {
        path: "/stats",
        changes: false,
        help: "statistics (?filter=REGEX, ?usedonly, ?format=json|prometheus)",
        run: stats,
    },
    Endpoint {
        path: "/stats/prometheus",
        changes: false,
        help: "statistics for Prometheus (?filter, ?usedonly)",
        run: prometheus,
    },
];

pub(super) fn answer(state: &State, call: &Call<'_>) -> Answer {
    let path = std::str::from_utf8(call.path).unwrap_or_default();
    let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
        return Answer::text(404, "no such endpoint; GET /help lists them\n");
    };
    let allowed = match call.method {
        Method::Get | Method::Head => !endpoint.changes,
        Method::Post => endpoint.changes,
        _ => false,
    };
    if !allowed {
        let allow = if endpoint.changes { "POST" } else { "GET, HEAD" };
        return Answer { allow, ..Answer::text(405, format!("use {allow}\n")) };
    }
    (endpoint.run)(state, &Query::new(call))
}

fn help(_: &State, _: &Query) -> Answer {
    let mut text = String::from("admin commands are:\n");
    for endpoint in ENDPOINTS {
        let method = if endpoint.changes { " (POST)" } else { "" };
        text += &format!("  {}{method}: {}\n", endpoint.path, endpoint.help);
    }
    Answer::text(200, text)
}

fn stats(state: &State, query: &Query) -> Answer {
    match query.get("format") {
        Some("prometheus") => prometheus(state, query),
        Some("json") => statistics(state, query, Format::Json, "application/json"),
        None | Some("text") => statistics(state, query, Format::Text, TEXT),
        Some(_) => Answer::text(400, "format is text, json or prometheus\n"),
    }
}

fn prometheus(state: &State, query: &Query) -> Answer {
    let mut answer = statistics(state, query, Format::Prometheus, "text/plain; version=0.0.4; charset=utf-8");
    if let Body::Statistics { first, statistics } = &mut answer.body {
        *first = process::families(state.started_at, |name| statistics.chooses(name));
    }
    answer
}

fn statistics(state: &State, query: &Query, format: Format, content_type: &'static str) -> Answer {
    state.refresh();
    match query.get("filter").map(Regex::new).transpose() {
        Ok(filter) => {
            let rendering = Rendering::new(&state.registry, format, filter, query.get("usedonly").is_some());
            Answer::streamed(content_type, Body::Statistics { first: String::new(), statistics: rendering })
        }
        Err(error) => Answer::text(400, format!("filter: {error}\n")),
    }
}

fn ready(state: &State, _: &Query) -> Answer {
    let now = state.server_state();
    Answer::text(if now == ServerState::Live { 200 } else { 503 }, format!("{}\n", state_name(now)))
}

fn state_name(state: ServerState) -> &'static str {
    match state {
        ServerState::Live => "LIVE",
        ServerState::Draining => "DRAINING",
        ServerState::PreInitializing => "PRE_INITIALIZING",
        ServerState::Initializing => "INITIALIZING",
    }
}

fn server_info(state: &State, _: &Query) -> Answer {
    let source = state.source();
    let uptime = format!("{}s", state.started.elapsed().as_secs());
    Answer::json(&json!({
        "version": version::VERSION,
        "commit": version::COMMIT,
        "target": version::TARGET,
        "features": version::FEATURES,
        "state": state_name(state.server_state()),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "pid": std::process::id(),
        "command_line_options": { "config_path": source.file.map(|file| file.display().to_string()) },
    }))
}

fn memory(_: &State, _: &Query) -> Answer {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Answer::json(&json!({
        "allocated": resident_bytes(),
        "resident_peak": kib("VmHWM:").map(|kib| kib * 1024),
        "data": kib("VmData:").map(|kib| kib * 1024),
        "locked": kib("VmLck:").map(|kib| kib * 1024),
    }))
}

fn listeners(state: &State, query: &Query) -> Answer {
    let loaded = state.loaded();
    let listeners = &loaded.plan.config.listeners;
    if query.get("format") == Some("json") {
        let statuses: Vec<_> = listeners
            .iter()
            .map(|listener| {
                let filters: Vec<_> = listener
                    .filter_chains
                    .iter()
                    .map(|chain| match &chain.filter {
                        NetworkFilter::Http(hcm) => json!({ "chain": chain.name, "http": hcm.stat_prefix }),
                    })
                    .collect();
                json!({ "name": listener.name, "local_address": listener.address.to_string(), "filter_chains": filters })
            })
            .collect();
        return Answer::json(&json!({ "listener_statuses": statuses }));
    }
    Answer::text(
        200,
        listeners.iter().map(|listener| format!("{}::{}\n", listener.name, listener.address)).collect::<String>(),
    )
}

fn config_dump(state: &State, _: &Query) -> Answer {
    let loaded = state.loaded();
    // Made once for each configuration, and shared by its readers.
    let text = loaded.dump.get_or_init(|| {
        // The text was accepted, so it parses.
        let parsed: Value = toml::from_str(&loaded.source.text).unwrap_or_default();
        let at = loaded.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let dump = json!({
            "configs": [{
                "@type": "ringway.config",
                "file": loaded.source.file.as_ref().map(|file| file.display().to_string()),
                "last_updated_unix_seconds": at,
                "config": parsed,
            }],
        });
        pretty(&dump).into()
    });
    Answer::streamed("application/json", Body::Shared(text.clone(), 0))
}

/// The query form, or JSON in the body.
fn explain(state: &State, query: &Query) -> Answer {
    let question = match query.body.as_deref() {
        None => Err("the body is longer than 64 KiB, or broken".into()),
        Some([]) => {
            let mut question = Question::default();
            query.pairs.iter().try_for_each(|(name, value)| question.set(name, value)).map(|()| question)
        }
        Some(_) if !query.pairs.is_empty() => Err("say it in the query or in the body, not in both".into()),
        Some(body) => Question::from_json(body),
    };
    match question.and_then(|question| explain::explain(&state.loaded().plan.config, &question)) {
        Ok(explanation) => Answer::text(200, explanation.text),
        Err(why) => Answer::text(400, why + "\n"),
    }
}

fn set_logging(_: &State, query: &Query) -> Answer {
    if query.pairs.is_empty() {
        return Answer::text(
            400,
            "say ?level=LEVEL or ?TARGET=LEVEL, LEVEL being error, warn, info, debug, trace or off\n",
        );
    }
    // The log would take an unknown word for the name of a target and silence everything else.
    if let Some((_, level)) = query.pairs.iter().find(|(_, level)| level.parse::<LevelFilter>().is_err()) {
        return Answer::text(400, format!("{level:?} is no level; say error, warn, info, debug, trace or off\n"));
    }
    let targets = query.pairs.iter().filter(|(target, _)| target != "level");
    let targets: Vec<_> = targets.map(|(target, level)| format!("{target}={level}")).collect();
    match logging::set(query.get("level"), &targets) {
        Ok(()) => Answer::ok(),
        Err(error) => Answer::text(400, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_help_reads_well() {
        assert!(ENDPOINTS.windows(2).all(|pair| pair[0].path < pair[1].path));
    }
}
