//! The arguments of command operators.

use super::FormatFault;
use super::operators::TIME_POINTS;
use super::time::time_format;
use crate::diagnostic::closest;
use crate::model::{
    CommandOperator, FieldOperand, GrpcStatusForm, Precision, Rewritten, TimeFormat, TimePoint, TlsFact, TlsSide,
};
use crate::reader::{PSEUDO_FIELDS, is_token};
use serde_json::Value;

/// One use of an operator.
pub(super) struct Call<'t> {
    pub(super) name: &'t str,
    /// Empty: none.
    pub(super) argument: &'t str,
    pub(super) max_length: Option<usize>,
}

/// `name?alternative`.
pub(super) fn field(call: &Call<'_>) -> Result<FieldOperand, FormatFault> {
    let (name, alternative) = match call.argument.split_once('?') {
        Some((name, alternative)) => (name, Some(field_name(call.name, alternative)?)),
        None => (call.argument, None),
    };
    Ok(FieldOperand { name: field_name(call.name, name)?, alternative, max_length: call.max_length })
}

fn field_name(operator: &str, name: &str) -> Result<String, FormatFault> {
    let name = name.trim().to_ascii_lowercase();
    let of_response = operator.starts_with("RESP");
    if name.starts_with(':') {
        if !of_response && PSEUDO_FIELDS.contains(&name.as_str()) {
            return Ok(name);
        }
        let fault = FormatFault::new(format!("%{operator}({name})% is not known"));
        return Err(match of_response {
            true if name == ":status" => fault.hint("write %RESPONSE_CODE%"),
            true => fault.allowed("a header field"),
            false => fault.allowed(format!("{} or a header field", PSEUDO_FIELDS.join(", "))),
        });
    }
    if is_token(&name) {
        return Ok(name);
    }
    Err(FormatFault::new(format!("{name:?} is not a header name")).hint(format!("write it as %{operator}(X-NAME)%")))
}

pub(super) fn path(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let (query, source) = call.argument.split_once(':').unwrap_or((call.argument, ""));
    let with_query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        _ => return Err(not_one_of(query, "WQ, NQ")),
    };
    let source = rewritten(source, ["PATH", "ORIG_OR_PATH"])?;
    Ok(CommandOperator::Path { with_query, source, max_length: call.max_length })
}

/// `names`: of what it is now, and of both.
fn rewritten(source: &str, [current, both]: [&str; 2]) -> Result<Rewritten, FormatFault> {
    match source {
        "ORIG" => Ok(Rewritten::Original),
        source if source == current => Ok(Rewritten::Current),
        source if source.is_empty() || source == both => Ok(Rewritten::OriginalOrCurrent),
        other => Err(not_one_of(other, &format!("ORIG, {current}, {both}"))),
    }
}

pub(super) fn requested_server_name(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let (order, host) = match call.argument.split_once(':') {
        Some((order, host)) => (order, Some(host)),
        None => (call.argument, None),
    };
    let host_first = match order {
        "" | "SNI_ONLY" if host.is_none() => {
            return Ok(CommandOperator::Tls { side: TlsSide::Downstream, fact: TlsFact::ServerName });
        }
        "" | "SNI_ONLY" => {
            let fault =
                FormatFault::new(format!("no host is looked at without SNI_FIRST or HOST_FIRST: {:?}", call.argument));
            return Err(
                fault.hint("write %REQUESTED_SERVER_NAME(SNI_FIRST:HOST)%, or leave out the colon and what follows it")
            );
        }
        "SNI_FIRST" => false,
        "HOST_FIRST" => true,
        _ => return Err(not_one_of(order, "SNI_ONLY, SNI_FIRST, HOST_FIRST")),
    };
    let host = rewritten(host.unwrap_or_default(), ["HOST", "ORIG_OR_HOST"])?;
    Ok(CommandOperator::RequestedHost { host_first, host })
}

pub(super) fn query_parameter(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    if call.argument.is_empty() {
        return Err(FormatFault::new("%QUERY_PARAM()% names no parameter").hint("write it as %QUERY_PARAM(name)%"));
    }
    Ok(CommandOperator::QueryParam { name: call.argument.into(), max_length: call.max_length })
}

pub(super) fn query_parameters(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let decoded = match call.argument {
        "" | "ORIG" => false,
        "DECODED" => true,
        other => return Err(not_one_of(other, "ORIG, DECODED")),
    };
    Ok(CommandOperator::QueryParams { decoded, max_length: call.max_length })
}

pub(super) fn code_details(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    match call.argument {
        "" => Ok(CommandOperator::ResponseCodeDetails { keep_spaces: false }),
        "ALLOW_WHITESPACES" => Ok(CommandOperator::ResponseCodeDetails { keep_spaces: true }),
        other => Err(not_one_of(other, "ALLOW_WHITESPACES")),
    }
}

