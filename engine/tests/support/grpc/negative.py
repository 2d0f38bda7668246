"""The server of gRPC's tests with servers that misbehave (grpc, doc/negative-http2-interop-test-descriptions.md): python negative.py CASE.
Prints its port, then for each request the number of its connection and how many others that has under way, and each PING and
the answer to it."""

import socket
import struct
import sys
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

CASE = sys.argv[1]
lock = threading.Lock()


def say(*what):
    with lock:
        sys.stdout.write(" ".join(map(str, what)) + "\n")
        sys.stdout.flush()


def number(data, at):
    """A varint, and where it ends."""
    value, shift = 0, 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def response_size(request):
    """The field `response_size` (2) of a SimpleRequest."""
    at = 0
    while at < len(request):
        key, at = number(request, at)
        value, at = number(request, at)
        if key == 2 << 3:
            return value
        at += value if key & 7 == 2 else 0
    return 0


def field(key, payload):
    length, rest = b"", len(payload)
    while rest > 127:
        length, rest = length + bytes([rest & 127 | 128]), rest >> 7
    return bytes([key << 3 | 2]) + length + bytes([rest]) + payload


class Connection:
    def __init__(self, sock, index):
        self.sock, self.index = sock, index
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        # Requests that are under way, and what is left of responses.
        self.requests, self.responses, self.pings = {}, {}, 0
        self.leaving = None

    def serve(self):
        self.h2.initiate_connection()
        if CASE == "max_streams":
            self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        try:
            self.flush()
            while data := self.sock.recv(65536):
                for event in self.h2.receive_data(data):
                    self.on(event)
                self.flush()
        except OSError:
            # The client is gone, with a complaint of its own.
            pass
        except h2.exceptions.ProtocolError as error:
            say("error", error)

    def flush(self):
        goaway = b""
        if self.leaving is not None:
            goaway, self.leaving = struct.pack(">IBIII", 8 << 8 | 7, 0, 0, self.leaving, 0), None
        self.sock.sendall(self.h2.data_to_send() + goaway)

    def ping(self):
        if CASE == "ping":
            say("ping", self.pings)
            self.h2.ping(struct.pack(">Q", self.pings))
            self.pings += 1

    def on(self, event):
        if isinstance(event, h2.events.RequestReceived):
            say("request", self.index, len(self.requests))
            self.requests[event.stream_id] = b""
            self.ping()
        elif isinstance(event, h2.events.DataReceived):
            self.requests[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.ping()
        elif isinstance(event, h2.events.StreamEnded):
            self.answer(event.stream_id)
        elif isinstance(event, h2.events.PingAckReceived):
            say("ack", struct.unpack(">Q", event.ping_data)[0])
        self.go_on()

    def answer(self, stream):
        body = field(1, field(2, bytes(response_size(self.requests[stream][5:]))))
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        self.ping()
        self.responses[stream] = struct.pack(">BI", 0, len(body)) + body
        if CASE == "rst_after_header":
            self.reset(stream)

    def reset(self, stream):
        self.h2.reset_stream(stream)
        del self.requests[stream], self.responses[stream]

    def go_on(self):
        padding = 255 if CASE == "data_frame_padding" else None
        for stream in list(self.responses):
            while self.responses.get(stream):
                room = self.h2.local_flow_control_window(stream)
                part = self.responses[stream][: min(room - 256 if padding else room, 2000 if padding else 16384)]
                if room <= 256 or not part:
                    break
                self.responses[stream] = self.responses[stream][len(part) :]
                self.h2.send_data(stream, part, pad_length=padding)
                self.ping()
                if CASE == "rst_during_data":
                    self.reset(stream)
            if self.responses.get(stream) == b"":
                self.end(stream)

    def end(self, stream):
        if CASE == "rst_after_data":
            return self.reset(stream)
        self.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        del self.requests[stream], self.responses[stream]
        if CASE == "goaway":
            self.leaving = stream


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)


def accept():
    for index in range(1000):
        connection = Connection(listener.accept()[0], index)
        threading.Thread(target=connection.serve, daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
# It ends with the test that started it.
sys.stdin.read()
