"""An OpenTelemetry collector by protobuf's and gRPC's own libraries: prints its port, and each report as a line of JSON.

Usage: collector.py http|grpc
"""

import json
import sys
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc


def show(report, headers):
    print(json.dumps({"report": MessageToDict(report), "headers": headers}), flush=True)


class Metrics(metrics_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        show(request, dict(context.invocation_metadata()))
        return metrics.ExportMetricsServiceResponse()


class Logs(logs_grpc.LogsServiceServicer):
    def Export(self, request, context):
        show(request, dict(context.invocation_metadata()))
        return logs.ExportLogsServiceResponse()


# By path: the request and its answer.
PATHS = {
    "/v1/metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
    "/v1/logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
}


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        found = PATHS.get(self.path) if self.headers["content-type"] == "application/x-protobuf" else None
        answer = b""
        if found:
            show(found[0].FromString(body), dict(self.headers))
            answer = found[1]().SerializeToString()
        self.send_response(200 if found else 404)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


if sys.argv[1] == "http":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    print(server.server_address[1], flush=True)
    server.serve_forever()
else:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    logs_grpc.add_LogsServiceServicer_to_server(Logs(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
