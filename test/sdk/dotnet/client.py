"""What Dapr's .NET clients (Dapr.Client, Dapr.Messaging, Dapr.AI, Dapr.Cryptography) send, on stubs made from Dapr's protos.

Values are JSON, invocation is HTTP, variants of a method are looked up by reflection, and waiting is /v1.0/healthz/outbound.
"""

import http.client
import json
import os
import threading
import time
from functools import cached_property

import protos as p
from channel import Channel, RpcException
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

ABORTED = 10
SDK = 'dapr-sdk-dotnet/v1.18.0'
SERVICE = 'dapr.proto.runtime.v1.Dapr'
REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo'
# An Activity as ASP.NET has one for each request.
TRACE, SPAN = '4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'
JSON, CLOUD_EVENT, BYTES = 'application/json', 'application/cloudevents+json', 'application/octet-stream'
BLOCK = 4096
TOKEN = os.environ.get('DAPR_API_TOKEN', '')
HTTP_PORT, GRPC_PORT = (int(os.environ[name]) for name in ('DAPR_HTTP_PORT', 'DAPR_GRPC_PORT'))
Status = p.TopicEventResponse.TopicEventResponseStatus


def to_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(',', ':')).encode()


def from_json(data):
    return json.loads(data) if data else None


class DaprClient:
    _methods = None

    @cached_property
    def channel(self):
        """Connects with the first call."""
        return Channel(GRPC_PORT)

    @cached_property
    def _stub(self):
        return DaprStub(self.channel)

    def options(self):
        binary = b'\0\0' + bytes.fromhex(TRACE) + b'\1' + bytes.fromhex(SPAN) + b'\2\1'
        token = [('dapr-api-token', TOKEN)] if TOKEN else []
        return [('user-agent', SDK), *token, ('traceparent', f'00-{TRACE}-{SPAN}-01'), ('grpc-trace-bin', binary)]

    def call(self, method, request, **more):
        return getattr(self._stub, method)(request, metadata=self.options(), **more)

    def described(self, metadata=()):
        """The files that the runtime answers for the Dapr service."""
        reflect = self.channel.stream_stream(REFLECTION, ServerReflectionRequest.SerializeToString, ServerReflectionResponse.FromString)
        call = reflect(metadata=metadata)
        call.write(ServerReflectionRequest(file_containing_symbol=SERVICE))
        call.complete()
        return [FileDescriptorProto.FromString(file) for one in call for file in one.file_descriptor_response.file_descriptor_proto]

    def newest(self, *variants):
        """The first variant of a method that the runtime describes, newest first; the newest when it refuses to, as with a token."""
        try:
            if self._methods is None:
                services = [(file.package, one) for file in self.described() for one in file.service]
                self._methods = {method.name for package, one in services if f'{package}.{one.name}' == SERVICE for method in one.method}
        except RpcException:
            return variants[0]
        return next(variant for variant in variants if variant in self._methods)

    # HTTP: health and invocation

    def http(self, method, path, value=None):
        """JSON goes in chunks, as JsonContent does not know its length."""
        headers = {'User-Agent': SDK} | ({'dapr-api-token': TOKEN} if TOKEN else {})
        if value is not None:
            headers |= {'Content-Type': 'application/json; charset=utf-8', 'Transfer-Encoding': 'chunked'}
        connection = http.client.HTTPConnection('127.0.0.1', HTTP_PORT)
        connection.request(method, path, None if value is None else iter([to_json(value)]), headers, encode_chunked=value is not None)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def wait_for_sidecar(self):
        while not 200 <= self.http('GET', '/v1.0/healthz/outbound')[0] < 300:
            time.sleep(0.5)

    def invoke(self, method, app_id, name, value=None):
        status, body = self.http(method, f'/v1.0/invoke/{app_id}/method/{name}', value)
        if not 200 <= status < 300:
            raise RuntimeError(f'{status} {body.decode()}')
        return from_json(body)

    def invoke_grpc(self, app_id, name, message, answer):
        """InvokeMethodGrpcAsync: messages in Any both ways."""
        data = Any()
        data.Pack(message)
        request = p.InvokeServiceRequest(id=app_id, message=p.InvokeRequest(method=name, content_type='application/grpc', data=data))
        self.call('InvokeService', request).data.Unpack(answer)
        return answer

    # State

    def save(self, store, key, value, etag=None, metadata=None, raw=None, options=None):
        """False when the etag is stale."""
        item = p.StateItem(key=key, metadata=metadata, value=to_json(value) if raw is None else raw, options=options)
        if etag is not None:
            item.etag.value = etag
        return self._tries('SaveState', p.SaveStateRequest(store_name=store, states=[item]), etag)

    def delete(self, store, key, etag=None):
        request = p.DeleteStateRequest(store_name=store, key=key)
        if etag is not None:
            request.etag.value = etag
        return self._tries('DeleteState', request, etag)

    def _tries(self, method, request, etag):
        try:
            self.call(method, request)
            return True
        except RpcException as error:
            if etag is None or error.code != ABORTED:
                raise
            return False

    def get_raw(self, store, key, **more):
        return self.call('GetState', p.GetStateRequest(store_name=store, key=key), **more)

    def get(self, store, key):
        return from_json(self.get_raw(store, key).data)

    # Publish and subscribe

    def publish(self, name, topic, value, content_type=JSON, metadata=None):
        request = p.PublishEventRequest(pubsub_name=name, topic=topic, data_content_type=content_type, metadata=metadata)
        request.data = to_json(value)
        self.call('PublishEvent', request)

    def publish_bulk(self, name, topic, events):
        """What failed, by the number of the event."""
        request = p.BulkPublishRequest(pubsub_name=name, topic=topic)
        for number, event in enumerate(events):
            request.entries.add(entry_id=str(number), event=to_json(event), content_type=JSON)
        answer = self.call(self.newest('BulkPublishEvent', 'BulkPublishEventAlpha1'), request)
        return {entry.entry_id: entry.error for entry in answer.failedEntries}

    def subscribe(self, name, topic, handler, dead_letter='', metadata=None):
        """Answers events with the status that the handler gives for their data; gives what ends the subscription."""
        # The call has no options of its own: token and product come from the HttpClient.
        channel = Channel(GRPC_PORT, [('user-agent', SDK), *([('dapr-api-token', TOKEN)] if TOKEN else [])])
        call = DaprStub(channel).SubscribeTopicEventsAlpha1()
        initial = {'pubsub_name': name, 'topic': topic, 'dead_letter_topic': dead_letter, 'metadata': metadata}
        call.write(p.SubscribeTopicEventsRequestAlpha1(initial_request=p.SubscribeTopicEventsRequestInitialAlpha1(**initial)))

        def receive():
            for answer in call:
                if not answer.HasField('event_message'):
                    continue
                event = answer.event_message
                status = p.TopicEventResponse(status=Status.Value(handler(from_json(event.data))))
                processed = p.SubscribeTopicEventsRequestProcessedAlpha1(id=event.id, status=status)
                call.write(p.SubscribeTopicEventsRequestAlpha1(event_processed=processed))

        threading.Thread(target=receive, daemon=True).start()
        return channel.close

    # Cryptography

    def transform(self, method, request_type, options, data, block=BLOCK):
        """A stream of blocks, the options with the first one, while answers are read already."""
        call = getattr(self._stub, method)(metadata=self.options())

        def send():
            for number, start in enumerate(range(0, len(data), block)):
                payload = p.StreamPayload(data=data[start : start + block], seq=number)
                call.write(request_type(payload=payload, options=options if number == 0 else None))
            call.complete()

        threading.Thread(target=send, daemon=True).start()
        return b''.join(answer.payload.data for answer in call)

    def encrypt(self, vault, key, data, algorithm):
        options = {'component_name': vault, 'key_name': key, 'key_wrap_algorithm': algorithm}
        options |= {'data_encryption_cipher': 'aes-gcm', 'omit_decryption_key_name': True}
        return self.transform('EncryptAlpha1', p.EncryptRequest, p.EncryptRequestOptions(**options), data)

    def decrypt(self, vault, key, data):
        options = p.DecryptRequestOptions(component_name=vault, key_name=key)
        return self.transform('DecryptAlpha1', p.DecryptRequest, options, data)
