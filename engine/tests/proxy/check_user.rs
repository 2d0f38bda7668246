//! `ringway check --user`: files are read as the service will read them, and what its user may not read has a place, a reason and a
//! remedy that helps.

use super::support::{Pki, Setup, free_port, must_run, program};
use rustix::process::{getegid, geteuid};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A configuration with everything that a service reads, all of it open to everyone.
struct Site {
    dir: TempDir,
}

const FILES: [&str; 7] = ["ringway.toml", "a.pem", "a.key", "ca.pem", "ca.crl", "page.html", "token"];

impl Site {
    fn new(runtime: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pki = Pki::new(dir.path());
        pki.issue("a", &["a.example"]);
        pki.revoke("ca.crl", &[]);
        let port = free_port();
        let config = format!(
            r#"
[runtime]
{runtime}
shards = 1
[[listeners]]
address = "127.0.0.1:443"
access_log = [{{ path = "logs/connections.log" }}]
[listeners.tls]
certificate = "a.pem"
key = "a.key"
client_certificate = {{ ca = "ca.pem", crl = "ca.crl" }}
[listeners.http]
access_log = [{{ path = "logs/access.log" }}]
tracing = {{ zipkin = {{ cluster = "app", headers = {{ authorization = {{ file = "token" }} }} }} }}
[[listeners.http.routes]]
match = {{ prefix = "/" }}
[listeners.http.routes.direct_response]
status = 200
body_file = "page.html"
[[clusters]]
name = "app"
endpoints = ["127.0.0.1:{port}"]
"#
        );
        let site = Self { dir };
        site.write("ringway.toml", &config);
        site.write("page.html", "hello");
        site.write("token", "secret");
        fs::create_dir(site.path("logs")).expect("a directory");
        site.open_all();
        site
    }

    fn open_all(&self) {
        self.mode("", 0o755);
        self.mode("logs", 0o777);
        FILES.iter().for_each(|file| self.mode(file, 0o644));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("written");
    }

    fn mode(&self, file: &str, mode: u32) {
        fs::set_permissions(self.path(file), Permissions::from_mode(mode)).expect("ours");
    }

    /// The line of the configuration with this text.
    fn line(&self, text: &str) -> usize {
        let config = fs::read_to_string(self.path("ringway.toml")).expect("it is there");
        1 + config.lines().position(|line| line.contains(text)).expect("it is there")
    }

    /// The exit code of `check`, and what it says.
    fn check(&self, options: &[&str]) -> (i32, String) {
        let output = as_root(env!("CARGO_BIN_EXE_ringway"))
            .arg("check")
            .args(options)
            .arg(self.path("ringway.toml"))
            .output()
            .expect("it runs");
        told(&output)
    }
}

/// Whether this can be tried at all.
fn is_root(what: &str) -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can try {what}");
    }
    is_root
}

/// A program that, run by root, has root's group as login shells do, also where the tests have none.
fn as_root(name: &str) -> Command {
    if !geteuid().is_root() {
        return program(name);
    }
    let mut command = program("setpriv");
    command.args(["--groups", "0", name]);
    command
}

