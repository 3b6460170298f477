"""An app as on Dapr.AspNetCore: MapSubscribeHandler with topics and rules, UseCloudEvents before every endpoint, JSON both ways."""

import base64
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from client import DaprClient, from_json, to_json
from features import APP_ID, features
from program import Inbox, serve

inbox = Inbox()


def topic(name, **more):
    """As the SDK writes it: pubsubName in camel case, and routes without a slash in front."""
    return {'topic': name, 'pubsubName': 'pubsub', 'route': name} | more


RULES = [{'match': 'event.type == "important"', 'path': 'important'}]
ROUTED = {'topic': 'routed', 'pubsubName': 'pubsub', 'routes': {'default': 'other', 'rules': RULES}}
BULK = {'enabled': True, 'maxMessagesCount': 10, 'maxAwaitDurationMs': 100}
SUBSCRIPTIONS = [
    *map(topic, ('plain', 'many', 'dead', 'retried')),
    topic('raw', metadata={'rawPayload': 'true'}),
    topic('poison', deadLetterTopic='dead'),
    topic('bulk', bulkSubscribe=BULK),
    ROUTED,
]


def unwrapped(body, content_type):
    """CloudEventsMiddleware: what follows sees the data of an event instead of the event."""
    if content_type.split(';')[0] != 'application/cloudevents+json':
        return body
    event = from_json(body)
    if 'data_base64' in event:
        return base64.b64decode(event['data_base64'])
    if isinstance(event['data'], str) and 'json' not in event.get('datacontenttype', ''):
        return event['data'].encode()
    return to_json(event['data'])


class App(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server_version, sys_version = 'Kestrel', ''

    def do_GET(self):
        answers = {'/dapr/subscribe': SUBSCRIPTIONS, '/hello': {'app': APP_ID, 'method': 'GET'}}
        return self.answer(200, answers[self.path]) if self.path in answers else self.answer(404)

    def do_OPTIONS(self):
        self.answer(405 if self.path == '/tick' else 404)

    def do_POST(self):
        body = unwrapped(self.read(), self.headers.get('content-type', ''))
        name = self.path[1:]
        if name == 'bulk':
            return self.answer(200, {'statuses': [self.entry(entry) for entry in from_json(body)['entries']]})
        if name == 'tick':
            inbox.note('tick', True)
            return self.answer(200)
        value = from_json(body)
        if name == 'hello':
            return self.answer(200, {'app': APP_ID, 'method': 'POST', 'heard': value})
        if name == 'poison':
            return self.answer(200, {'status': 'DROP'})
        if name in ('important', 'other'):
            inbox.note('routed', [name, value])
            return self.answer(200)
        return self.answer(500 if inbox.note(name, value) < 3 and name == 'retried' else 200)

    def entry(self, entry):
        inbox.note('bulk', entry['event']['data'])
        return {'entryId': entry['entryId'], 'status': 'SUCCESS'}

    def read(self):
        if self.headers.get('transfer-encoding') != 'chunked':
            return self.rfile.read(int(self.headers.get('content-length', 0)))
        body = b''
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status, value=None):
        body = b'' if value is None else to_json(value)
        self.send_response(status)
        if body:
            self.send_header('Content-Type', 'application/json; charset=utf-8')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(('127.0.0.1', int(os.environ['APP_PORT'])), App)
threading.Thread(target=server.serve_forever, daemon=True).start()
serve(features(DaprClient(), inbox))
os._exit(0)
