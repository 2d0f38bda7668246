//! Configurations of any size, as text and loaded.

use ringway_config::model::Config;
use std::fmt::Write as _;
use std::hint::black_box;

/// Routes that share a virtual host in [`text_with_hosts`].
pub const ROUTES_PER_HOST: usize = 10;

/// One listener with one virtual host of `routes` routes: `/api/N/` leads to cluster `N % 10`, and each tenth kind of
/// match is an exact path, a path-separated prefix, or one with a method and a header field.
pub fn text(routes: usize) -> String {
    let mut text = head();
    writeln!(text, "routes = [").expect(WRITES);
    (0..routes).for_each(|route| push_route(&mut text, route));
    text.push_str("]\n");
    push_clusters(&mut text);
    text
}

/// The same routes, ten to a virtual host: those of `/api/N/` belong to `hostH.example.com`, H being N / 10.
pub fn text_with_hosts(routes: usize) -> String {
    let mut text = head();
    for host in 0..routes.div_ceil(ROUTES_PER_HOST) {
        writeln!(text, "[[listeners.http.virtual_hosts]]\nname = \"host{host}\"").expect(WRITES);
        writeln!(text, "domains = [\"host{host}.example.com\"]\nroutes = [").expect(WRITES);
        let first = host * ROUTES_PER_HOST;
        (first..routes.min(first + ROUTES_PER_HOST)).for_each(|route| push_route(&mut text, route));
        text.push_str("]\n");
    }
    push_clusters(&mut text);
    text
}

/// # Panics
/// When the text is refused: it is made here.
pub fn loaded(text: &str) -> Config {
    ringway_config::load_str("bench.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Load a configuration, from text to model.
pub fn load(text: String) -> impl FnMut() {
    move || {
        black_box(loaded(black_box(&text)));
    }
}

const WRITES: &str = "a String takes text";

fn head() -> String {
    "[[listeners]]\naddress = \"127.0.0.1:10000\"\n[listeners.http]\nstat_prefix = \"bench\"\n".into()
}

fn push_route(text: &mut String, route: usize) {
    let matcher = match route % 10 {
        3 => format!("path = \"/exact/{route}\""),
        5 => format!("path_separated_prefix = \"/separated/{route}\""),
        6 => format!(
            "prefix = \"/post/{route}/\", methods = [\"POST\"], headers = [{{ name = \"x-kind\", exact = \"a\" }}]"
        ),
        _ => format!("prefix = \"/api/{route}/\""),
    };
    let cluster = route % 10;
    writeln!(text, "  {{ match = {{ {matcher} }}, route = {{ cluster = \"app{cluster}\" }} }},").expect(WRITES);
}

fn push_clusters(text: &mut String) {
    for cluster in 0..10 {
        writeln!(text, "[[clusters]]\nname = \"app{cluster}\"\nendpoints = [\"127.0.0.1:{}\"]", 8000 + cluster)
            .expect(WRITES);
    }
}
