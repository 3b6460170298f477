import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { azurite } from '../../../../test/servers/azurite.ts'
import { checkpointStoreOf, eventHubs } from '../../../../test/servers/eventhubs.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { openContainer } from '../blob-container.ts'
import { readBlobSettings } from '../blob-settings.ts'
import { StorageClient } from '../storage-client.ts'
import { connectionTo } from '../testing.ts'
import { CheckpointStore } from './checkpoint-store.ts'

const server = await serverOf(azurite)
after(() => server?.stop())
const skip = server === undefined ? help(azurite) : eventHubs.available() ? false : help(eventHubs)

const signal = AbortSignal.timeout(30_000)
const consumers = { namespace: 'hubs.servicebus.windows.net', hub: 'orders', group: '$default' }
const theirs = { fullyQualifiedNamespace: consumers.namespace, eventHubName: consumers.hub, consumerGroup: consumers.group }

/** Our store and that of Azure's SDK for JavaScript, on a container of their own. */
async function open() {
  const containerName = `c-${randomUUID()}`
  const connectionString = connectionTo(server?.address ?? '')
  const settings = readBlobSettings({ containerName, connectionString })
  const client = new StorageClient(settings)
  await openContainer(client, settings, signal)
  const store = new CheckpointStore(client, consumers)
  const other = await checkpointStoreOf(connectionString, containerName)
  return { client, store, other, [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() }
}

describe('checkpoints of Event Hubs on Blob Storage', { skip, concurrency: true }, () => {
  it('keeps ownerships that Azure’s SDK reads, and reads its', async () => {
    await using place = await open()
    const { store, other } = place
    assert.deepEqual((await store.ownerships(signal)).ownerships, [])
    const ours = await store.claim({ partition: '0', owner: 'us', etag: undefined, modified: 0 }, signal)
    assert.ok(ours)
    const [seen] = await other.listOwnership(theirs.fullyQualifiedNamespace, theirs.eventHubName, theirs.consumerGroup)
    assert.deepEqual(
      [seen?.ownerId, seen?.partitionId, seen?.etag?.replaceAll('"', ''), seen?.lastModifiedTimeInMs],
      ['us', '0', ours.etag, ours.modified],
    )

    const [claimed] = await other.claimOwnership([{ ...theirs, ownerId: 'them', partitionId: '1' }])
    const { ownerships, now } = await store.ownerships(signal)
    assert.deepEqual(ownerships, [
      ours,
      { partition: '1', owner: 'them', etag: claimed?.etag?.replaceAll('"', ''), modified: claimed?.lastModifiedTimeInMs },
    ])
    assert.ok(Math.abs(now - Date.now()) < 5000)
  })

  it('gives a partition to the faster of two, and takes back what was given back', async () => {
    await using place = await open()
    const { store, other } = place
    const first = await store.claim({ partition: '0', owner: 'us', etag: undefined, modified: 0 }, signal)
    assert.ok(first)
    assert.equal(await store.claim({ partition: '0', owner: 'late', etag: undefined, modified: 0 }, signal), undefined)
    const [stolen] = await other.claimOwnership([{ ...theirs, ownerId: 'them', partitionId: '0', etag: first.etag ?? '' }])
    assert.equal(stolen?.ownerId, 'them')
    assert.equal(await store.claim(first, signal), undefined, 'an ownership that was written since it was read is not renewed')
    const back = await store.claim({ ...first, owner: '', etag: stolen?.etag?.replaceAll('"', '') }, signal)
    assert.equal(back?.owner, '')
    assert.deepEqual((await store.ownerships(signal)).ownerships, [back])
    const renewed = await store.claim({ ...first, etag: back?.etag }, signal)
    assert.notEqual(renewed?.etag, back?.etag)
  })

  it('keeps checkpoints that Azure’s SDK reads, and reads its', async () => {
    await using place = await open()
    const { store, other } = place
    assert.equal(await store.begin({ partition: '0', sequence: -1, offset: '-1' }, signal), true)
    assert.equal(await store.begin({ partition: '0', sequence: 9, offset: '9' }, signal), false)
    await store.save({ partition: '0', sequence: 41, offset: '8589934592' }, signal)
    await store.save({ partition: '1', sequence: 7, offset: '700' }, signal)
    const listed = await other.listCheckpoints(theirs.fullyQualifiedNamespace, theirs.eventHubName, theirs.consumerGroup)
    assert.deepEqual(
      listed.map(({ partitionId, sequenceNumber, offset }) => [partitionId, sequenceNumber, offset]),
      [
        ['0', 41, '8589934592'],
        ['1', 7, '700'],
      ],
    )
    await other.updateCheckpoint({ ...theirs, partitionId: '1', sequenceNumber: 8, offset: '800' })
    const checkpoints = await store.checkpoints(signal)
    assert.deepEqual(
      [...checkpoints.values()],
      [
        { partition: '0', sequence: 41, offset: '8589934592' },
        { partition: '1', sequence: 8, offset: '800' },
      ],
    )
  })

  it('says which checkpoint is of no use, and starts from a sequence number alone', async () => {
    await using place = await open()
    const { store, client } = place
    const at = `${consumers.namespace}/${consumers.hub}/${consumers.group}/checkpoint`
    const put = (partition: string, headers: Record<string, string>) =>
      client.send({ method: 'PUT', blob: `${at}/${partition}`, headers: { 'x-ms-blob-type': 'BlockBlob', ...headers } }, signal)
    await put('0', { 'x-ms-meta-sequencenumber': '5' })
    assert.deepEqual([...(await store.checkpoints(signal)).values()], [{ partition: '0', sequence: 5, offset: undefined }])
    await put('1', { 'x-ms-meta-offset': '5' })
    await assert.rejects(store.checkpoints(signal), { message: `the checkpoint ${at}/1 cannot be read: its sequencenumber is missing` })
  })
})
