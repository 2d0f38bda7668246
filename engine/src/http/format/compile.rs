//! Formats as the shards use them, made once per configuration.

use ringway_config::model::{AccessLogFormat, CommandOperator, FormatPiece, TlsSide};

use super::escape::push_json;
use crate::http::FieldId;

/// Pieces that make a text: a line or the value of a field.
#[derive(Clone, Debug)]
pub struct CompiledFormat {
    pub(super) pieces: Box<[Piece]>,
}

/// How a record becomes a line.
#[derive(Clone, Debug)]
pub enum LineFormat {
    /// The pieces make the whole line.
    Text(CompiledFormat),
    /// One object for each line.
    Json(Box<[JsonMember]>),
    /// The texts of a record, each behind its length.
    Fields(Box<[CompiledFormat]>),
}

#[derive(Clone, Debug)]
pub struct JsonMember {
    /// What stands before the value, its comma, quotes and colon included: `,"key":`.
    pub(super) lead: Box<[u8]>,
    pub(super) value: CompiledFormat,
}

#[derive(Clone, Debug)]
pub(super) enum Piece {
    Literal(Box<[u8]>),
    Operator(Operator),
}

/// A command operator with what its names were found to be, so that no line has to look them up.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    pub operator: CommandOperator,
    /// Of `%REQ(name?alternative)%` and the like.
    pub part: Part,
    pub alternative: Part,
    /// Of operators whose value does not depend on the exchange.
    pub constant: Option<Box<str>>,
    /// Of `%COALESCE%`.
    pub inner: Box<[Operator]>,
}

/// Which part of a head a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Method,
    Path,
    Authority,
    Scheme,
    Field(FieldId),
}

impl Part {
    fn named(name: &str) -> Self {
        match name {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" => Self::Authority,
            ":scheme" => Self::Scheme,
            name => Self::Field(FieldId::lookup(name.as_bytes())),
        }
    }
}

impl CompiledFormat {
    fn tells(&self, what: fn(&CommandOperator) -> bool) -> bool {
        self.pieces.iter().any(|piece| match piece {
            Piece::Literal(_) => false,
            Piece::Operator(operator) => operator.tells(what),
        })
    }

    pub fn new(pieces: &[FormatPiece]) -> Self {
        let compile = |piece: &FormatPiece| match piece {
            FormatPiece::Literal(text) => Piece::Literal(text.as_bytes().into()),
            FormatPiece::Operator(operator) => Piece::Operator(Operator::new(operator)),
        };
        Self { pieces: pieces.iter().map(compile).collect() }
    }
}

impl LineFormat {
    /// Whether `Record::local_reply_body` is looked at.
    pub fn tells_local_body(&self) -> bool {
        self.tells(|operator| *operator == CommandOperator::LocalReplyBody)
    }

    /// Whether certificates on the client's side are looked at.
    pub fn tells_certificates(&self) -> bool {
        self.tells(|operator| {
            matches!(
                operator,
                CommandOperator::Certificate { side: TlsSide::Downstream, .. }
                    | CommandOperator::PeerCertificate { side: TlsSide::Downstream, .. }
                    | CommandOperator::PeerValidity { side: TlsSide::Downstream, .. }
            )
        })
    }

    fn tells(&self, what: fn(&CommandOperator) -> bool) -> bool {
        match self {
            Self::Text(format) => format.tells(what),
            Self::Json(members) => members.iter().any(|member| member.value.tells(what)),
            Self::Fields(fields) => fields.iter().any(|field| field.tells(what)),
        }
    }

    pub fn new(format: &AccessLogFormat) -> Self {
        match format {
            AccessLogFormat::Text(pieces) => Self::Text(CompiledFormat::new(pieces)),
            AccessLogFormat::Json(members) => Self::Json(members.iter().enumerate().map(member).collect()),
            AccessLogFormat::Fields(fields) => {
                Self::Fields(fields.iter().map(|pieces| CompiledFormat::new(pieces)).collect())
            }
        }
    }
}

fn member((position, (key, pieces)): (usize, &(String, Vec<FormatPiece>))) -> JsonMember {
    let mut lead = Vec::with_capacity(key.len() + 4);
    lead.extend_from_slice(if position == 0 { b"\"" } else { b",\"" });
    push_json(key.as_bytes(), &mut lead);
    lead.extend_from_slice(b"\":");
    JsonMember { lead: lead.into(), value: CompiledFormat::new(pieces) }
}

impl Operator {
    fn tells(&self, what: fn(&CommandOperator) -> bool) -> bool {
        what(&self.operator) || self.inner.iter().any(|inner| inner.tells(what))
    }

    fn new(operator: &CommandOperator) -> Self {
        let mut compiled = Self {
            operator: operator.clone(),
            part: Part::Field(FieldId::Unknown),
            alternative: Part::Field(FieldId::Unknown),
            constant: None,
            inner: Box::default(),
        };
        match operator {
            CommandOperator::Req(field) | CommandOperator::ReqWithoutQuery(field) | CommandOperator::Resp(field) => {
                compiled.part = Part::named(&field.name);
                compiled.alternative = field.alternative.as_deref().map_or(compiled.alternative, Part::named);
            }
            CommandOperator::Hostname => compiled.constant = hostname(),
            CommandOperator::Environment { name, .. } => {
                // What is not UTF-8 keeps its place as U+FFFD.
                compiled.constant = std::env::var_os(name).map(|value| value.to_string_lossy().into());
            }
            CommandOperator::Coalesce { operators, .. } => compiled.inner = operators.iter().map(Self::new).collect(),
            _ => {}
        }
        compiled
    }
}

/// The machine's name (the file holds what gethostname(2) gives); nothing where /proc is not there.
fn hostname() -> Option<Box<str>> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim()).filter(|name| !name.is_empty()).map(Box::from)
}
