"""Calls, one after the other: python call.py HOST:PORT METHOD MESSAGE ... Prints the answers, and each status with its details."""

import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])
for method, message in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        for answer in channel.unary_stream(f"/test.Echo/{method}")(message.encode(), timeout=30):
            print("message", len(answer), flush=True)
        print("OK", flush=True)
    except grpc.RpcError as error:
        print(error.code().name, error.details(), flush=True)
