"""A state store that keeps each value in a file, as a pluggable component.

    pip install grpcio grpcio-tools grpcio-reflection
    python file_store.py                 # then run a sidecar with resources/ beside this file
"""

import hashlib
import os
import pathlib
import signal
import sys
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection

sys.path.insert(0, str(pathlib.Path(__file__).parent))
protos, services = grpc.protos_and_services("state.proto")
SERVICE = "dapr.proto.components.v1.StateStore"


class FileStore(services.StateStoreServicer):
    def __init__(self):
        # One server may stand for several Component resources: each says its name with every call.
        self.folders = {}

    def file(self, context, key):
        instance = dict(context.invocation_metadata()).get("x-component-instance", "")
        # Keys hold characters that file names cannot.
        return self.folders[instance] / hashlib.sha256(key.encode()).hexdigest()

    def Init(self, request, context):
        # metadata.properties are the spec.metadata of the Component resource.
        folder = pathlib.Path(request.metadata.properties["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        self.folders[dict(context.invocation_metadata())["x-component-instance"]] = folder
        return protos.Empty()

    def Features(self, request, context):
        return protos.FeaturesResponse(features=[])

    def Ping(self, request, context):
        return protos.Empty()

    def Get(self, request, context):
        try:
            data = self.file(context, request.key).read_bytes()
        except FileNotFoundError:
            return protos.GetResponse()  # an empty answer is a missing key
        return protos.GetResponse(data=data, etag=protos.Etag(value=hashlib.sha256(data).hexdigest()))

    def Set(self, request, context):
        file = self.file(context, request.key)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_bytes(request.value)
        partial.replace(file)  # a reader sees the old value or the new one, never half of it
        return protos.Empty()

    def Delete(self, request, context):
        self.file(context, request.key).unlink(missing_ok=True)
        return protos.Empty()

    def BulkGet(self, request, context):
        items = [(item.key, self.Get(item, context)) for item in request.items]
        return protos.BulkGetResponse(items=[protos.BulkStateItem(key=key, data=got.data, etag=got.etag) for key, got in items])

    def BulkSet(self, request, context):
        for item in request.items:
            self.Set(item, context)
        return protos.Empty()

    def BulkDelete(self, request, context):
        for item in request.items:
            self.Delete(item, context)
        return protos.Empty()


def main():
    folder = pathlib.Path(os.environ.get("DAPR_COMPONENTS_SOCKETS_FOLDER", "/tmp/dapr-components-sockets"))
    folder.mkdir(parents=True, exist_ok=True)
    # The file's name is the component's: state.file-store
    socket = folder / "file-store.sock"
    socket.unlink(missing_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    services.add_StateStoreServicer_to_server(FileStore(), server)
    # The sidecar asks by reflection what is served here.
    reflection.enable_server_reflection([SERVICE, reflection.SERVICE_NAME], server)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    print(f"listening at {socket}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: server.stop(2))
    server.wait_for_termination()
    socket.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
