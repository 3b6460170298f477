"""State as Dapr.Client reads and writes it."""

import json

import protos as p
from channel import RpcException
from client import JSON, DaprClient, from_json, to_json

FIRST_WRITE = p.StateOptions(concurrency='CONCURRENCY_FIRST_WRITE', consistency='CONSISTENCY_STRONG')


def state_features(client: DaprClient):
    get = lambda key: client.get('statestore', key)

    def save():
        client.save('statestore', 'object', {'a': [1, 'ö']})
        client.save('statestore', 'text', 'plain', options=FIRST_WRITE)
        return [get('object'), get('text'), get('missing')]

    def save_bulk():
        states = [p.StateItem(key=key, value=to_json(value)) for key, value in (('bulk1', 'one'), ('bulk2', 'two'))]
        client.call('SaveState', p.SaveStateRequest(store_name='statestore', states=states))
        return [get('bulk1'), get('bulk2')]

    def get_bulk():
        request = p.GetBulkStateRequest(store_name='statestore', keys=['object', 'missing'], parallelism=2)
        return sorted([item.key, from_json(item.data)] for item in client.call('GetBulkState', request).items)

    def delete():
        client.delete('statestore', 'text')
        return [get('text')]

    def delete_bulk():
        states = [p.StateItem(key='bulk1'), p.StateItem(key='bulk2', etag={'value': client.get_raw('statestore', 'bulk2').etag})]
        client.call('DeleteBulkState', p.DeleteBulkStateRequest(store_name='statestore', states=states))
        return [get('bulk1'), get('bulk2')]

    def transaction():
        """The second item only with its etag, as StateTransactionRequest carries one."""
        client.save('statestore', 'second', 'zero')
        second = p.StateItem(key='second', value=to_json('two'), etag={'value': client.get_raw('statestore', 'second').etag})
        operations = [
            p.TransactionalStateOperation(operationType='upsert', request=p.StateItem(key='first', value=to_json('one'))),
            p.TransactionalStateOperation(operationType='upsert', request=second),
            p.TransactionalStateOperation(operationType='delete', request=p.StateItem(key='object')),
        ]
        request = p.ExecuteStateTransactionRequest(storeName='statestore', operations=operations)
        client.call('ExecuteStateTransaction', request)
        return [get('first'), get('second'), get('object')]

    def stale_transaction():
        item = p.StateItem(key='second', value=to_json('three'), etag={'value': '999'})
        operations = [
            p.TransactionalStateOperation(operationType='upsert', request=p.StateItem(key='first', value=to_json('three'))),
            p.TransactionalStateOperation(operationType='upsert', request=item),
        ]
        request = p.ExecuteStateTransactionRequest(storeName='statestore', operations=operations)
        try:
            client.call('ExecuteStateTransaction', request)
            said = 'taken'
        except RpcException:
            said = 'refused'
        return [said, get('first'), get('second')]

    def etag():
        client.save('statestore', 'tagged', 'one')
        tag = client.get_raw('statestore', 'tagged').etag
        assert client.save('statestore', 'tagged', 'two', etag=tag)
        saved = client.save('statestore', 'tagged', 'three', etag=tag)
        deleted = client.delete('statestore', 'tagged', etag=tag)
        return [f'{saved} {deleted}' if saved or deleted else 'refused', get('tagged')]

    def query():
        for key, city, age in (('ann', 'Rome', 3), ('bob', 'Oslo', 2), ('cem', 'Rome', 1)):
            client.save('querystore', key, {'city': city, 'age': age}, metadata={'contentType': JSON})
        asked = {'filter': {'EQ': {'city': 'Rome'}}, 'sort': [{'key': 'age', 'order': 'ASC'}], 'page': {'limit': 10}}
        request = p.QueryStateRequest(store_name='querystore', query=json.dumps(asked))
        return [item.key for item in client.call('QueryStateAlpha1', request).results]

    return {
        'state: save and get': save,
        'state: bulk save': save_bulk,
        'state: bulk get': get_bulk,
        'state: bulk delete': delete_bulk,
        'state: delete': delete,
        'state: transaction': transaction,
        'state: a transaction with a stale etag changes nothing': stale_transaction,
        'state: a stale etag is refused': etag,
        'state: query': query,
    }