pub(super) fn grpc_status(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let form = match call.argument {
        "" | "CAMEL_STRING" => GrpcStatusForm::Camel,
        "SNAKE_STRING" => GrpcStatusForm::Snake,
        "NUMBER" => GrpcStatusForm::Number,
        other => return Err(not_one_of(other, "CAMEL_STRING, SNAKE_STRING, NUMBER")),
    };
    Ok(CommandOperator::GrpcStatus(form))
}

pub(super) fn time(call: &Call<'_>) -> Result<TimeFormat, FormatFault> {
    time_format(call.argument)
}

pub(super) fn mask_prefix_len(call: &Call<'_>) -> Result<Option<u8>, FormatFault> {
    match call.argument {
        "" => Ok(None),
        digits => match digits.parse() {
            Ok(len @ 0..=128) => Ok(Some(len)),
            Ok(_) | Err(_) => {
                let fault = FormatFault::new(format!("{digits:?} is not the length of an address prefix"));
                Err(fault.allowed("0 to 32 for IPv4, 0 to 128 for IPv6"))
            }
        },
    }
}

pub(super) fn common_duration(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let mut parts = call.argument.split(':');
    let (Some(start), Some(end), precision, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        let fault = FormatFault::new(format!("{:?} does not name two moments", call.argument));
        return Err(fault.hint("write it as %COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%"));
    };
    let precision = match precision {
        None | Some("ms") => Precision::Milliseconds,
        Some("us") => Precision::Microseconds,
        Some("ns") => Precision::Nanoseconds,
        Some(other) => return Err(not_one_of(other, "ms, us, ns")),
    };
    Ok(CommandOperator::Elapsed { start: time_point(start)?, end: time_point(end)?, precision })
}

fn time_point(name: &str) -> Result<TimePoint, FormatFault> {
    let names = TIME_POINTS.iter().map(|(known, ..)| *known);
    TIME_POINTS.iter().find(|(known, ..)| *known == name).map(|(_, point, _)| *point).ok_or_else(|| {
        let hint = closest(name, names.clone()).map(|near| format!("did you mean {near}?"));
        FormatFault { hint, ..not_one_of(name, &names.collect::<Vec<_>>().join(", ")) }
    })
}

pub(super) fn environment(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    if call.argument.is_empty() || call.argument.contains(['=', '\0']) {
        return Err(FormatFault::new(format!("{:?} is not the name of an environment variable", call.argument)));
    }
    Ok(CommandOperator::Environment { name: call.argument.into(), max_length: call.max_length })
}

/// `{"operators": ["NAME", {"command": "NAME", "param": "...", "max_length": 10}]}`.
pub(super) fn coalesce(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let example =
        "write it as %COALESCE({\"operators\": [\"ROUTE_NAME\", {\"command\": \"REQ\", \"param\": \"X-A\"}]})%";
    let json: Value = serde_json::from_str(call.argument)
        .map_err(|error| FormatFault::new(format!("the argument of %COALESCE% is not JSON: {error}")).hint(example))?;
    let list = match &json {
        Value::Object(members) if members.len() == 1 => members.get("operators").and_then(Value::as_array),
        _ => None,
    };
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Err(FormatFault::new("%COALESCE% takes an object with an `operators` array").hint(example));
    };
    let operators = list.iter().map(coalesced).collect::<Result<_, _>>()?;
    Ok(CommandOperator::Coalesce { operators, max_length: call.max_length })
}

fn coalesced(json: &Value) -> Result<CommandOperator, FormatFault> {
    let members = match json {
        Value::String(name) => return super::operators::call(name, None, None),
        Value::Object(members) => members,
        other => return Err(FormatFault::new(format!("{other} is neither an operator's name nor an object"))),
    };
    if let Some(unknown) = members.keys().find(|key| !matches!(key.as_str(), "command" | "param" | "max_length")) {
        return Err(not_one_of(unknown, "command, param, max_length"));
    }
    let name = members.get("command").and_then(Value::as_str);
    let name = name.ok_or_else(|| FormatFault::new(format!("{json} has no `command`")))?;
    let argument = match members.get("param") {
        None => None,
        Some(Value::String(argument)) => Some(argument.as_str()),
        Some(other) => return Err(FormatFault::new(format!("`param` is {other}")).allowed("a string")),
    };
    let max_length = match members.get("max_length").map(Value::as_u64) {
        None => None,
        Some(Some(length)) => Some(usize::try_from(length).unwrap_or(usize::MAX)),
        Some(None) => return Err(FormatFault::new("`max_length` is not a length").allowed("a number of bytes")),
    };
    super::operators::call(name, argument, max_length)
}

fn not_one_of(written: &str, allowed: &str) -> FormatFault {
    FormatFault::new(format!("{written:?} is not known here")).allowed(allowed)
}

pub(super) fn no_argument(name: &str) -> FormatFault {
    FormatFault::new(format!("%{name}% takes no argument")).hint(format!("write %{name}%"))
}
