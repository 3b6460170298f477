"""An app on dapr-ext-fastapi: the sidecar calls it over HTTP."""

import base64
import json
import os
import threading

import uvicorn
from dapr.clients import DaprClient
from dapr.ext.fastapi import DaprApp
from fastapi import Body, FastAPI, Response

from features import APP_ID, features
from program import Inbox, serve

app = FastAPI()
dapr = DaprApp(app)
inbox = Inbox()


def note(topic, **options):
    """Notes the events of a topic."""

    @dapr.subscribe('pubsub', topic, **options)
    def handle(event=Body()):
        inbox.note(topic, event['data'])


note('plain')
note('many')
note('dead')


@dapr.subscribe('pubsub', 'raw', metadata={'rawPayload': 'true'})
def raw(event=Body()):
    inbox.note('raw', json.loads(base64.b64decode(event['data_base64'])))


@dapr.subscribe('pubsub', 'poison', dead_letter_topic='dead')
def poison(event=Body()):
    return {'status': 'DROP'}


@dapr.subscribe('pubsub', 'retried')
def retried(event=Body()):
    return {'status': 'SUCCESS' if inbox.note('retried', event['data']) == 3 else 'RETRY'}


@app.post('/declared')
def declared(event=Body()):
    inbox.note('declared', event['data'])


@app.post('/declared-bulk')
def bulk(bundle=Body()):
    for entry in bundle['entries']:
        inbox.note('bulk', entry['event']['data'])
    return {'statuses': [{'entryId': entry['entryId'], 'status': 'SUCCESS'} for entry in bundle['entries']]}


@app.get('/hello')
def hello():
    return {'app': APP_ID, 'method': 'GET'}


@app.post('/hello')
def hello_you(heard=Body()):
    return {'app': APP_ID, 'method': 'POST', 'heard': heard}


@app.options('/tick')
def has_tick():
    return Response()


@app.post('/tick')
def tick():
    inbox.note('tick', True)


server = uvicorn.Server(uvicorn.Config(app, host='127.0.0.1', port=int(os.environ['APP_PORT']), log_level='warning'))
threading.Thread(target=server.run, daemon=True).start()
serve(features(DaprClient(), inbox))
os._exit(0)
