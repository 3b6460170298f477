"""An app on dapr-ext-grpc: the sidecar calls it over gRPC."""

import json
import os
import threading

import grpc
from dapr.clients import DaprClient
from dapr.ext.grpc import App, Rule
from dapr.clients.grpc._response import TopicEventResponse

from features import APP_ID, features
from program import Inbox, parsed, serve

app = App()
inbox = Inbox()


def value(event):
    return parsed(event.data, event.content_type)


def note(topic, **options):
    """Notes the events of a topic."""

    @app.subscribe('pubsub', topic, **options)
    def handle(event):
        inbox.note(topic, value(event))

    return handle


note('plain')
note('many')
note('dead')


@app.subscribe('pubsub', 'raw', metadata={'rawPayload': 'true'})
def raw(event):
    inbox.note('raw', json.loads(event.data))


@app.subscribe('pubsub', 'routed', rule=Rule('event.type == "usual"', 2))
def other(event):
    inbox.note('routed', ['other', value(event)])


@app.subscribe('pubsub', 'routed', rule=Rule('event.type == "important"', 1))
def important(event):
    inbox.note('routed', ['important', value(event)])


@app.subscribe('pubsub', 'poison', dead_letter_topic='dead')
def poison(event):
    return TopicEventResponse('drop')


@app.subscribe('pubsub', 'retried')
def retried(event):
    return TopicEventResponse('success' if inbox.note('retried', value(event)) == 3 else 'retry')


def by_path(topic, path):
    """A handler for the path that a Subscription resource names; the SDK finds it by the function's name."""

    def handle(event):
        inbox.note(topic, value(event))

    handle.__name__ = path
    app.subscribe('pubsub', 'unused', rule=Rule(f'event.type == "{topic}"', 1), disable_topic_validation=True)(handle)


by_path('declared', '/declared')
by_path('bulk', '/declared-bulk')


@app.method('hello')
def hello(request):
    if not request.data:
        return json.dumps({'app': APP_ID, 'method': 'GET'})
    return json.dumps({'app': APP_ID, 'method': 'POST', 'heard': json.loads(request.data)})


@app.binding('tick')
def tick(request):
    inbox.note('tick', True)


greet = grpc.unary_unary_rpc_method_handler(
    lambda name, _context: f'hello {name} from {APP_ID}', request_deserializer=bytes.decode, response_serializer=str.encode
)
greeter = grpc.method_handlers_generic_handler('test.Greeter', {'Greet': greet})
app.add_external_service(lambda service, server: server.add_generic_rpc_handlers((service,)), greeter)

threading.Thread(target=app.run, args=(int(os.environ['APP_PORT']), '127.0.0.1'), daemon=True).start()
serve(features(DaprClient(), inbox))
os._exit(0)
