//! `runtime.user`: bind low ports as root, serve as another user.

use super::support::{Connection, Origin, Ringway, Setup, eventually, forwarding, free_port, program, response};
use rustix::process::{Signal, geteuid};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

#[test]
fn root_is_given_up() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    // A loopback address of its own, so that no other port 80 is in the way.
    let log = "access_log = [{ path = \"DIR/logs/log\", format = \"%REQ(:PATH)%\" }]";
    let config = forwarding(origin.address, log).replace("127.0.0.1:0", "127.80.0.1:80");
    let setup = Setup::new(&config).runtime("user = \"nobody\"\naccess_log_flush_interval = \"5ms\"\nshards = 2");
    if !geteuid().is_root() {
        // The promise for all other users: the key is ignored with a warning.
        let proxy = Setup::new(&forwarding(origin.address, "")).runtime("user = \"nobody\"").start();
        proxy.wait_for_log("runtime.user is ignored");
        assert_eq!(proxy.get("/").status(), 200);
        return;
    }
    let logs = setup.dir().join("logs");
    std::fs::create_dir(&logs).expect("a directory");
    super::support::must_run(program("chmod").args(["711"]).arg(setup.dir()));
    super::support::must_run(program("chown").args(["nobody"]).arg(&logs));
    let proxy = setup.start();
    assert_eq!(proxy.addresses, ["127.80.0.1:80"]);
    assert_eq!(proxy.get("/1").text(), "ok");
    let id = |option: &str| super::support::must_run(program("id").args([option, "nobody"])).trim().to_owned();
    let (uid, gid) = (id("-u"), id("-g"));
    for (line, expected) in [("Uid", &uid), ("Gid", &gid)] {
        let ids = proxy.status_line(line);
        assert!(ids.split_whitespace().all(|id| id == expected), "{line}: {ids}");
    }
    assert_eq!(proxy.status_line("Groups"), gid, "no group of root's is left");
    assert_eq!(proxy.status_line("CapEff"), "0000000000000000");
    for task in std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("it runs") {
        let status = std::fs::read_to_string(task.expect("an entry").path().join("status")).expect("it runs");
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a line");
        assert!(ids.split_whitespace().all(|id| id == uid), "every thread: {status}");
    }
    // Logs in a directory of that user's can be rotated.
    proxy.log_lines("logs/log", 1);
    std::fs::rename(proxy.file("logs/log"), proxy.file("logs/log.1")).expect("renamed");
    proxy.signal(Signal::USR1);
    eventually("the new file is there", || proxy.file("logs/log").exists());
    assert_eq!(proxy.get("/2").text(), "ok");
    assert_eq!(proxy.log_lines("logs/log", 1), ["/2"]);
}

/// A reload's sockets share a port with those that were bound as root: the kernel lets only sockets of one user.
#[test]
fn a_reload_shares_the_port_after_root_is_given_up() {
    if !geteuid().is_root() {
        return;
    }
    let port = free_port();
    let listener = |address: &str| {
        format!(
            "[[listeners]]\naddress = \"{address}:{port}\"\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n"
        )
    };
    let setup = Setup::new(&listener("127.0.0.1")).runtime("user = \"nobody\"\nshards = 2");
    super::support::must_run(program("chmod").args(["711"]).arg(setup.dir()));
    let proxy = setup.start();
    proxy.write_config(&listener("0.0.0.0"));
    assert!(proxy.reload(), "{}", proxy.stderr());
    eventually("it listens everywhere", || std::net::TcpStream::connect(format!("127.0.0.2:{port}")).is_ok());
}

