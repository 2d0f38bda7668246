"""The fingerprints of a TLS client's first message, which is read from standard input as it came: JA3 and JA4 on a line.

Written from the descriptions of JA3 and JA4, and not from the proxy's code: a second opinion.
"""

import hashlib
import struct
import sys


def records(data):
    """The payload of all records."""
    payload = b""
    while data:
        length = struct.unpack(">H", data[3:5])[0]
        payload += data[5 : 5 + length]
        data = data[5 + length :]
    return payload


def words(data):
    return [word for (word,) in struct.iter_unpack(">H", data)]


def without_grease(numbers):
    return [number for number in numbers if number not in range(0x0A0A, 0x10000, 0x1010)]


def read(message):
    """Version, cipher suites and extensions; each extension with its body."""
    body = message[4:]
    (version,) = struct.unpack(">H", body[:2])
    body = body[34:]
    body = body[1 + body[0] :]
    (length,) = struct.unpack(">H", body[:2])
    suites, body = words(body[2 : 2 + length]), body[2 + length :]
    body = body[1 + body[0] :]
    extensions, body = [], body[2:]
    while body:
        kind, length = struct.unpack(">HH", body[:4])
        extensions.append((kind, body[4 : 4 + length]))
        body = body[4 + length :]
    return version, suites, extensions


def ja3(version, suites, extensions):
    bodies = dict(extensions)
    lists = [
        without_grease(suites),
        without_grease([kind for kind, _ in extensions]),
        without_grease(words(bodies.get(10, b"")[2:])),
        list(bodies.get(11, b"")[1:]),
    ]
    text = ",".join([str(version)] + ["-".join(map(str, numbers)) for numbers in lists])
    return hashlib.md5(text.encode()).hexdigest()


def cut(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12


def ja4(version, suites, extensions):
    bodies = dict(extensions)
    version = max(without_grease(words(bodies[43][1:]))) if 43 in bodies else version
    version = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10"}[version]
    protocol = bodies[16][3 : 3 + bodies[16][2]].decode() if 16 in bodies else "00"
    suites, kinds = without_grease(suites), without_grease([kind for kind, _ in extensions])
    name = "d" if 0 in kinds else "i"
    first = f"t{version}{name}{len(suites):02}{len(kinds):02}{protocol[0]}{protocol[-1]}"
    second = ",".join(sorted(f"{suite:04x}" for suite in suites))
    third = ",".join(sorted(f"{kind:04x}" for kind in kinds if kind not in (0, 16)))
    algorithms = without_grease(words(bodies.get(13, b"")[2:]))
    if algorithms:
        third += "_" + ",".join(f"{algorithm:04x}" for algorithm in algorithms)
    return f"{first}_{cut(second)}_{cut(third)}"


def main():
    hello = read(records(sys.stdin.buffer.read()))
    print(ja3(*hello), ja4(*hello))


main()
