//! io_uring that is refused: the process says so in one sentence with the remedy, and exits with 3.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

const CONFIG: &str = r#"
[[listeners]]
address = "127.0.0.1:0"
http.routes = [{ match = { prefix = "/" }, route = { cluster = "app" } }]
[[clusters]]
name = "app"
endpoints = ["127.0.0.1:9"]
"#;

/// io_uring_setup's number on every architecture that has it.
const IO_URING_SETUP: u32 = 425;
const IO_URING_REGISTER: u32 = 427;

/// A filter, as containers set one, that answers the call `number` with `errno`.
fn refuse(number: u32, errno: i32) -> std::io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = [
        // The number is the first word of seccomp_data.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k: number },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its instructions outlive the call, which copies them.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Run ringway where `number` is answered with `errno`.
fn ringway(number: u32, errno: i32) -> Output {
    let mut config = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    config.write_all(CONFIG.as_bytes()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.arg("run").arg(config.path());
    // SAFETY: `refuse` makes two system calls and allocates nothing; the alarm ends a process that starts after all.
    unsafe {
        command.pre_exec(move || {
            libc::alarm(20);
            refuse(number, errno)
        });
    }
    command.output().unwrap()
}

fn check(number: u32, errno: i32, words: &[&str]) {
    let output = ringway(number, errno);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{}: {errors}", output.status);
    // What the log warns of on the way is not the answer, and comes before it.
    let mut lines = errors.lines().filter(|line| !line.contains(" WARN "));
    let sentence = lines.next().unwrap_or_default();
    assert!(sentence.starts_with("ringway: ") && errors.trim_end().ends_with(sentence), "{errors}");
    assert_eq!(lines.next(), None, "one sentence, not more: {errors}");
    for word in words {
        assert!(sentence.contains(word), "{sentence:?} does not say {word:?}");
    }
    assert!(!errors.contains("panicked") && !errors.contains("listens on"), "{errors}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_seccomp_profile_forbids_it() {
    check(IO_URING_SETUP, libc::EPERM, &["io_uring", "EPERM"]);
    // Names the remedy: the profile, or on a host that has io_uring switched off, the switch.
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let remedy = if matches!(disabled.trim(), "1" | "2") { "kernel.io_uring_disabled=0" } else { "seccomp" };
    check(IO_URING_SETUP, libc::EACCES, &["io_uring", remedy]);
}

#[test]
fn the_kernel_has_none() {
    check(IO_URING_SETUP, libc::ENOSYS, &["io_uring", "ENOSYS", "Linux 6.1"]);
}

#[test]
fn the_kernel_is_too_old_for_its_flags() {
    check(IO_URING_SETUP, libc::EINVAL, &["io_uring", "Linux 6.1"]);
}

#[test]
fn memory_cannot_be_locked() {
    check(IO_URING_SETUP, libc::ENOMEM, &["io_uring", "ulimit -l"]);
}

#[test]
fn a_profile_that_forbids_only_registration() {
    check(IO_URING_REGISTER, libc::EPERM, &["io_uring", "seccomp"]);
}
