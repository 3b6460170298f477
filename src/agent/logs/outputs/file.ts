// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such names are filled in for each event.
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { ByteText } from '../byte-text.ts'
import type { LogEvent } from '../event.ts'
import { formatTime } from '../formats/time.ts'
import { NONE, type Sink } from './sink.ts'

export type LineFormat = 'json' | 'record' | 'fluentd' | 'message'

/** One event as a line, its newline included. */
export function lineOf(event: LogEvent, format: LineFormat): string {
  if (format === 'message') {
    const { message } = event.record
    return `${typeof message === 'string' ? message : event.json}\n`
  }
  if (format === 'record') return `${event.json}\n`
  const time = new Date(event.time).toISOString()
  if (format === 'fluentd') return `${time}\t${event.tag}\t${event.json}\n`
  return `${event.jsonWith(`"time":"${time}","tag":${JSON.stringify(event.tag)}`, ['time', 'tag'])}\n`
}

export interface FileOptions {
  path: string
  format: LineFormat
  /** 0: never moved aside. */
  maxBytes: number
  keep: number
}

/** Appends to files whose names may hold the time and the tag. */
export function fileSink({ path, format, maxBytes, keep }: FileOptions): Sink {
  const constant = !/[%$]/.test(path)
  const nameOf = (event: LogEvent) =>
    constant
      ? path
      : formatTime(path.replaceAll('${hostname}', hostname()), event.time).replaceAll('${tag}', event.tag.replaceAll(/[/\\]|\.\./g, '_'))
  return {
    async send(events) {
      const texts = new Map<string, ByteText>()
      for (const event of events) {
        const name = nameOf(event)
        const text = texts.get(name) ?? new ByteText()
        texts.set(name, text.add(lineOf(event, format)))
      }
      for (const [name, text] of texts) {
        await mkdir(dirname(name), { recursive: true })
        if (maxBytes > 0) await moveAside(name, maxBytes, keep)
        await using file = await open(name, 'a', 0o640)
        await file.appendFile(text.take())
      }
      return NONE
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function moveAside(path: string, maxBytes: number, keep: number): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  )
  if (size < maxBytes) return
  const numbers = (await readdir(dirname(path)))
    .filter((name) => name.startsWith(`${basename(path)}.`))
    .map((name) => Number(name.slice(basename(path).length + 1)))
    .filter((number) => Number.isInteger(number) && number > 0)
    .sort((one, other) => other - one)
  for (const number of numbers) {
    const from = join(dirname(path), `${basename(path)}.${number}`)
    if (number >= keep) await rm(from)
    else await rename(from, `${path}.${number + 1}`)
  }
  await rename(path, `${path}.1`)
}

/** Lines on this process's standard output. */
export function stdoutSink(format: LineFormat): Sink {
  return {
    send: (events) =>
      new Promise((resolve, reject) => {
        let text = ''
        for (const event of events) text += lineOf(event, format)
        process.stdout.write(text, (error) => (error ? reject(error) : resolve(NONE)))
      }),
    async [Symbol.asyncDispose]() {},
  }
}

/** Nowhere. */
export function dropSink(): Sink {
  return { send: async () => NONE, async [Symbol.asyncDispose]() {} }
}
