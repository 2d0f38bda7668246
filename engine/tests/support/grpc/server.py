"""A gRPC server whose messages are plain bytes: python server.py. Prints its port; cancelled calls are lines of their own."""

import sys
import threading
from collections import Counter
from concurrent import futures

import grpc


def metadata(context):
    fields = dict(context.invocation_metadata())
    if "x-echo" in fields:
        context.send_initial_metadata((("x-echo", fields["x-echo"]),))
    if "x-echo-bin" in fields:
        context.set_trailing_metadata((("x-echo-bin", fields["x-echo-bin"]),))
    return fields


def unary(request, context):
    metadata(context)
    return request


def status(request, context):
    metadata(context)
    code, details = request.decode().split(":", 1)
    code = next(it for it in grpc.StatusCode if it.value[0] == int(code))
    context.abort(code, details)


def down(request, context):
    count, size = map(int, request.decode().split("x"))
    for at in range(count):
        yield bytes([at % 251]) * size


def up(requests, context):
    sizes = [len(request) for request in requests]
    return f"{len(sizes)} {sum(sizes)}".encode()


def both(requests, context):
    for request in requests:
        yield request


def late(request, context):
    """Never answers; says when its client has given up."""
    over = threading.Event()
    context.add_callback(over.set)
    if request == b"begin":
        context.send_initial_metadata(())
    over.wait(30)
    print("cancelled", flush=True)
    return b""


tries = Counter()


def flaky(request, context):
    """Fails this number of times without a message, each time that it is asked with this number."""
    tries[request] += 1
    if tries[request] <= int(request):
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
    return b"done"


health = {"status": 1}


def check(request, context):
    return bytes([8, health["status"]])


def set_health(request, context):
    health["status"] = int(request)
    return b""


def handlers(service, **methods):
    return grpc.method_handlers_generic_handler(service, methods)


def main():
    server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((
        handlers(
            "test.Echo",
            Unary=grpc.unary_unary_rpc_method_handler(unary),
            Status=grpc.unary_unary_rpc_method_handler(status),
            Down=grpc.unary_stream_rpc_method_handler(down),
            Up=grpc.stream_unary_rpc_method_handler(up),
            Both=grpc.stream_stream_rpc_method_handler(both),
            Late=grpc.unary_unary_rpc_method_handler(late),
            Flaky=grpc.unary_unary_rpc_method_handler(flaky),
            Health=grpc.unary_unary_rpc_method_handler(set_health),
        ),
        handlers("grpc.health.v1.Health", Check=grpc.unary_unary_rpc_method_handler(check)),
    ))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # It ends with the test that started it.
    sys.stdin.read()
    server.stop(0)


main()
