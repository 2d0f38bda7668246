"""A server of HTTP/2 that breaks calls off within their second message: python broken.py CODE. It resets the call with this code, or
closes the connection for "close". Prints its port."""

import socket
import struct
import sys
import threading


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(text):
    return bytes([len(text)]) + text.encode()


def serve(connection):
    read = connection.makefile("rb")
    assert read.read(24).startswith(b"PRI")
    connection.sendall(frame(4, 0, 0))
    while header := read.read(9):
        length, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
        stream, _ = struct.unpack(">I", header[5:])[0], read.read(length)
        if kind == 4 and not flags & 1:
            connection.sendall(frame(4, 1, 0))
        # The call is complete.
        if kind == 0 and flags & 1:
            head = b"\x88" + b"\x00" + literal("content-type") + literal("application/grpc")
            message, begun = b"\0\0\0\0\x02hi", b"\0\0\0\0\x09cut"
            data = message if sys.argv[1] == "between" else message + begun
            connection.sendall(frame(1, 4, stream, head) + frame(0, 0, stream, data))
            if sys.argv[1] in ("close", "between"):
                connection.shutdown(socket.SHUT_RDWR)
                return
            connection.sendall(frame(3, 0, stream, struct.pack(">I", int(sys.argv[1]))))


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)


def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
# It ends with the test that started it.
sys.stdin.read()
