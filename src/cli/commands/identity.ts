import { generateKeyPairSync, type X509Certificate } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  AuthorityFileError,
  type AuthorityFiles,
  addRoot,
  initAuthority,
  loadAuthority,
  retireRoots,
  rotateIssuer,
  write,
} from '../../control/authority/files.ts'
import { issueLeaf } from '../../control/authority/leaf.ts'
import { startAuthorityServer } from '../../control/authority/server.ts'
import { createLogger } from '../../telemetry/log.ts'
import { VERSION } from '../../version.ts'
import { UsageError } from '../args.ts'
import { type Command, type CommandContext, DATA_DIR_FLAG, JSON_FLAG } from '../command.ts'
import { dataDirectory } from '../paths.ts'
import { CommandError } from '../status.ts'

export const identity: Command = {
  usage: 'identity <init | show | serve | issue | rotate> [flags]',
  summary: "Keep a small certificate authority for mTLS between sidecars; it speaks the protocol of Dapr's sentry.",
  examples: [
    '# Make it, then let it sign on port 50001 of this machine',
    'outrider identity init',
    'outrider identity serve',
    '# A sidecar that uses it',
    'DAPR_TRUST_ANCHORS="$(cat ~/.outrider/identity/ca.crt)" outriderd --app-id orders --enable-mtls --sentry-address 127.0.0.1:50001',
    '# A certificate for a tool, in a folder of its own',
    'outrider identity issue --app-id probe --out ./probe',
    '# A new issuer; with --root one more root, and with --retire the older roots go',
    'outrider identity rotate',
  ],
  flags: [
    { name: 'dir', type: 'string', help: 'Folder of the authority; default `identity` in the data folder' },
    { name: 'app-id', short: 'a', type: 'string', help: 'issue: whom the certificate names' },
    {
      name: 'namespace',
      type: 'string',
      default: 'default',
      help: 'issue: namespace of the app; serve: namespace of the authority itself',
    },
    {
      name: 'trust-domain',
      type: 'string',
      help: 'issue: trust domain of the app, default public; serve: of the authority itself, default localhost',
    },
    { name: 'ttl-hours', type: 'int', default: 24, help: 'issue, serve: life of certificates' },
    { name: 'out', type: 'string', help: 'issue: folder for key.pem, cert.pem and ca.pem' },
    { name: 'listen-address', type: 'string', default: '127.0.0.1', help: 'serve: address; others than loopback need --token-file' },
    { name: 'port', type: 'int', default: 50001, help: 'serve: port' },
    { name: 'token-file', type: 'string', help: 'serve: file with the token that sidecars must bring (theirs: DAPR_SENTRY_TOKEN_FILE)' },
    { name: 'root', type: 'boolean', help: 'rotate: add a root; give everybody the new ca.crt, then rotate again' },
    { name: 'retire', type: 'boolean', help: 'rotate: trust the newest root only' },
    DATA_DIR_FLAG,
    JSON_FLAG,
  ],
  run: async (context) => {
    const { parsed } = context
    const action = ACTIONS[parsed.words[0] ?? '']
    if (!action || parsed.words.length !== 1) throw new UsageError('name one of init, show, serve, issue or rotate')
    const folder = parsed.text('dir') || join(dataDirectory(parsed.text('outrider-data-dir')), 'identity')
    try {
      return await action(folder, context)
    } catch (error) {
      throw error instanceof AuthorityFileError ? new CommandError(error.message) : error
    }
  },
}

type Action = (folder: string, context: CommandContext) => number | Promise<number>

const ACTIONS: Readonly<Record<string, Action>> = {
  init(folder, { reporter }) {
    initAuthority(folder)
    reporter.success(`authority made in ${folder}; start it with: outrider identity serve`)
    return 0
  },
  show(folder, { parsed }) {
    const files = loadAuthority(folder)
    const list = [...files.roots.map((root) => describe('root', root)), describe('issuer', files.issuer.certificate)]
    if (parsed.on('json')) console.log(JSON.stringify({ folder, certificates: list }, undefined, 2))
    else
      for (const { kind, subject, validTo, fingerprint } of list)
        console.log(`${kind.padEnd(6)}  ${subject}  until ${validTo}  ${fingerprint}`)
    return 0
  },
  rotate(folder, { parsed, reporter }) {
    if (parsed.on('root') && parsed.on('retire')) throw new UsageError('--root and --retire are two steps; give one')
    if (parsed.on('root')) {
      addRoot(folder)
      reporter.success(`a root was added; give every sidecar the new ${join(folder, 'ca.crt')}, then run: outrider identity rotate`)
    } else if (parsed.on('retire')) {
      retireRoots(folder)
      reporter.success('only the newest root is trusted now; give every sidecar the new ca.crt')
    } else {
      rotateIssuer(folder)
      reporter.success('there is a new issuer; a running authority signs with it from now on')
    }
    return 0
  },
  issue(folder, { parsed, reporter }) {
    const appId = parsed.text('app-id')
    const out = parsed.text('out')
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(appId)) throw new UsageError('--app-id must be 1 to 64 letters, digits, - or _')
    if (out === '') throw new UsageError('--out is missing: name a folder for key.pem, cert.pem and ca.pem')
    const files: AuthorityFiles = loadAuthority(folder)
    const pair = generateKeyPairSync('ed25519')
    const uri = `spiffe://${parsed.text('trust-domain') || 'public'}/ns/${parsed.text('namespace')}/${appId}`
    const chain = issueLeaf(files, uri, pair.publicKey, { life: parsed.number('ttl-hours') * 3_600_000 })
    mkdirSync(out, { recursive: true, mode: 0o700 })
    write(out, 'key.pem', pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)
    write(out, 'cert.pem', chain)
    write(out, 'ca.pem', files.rootsPem)
    reporter.success(`certificate for ${uri} in ${out}`)
    return 0
  },
  async serve(folder, { parsed, reporter }) {
    const host = parsed.text('listen-address')
    const tokenFile = parsed.text('token-file') || undefined
    if (!tokenFile && !/^(127\.|::1$|localhost$)/.test(host))
      throw new CommandError(
        `without a token whoever reaches ${host} gets the identity he asks for; give --token-file, or listen on 127.0.0.1`,
      )
    const log = createLogger({ level: 'info', json: false, appId: 'outrider-identity', version: VERSION }).scope('outrider.identity')
    const server = await startAuthorityServer({
      folder,
      host,
      port: parsed.number('port'),
      trustDomain: parsed.text('trust-domain') || 'localhost',
      namespace: parsed.text('namespace'),
      tokenFile,
      life: parsed.number('ttl-hours') * 3_600_000,
      log,
    })
    reporter.success(
      `authority listens on ${host}:${server.port}; sidecars: --enable-mtls --sentry-address ${host}:${server.port}, with ${join(folder, 'ca.crt')} as trust anchors`,
    )
    await new Promise<void>((resolve) => {
      process.once('SIGTERM', resolve)
      process.once('SIGINT', resolve)
    })
    await server[Symbol.asyncDispose]()
    return 0
  },
}

function describe(kind: string, { subject, validTo, fingerprint256 }: X509Certificate) {
  return { kind, subject, validTo: new Date(validTo).toISOString(), fingerprint: fingerprint256 }
}
