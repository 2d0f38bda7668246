//! Scenarios: what is sent to every peer, read from the TOML files in `loadtest/scenarios/`.
//!
//! A file describes one scenario, or several that differ in a few keys: each `[[variants]]` table has a `name` and is
//! laid over the rest of the file.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::storm::Storm;
use crate::generator::spec::{
    Arrivals, Content, Expect, ExpectStatus, Prepared, RequestText, Reuse, Tick, Wire, message_head,
};
use crate::measure::precedence::Precedence;
use crate::origin::answer::DEFAULT_SIZE;
use crate::pattern::Pattern;
use crate::tls::{self, KeyKind};
use crate::units::{Rate, Size, Span};

/// As long as a generator may be deaf to an interrupt.
const TICK_MAX: Duration = Duration::from_millis(50);

/// One scenario with its variant laid over it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// File name, and variant after a slash: `keepalive/64`.
    #[serde(default)]
    pub name: String,
    /// What is sent, in half a line.
    pub title: String,
    /// What the result tells, in a sentence or two.
    pub why: String,
    pub load: Load,
    #[serde(default)]
    pub request: Request,
    #[serde(default)]
    pub origin: Origin,
    #[serde(default)]
    pub proxy: Proxy,
    pub background: Option<Background>,
    /// Handshakes that flood the peer during the load.
    pub storm: Option<Storm>,
    /// Instead of `--duration`, for scenarios that need longer.
    pub duration: Option<Span>,
    /// Time after the load before memory counts as settled.
    pub settle: Option<Span>,
    /// Every run gets a process of its own, so that memory is not that of earlier runs.
    #[serde(default)]
    pub fresh: bool,
    /// Peers of this scenario, in addition to the default ones; where the command line names peers, it names all.
    #[serde(default)]
    pub more_peers: Vec<String>,
    /// Peers that cannot do it, with the reason.
    #[serde(default)]
    pub left_out: BTreeMap<String, String>,
    /// Failed exchanges belong to the scenario (wrong answers never do).
    #[serde(default)]
    pub may_fail: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub connections: usize,
    /// Requests in flight on each connection: pipelined over HTTP/1, streams over HTTP/2.
    #[serde(default = "one")]
    pub pipeline: usize,
    /// A new connection for each request.
    #[serde(default)]
    pub close: bool,
    /// What the clients speak.
    #[serde(default)]
    pub wire: Wire,
    /// The clients come over TLS.
    #[serde(default)]
    pub tls: bool,
    /// They go on with earlier sessions, instead of a full handshake for each connection.
    #[serde(default)]
    pub resume: bool,
    /// What the peers' certificate is made with.
    #[serde(default)]
    pub key: KeyKind,
    /// Open loop: requests a second over all connections.
    pub rate: Option<Rate>,
    /// Open loop: this share of what the same peer managed in a closed loop.
    pub capacity_share: Option<f64>,
    #[serde(default)]
    pub arrivals: ArrivalsName,
    /// Open loop: clients send and read together, once in this time.
    pub tick: Option<Span>,
}

