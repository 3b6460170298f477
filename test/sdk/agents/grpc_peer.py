# A client of grpcio without generated code: bytes are text. grpc_peer.py PORT prints what it got, as one line of JSON.
import json
import queue
import sys

import grpc

channel = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}")
text = {"request_serializer": str.encode, "response_deserializer": bytes.decode}
sent = (("x-sent", "yes"),)


def seen(trailers):
    found = dict(trailers)
    return [found.get("x-seen"), found["x-raw-bin"].hex() if "x-raw-bin" in found else None]


def unary(name):
    try:
        said, call = channel.unary_unary(f"/test.Echo/{name}", **text).with_call("hi", metadata=sent, timeout=20)
        return [said, call.code().value[0], *seen(call.trailing_metadata())]
    except grpc.RpcError as error:
        code = error.code().value[0]
        return [[code, error.details()], code, *seen(error.trailing_metadata())]


def talk():
    said = queue.Queue()
    said.put("1")
    call = channel.stream_stream("/test.Echo/Talk", **text)(iter(said.get, None), metadata=sent, timeout=20)
    heard = []
    try:
        for one in call:
            heard.append(one)
            said.put(str(len(heard) + 1) if len(heard) < 3 else None)
    except grpc.RpcError:
        said.put(None)
    return [heard, call.code().value[0], *seen(call.trailing_metadata())]


print(json.dumps({"say": unary("Say"), "fail": unary("Fail"), "talk": talk()}))
