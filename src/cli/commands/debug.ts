import { globSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { messageOf } from '../../errors.ts'
import { get } from '../../transport/node-http.ts'
import { UsageError } from '../args.ts'
import { APP_ID_FLAG, type Command, DATA_DIR_FLAG } from '../command.ts'
import { type Instance, Instances } from '../instances.ts'
import { dataDirectory } from '../paths.ts'
import { callSidecar } from '../sidecar-client.ts'
import { CommandError } from '../status.ts'
import { type TarEntry, tar } from '../tar.ts'

/** Of a log only its end is taken. */
const LOG_BYTES = 1 << 20
const PROFILE_SECONDS = 5

export const debug: Command = {
  usage: 'debug bundle [flags]',
  summary: 'Gather what explains a running sidecar into one file: metadata, health, metrics, resources without secrets, log, profile.',
  examples: ['outrider debug bundle --app-id tasks', 'outrider debug bundle -a tasks -o tasks.tar.gz'],
  flags: [
    APP_ID_FLAG,
    { name: 'output', short: 'o', type: 'string', help: 'File to write; default outrider-APP-ID.tar.gz' },
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    if (parsed.words[0] !== 'bundle') throw new UsageError('the action is missing; there is: bundle')
    const instances = new Instances(dataDirectory(parsed.text('outrider-data-dir')))
    const instance = instances.find(parsed.text('app-id'))
    if (!instance) {
      const running = instances.running().map(({ appId }) => appId)
      throw new CommandError(
        'no such sidecar runs',
        running.length > 0 ? `give --app-id, one of ${running.join(', ')}` : 'outrider run starts one',
      )
    }
    const file = parsed.text('output') || `outrider-${instance.appId}.tar.gz`
    const entries = await gather(instance)
    writeFileSync(file, gzipSync(tar(entries, new Date())), { mode: 0o600 })
    for (const { name, data } of entries) reporter.info(`${name} (${data.length} bytes)`)
    reporter.success(`written to ${file}`)
    return 0
  },
}

async function gather(instance: Instance): Promise<TarEntry[]> {
  const args = commandLine(instance.daprdPid)
  const flag = (name: string) => flagOf(args, name)[0]
  const address = { httpPort: instance.httpPort, ...(instance.socket !== undefined && { socket: instance.socket }) }
  const ask = async (path: string) => Buffer.from((await callSidecar(address, 'GET', path, { timeout: 5000 })).body)
  const sources: [name: string, read: () => Promise<Buffer> | Buffer][] = [
    ['about.json', () => Buffer.from(`${JSON.stringify(about(instance, args), null, 2)}\n`)],
    ['metadata.json', () => ask('/v1.0/metadata')],
    ['health.txt', () => ask('/v1.0/healthz?verbose')],
    ['metrics.txt', () => fetchLocal(`http://127.0.0.1:${flag('metrics-port') ?? 9090}/`, 5000)],
    ['sidecar.log', () => tail(instance.daprdLogPath)],
    ...[...flagOf(args, 'resources-path'), ...flagOf(args, 'components-path')].flatMap((folder) =>
      globSync('**/*.{yaml,yml}', { cwd: folder }).map((name): [string, () => Promise<Buffer>] => [
        `resources/${name}`.slice(-100),
        () => redacted(join(folder, name)),
      ]),
    ),
    ...flagOf(args, 'config').map((path): [string, () => Promise<Buffer>] => [`config/${basename(path)}`, () => redacted(path)]),
  ]
  if (args.some((arg) => /^--enable-profiling(=true)?$/.test(arg))) {
    const url = `http://127.0.0.1:${flag('profile-port') ?? 7777}/debug/pprof/profile?seconds=${PROFILE_SECONDS}`
    sources.push(['cpu.cpuprofile', () => fetchLocal(url, (PROFILE_SECONDS + 5) * 1000)])
  }
  return Promise.all(
    sources.map(async ([name, read]) => {
      try {
        return { name, data: await read() }
      } catch (error) {
        // What cannot be had says why, in its place.
        return { name: `${name}.missing`, data: Buffer.from(`${messageOf(error)}\n`) }
      }
    }),
  )
}

function about({ appId, httpPort, grpcPort, appPort, created, daprdPid, appPid }: Instance, args: readonly string[]) {
  const { platform, arch, version } = process
  return {
    time: new Date().toISOString(),
    platform,
    arch,
    node: version,
    appId,
    httpPort,
    grpcPort,
    appPort,
    created,
    daprdPid,
    appPid,
    arguments: args,
  }
}

async function redacted(path: string): Promise<Buffer> {
  const { redactResources } = await import('../redact.ts')
  return Buffer.from(await redactResources(readFileSync(path, 'utf8')))
}

/** Arguments of a running process; empty where the system does not tell. */
function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean)
  } catch {
    return []
  }
}

function flagOf(args: readonly string[], name: string): string[] {
  return args.flatMap((arg, index) => {
    if (arg.startsWith(`--${name}=`)) return [arg.slice(name.length + 3)]
    return arg === `--${name}` || arg === `-${name}` ? [args[index + 1] ?? ''] : []
  })
}

function tail(path: string): Buffer {
  if (!path) throw new Error('the sidecar writes to a terminal, not to a file; run files keep it: daprdLogDestination: file')
  const { size } = statSync(path)
  const length = Math.min(size, LOG_BYTES)
  const bytes = Buffer.alloc(length)
  readSync(openSync(path, 'r'), bytes, 0, length, size - length)
  return bytes
}

function fetchLocal(url: string, timeout: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    get(url, { signal: AbortSignal.timeout(timeout) }, (reply) => {
      const chunks: Buffer[] = []
      reply.on('data', (chunk: Buffer) => chunks.push(chunk))
      reply.once('error', reject)
      reply.once('end', () => resolve(Buffer.concat(chunks)))
    }).once('error', reject)
  })
}