impl Load {
    pub fn tick(&self) -> Option<Tick> {
        self.tick.and_then(|tick| Tick::new(tick.0))
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalsName {
    Constant,
    #[default]
    Poisson,
}

impl From<ArrivalsName> for Arrivals {
    fn from(name: ArrivalsName) -> Arrivals {
        match name {
            ArrivalsName::Constant => Arrivals::Constant,
            ArrivalsName::Poisson => Arrivals::Poisson,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Content bytes of the answer.
    pub size: Size,
    /// Content bytes of the request; with them the method is POST.
    pub upload: Option<Size>,
    /// Further request fields, as a browser sends them.
    pub fields: usize,
    /// Bytes of a Cookie field.
    pub cookie: Option<Size>,
    /// How many different bodies are asked for in turn, so that a mixed-up answer shows.
    pub seeds: u64,
    /// Unary calls of gRPC with a message of `size`, which the origin sends back.
    pub grpc: bool,
    /// Each connection has one call at a time, with this many messages in each direction: what is counted and timed is a
    /// message and its way back, and `pipeline` are on their way.
    pub messages: u64,
}

impl Default for Request {
    fn default() -> Self {
        Request { size: Size(DEFAULT_SIZE), upload: None, fields: 0, cookie: None, seeds: 16, grpc: false, messages: 0 }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Origin {
    /// One origin for each entry, which waits that long before it answers.
    pub delays: Vec<Span>,
    /// What the peers speak with the origins.
    pub wire: Wire,
    pub restart: Option<Restart>,
}

impl Default for Origin {
    fn default() -> Self {
        Origin { delays: vec![Span(Duration::ZERO)], wire: Wire::Http1, restart: None }
    }
}

/// The first origin is killed and comes back; times count from the start of the measurement.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    pub kill_after: Span,
    pub down_for: Span,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Path prefixes with a route each, all in use; 0 is one route for everything.
    pub routes: usize,
}

/// Connections in addition to the measured ones.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Background {
    /// Connections that carried one exchange each and are kept.
    Idle { connections: usize },
    /// Clients that read an answer of `size` at `rate` a second each.
    Slow { clients: usize, rate: Size, size: Size },
}

fn one() -> usize {
    1
}

/// Reads every scenario of `directory`, by file name. Errors name the file.
pub fn read_all(directory: &Path) -> anyhow::Result<Vec<Scenario>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot read {}; run from the repository's root", directory.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut scenarios = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path)?;
        // Files are numbered for their order in the report; the number is no part of the name.
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = stem.split_once('-').filter(|(n, _)| n.parse::<u32>().is_ok()).map_or(&*stem, |(_, name)| name);
        scenarios.extend(read(name, &text).with_context(|| path.display().to_string())?);
    }
    Ok(scenarios)
}

fn read(name: &str, text: &str) -> anyhow::Result<Vec<Scenario>> {
    let mut base: toml::Table = toml::from_str(text)?;
    let variants = match base.remove("variants") {
        None => return Ok(vec![finish(name.to_owned(), base)?]),
        Some(toml::Value::Array(variants)) => variants,
        Some(_) => bail!("`variants` is not written as [[variants]]"),
    };
    variants
        .into_iter()
        .map(|variant| {
            let toml::Value::Table(mut variant) = variant else { bail!("a variant is not a table") };
            let Some(toml::Value::String(suffix)) = variant.remove("name") else { bail!("a variant has no name") };
            let mut table = base.clone();
            overlay(&mut table, variant);
            finish(format!("{name}/{suffix}"), table)
        })
        .collect()
}

fn finish(name: String, table: toml::Table) -> anyhow::Result<Scenario> {
    let scenario: Scenario = table.try_into().with_context(|| name.clone())?;
    let scenario = Scenario { name, ..scenario };
    let load = &scenario.load;
    let open = load.rate.is_some() || load.capacity_share.is_some();
    if load.connections == 0 || load.pipeline == 0 || scenario.origin.delays.is_empty() || scenario.request.seeds == 0 {
        bail!("{}: connections, pipeline, delays and seeds must be at least 1", scenario.name);
    }
    let (http2, origin_http2) = (load.wire == Wire::Http2, scenario.origin.wire == Wire::Http2);
    if load.pipeline > 1 && (open || load.close || scenario.request.upload.is_some() && !http2) {
        bail!("{}: pipelining goes with neither an open loop, nor close, nor uploads over HTTP/1", scenario.name);
    }
    if load.resume && !load.tls {
        bail!("{}: sessions are resumed over TLS only", scenario.name);
    }
    let request = &scenario.request;
    if request.grpc && !(http2 && origin_http2 && request.upload.is_none() && scenario.proxy.routes == 0) {
        bail!("{}: gRPC takes HTTP/2 on both sides, the size of its message, and no routes", scenario.name);
    }
    if request.messages > 0 && (!request.grpc || open || request.messages.saturating_mul(request.size.0 + 5) >= 1 << 31)
    {
        bail!("{}: calls with many messages are of gRPC, in a closed loop, and carry less than 2 GiB", scenario.name);
    }
    if origin_http2 && scenario.origin.delays.iter().any(|delay| !delay.0.is_zero()) {
        bail!("{}: origins that wait speak HTTP/1", scenario.name);
    }
    if matches!(scenario.background, Some(Background::Slow { .. })) && (http2 || load.tls) {
        bail!("{}: slow clients speak HTTP/1 without TLS", scenario.name);
    }
    if scenario.storm.is_some() && (!load.tls || !open || load.close || http2) {
        bail!("{}: a storm comes over traffic of HTTP/1 on kept connections of TLS, in an open loop", scenario.name);
    }
    if load.tick.is_some_and(|tick| !open || tick.0.is_zero() || tick.0 > TICK_MAX) {
        bail!(
            "{}: a tick is the time between the instants at which clients of an open loop act, 50ms at most",
            scenario.name
        );
    }
    if load.rate.is_some() && load.capacity_share.is_some() {
        bail!("{}: rate and capacity_share exclude each other", scenario.name);
    }
    Ok(scenario)
}

/// Lays `over` on `base`: tables key by key, everything else as a whole.
fn overlay(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => overlay(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

impl Scenario {
    /// The file's name, which variants share.
    pub fn family(&self) -> &str {
        self.name.split_once('/').map_or(&*self.name, |(family, _)| family)
    }

    /// Of the traffic's clients and of the origins. A storm takes what they leave of their cores.
    pub fn precedence(&self) -> Precedence {
        if self.storm.is_some() { Precedence::First } else { Precedence::Shared }
    }

    pub fn is_open_loop(&self) -> bool {
        self.load.rate.is_some() || self.load.capacity_share.is_some()
    }

    /// Prefixes of the routes that the peers are configured with.
    pub fn routes(&self) -> Vec<String> {
        (0..self.proxy.routes).map(|index| format!("/route-{index:04}/")).collect()
    }

    /// Whether each connection is for a handshake of TLS: then their kind is what is measured.
    pub fn is_about_handshakes(&self) -> bool {
        self.load.tls && self.load.close
    }

    pub fn reuse(&self) -> Reuse {
        if self.load.close { Reuse::PerRequest } else { Reuse::KeepAlive }
    }

    /// The requests in turn: every route and every seed occurs.
    pub fn requests(&self) -> Vec<Prepared> {
        let routes = self.routes();
        let count = (routes.len() as u64).max(self.request.seeds);
        let fields = self.fields();
        (0..count)
            .map(|index| {
                let prefix = routes.get(index as usize % routes.len().max(1)).map_or("/", String::as_str);
                let seed = index % self.request.seeds;
                let upload = self.request.upload.map(|size| size.0);
                self.prepare(prefix, self.request.size.0, seed, upload, &fields, self.reuse())
            })
            .collect()
    }

    /// A request of the same form with a small answer: for starting up and for connections that idle.
    pub fn probe(&self, reuse: Reuse) -> Prepared {
        let routes = self.routes();
        self.prepare(routes.last().map_or("/", String::as_str), DEFAULT_SIZE, 1, None, &[], reuse)
    }

    /// A request for an answer of `size`, as the slow clients send it.
    pub fn request_of_size(&self, size: u64) -> Prepared {
        self.prepare(self.routes().first().map_or("/", String::as_str), size, 3, None, &[], Reuse::KeepAlive)
    }

    /// What a browser sends besides, and a cookie of the size asked for.
    fn fields(&self) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = BROWSER_FIELDS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .chain(
                (0..).map(|index| (format!("X-Client-Field-{index:02}"), format!("value-of-client-field-{index:02}"))),
            )
            .take(self.request.fields)
            .collect();
        if let Some(size) = self.request.cookie {
            let text = String::from_utf8_lossy(&Pattern::new(5).to_vec(size.0 as usize)).into_owned();
            fields.push(("Cookie".to_owned(), format!("session={}", &text[..text.len().saturating_sub(8)])));
        }
        fields
    }

    fn prepare(
        &self,
        prefix: &str,
        size: u64,
        seed: u64,
        upload: Option<u64>,
        fields: &[(String, String)],
        reuse: Reuse,
    ) -> Prepared {
        let pattern = Pattern::new(seed);
        let grpc = self.request.grpc;
        let mut target = format!("{prefix}?size={size}&seed={seed}");
        if upload.is_some() {
            target += &format!("&upload={seed}");
        }
        let mut fields = fields.to_vec();
        let mut content = upload.map(|len| Content::Pattern { pattern, len });
        if grpc {
            let method = if self.request.messages > 0 { "Stream" } else { "Unary" };
            target = format!("/loadtest.Echo/{method}");
            fields.extend(GRPC_FIELDS.map(|(name, value)| (name.to_owned(), value.to_owned())));
            let message = [message_head(size).as_slice(), &pattern.to_vec(size as usize)].concat();
            content = Some(Content::Bytes(message.into()));
        }
        let prepared = Prepared::new(RequestText {
            method: if content.is_some() { "POST" } else { "GET" },
            target: &target,
            host: tls::NAME,
            fields: &fields,
            upload: content,
            reuse,
            expect: Expect { status: ExpectStatus::Exactly(200), content: Some((pattern, size)), grpc },
            secure: self.load.tls,
        });
        Prepared { messages: self.request.messages, ..prepared }
    }
}

/// What clients of gRPC send.
const GRPC_FIELDS: [(&str, &str); 4] = [
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "loadtest"),
    ("grpc-accept-encoding", "identity"),
];

const BROWSER_FIELDS: [(&str, &str); 12] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Cache-Control", "max-age=0"),
    ("Referer", "http://localhost/a/page/that/was/here/before?with=a&longer=query"),
    ("Sec-Ch-Ua", "\"Chromium\";v=\"126\", \"Not/A)Brand\";v=\"8\""),
    ("Sec-Ch-Ua-Mobile", "?0"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Upgrade-Insecure-Requests", "1"),
];

/// The scenarios whose name is one of `names`, or whose family is; all if there are none. Errors for a name that
/// matches nothing.
pub fn select(all: Vec<Scenario>, names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    for name in names {
        if !all.iter().any(|scenario| matches(scenario, name)) {
            let known: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
            bail!("`{name}` is not a scenario; there are {}", known.join(", "));
        }
    }
    let wanted = |scenario: &Scenario| names.is_empty() || names.iter().any(|name| matches(scenario, name));
    Ok(all.into_iter().filter(wanted).collect())
}

fn matches(scenario: &Scenario, name: &str) -> bool {
    scenario.name == name || scenario.family() == name
}

#[cfg(test)]
mod tests;
