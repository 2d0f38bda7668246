//! Tests of reading scenarios, and of the files in the repository.
use super::*;

const FILE: &str = r#"
    title = "t"
    why = "w"
    load.connections = 4
    request.size = "1KiB"
    [[variants]]
    name = "a"
    [[variants]]
    name = "b"
    load = { pipeline = 3 }
"#;

#[test]
fn variants_are_laid_over_the_file() {
    let scenarios = read("x", FILE).unwrap();
    assert_eq!((scenarios[0].name.as_str(), scenarios[0].load.pipeline), ("x/a", 1));
    assert_eq!((scenarios[1].load.connections, scenarios[1].load.pipeline), (4, 3));
    assert_eq!(scenarios[1].request.size, Size(1_024));
    assert_eq!(scenarios[1].family(), "x");
}

#[test]
fn misspelt_keys_and_senseless_mixes_are_refused() {
    assert!(read("x", &FILE.replace("why", "wy")).is_err());
    assert!(read("x", &FILE.replace("connections", "conections")).is_err());
    assert!(read("x", &FILE.replace("pipeline = 3", "pipeline = 3, close = true")).is_err());
    assert!(read("x", &FILE.replace("connections = 4", "connections = 0")).is_err());
    let ticks = |tick: &str| read("x", &FILE.replace("pipeline = 3", &format!("rate = \"1k\", tick = \"{tick}\"")));
    assert_eq!(ticks("1ms").unwrap()[1].load.tick(), Tick::new(Duration::from_millis(1)));
    assert!(ticks("0s").is_err() && ticks("51ms").is_err());
    assert!(read("x", &FILE.replace("pipeline = 3", "tick = \"1ms\"")).is_err(), "a closed loop has none");
    assert!(read("x", &FILE.replace("request.size", "storm = { kind = \"full\", times = 1 }\nrequest.size")).is_err());
    assert!(read("x", &FILE.replace("request.size", "request.messages = 9\n        request.size")).is_err());
}

#[test]
fn the_files_in_the_repository_cover_what_the_method_promises() {
    let all = read_all(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"))).unwrap();
    let names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
    for expected in [
        "keepalive/1",
        "keepalive/1024",
        "sizes/1KiB",
        "sizes/100MiB",
        "uploads/1MiB",
        "close",
        "pipelined",
        "h2",
        "h2-tls",
        "h2-h2",
        "grpc-unary/1x64",
        "grpc-bidi/1x64",
        "tls/keepalive",
        "tls/full",
        "tls/resumed",
        "tls/1MiB",
        "tls/upload-1MiB",
        "tls-storm/p256",
        "tls-storm/rsa4096",
        "tls-storm/replayed",
        "idle-h2",
        "idle-tls",
        "headers",
        "routes",
        "open-loop/30",
        "open-loop/90",
        "idle",
        "slow-clients",
        "slow-origin",
        "restart",
    ] {
        assert!(names.contains(&expected), "{expected} is not in {names:?}");
    }
    assert!(all.iter().all(|scenario| !scenario.requests().is_empty()));
}

#[test]
fn requests_cover_every_route_and_every_seed() {
    let file = FILE.replace("request.size = \"1KiB\"", "request.seeds = 3\nproxy.routes = 7");
    let scenario = &read("x", &file).unwrap()[0];
    let heads: Vec<String> =
        scenario.requests().iter().map(|request| String::from_utf8_lossy(&request.head).into_owned()).collect();
    assert_eq!(heads.len(), 7);
    assert!(heads[6].starts_with("GET /route-0006/?size=46&seed=0 HTTP/1.1\r\n"), "{}", heads[6]);
}

#[test]
fn selection_is_by_name_or_family() {
    let all = read("x", FILE).unwrap();
    assert_eq!(select(all.clone(), &["x".to_owned()]).unwrap().len(), 2);
    assert_eq!(select(all.clone(), &["x/b".to_owned()]).unwrap().len(), 1);
    assert!(select(all, &["y".to_owned()]).unwrap_err().to_string().contains("x/a, x/b"));
}
