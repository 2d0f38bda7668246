"""Runs a command under a seccomp profile in the format of docker: seccomp.py PROFILE COMMAND...

What a container runtime does with such a file, for tests that have none: its rules become a filter of the kernel (BPF), which
the command and all that it starts keep. Numbers of system calls come from the C compiler's headers.
"""

import ctypes, json, os, platform, struct, subprocess, sys

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
LD, JEQ, AND, RET = 0x20, 0x15, 0x54, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000


def numbers():
    macros = subprocess.run(
        ["cc", "-E", "-dM", "-include", "asm/unistd.h", "-x", "c", "/dev/null"], check=True, capture_output=True, text=True
    ).stdout
    words = (line.split() for line in macros.splitlines())
    return {w[1][5:]: int(w[2]) for w in words if len(w) == 3 and w[1].startswith("__NR_") and w[2].isdigit()}


def action(rule, fallback):
    name = rule.get("action") or rule["defaultAction"]
    if name == "SCMP_ACT_ALLOW":
        return ALLOW
    if name == "SCMP_ACT_ERRNO":
        return ERRNO | rule.get("errnoRet", rule.get("defaultErrnoRet", fallback))
    sys.exit(f"unknown action {name}")


def program(profile):
    known, code = numbers(), []
    default = action(profile, 1)
    code += [(LD, 0, 0, 4), (JEQ, 1, 0, ARCH), (RET, 0, 0, KILL), (LD, 0, 0, 0)]
    for rule in profile["syscalls"]:
        verdict = action(rule, 1)
        for name in rule["names"]:
            # As a container runtime does, names of other architectures are passed over.
            if name not in known:
                continue
            checks = [(RET, 0, 0, verdict)]
            for arg in rule.get("args", []):
                if arg["op"] != "SCMP_CMP_MASKED_EQ" or max(arg["value"], arg["valueTwo"]) >> 32:
                    sys.exit(f"unknown condition {arg}")
                low = 16 + 8 * arg["index"]
                masked = [(LD, 0, 0, low), (AND, 0, 0, arg["value"]), (JEQ, 0, len(checks), arg["valueTwo"])]
                # The number is loaded again for the rules that follow.
                checks = masked + checks + [(LD, 0, 0, 0)]
            code += [(JEQ, 0, len(checks), known[name])] + checks
    return code + [(RET, 0, 0, default)]


def main():
    with open(sys.argv[1]) as file:
        code = program(json.load(file))
    filters = b"".join(struct.pack("=HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(filters)
    header = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    # PR_SET_NO_NEW_PRIVS, then PR_SET_SECCOMP with SECCOMP_MODE_FILTER.
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, header, 0, 0):
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execv(sys.argv[2], sys.argv[2:])


main()