fn told(output: &Output) -> (i32, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

/// Runs the first command of a message's remedy.
fn follow(said: &str) {
    let remedy = said.split_once("remedy: ").unwrap_or_else(|| panic!("no remedy in: {said}")).1;
    let command = remedy.split(['\n', ',']).next().expect("a command");
    must_run(program("sh").args(["-ec", command]));
}

#[test]
fn what_the_user_of_the_service_may_not_read_is_found_by_root() {
    let site = Site::new("");
    if !is_root("whether a key that root may read is closed to another user") {
        return;
    }
    let (code, said) = site.check(&["--strict", "--user", "nobody"]);
    assert_eq!(code, 0, "port 443 is not refused, and all files can be read: {said}");
    for (file, key) in [
        ("a.pem", "certificate = \"a.pem\""),
        ("a.key", "key = \"a.key\""),
        ("ca.pem", "client_certificate"),
        ("ca.crl", "client_certificate"),
        ("page.html", "body_file"),
        ("token", "token"),
    ] {
        // Root's groups count for root alone.
        site.mode(file, 0o640);
        assert_eq!(site.check(&[]).0, 0, "root may read {file}");
        let (code, said) = site.check(&["--user", "nobody"]);
        assert_eq!(code, 1, "{said}");
        let place = format!("ringway.toml:{}:", site.line(key));
        let path = site.path(file).display().to_string();
        for part in [
            &*place,
            &format!("cannot read {path}: Permission denied"),
            "tried as user nobody, group nogroup",
            &format!(
                "{path} belongs to root:root, mode 0640; remedy: chown nobody {path}, or chgrp to a group that has no other"
            ),
        ] {
            assert!(said.contains(part), "{part} in:\n{said}");
        }
        follow(&said);
        let (code, said) = site.check(&["--strict", "--user", "nobody"]);
        assert_eq!(code, 0, "the remedy for {file} helps: {said}");
    }
}

#[test]
fn directories_logs_and_the_configuration_itself_count() {
    if !is_root("directories, logs and the configuration as another user") {
        return;
    }
    let site = Site::new("");
    site.mode("logs", 0o755);
    let (code, said) = site.check(&["--user", "65534"]);
    let logs = site.path("logs").display().to_string();
    assert_eq!(code, 1, "{said}");
    for key in ["logs/connections.log", "logs/access.log"] {
        assert!(said.contains(&format!("ringway.toml:{}:", site.line(key))), "{said}");
    }
    assert!(said.contains(&format!("this user may not make files in {logs}; tried as user nobody")), "{said}");
    follow(&said);
    assert_eq!(site.check(&["--strict", "--user", "65534"]).0, 0);
    // Making a file takes two rights.
    must_run(program("chgrp").arg("65534").arg(site.path("logs")));
    for mode in [0o700, 0o720, 0o710] {
        site.mode("logs", mode);
        let (code, said) = site.check(&["--user", "65534"]);
        assert!(code == 1 && said.contains("chmod g+wx"), "{mode:o}: {said}");
        follow(&said);
        assert_eq!(site.check(&["--strict", "--user", "65534"]).0, 0, "{mode:o}: {said}");
        let mut touch = program("setpriv");
        touch.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "touch"]);
        must_run(touch.arg(site.path("logs/new.log")));
    }
    // A directory that is there, behind one that is closed.
    fs::create_dir(site.path("logs/sub")).expect("a directory");
    let config = fs::read_to_string(site.path("ringway.toml")).expect("it is there");
    site.write("ringway.toml", &config.replace("logs/access.log", "logs/sub/access.log"));
    site.mode("logs/sub", 0o777);
    site.mode("logs", 0o720);
    let (_, said) = site.check(&["--user", "65534"]);
    assert!(said.contains("sub cannot be reached: Permission denied") && !said.contains("no directory"), "{said}");
    site.write("ringway.toml", &config);
    site.mode("logs", 0o777);

    site.mode("ringway.toml", 0o600);
    let (code, said) = site.check(&["--user", "nobody"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("cannot read the configuration: Permission denied"), "{said}");
    assert!(said.contains("tried as user nobody"), "{said}");
    follow(&said);
    assert_eq!(site.check(&["--user", "nobody"]).0, 0);

    site.mode("", 0o700);
    let (code, said) = site.check(&["--user", "nobody"]);
    let dir = site.path("").display().to_string();
    let dir = dir.trim_end_matches('/');
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!(
            "{dir} belongs to root:root, mode 0700; remedy: chgrp nogroup {dir} && chmod g+x {dir}"
        )),
        "{said}"
    );
    // The same for a path that begins in it.
    let mut command = as_root(env!("CARGO_BIN_EXE_ringway"));
    command.args(["check", "--user", "nobody", "ringway.toml"]).current_dir(site.dir.path());
    let (code, relative) = told(&command.output().expect("it runs"));
    assert!(code == 1 && relative.contains(&format!("chgrp nogroup {dir} && chmod g+x {dir}")), "{relative}");
    follow(&said);
    assert_eq!(site.check(&["--user", "nobody"]).0, 0);
}

/// As certbot has its keys: links that everyone may read lead into a directory that is root's.
#[test]
fn links_lead_to_the_directory_that_is_closed() {
    if !is_root("links into a closed directory") {
        return;
    }
    let site = Site::new("");
    fs::create_dir(site.path("archive")).expect("a directory");
    fs::rename(site.path("a.key"), site.path("archive/a1.key")).expect("moved");
    std::os::unix::fs::symlink("archive/a1.key", site.path("a.key")).expect("linked");
    site.mode("archive", 0o700);
    let (code, said) = site.check(&["--user", "nobody"]);
    let archive = fs::canonicalize(site.path("archive")).expect("it is there").display().to_string();
    assert!(code == 1 && said.contains(&format!("{archive} belongs to root:root, mode 0700; remedy: ")), "{said}");
    follow(&said);
    assert_eq!(site.check(&["--strict", "--user", "nobody"]).0, 0);
}

