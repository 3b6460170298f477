"""What the test asks for, as a program on the .NET SDK would do it."""

import json
import os
import queue
import re
import threading

import protos as p
from channel import DEADLINE_EXCEEDED, Channel, RpcException
from client import CLOUD_EVENT, GRPC_PORT, JSON, DaprClient, from_json, to_json
from dapr.proto.runtime.v1 import dapr_pb2
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.wrappers_pb2 import StringValue
from state import state_features

APP_ID, PEER_ID = os.environ['APP_ID'], os.environ['PEER_ID']


def ordered(values):
    return sorted(values, key=json.dumps)


def failure(work):
    try:
        work()
    except (RpcException, RuntimeError) as error:
        return str(error)
    return 'nothing'


def found(pattern, text):
    match = re.search(pattern, text)
    return match[0] if match else text


def message_tables(files):
    """Fields of every message, by name: number, type, label and type name."""
    tables = {}

    def note(prefix, messages):
        for message in messages:
            name = f'{prefix}.{message.name}'
            tables[name] = {field.name: (field.number, field.type, field.label, field.type_name) for field in message.field}
            note(name, message.nested_type)

    for file in files:
        note(file.package, file.message_type)
    return tables


def features(client: DaprClient, inbox):
    def wait():
        client.wait_for_sidecar()
        return client.http('GET', '/v1.0/healthz')[0] == 204

    def plain():
        client.publish('pubsub', 'plain', {'id': 1})
        inbox.until('plain', 1)
        client.publish('pubsub', 'plain', 'hello')
        return inbox.until('plain', 2)

    def published(topic, value, count=1, metadata=None):
        client.publish('pubsub', topic, value, metadata=metadata)
        return inbox.until(topic, count)

    def routes():
        """CloudEvent<T> of the SDK: neither id nor specversion, and what is not set is null."""
        for id, type in (('a', 'important'), ('b', 'usual')):
            event = {'data': {'id': id}, 'datacontenttype': JSON, 'source': 'test', 'type': type, 'subject': None}
            client.publish('pubsub', 'routed', event, CLOUD_EVENT)
        return sorted(inbox.until('routed', 2))

    def publish_bulk(topic):
        return client.publish_bulk('pubsub', topic, ['one', 'two', {'id': 3}]) or ordered(inbox.until(topic, 3))

    def streaming():
        """Two events on one stream, the second after the first is done."""
        seen = queue.Queue()
        close = client.subscribe('pubsub', 'streamed', lambda data: seen.put(data) or 'SUCCESS')
        taken = []
        for event in ({'id': 5}, 'second'):
            client.publish('pubsub', 'streamed', event)
            taken.append(seen.get())
        close()
        return taken

    def streaming_handler():
        """What one handler drops comes to the other by the dead-letter topic."""
        seen = queue.Queue()
        closes = [
            client.subscribe('pubsub', 'lost', lambda data: seen.put(data) or 'SUCCESS'),
            client.subscribe('pubsub', 'handled', lambda data: 'DROP', dead_letter='lost', metadata={'a': 'b'}),
        ]
        client.publish('pubsub', 'handled', {'id': 6})
        taken = [seen.get()]
        for close in closes:
            close()
        return taken

    def unknown_pubsub():
        return found('pubsub nosuch is not found', failure(lambda: client.publish('nosuch', 'topic', 'x')))

    def invoke(app):
        return [client.invoke('GET', app, 'hello'), client.invoke('POST', app, 'hello', {'name': 'ann'})]

    def invoke_grpc():
        return [client.invoke_grpc(APP_ID, 'greet', StringValue(value='ann'), StringValue()).value]

    def proxy(app):
        """InvocationInterceptor adds the token even when there is none."""
        greet = client.channel.unary_unary('/test.Greeter/Greet', StringValue.SerializeToString, StringValue.FromString)
        metadata = [('dapr-app-id', app), ('dapr-api-token', os.environ.get('DAPR_API_TOKEN', ''))]
        return [greet(StringValue(value='ann'), metadata=metadata).value]

    def unknown_app():
        return found('to invoke, id: nosuch', failure(lambda: client.invoke('GET', 'nosuch', 'hello')))

    def secrets():
        one = client.call('GetSecret', p.GetSecretRequest(store_name='secretstore', key='password')).data
        all = client.call('GetBulkSecret', p.GetBulkSecretRequest(store_name='secretstore')).data
        return [dict(one), {name: dict(secret.secrets) for name, secret in all.items()}]

    def configuration():
        request = p.GetConfigurationRequest(store_name='configstore', keys=['size'])
        return {'size': client.call('GetConfiguration', request).items['size'].value}

    def subscribe_configuration():
        """The id comes with the first answer, and the enumerator is left by cancelling."""
        call = client.call('SubscribeConfiguration', p.SubscribeConfigurationRequest(store_name='configstore', keys=['color']))
        id = ''
        for answer in call:
            id = id or answer.id
            if 'color' in answer.items:
                color = answer.items['color'].value
                break
        ended = client.call('UnsubscribeConfiguration', p.UnsubscribeConfigurationRequest(store_name='configstore', id=id))
        call.cancel()
        return {'color': color} if ended.ok else ended.message

    def lock():
        def acquire(owner):
            request = p.TryLockRequest(store_name='lockstore', resource_id='printer', lock_owner=owner, expiry_in_seconds=60)
            return client.call('TryLockAlpha1', request).success

        def release(owner):
            request = p.UnlockRequest(store_name='lockstore', resource_id='printer', lock_owner=owner)
            status = p.UnlockResponse.Status.Name(client.call('UnlockAlpha1', request).status)
            return status.lower().replace('lock_', '').replace('_', ' ')

        return [acquire('ann'), acquire('bob'), release('bob'), release('ann'), release('ann')]

    def crypto():
        plain = b'secret ' * 50_000
        sealed = client.encrypt('vault', 'rsa.pem', plain, 'RSA-OAEP-256')
        opened = client.decrypt('vault', 'rsa.pem', sealed)
        return [sealed.startswith(b'dapr.io/enc/v1') and 'sealed', opened == plain and 'opened']

    def binding():
        def bind(operation, data):
            metadata = {'fileName': 'note.txt'}
            request = p.InvokeBindingRequest(name='files', operation=operation, data=data, metadata=metadata)
            return client.call('InvokeBinding', request).data.decode()

        bind('create', b'to be kept')
        return bind('get', b'')

    def converse():
        message = p.ConversationMessage(of_user={'content': [{'text': 'hello'}]})
        request = p.ConversationRequestAlpha2(name='echo', inputs=[p.ConversationInputAlpha2(messages=[message])])
        outputs = client.call('ConverseAlpha2', request).outputs
        return [choice.message.content for output in outputs for choice in output.choices]

    def metadata():
        client.call('SetMetadata', p.SetMetadataRequest(key='flavour', value='sweet'))
        known = client.call('GetMetadata', p.GetMetadataRequest())
        types = {component.name: component.type for component in known.registered_components}
        return {'flavour': known.extended_metadata['flavour'], 'statestore': types['statestore']}

    def described():
        """What the protos of Dapr say and reflection says otherwise, but for blocks whose methods refuse."""
        files, seen = [], [dapr_pb2.DESCRIPTOR]
        while seen:
            file = seen.pop()
            proto = FileDescriptorProto()
            file.CopyToProto(proto)
            files.append(proto)
            seen += [other for other in file.dependencies if other.name.startswith('dapr/')]
        ours, dapr = client.described(client.options()), files
        methods = lambda files: {
            (one.name, method.name, method.input_type, method.output_type, method.client_streaming, method.server_streaming)
            for file in files
            for one in file.service
            for method in one.method
            if one.name == 'Dapr' and not re.search('Actor|Job|Workflow', method.name)
        }
        wrong = [list(method) for method in sorted(methods(dapr) - methods(ours))]
        shown = message_tables(ours)
        for name, fields in message_tables(dapr).items():
            known = shown.get(name)
            wrong += [[name, field, *facts] for field, facts in fields.items() if known is not None and known.get(field) != facts]
        return wrong

    def compressed():
        """Options of a call with grpc-internal-encoding-request; the answer is compressed as the request was."""
        text = 'many ' * 100_000
        request = p.SaveStateRequest(store_name='statestore', states=[p.StateItem(key='long', value=to_json(text))])
        client.call('SaveState', request, gzipped=True)
        return client.get('statestore', 'long') == text

    def long_answer():
        """Its frames are measured with a burst of PINGs, and the connection serves on."""
        channel = Channel(GRPC_PORT)
        get = lambda key: DaprStub(channel).GetState(p.GetStateRequest(store_name='statestore', key=key), metadata=client.options())
        client.save('statestore', 'longer', 'many ' * 400_000)
        return [len(from_json(get('longer').data)), from_json(get('first').data), channel.pings >= 4]

    def deadline():
        """A call that the app answers late."""
        late = client.channel.unary_unary('/test.Greeter/Late', StringValue.SerializeToString, StringValue.FromString)
        try:
            late(StringValue(value='ann'), timeout=0.25, metadata=[('dapr-app-id', APP_ID)])
        except RpcException as error:
            return error.code == DEADLINE_EXCEEDED and inbox.until('late', 1)
        return 'answered'

    def many():
        """More calls at once on one connection than a burst of PINGs; nobody is sent away."""
        kept = []
        threads = [threading.Thread(target=lambda: kept.append(client.get_raw('statestore', 'first').data)) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [len(kept), len(set(kept)), client.channel.pings >= 4]

    def shutdown():
        client.call('Shutdown', p.ShutdownRequest())

    return state_features(client) | {
        'wait for the sidecar': wait,
        'pub/sub: an object and a text': plain,
        'pub/sub: declared by a resource': lambda: published('declared', {'id': 2}),
        'pub/sub: raw': lambda: published('raw', {'id': 3}, metadata={'rawPayload': 'true'}),
        'pub/sub: routes': routes,
        'pub/sub: dead letter': lambda: client.publish('pubsub', 'poison', {'id': 4}) or inbox.until('dead', 1),
        'pub/sub: retried until it succeeds': lambda: published('retried', 'again', 3),
        'pub/sub: bulk publish': lambda: publish_bulk('many'),
        'pub/sub: bulk subscribe': lambda: publish_bulk('bulk'),
        'pub/sub: streaming subscription': streaming,
        'pub/sub: streaming subscription with a handler': streaming_handler,
        'pub/sub: an unknown component is an error': unknown_pubsub,
        'invocation: GET and POST': lambda: invoke(APP_ID),
        'invocation: through two sidecars': lambda: invoke(PEER_ID),
        'invocation: messages in Any': invoke_grpc,
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
        'metadata: get and set': metadata,
        "protocol: reflection agrees with Dapr's protos": described,
        'protocol: compressed requests': compressed,
        'protocol: a long answer on a new connection': long_answer,
        'protocol: a deadline ends a call on both sides': deadline,
        'protocol: many calls at once on one connection': many,
        'shutdown': shutdown,
    }
