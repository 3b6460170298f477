import type { Http2ServerResponse } from 'node:http2'
import type { ApiObject, ObjectStore, StoreError, StoreEvent } from './store.ts'

export interface WatchOptions {
  collection: string
  matches(object: ApiObject): boolean
  shown(object: ApiObject): unknown
  /** Milliseconds after which the stream ends, whatever was asked. */
  life(): number | undefined
}

/** Streams events as the API server does: all objects first when no version is named, bookmarks when they are wished. */
export function serveWatch(url: URL, response: Http2ServerResponse, store: ObjectStore, options: WatchOptions): void {
  const { collection, matches, shown, life } = options
  const asked = url.searchParams.get('resourceVersion') ?? ''
  const from = asked === '' || asked === '0' ? store.version : Number(asked)
  const line = (type: string, object: unknown) => void response.write(`${JSON.stringify({ type, object })}\n`)
  response.writeHead(200, { 'content-type': 'application/json' })
  if (asked === '' || asked === '0') for (const object of store.list(collection).filter(matches)) line('ADDED', shown(object))
  // What an object was decides whether its leaving the selection is told.
  const seen = new Set<string>(store.list(collection).filter(matches).map(keyOf))
  const onEvent = ({ type, collection: of, object }: StoreEvent) => {
    if (of !== collection) return
    const key = keyOf(object)
    const inside = matches(object) && type !== 'DELETED'
    if (!inside && !seen.has(key) && !(type === 'DELETED' && matches(object))) return
    const told = inside ? (seen.has(key) && type !== 'ADDED' ? 'MODIFIED' : 'ADDED') : 'DELETED'
    if (inside) seen.add(key)
    else seen.delete(key)
    line(told, shown(object))
  }
  let following: Disposable
  try {
    following = store.follow(from, onEvent)
  } catch (error) {
    const { status, reason, message } = error as StoreError
    line('ERROR', { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code: status })
    return void response.end()
  }
  const bookmarks = url.searchParams.get('allowWatchBookmarks') === 'true'
  const bookmark = () => line('BOOKMARK', shown({ metadata: { name: '', resourceVersion: String(store.version) } }))
  const ticking = bookmarks ? setInterval(bookmark, 10_000) : undefined
  const seconds = Number(url.searchParams.get('timeoutSeconds') ?? 0) || 1800
  const ending = setTimeout(
    () => {
      if (bookmarks) bookmark()
      stop()
      response.end()
    },
    life() ?? seconds * 1000,
  )
  // Headers alone are not sent before the first event otherwise.
  response.write('')
  response.stream?.on('close', stop)
  response.on('close', stop)
  function stop() {
    clearInterval(ticking)
    clearTimeout(ending)
    following[Symbol.dispose]()
  }
}

const keyOf = ({ metadata }: ApiObject) => `${metadata.namespace ?? ''}/${metadata.name}`