/// Root may read what belongs to others, and become `runtime.user`.
#[test]
fn root_is_checked_with_its_rights() {
    if !is_root("what root may read of others") {
        return;
    }
    let site = Site::new("user = \"nobody\"");
    let (code, said) = site.check(&["--strict", "--user", "root"]);
    assert_eq!(code, 0, "{said}");
    must_run(program("chown").arg("daemon").arg(site.path("a.key")));
    site.mode("a.key", 0o600);
    let (code, said) = site.check(&["--user", "root"]);
    assert!(code == 0 && said.contains("runtime.user, nobody") && said.contains("1 warning"), "{said}");
}

/// The limits of a shell are not those of the service.
#[test]
fn limits_of_the_caller_are_left_out() {
    if !is_root("the limits of another user") {
        return;
    }
    let site = Site::new("max_connections = 100000");
    let check = |options: &[&str]| {
        let mut command = program("prlimit");
        command.args(["--nofile=60:60", "--memlock=0:0", env!("CARGO_BIN_EXE_ringway"), "check"]).args(options);
        told(&command.arg(site.path("ringway.toml")).output().expect("it runs"))
    };
    let (code, said) = check(&[]);
    assert!(code == 1 && said.contains("may open 60 files"), "{said}");
    let (code, said) = check(&["--strict", "--user", "nobody"]);
    assert_eq!(code, 0, "{said}");
}

/// As Debian has its keys: for the members of a group.
#[test]
fn groups_count_as_they_do_for_the_service() {
    if !is_root("groups of another user") {
        return;
    }
    let site = Site::new("");
    must_run(program("chgrp").arg("daemon").arg(site.path("a.key")));
    site.mode("a.key", 0o640);
    let (code, said) = site.check(&["--user", "nobody"]);
    assert_eq!(code, 1, "{said}");
    let remedy = "make that user a member of the group (usermod -aG daemon nobody;";
    assert!(said.contains("belongs to root:daemon, mode 0640") && said.contains(remedy), "{said}");
    assert_eq!(site.check(&["--user", "nobody:daemon"]).0, 0);
    assert_eq!(site.check(&["--user", "daemon"]).0, 0, "the user's own group");
    let id = must_run(program("id").args(["-g", "daemon"]));
    assert_eq!(site.check(&["--user", &format!("nobody:{}", id.trim())]).0, 0);
}

