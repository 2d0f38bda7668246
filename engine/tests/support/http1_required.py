"""A server that agrees on HTTP/2 and then wants HTTP/1.1: python http1_required.py CERTIFICATE KEY KIND. With KIND `reset` it resets
streams, with `goaway` it ends connections, with HTTP_1_1_REQUIRED. Prints its port, and for each connection what was agreed on."""

import socket
import ssl
import struct
import sys
import threading

CERTIFICATE, KEY, KIND = sys.argv[1:]
REQUIRED = struct.pack(">I", 13)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def http2(connection, read):
    assert read.read(24).startswith(b"PRI")
    connection.sendall(frame(4, 0, 0))
    while header := read.read(9):
        kind, flags, stream = header[3], header[4], struct.unpack(">I", header[5:])[0]
        read.read(int.from_bytes(header[:3], "big"))
        if kind == 4 and not flags & 1:
            connection.sendall(frame(4, 1, 0))
        if kind == 6 and not flags & 1:
            connection.sendall(frame(6, 1, 0, bytes(8)))
        if kind == 1:
            connection.sendall(frame(3, 0, stream, REQUIRED) if KIND == "reset" else frame(7, 0, 0, bytes(4) + REQUIRED))


def http1(connection, read):
    while request := read.readline():
        length = 0
        while (line := read.readline().strip()) != b"":
            name, value = line.split(b":", 1)
            length = int(value) if name.lower() == b"content-length" else length
        body = request.split()[0] + b" " + read.read(length)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def serve(context, connection):
    try:
        connection = context.wrap_socket(connection, server_side=True)
        agreed = connection.selected_alpn_protocol()
        print(agreed, flush=True)
        (http2 if agreed == "h2" else http1)(connection, connection.makefile("rb"))
    except OSError:
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
context.set_alpn_protocols(["h2", "http/1.1"])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)


def accept():
    while True:
        threading.Thread(target=serve, args=(context, listener.accept()[0]), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
# It ends with the test that started it.
sys.stdin.read()
