"""An OpenTelemetry collector over HTTP or gRPC, by OpenTelemetry's own messages: prints its port, and then each report that comes as
one line of JSON. In reports whose service is called "picky" it does not take one span. Over gRPC with files of a certificate and its
key, it speaks TLS."""

import http.server
import json
import sys
import threading
from concurrent import futures

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages


# Those that are told of a request.
HEADERS = ["x-tenant", "x-api-key"]

# Reports come side by side, and lines are one behind the other.
one_by_one = threading.Lock()


def take(report, carrier):
    line = json.dumps({"carrier": carrier, "report": MessageToDict(report)})
    with one_by_one:
        print(line, flush=True)
    answer = messages.ExportTraceServiceResponse()
    attributes = report.resource_spans[0].resource.attributes
    if any(attribute.value.string_value == "picky" for attribute in attributes):
        answer.partial_success.rejected_spans = 1
        answer.partial_success.error_message = "one is too many"
    return answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        carrier = {"path": self.path, "type": self.headers["content-type"], "host": self.headers["host"]}
        carrier |= {name: self.headers[name] for name in HEADERS}
        answer = take(messages.ExportTraceServiceRequest.FromString(body), carrier).SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def serve_http():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def serve_grpc():
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

    class Traces(service.TraceServiceServicer):
        def Export(self, request, context):
            metadata = dict(context.invocation_metadata())
            return take(request, {name: metadata.get(name) for name in HEADERS})

    server = grpc.server(futures.ThreadPoolExecutor(2))
    service.add_TraceServiceServicer_to_server(Traces(), server)
    if len(sys.argv) > 2:
        certificate, key = (open(name, "rb").read() for name in sys.argv[2:4])
        print(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)])), flush=True)
    else:
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


{"http": serve_http, "grpc": serve_grpc}[sys.argv[1]]()