/// What another user than root may not do with Unix sockets is refused by `check`, each thing at its place. Only root can
/// become such a user for the test.
#[test]
fn check_refuses_sockets_that_this_user_may_not_make() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().display().to_string();
    let config = format!(
        "[admin]\naddress = \"unix:{at}/closed/admin.sock\"\n\
         [[listeners]]\naddress = \"unix:{at}/closed/http.sock\"\nsocket_user = \"no-such-user\"\nsocket_group = \"no-such-group\"\n\
         http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n\
         [[listeners]]\naddress = \"unix:{at}/open/http.sock\"\nsocket_user = \"daemon\"\nsocket_group = \"daemon\"\n\
         http.routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:9\"]\n\
         health_checks = [{{ tcp = {{}}, event_log = \"none/events.log\" }}]\n",
    );
    let file = dir.path().join("ringway.toml");
    std::fs::write(&file, config).expect("written");
    for (name, mode) in [("closed", 0o555), ("open", 0o777), ("", 0o755)] {
        let path = dir.path().join(name);
        let _ = std::fs::create_dir(&path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
    }
    let mut command = program(env!("CARGO_BIN_EXE_ringway"));
    command.arg("check").arg(&file);
    if geteuid().is_root() {
        // Where another user may search all directories. Not copied here: what is open for writing in this process, and so
        // for a moment in each child that another test starts, cannot be executed.
        let copy = dir.path().join("program");
        super::support::must_run(program("cp").arg(env!("CARGO_BIN_EXE_ringway")).arg(&copy));
        command = program(copy.to_str().expect("text"));
        command.arg("check").arg(&file).uid(65_534).gid(65_534);
    }
    let checked = command.output().expect("it runs");
    let told = String::from_utf8(checked.stderr).expect("text");
    assert_eq!(checked.status.code(), Some(1), "{told}");
    let closed = format!("this user may not make files in {at}/closed");
    for (line, word) in [
        (2, &*closed),
        (4, &closed),
        (5, "no-such-user"),
        (6, "no-such-group"),
        (10, "only root can give it to another user"),
        (11, "only root can give it to another user"),
        (16, "there is no directory"),
    ] {
        let place = format!("ringway.toml:{line}:");
        assert!(told.lines().any(|told| told.contains(&place) && told.contains(word)), "{place} {word} in:\n{told}");
    }
    assert!(told.contains("6 problems with this host"), "the event log is a warning: {told}");
}

/// Mode and owner of the files of Unix sockets, from the moment when they can be connected to, and after a reload.
#[test]
fn unix_sockets_have_a_mode_and_an_owner() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().display().to_string();
    let config = |access: &str| {
        format!(
            "[admin]\naddress = \"unix:{at}/admin.sock\"\nsocket_mode = \"0600\"\n[runtime]\nshards = 2\n\
             [[listeners]]\naddress = \"unix:{at}/http.sock\"\n{access}\n\
             http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n"
        )
    };
    let file = dir.path().join("ringway.toml");
    // A mode that no umask leaves, and one that takes from it.
    std::fs::write(&file, config("socket_mode = \"0666\"")).expect("written");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.arg("run").arg(&file);
    let proxy = Ringway::spawn(command, dir, String::new());
    let meta = |name: &str| std::fs::metadata(proxy.file(name)).expect("it is there");
    let mode = |name: &str| meta(name).mode() & 0o7777;
    assert_eq!((mode("http.sock"), mode("admin.sock")), (0o666, 0o600));
    let reload = |access: &str| {
        std::fs::write(&file, config(access)).expect("written");
        proxy.reload()
    };
    let mut kept = Connection::open_unix(&proxy.file("http.sock"));
    assert_eq!(kept.get("/").status(), 200);
    assert!(reload("socket_mode = \"0640\""), "{}", proxy.stderr());
    assert_eq!(mode("http.sock"), 0o640);
    assert_eq!(kept.get("/").status(), 200, "the socket stays");
    // All or nothing.
    assert!(!reload("socket_mode = \"0600\"\nsocket_user = \"no-such-user\""));
    proxy.wait_for_log("there is no user \"no-such-user\" on this host");
    assert_eq!(mode("http.sock"), 0o640);
    if geteuid().is_root() {
        let id = |option: &str| super::support::must_run(program("id").args([option, "nobody"])).trim().to_owned();
        assert!(reload("socket_user = \"nobody\"\nsocket_group = \"12345\""), "{}", proxy.stderr());
        assert_eq!((meta("http.sock").uid().to_string(), meta("http.sock").gid()), (id("-u"), 12345));
    } else {
        assert!(!reload("socket_user = \"root\""));
        proxy.wait_for_log("only root can give it to another user");
    }
}