#[test]
fn one_needs_to_be_root_or_that_user() {
    let site = Site::new("");
    let as_number = |id: u32| id.to_string();
    let (own, group) = (as_number(geteuid().as_raw()), as_number(getegid().as_raw()));
    for user in [own.clone(), format!("{own}:{group}")] {
        let (code, said) = site.check(&["--user", &user]);
        // Another user than root may not bind port 443.
        assert!(code == 0 || !geteuid().is_root() && said.contains(":443"), "{said}");
    }
    for (user, why) in [
        ("no-such-user", "there is no user \"no-such-user\""),
        ("4294967295", "\"4294967295\" is no id"),
        ("nobody:4294967295", "\"4294967295\" is no id"),
        ("nobody:no-such-group", "there is no group \"no-such-group\""),
        (":", "there is no user \"\""),
    ] {
        let (code, said) = site.check(&["--user", user]);
        assert!(code == 2 && said.contains(why), "{user}: {code} {said}");
    }
    let (code, said) = site.check(&["--portable", "--user", "nobody"]);
    assert!(code == 2 && said.contains("cannot be used with"), "{said}");
    let mut command = of_another_user(site.dir.path());
    command.args(["check", "--user", "root"]).arg(site.path("ringway.toml"));
    let (code, said) = told(&command.output().expect("it runs"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--user root: only root can check as another user"), "{said}");
    let mut command = of_another_user(site.dir.path());
    command.args(["check", "--user", "65534:daemon"]).arg(site.path("ringway.toml"));
    let (code, said) = told(&command.output().expect("it runs"));
    assert!(code == 2 && said.contains("--user 65534:daemon: only root"), "{said}");
}

/// The program, as a user that is not root.
fn of_another_user(dir: &Path) -> Command {
    if !geteuid().is_root() {
        return program(env!("CARGO_BIN_EXE_ringway"));
    }
    // Where another user may search all directories. Not copied here: what is open for writing in this process, and so
    // for a moment in each child that another test starts, cannot be executed.
    let copy = dir.join("program");
    must_run(program("cp").arg(env!("CARGO_BIN_EXE_ringway")).arg(&copy));
    let mut command = program(copy.to_str().expect("text"));
    command.uid(65_534).gid(65_534);
    command
}

/// Without --user: one's own files, and the user that was refused.
#[test]
fn refused_permissions_say_who_was_refused() {
    let site = Site::new("");
    let config = fs::read_to_string(site.path("ringway.toml")).expect("it is there").replace(":443", ":0");
    site.write("ringway.toml", &config);
    if geteuid().is_root() {
        must_run(program("chown").arg("65534").arg(site.path("a.key")));
    }
    site.mode("a.key", 0o044);
    let check = || {
        let mut command = of_another_user(site.dir.path());
        told(&command.arg("check").arg(site.path("ringway.toml")).output().expect("it runs"))
    };
    let (code, said) = check();
    assert_eq!(code, 1, "{said}");
    let place = format!("ringway.toml:{}:", site.line("key = \"a.key\""));
    assert!(said.contains(&place) && said.contains("tried as user "), "{said}");
    assert!(said.contains(&format!("mode 0044; remedy: chmod u+r {}", site.path("a.key").display())), "{said}");
    follow(&said);
    assert_eq!(check().0, 0);
}

/// The start reads files as root, and nothing after it does: root's check says what will not go on.
#[test]
fn what_runtime_user_will_not_read_later_is_a_warning() {
    if !is_root("what runtime.user may read") {
        return;
    }
    let site = Site::new("user = \"nobody\"");
    let (code, said) = site.check(&["--strict"]);
    assert_eq!(code, 0, "{said}");
    let later = "(the start does this as root; reloads and renewals do it as runtime.user, nobody)";
    for (file, key) in [("a.key", "key = \"a.key\""), ("page.html", "body_file"), ("ringway.toml", "user = \"nobody\"")]
    {
        site.mode(file, 0o600);
        let (code, said) = site.check(&[]);
        assert_eq!(code, 0, "it can start: {said}");
        let place = format!("warning: {}:{}:", site.path("ringway.toml").display(), site.line(key));
        assert!(said.contains(&place) && said.contains(later) && said.contains("1 warning"), "{said}");
        assert_eq!(site.check(&["--strict"]).0, 1);
        follow(&said.replace(" (the start", "\n(the start"));
        assert_eq!(site.check(&["--strict"]).0, 0);
    }
    site.mode("logs", 0o755);
    let (code, said) = site.check(&[]);
    assert!(code == 0 && said.contains("2 warnings") && said.contains("this user may not make files"), "{said}");
    assert_eq!(site.check(&["--portable", "--strict"]).0, 0);
}

/// A start says it as well, in the log.
#[test]
fn a_start_warns_of_files_that_will_not_be_renewed() {
    if !is_root("the start's warning for runtime.user") {
        return;
    }
    let setup = Setup::new(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"a.pem\", key = \"a.key\" }\n\
         http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n",
    )
    .runtime("user = \"nobody\"");
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    fs::set_permissions(pki.path("a.key"), Permissions::from_mode(0o600)).expect("ours");
    must_run(program("chmod").arg("711").arg(setup.dir()));
    let config = setup.dir().join("ringway.toml");
    let proxy = setup.start();
    proxy.wait_for_log("will not be renewed");
    let said = proxy.stderr();
    assert!(said.contains("a.key") && said.contains("tried as user nobody") && !said.contains("a.pem: Perm"), "{said}");
    // And so does a reload, of the configuration.
    fs::set_permissions(&config, Permissions::from_mode(0o600)).expect("ours");
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_for_log("not reloaded");
    let said = proxy.stderr();
    assert!(
        said.contains("cannot read the configuration: Permission denied") && said.contains("mode 0600; remedy: "),
        "{said}"
    );
}
