//! docs/WORDS.md: the hints of `foreign` as a page.

use std::fmt::Write as _;

use crate::foreign;

/// The text of docs/WORDS.md.
pub fn words_markdown() -> String {
    let mut out = String::from(
        "# Words of nginx, HAProxy, Envoy, Caddy and Traefik\n\n\
         <!-- Written by the crate ringway-config from the hints that it has for unknown keys; do not edit. Renew it with\n     \
         RINGWAY_BLESS=1 cargo test -p ringway-config -->\n\n\
         What to write for a directive or a key of another proxy. `ringway check` says the same where a file has such a word. The keys \
         are in [CONFIG](CONFIG.md), whole files for common tasks in [RECIPES](RECIPES.md).\n\n\
         | Word | In the table | Here |\n|---|---|---|\n",
    );
    let mut words = foreign::words();
    words.sort_by_key(|word| (word.name.to_ascii_lowercase(), word.table));
    for word in words {
        let table = match word.table {
            None => "any".into(),
            Some("") => "top level".into(),
            Some(place) => format!("`{place}`"),
        };
        // A bar would end the cell, an angle bracket would begin a tag.
        let hint = word.hint.replace('|', "\\|").replace('<', "&lt;");
        let _ = writeln!(out, "| `{}` | {table} | {hint} |", word.name);
    }
    out.push_str(
        "\n## Variables of nginx\n\nIn the formats of access logs and in the values of headers; `$http_NAME` is `%REQ(NAME)%`, \
         `$sent_http_NAME` and `$upstream_http_NAME` are `%RESP(NAME)%`.\n\n| Variable | Here |\n|---|---|\n",
    );
    for (name, operator) in foreign::VARIABLES {
        let operator = if operator.starts_with('%') { format!("`{operator}`") } else { (*operator).to_owned() };
        let _ = writeln!(out, "| `${name}` | {operator} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hint_is_on_the_page() {
        let page = words_markdown();
        let words = foreign::words();
        assert!(words.len() > 200, "only {} words", words.len());
        for word in words {
            assert!(page.contains(&format!("| `{}` |", word.name)), "{}", word.name);
        }
        for searched in ["proxy_pass", "maxconn", "leastconn", "typed_per_filter_config", "$remote_addr", "ext_authz"] {
            assert!(page.contains(&format!("| `{searched}` |")), "{searched}");
        }
    }
}
