//! The part of the reference that lists the command operators.

use std::fmt::Write;

use crate::model::{CONNECTION_FLAGS, DEFAULT_CONNECTION_FORMAT, DEFAULT_TEXT_FORMAT, RESPONSE_FLAGS};
use crate::resolve::{OPERATORS, TIME_FIELDS, TIME_POINTS};

pub(super) fn write(out: &mut String) {
    out.push_str(
        "\n## Command operators\n\n\
         In the `format` and `json` of an access log and in the values of headers, operators are replaced by their values; \
         other text is copied, and `%%` is a percent sign. The operators have Envoy's names and meaning. `:LENGTH` limits \
         the number of bytes that are written, and may be left out; so may what is in parentheses, if the operator makes \
         sense without it. A value that does not exist is `-` in a log, `null` in a JSON member that is one operator, and \
         nothing in a header; a header whose whole value is empty is not added.\n\n\
         | Operator | Value |\n|---|---|\n",
    );
    for form in OPERATORS {
        // A bar would end the cell.
        let _ = writeln!(out, "| `%{}{}%` | {} |", form.name, form.form, form.meaning.replace('|', "\\|"));
    }
    out.push_str(
        "\nThe FORMAT of a time is text with the conversions of strftime(3), always in UTC, English and the C locale; \
         `%F`, `%T`, `%D`, `%R`, `%r`, `%c`, `%x`, `%X` and `%h` stand for several of them:\n\n\
         | Conversion | Value |\n|---|---|\n",
    );
    for (conversion, _, meaning) in TIME_FIELDS {
        let _ = writeln!(out, "| `%{conversion}` | {meaning} |");
    }
    out.push_str(
        "| `%s` | seconds since 1970 |\n| `%f`, `%1f` to `%9f` | this number of digits of the second's fraction, 9 without a \
         number: `%START_TIME(%s.%3f)%` |\n| `%%` | a percent sign |\n",
    );
    out.push_str("\nThe moments of `%COMMON_DURATION(START:END:PRECISION)%`:\n\n| Name | When |\n|---|---|\n");
    for (name, _, meaning) in TIME_POINTS {
        let _ = writeln!(out, "| `{name}` | {meaning} |");
    }
    out.push_str(
        "\nThe `access_log` of a listener is about connections. It takes the operators of time, `%DURATION%`, `%PROTOCOL%`, the \
         response flags, the bytes of the client's side, its addresses and its TLS, `%FILTER_CHAIN_NAME%`, what begins with \
         `%CONNECTION`, and what depends on neither: `%HOSTNAME%`, `%ENVIRONMENT%`, `%UNIQUE_ID%`, `%ACCESS_LOG_TYPE%`, \
         `%COALESCE%`. Others are refused.\n",
    );
    let line = DEFAULT_TEXT_FORMAT.trim_end();
    let _ = writeln!(
        out,
        "\nThe default line of an access log is Envoy's, with the details of the response and the reason why a connection to \
         the upstream failed at its end:\n\n```text\n{line}\n```"
    );
    let line = DEFAULT_CONNECTION_FORMAT.trim_end();
    let _ = writeln!(out, "\nThe default line of a connection:\n\n```text\n{line}\n```");
    out.push_str("\nThe response flags:\n\n| Short | Long | Meaning |\n|---|---|---|\n");
    for (short, long, meaning) in RESPONSE_FLAGS {
        let _ = writeln!(out, "| `{short}` | `{long}` | {meaning} |");
    }
    out.push_str("\nThose of connections:\n\n| Short | Meaning |\n|---|---|\n");
    for (short, meaning) in CONNECTION_FLAGS {
        let _ = writeln!(out, "| `{short}` | {meaning} |");
    }
}
