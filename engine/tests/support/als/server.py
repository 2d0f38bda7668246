"""An access log service by grpcio and the messages of envoy-data-plane: prints its port, and each message as a line of JSON."""

import json
from concurrent import futures

import grpc
from envoy_data_plane.envoy.service.accesslog.v3 import StreamAccessLogsMessage, StreamAccessLogsResponse


def stream(messages, context):
    for message in messages:
        print(json.dumps(message.to_dict()), flush=True)
    return StreamAccessLogsResponse()


service = grpc.method_handlers_generic_handler(
    "envoy.service.accesslog.v3.AccessLogService",
    {
        "StreamAccessLogs": grpc.stream_unary_rpc_method_handler(
            stream, request_deserializer=StreamAccessLogsMessage.parse, response_serializer=bytes
        )
    },
)
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((service,))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
