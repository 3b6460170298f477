import { randomUUID } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import type { Binding, BindingRequest } from '../../../blocks/bindings/driver.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { checkRoot, placeOf } from './paths.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'rootPath',
    kind: 'string',
    required: true,
    description: 'Folder for the files; made when absent. Nothing outside it is touched.',
  },
]

/** Entries that a list gives before it refuses to go on. */
const LIST_LIMIT = 100_000

/** bindings.localstorage: files below one folder. */
export const driver: DriverModule<Binding> = {
  summary: 'Reads and writes files below one folder.',
  metadata: fields,
  create(context) {
    let root = resolve(String(parseMetadata(fields, context.properties).rootPath))

    const nameOf = (request: BindingRequest): string => {
      const name = request.metadata.fileName
      if (!name) throw new Error('required metadata not set: fileName')
      return name
    }
    const create = async (request: BindingRequest) => {
      const place = placeOf(root, request.metadata.fileName || randomUUID())
      await mkdir(dirname(place), { recursive: true })
      await writeFile(place, contentOf(request.data))
      return { data: Buffer.from(JSON.stringify({ fileName: relative(root, place) })) }
    }
    const get = async (request: BindingRequest) => {
      const place = placeOf(root, nameOf(request))
      return { data: await readFile(place).catch((error: unknown) => missing(error, place)) }
    }
    const list = async (request: BindingRequest) => {
      const start = placeOf(root, request.metadata.fileName ?? '')
      const info = await stat(start).catch((error: unknown) => missing(error, start))
      if (!info.isDirectory()) return { data: Buffer.from(JSON.stringify([start])) }
      const entries = await readdir(start, { recursive: true, withFileTypes: true })
      const files = entries
        .filter((entry) => !entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name))
        .sort()
      if (files.length > LIST_LIMIT) throw new Error(`${start} holds more than ${LIST_LIMIT} files: name a folder in metadata fileName`)
      return { data: Buffer.from(JSON.stringify(files.length > 0 ? files : null)) }
    }
    const remove = async (request: BindingRequest) => {
      const place = placeOf(root, nameOf(request))
      await rm(place).catch((error: unknown) => missing(error, place))
      return undefined
    }

    return {
      operations: ['create', 'get', 'list', 'delete'],
      async init() {
        checkRoot(root)
        await mkdir(root, { recursive: true })
        root = realpathSync(root)
        checkRoot(root)
      },
      async invoke(request) {
        switch (request.operation) {
          case 'create':
            return create(request)
          case 'get':
            return get(request)
          case 'list':
            return list(request)
          case 'delete':
            return remove(request)
          default:
            throw new Error(`unsupported operation ${request.operation}`)
        }
      },
      async [Symbol.asyncDispose]() {},
    }
  },
}

function missing(error: unknown, place: string): never {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') throw new Error(`file not found: ${place}`, { cause: error })
  throw error
}

/** What goes into the file: a JSON string loses its quotes, and what is then valid Base64 is decoded, as daprd does. */
export function contentOf(data: Buffer): Buffer {
  let content = data
  if (data.length >= 2 && data[0] === 0x22 && data.at(-1) === 0x22) {
    try {
      content = Buffer.from(String(JSON.parse(data.toString())))
    } catch {
      // Only looks like a JSON string.
    }
  }
  const text = content.toString('latin1').replace(/[\r\n]/g, '')
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return content
  return Buffer.from(text, 'base64')
}
