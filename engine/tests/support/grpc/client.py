"""Calls of all kinds: python client.py HOST:PORT. Prints a line for each with what came of it."""

import sys
import threading

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.max_receive_message_length", -1)])
# The first call is not to be lost because the server is just starting.
grpc.channel_ready_future(channel).result(30)


def path(method):
    return f"/test.Echo/{method}"


def said(name, call):
    try:
        print(name, call(), flush=True)
    except grpc.RpcError as error:
        print(name, error.code().name, error.details(), flush=True)


def echo():
    sent = (("x-echo", "plain"), ("x-echo-bin", b"\x00\xff"))
    answer, call = channel.unary_unary(path("Unary")).with_call(b"hello", metadata=sent)
    initial = dict(call.initial_metadata()).get("x-echo")
    return answer, initial, dict(call.trailing_metadata())["x-echo-bin"], call.code().name


def sizes():
    # Around the sizes of frames and windows.
    for size in [0, 1, 16378, 16379, 16380, 65530, 65531, 65536, 1 << 20, 5_000_000]:
        assert channel.unary_unary(path("Unary"))(b"x" * size) == b"x" * size, size
    return "equal"


def down():
    messages = [len(message) for message in channel.unary_stream(path("Down"))(b"500x700")]
    return len(messages), sum(messages)


def up():
    return channel.stream_unary(path("Up"))(b"y" * size for size in [1, 0, 20_000, 300_000])


def both():
    """Each message is answered before the next one is sent."""
    ready, last = threading.Semaphore(1), 50

    def requests():
        for at in range(last):
            ready.acquire()
            yield str(at).encode()

    answers = []
    for answer in channel.stream_stream(path("Both"))(requests()):
        answers.append(int(answer))
        ready.release()
    return answers == list(range(last))


def status(code):
    return lambda: channel.unary_unary(path("Status"))(f"{code}:100 % of \u00fc\n".encode())


def cancel():
    call = channel.unary_unary(path("Late")).future(b"")
    call.cancel()
    return call.cancelled()


said("echo", echo)
said("sizes", sizes)
said("down", down)
said("up", up)
said("both", both)
for code in range(1, 17):
    said(f"status {code}", status(code))
said("missing", lambda: channel.unary_unary(path("Missing"))(b""))
said("deadline", lambda: channel.unary_unary(path("Late"))(b"", timeout=0.3))
said("within", lambda: channel.unary_unary(path("Late"))(b"begin", timeout=0.3))
said("cancel", cancel)
