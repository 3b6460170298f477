"""An app as on Grpc.AspNetCore: the services of appcallback.proto, made by protoc, and one of its own."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import protos as p
from client import DaprClient, from_json, to_json
from dapr.proto.runtime.v1 import appcallback_pb2_grpc as services
from features import APP_ID, features
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import StringValue
from program import Inbox, serve

inbox = Inbox()
Status = p.TopicEventResponse


class AppCallback(services.AppCallbackServicer):
    def OnInvoke(self, request, context):
        data = Any()
        if request.method == 'greet':
            name = StringValue()
            request.data.Unpack(name)
            data.Pack(StringValue(value=f'hello {name.value} from {APP_ID}'))
            return p.InvokeResponse(data=data)
        verb = p.HTTPExtension.Verb.Name(request.http_extension.verb)
        heard = {'heard': from_json(request.data.value)} if request.data.value else {}
        data.value = to_json({'app': APP_ID, 'method': verb} | heard)
        return p.InvokeResponse(data=data, content_type='application/json')

    def ListTopicSubscriptions(self, request, context):
        topic = lambda name, **more: p.TopicSubscription(pubsub_name='pubsub', topic=name, **more)
        rules = [p.TopicRule(match='event.type == "important"', path='important')]
        return p.ListTopicSubscriptionsResponse(
            subscriptions=[
                *map(topic, ('plain', 'many', 'dead', 'retried')),
                topic('raw', metadata={'rawPayload': 'true'}),
                topic('routed', routes=p.TopicRoutes(rules=rules, default='other')),
                topic('poison', dead_letter_topic='dead'),
                topic('bulk', bulk_subscribe=p.BulkSubscribeConfig(enabled=True, max_messages_count=10, max_await_duration_ms=100)),
            ]
        )

    def OnTopicEvent(self, event, context):
        if event.topic == 'poison':
            return p.TopicEventResponse(status=Status.DROP)
        data = from_json(event.data)
        count = inbox.note(event.topic, [event.path, data] if event.topic == 'routed' else data)
        again = event.topic == 'retried' and count < 3
        return p.TopicEventResponse(status=Status.RETRY if again else Status.SUCCESS)

    def ListInputBindings(self, request, context):
        return p.ListInputBindingsResponse(bindings=['tick'])

    def OnBindingEvent(self, event, context):
        inbox.note(event.name, True)
        return p.BindingEventResponse()


class AppCallbackAlpha(services.AppCallbackAlphaServicer):
    def OnBulkTopicEventAlpha1(self, bundle, context):
        statuses = []
        for entry in bundle.entries:
            inbox.note(bundle.topic, from_json(entry.cloud_event.data))
            statuses.append(p.TopicEventBulkResponseEntry(entry_id=entry.entry_id, status=Status.SUCCESS))
        return p.TopicEventBulkResponse(statuses=statuses)


class Health(services.AppCallbackHealthCheckServicer):
    def HealthCheck(self, request, context):
        return p.HealthCheckResponse()


def late(name, context):
    """Answers nobody: says when the caller is gone."""
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait()
    inbox.note('late', 'cancelled')
    return name


def method(handle):
    return grpc.unary_unary_rpc_method_handler(handle, StringValue.FromString, StringValue.SerializeToString)


greet = method(lambda name, context: StringValue(value=f'hello {name.value} from {APP_ID}'))
server = grpc.server(ThreadPoolExecutor(16))
services.add_AppCallbackServicer_to_server(AppCallback(), server)
services.add_AppCallbackAlphaServicer_to_server(AppCallbackAlpha(), server)
services.add_AppCallbackHealthCheckServicer_to_server(Health(), server)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('test.Greeter', {'Greet': greet, 'Late': method(late)}),))
server.add_insecure_port(f'127.0.0.1:{os.environ["APP_PORT"]}')
server.start()

serve(features(DaprClient(), inbox))
os._exit(0)
