//! A log line's format as the shards use it, made once per configuration.

use ringway_config::model::{AccessLogFormat, CommandOperator, FieldOperand, FormatPiece};

use super::escape::push_json;
use crate::http::FieldId;

/// How a record becomes a line.
#[derive(Clone, Debug)]
pub struct CompiledFormat {
    pub(super) shape: Shape,
    /// What `%HOSTNAME%` writes.
    pub(super) hostname: Box<str>,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// The pieces make the whole line.
    Text(Vec<Piece>),
    /// One object for each line.
    Json(Vec<JsonMember>),
}

#[derive(Clone, Debug)]
pub(super) struct JsonMember {
    /// What stands before the value, its comma, quotes and colon included: `,"key":`.
    pub lead: Box<[u8]>,
    pub pieces: Vec<Piece>,
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
    /// Of `%REQ(name?alternative)%` and `%RESP(...)%`; without meaning for the others.
    pub part: Part,
    pub alternative: Part,
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
    pub fn new(format: &AccessLogFormat) -> Self {
        let shape = match format {
            AccessLogFormat::Text(pieces) => Shape::Text(compiled(pieces)),
            AccessLogFormat::Json(members) => Shape::Json(members.iter().enumerate().map(member).collect()),
        };
        Self { shape, hostname: hostname() }
    }
}

fn member((position, (key, pieces)): (usize, &(String, Vec<FormatPiece>))) -> JsonMember {
    let mut lead = Vec::with_capacity(key.len() + 4);
    lead.extend_from_slice(if position == 0 { b"\"" } else { b",\"" });
    push_json(key.as_bytes(), &mut lead);
    lead.extend_from_slice(b"\":");
    JsonMember { lead: lead.into(), pieces: compiled(pieces) }
}

fn compiled(pieces: &[FormatPiece]) -> Vec<Piece> {
    let part = |name: Option<&str>| name.map_or(Part::Field(FieldId::Unknown), Part::named);
    let compile = |piece: &FormatPiece| match piece {
        FormatPiece::Literal(text) => Piece::Literal(text.as_bytes().into()),
        FormatPiece::Operator(operator) => {
            let field: Option<&FieldOperand> = match operator {
                CommandOperator::Req(field) | CommandOperator::Resp(field) => Some(field),
                _ => None,
            };
            Piece::Operator(Operator {
                operator: operator.clone(),
                part: part(field.map(|field| &*field.name)),
                alternative: part(field.and_then(|field| field.alternative.as_deref())),
            })
        }
    };
    pieces.iter().map(compile).collect()
}

/// The machine's name (the file holds what gethostname(2) gives); `-` where /proc is not there.
fn hostname() -> Box<str> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "-".into(),
        name => name.into(),
    }
}
