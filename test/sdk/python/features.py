"""The client of the official SDK. It speaks gRPC; invocation goes over what DAPR_API_METHOD_INVOCATION_PROTOCOL says."""

import json
import os
import re
import threading

import grpc
from dapr.clients import DaprClient
from dapr.clients.grpc._crypto import DecryptOptions, EncryptOptions
from dapr.clients.grpc._request import TransactionalStateOperation, TransactionOperationType
from dapr.clients.grpc._response import TopicEventResponse
from dapr.clients.grpc._state import StateItem
from dapr.clients.grpc.conversation import (
    ConversationInput,
    ConversationInputAlpha2,
    ConversationMessage,
    ConversationMessageContent,
    ConversationMessageOfUser,
)
from dapr.clients.health import DaprHealth

APP_ID, PEER_ID = os.environ['APP_ID'], os.environ['PEER_ID']
JSON = 'application/json'


def order(values):
    return sorted(values, key=json.dumps)


def failure(work):
    try:
        work()
    except Exception as error:
        return str(error)
    return 'nothing'


def found(pattern, text):
    match = re.search(pattern, text)
    return match[0] if match else text


def features(client: DaprClient, inbox):
    def get(key):
        return client.get_state('statestore', key).text() or None

    def publish(topic, data, content_type=JSON, **metadata):
        text = json.dumps(data) if content_type != 'text/plain' else data
        client.publish_event('pubsub', topic, text, data_content_type=content_type, publish_metadata=metadata)

    def wait():
        DaprHealth.wait_for_sidecar()
        client.wait(5)
        return True

    def save():
        client.save_state('statestore', 'object', json.dumps({'a': [1, 'ö']}))
        client.save_state('statestore', 'text', 'plain')
        return [client.get_state('statestore', 'object').json(), get('text'), get('missing')]

    def save_bulk():
        client.save_bulk_state('statestore', [StateItem('bulk1', 'one'), StateItem('bulk2', 'two')])
        return [get('bulk1'), get('bulk2')]

    def get_bulk():
        items = client.get_bulk_state('statestore', ['object', 'missing']).items
        return sorted([item.key, item.json() if item.data else None] for item in items)

    def delete():
        client.delete_state('statestore', 'text')
        return [get('text')]

    def transaction():
        client.execute_state_transaction(
            'statestore',
            [
                TransactionalStateOperation(key='first', data='one'),
                TransactionalStateOperation(key='second', data='two'),
                TransactionalStateOperation(key='object', operation_type=TransactionOperationType.delete),
            ],
        )
        return [get('first'), get('second'), get('object')]

    def etag():
        client.save_state('statestore', 'tagged', 'one')
        tag = client.get_state('statestore', 'tagged').etag
        client.save_state('statestore', 'tagged', 'two', etag=tag)
        said = failure(lambda: client.save_state('statestore', 'tagged', 'three', etag=tag))
        return ['refused' if 'ABORTED' in said else said, get('tagged')]

    def query():
        for key, city, age in (('ann', 'Rome', 3), ('bob', 'Oslo', 2), ('cem', 'Rome', 1)):
            value = json.dumps({'city': city, 'age': age})
            client.save_state('querystore', key, value, state_metadata={'contentType': JSON})
        asked = {'filter': {'EQ': {'city': 'Rome'}}, 'sort': [{'key': 'age', 'order': 'ASC'}], 'page': {'limit': 10}}
        return [item.key for item in client.query_state('querystore', json.dumps(asked)).results]

    def plain():
        publish('plain', {'id': 1})
        inbox.until('plain', 1)
        publish('plain', 'hello', 'text/plain')
        return inbox.until('plain', 2)

    def declared():
        publish('declared', {'id': 2})
        return inbox.until('declared', 1)

    def raw():
        publish('raw', {'id': 3}, rawPayload='true')
        return inbox.until('raw', 1)

    def routes():
        for id, type in (('a', 'important'), ('b', 'usual')):
            event = {'specversion': '1.0', 'id': id, 'source': 'test', 'type': type}
            event |= {'datacontenttype': JSON, 'data': {'id': id}}
            publish('routed', event, 'application/cloudevents+json')
        return sorted(inbox.until('routed', 2))

    def dead():
        publish('poison', {'id': 4})
        return inbox.until('dead', 1)

    def retried():
        publish('retried', 'again', 'text/plain')
        return inbox.until('retried', 3)

    def publish_many(topic):
        failed = client.publish_events('pubsub', topic, ['one', 'two']).failed_entries
        failed += client.publish_events('pubsub', topic, ['{"id": 3}'], data_content_type=JSON).failed_entries
        return [entry.error for entry in failed] or order(inbox.until(topic, 3))

    def streaming():
        subscription = client.subscribe('pubsub', 'streamed')
        seen = []
        for data, content_type in (({'id': 5}, JSON), ('second', 'text/plain')):
            publish('streamed', data, content_type)
            # The SDK gives None when it had to connect again.
            message = next(subscription) or next(subscription)
            seen.append(message.data())
            subscription.respond_success(message)
        subscription.close()
        return seen

    def streaming_handler():
        seen = threading.Event()
        data = []

        def handle(message):
            data.append(message.data())
            seen.set()
            return TopicEventResponse('success')

        close = client.subscribe_with_handler('pubsub', 'handled', handle)
        publish('handled', {'id': 6})
        seen.wait()
        close()
        return data

    def unknown_pubsub():
        return found('pubsub nosuch is not found', failure(lambda: client.publish_event('nosuch', 'topic', 'x')))

    def invoke(app):
        get = client.invoke_method(app, 'hello', http_verb='GET')
        post = client.invoke_method(app, 'hello', '{"name": "ann"}', content_type=JSON, http_verb='POST')
        return [json.loads(get.text()), json.loads(post.text())]

    def proxy(app):
        with grpc.insecure_channel(f'127.0.0.1:{os.environ["DAPR_GRPC_PORT"]}') as channel:
            greet = channel.unary_unary('/test.Greeter/Greet', request_serializer=str.encode, response_deserializer=bytes.decode)
            return [greet('ann', metadata=[('dapr-app-id', app)])]

    def unknown_app():
        return found('to invoke, id: nosuch', failure(lambda: client.invoke_method('nosuch', 'hello', http_verb='GET')))

    def secrets():
        one = client.get_secret('secretstore', 'password').secret
        all = client.get_bulk_secret('secretstore').secrets
        return [dict(one), {name: dict(secret) for name, secret in all.items()}]

    def configuration():
        return {'size': client.get_configuration('configstore', ['size']).items['size'].value}

    def subscribe_configuration():
        seen = threading.Event()
        values = {}

        def handle(_id, response):
            values.update({key: item.value for key, item in response.items.items()})
            seen.set()

        id = client.subscribe_configuration('configstore', ['color'], handle)
        seen.wait()
        client.unsubscribe_configuration('configstore', id)
        return values

    def lock():
        def unlock(owner):
            status = client.unlock('lockstore', 'printer', owner).status.name
            return status.replace('lock_', '').replace('_', ' ')

        return [
            client.try_lock('lockstore', 'printer', 'ann', 60).success,
            client.try_lock('lockstore', 'printer', 'bob', 60).success,
            unlock('bob'),
            unlock('ann'),
            unlock('ann'),
        ]

    def crypto():
        plain = b'secret ' * 50_000
        sealed = client.encrypt(plain, EncryptOptions('vault', 'rsa.pem', 'RSA')).read()
        opened = client.decrypt(sealed, DecryptOptions('vault', 'rsa.pem')).read()
        return [sealed.startswith(b'dapr.io/enc/v1') and 'sealed', opened == plain and 'opened']

    def binding():
        client.invoke_binding('files', 'create', 'to be kept', {'fileName': 'note.txt'})
        return client.invoke_binding('files', 'get', '', {'fileName': 'note.txt'}).text()

    def converse():
        message = ConversationMessage(of_user=ConversationMessageOfUser(content=[ConversationMessageContent('hello')]))
        answer = client.converse_alpha2('echo', [ConversationInputAlpha2([message])])
        return [choice.message.content for output in answer.outputs for choice in output.choices]

    def converse_alpha1():
        return [output.result for output in client.converse_alpha1('echo', [ConversationInput('hello')]).outputs]

    def metadata():
        client.set_metadata('flavour', 'sweet')
        known = client.get_metadata()
        types = {component.name: component.type for component in known.registered_components}
        return {'flavour': known.extended_metadata['flavour'], 'statestore': types['statestore']}

    def shutdown():
        client.shutdown()

    return {
        'wait for the sidecar': wait,
        'state: save and get': save,
        'state: bulk save': save_bulk,
        'state: bulk get': get_bulk,
        'state: delete': delete,
        'state: transaction': transaction,
        'state: a stale etag is refused': etag,
        'state: query': query,
        'pub/sub: an object and a text': plain,
        'pub/sub: declared by a resource': declared,
        'pub/sub: raw': raw,
        'pub/sub: routes': routes,
        'pub/sub: dead letter': dead,
        'pub/sub: retried until it succeeds': retried,
        'pub/sub: bulk publish': lambda: publish_many('many'),
        'pub/sub: bulk subscribe': lambda: publish_many('bulk'),
        'pub/sub: streaming subscription': streaming,
        'pub/sub: streaming subscription with a handler': streaming_handler,
        'pub/sub: an unknown component is an error': unknown_pubsub,
        'invocation: GET and POST': lambda: invoke(APP_ID),
        'invocation: through two sidecars': lambda: invoke(PEER_ID),
        'invocation: gRPC proxying': lambda: proxy(APP_ID),
        'invocation: gRPC proxying through two sidecars': lambda: proxy(PEER_ID),
        'invocation: an unknown app is an error': unknown_app,
        'secrets: one and all': secrets,
        'configuration: get': configuration,
        'configuration: subscribe': subscribe_configuration,
        'lock: one owner at a time': lock,
        'crypto: encrypt and decrypt': crypto,
        'bindings: out': binding,
        'bindings: in': lambda: len(inbox.until('tick', 1)) > 0,
        'conversation: echo': converse,
        'conversation: echo over Alpha1': converse_alpha1,
        'metadata: get and set': metadata,
        'shutdown': shutdown,
    }
