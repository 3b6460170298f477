import { count, duration, list, map, object, text } from './agent-schema.ts'
import type { RoleKind } from './role-kinds.ts'

const MODE = '^0?[0-7]{3}$'
const OWNER = '^([a-z_][a-z0-9_-]*|\\d+)?(:([a-z_][a-z0-9_-]*|\\d+))?$'
const SIGNAL = '^SIG[A-Z0-9]{2,8}$'
const command = (description: string) =>
  list(text('Word.'), `${description} Without a shell: the program, then its arguments.`, { minItems: 1 })

/** spec of a SecretFiles. */
export const secretFilesSpec = object(
  {
    secretStore: text('The secret store component that is asked.'),
    folder: text('Where files go whose path is relative; made, closed to others, when it is not there. Default: the working directory.'),
    refresh: duration('How often secrets are read again at least. Default 5m.'),
    renewBefore: duration('How long before a certificate or a token in a file expires it is read anew. Default: a third of what is left.'),
    jitter: count('Per cent of these times by which it may be earlier. Default 10.', 0, 50),
    leases: object(
      {
        paths: list(text('e.g. database/creds/'), 'Secrets whose name begins so are asked for by that very path, and leased.', {
          minItems: 1,
          maxItems: 50,
        }),
        revoke: { type: 'boolean', description: 'Give them back when this ends. Default false: they end by themselves.' },
      },
      ['paths'],
      'Secrets that Vault makes for who asks: kept renewed, and asked for anew before they end for good.',
    ),
    files: list(
      object(
        {
          path: text('Of the file.'),
          template: text('Text with actions between {{ and }}, as Vault Agent has them.'),
          templateFile: text('Path of a file with such a text; read each time.'),
          secret: text('Without a template: the secret that goes in.'),
          key: text('One value of it, as it is. Without: all of them, by format.'),
          format: {
            type: 'string',
            enum: ['json', 'env', 'properties'],
            description: 'How all values of the secret are written. Default json.',
          },
          secretStore: text('Another store for this file.'),
          mode: text('Octal; others than owner and group get nothing. Default 0600.', { pattern: MODE }),
          owner: text('user, user:group or :group, by name or number. Default: who runs this.', { pattern: OWNER }),
          afterChange: object(
            {
              command: command('Run when the file has changed.'),
              timeout: duration('After which the command is ended. Default 30s.'),
              signal: text('Sent when the file has changed. Default, with pidFile, SIGHUP.', { pattern: SIGNAL }),
              pidFile: text('Holds the number of the process that gets the signal. Without: the supervised child.'),
            },
            [],
            'Only when its content has changed, and never when it is there at the start as it has to be.',
          ),
        },
        ['path'],
      ),
      'The files.',
      { maxItems: 200 },
    ),
    child: object(
      {
        command: command('An app that is started when all files are there.'),
        env: map(
          object(
            { secret: text('Secret.'), key: text('Of its values; default the name of the secret.'), secretStore: text('Another store.') },
            ['secret'],
          ),
          'Variables from secrets, besides those of this process.',
        ),
        onChange: {
          type: 'string',
          enum: ['restart', 'signal', 'nothing'],
          description: 'What happens when a variable, or a file without afterChange, has changed. Default restart.',
        },
        signal: text('For onChange: signal. Default SIGHUP.', { pattern: SIGNAL }),
        restart: {
          type: 'string',
          enum: ['always', 'on-failure', 'never'],
          description: 'When it ends by itself. Default on-failure, after growing waits.',
        },
        stopTimeout: duration('From SIGTERM to SIGKILL. Default 10s.'),
      },
      ['command'],
      'A process that is started, watched and ended.',
    ),
  },
  ['secretStore'],
)

export interface AfterChangeSpec {
  command?: string[]
  timeout?: string
  signal?: string
  pidFile?: string
}

export interface SecretFileSpec {
  path: string
  template?: string
  templateFile?: string
  secret?: string
  key?: string
  format?: 'json' | 'env' | 'properties'
  secretStore?: string
  mode?: string
  owner?: string
  afterChange?: AfterChangeSpec
}

export interface ChildSpec {
  command: string[]
  env?: Record<string, { secret: string; key?: string; secretStore?: string }>
  onChange?: 'restart' | 'signal' | 'nothing'
  signal?: string
  restart?: 'always' | 'on-failure' | 'never'
  stopTimeout?: string
}

export interface SecretFilesSpec {
  secretStore: string
  folder?: string
  refresh?: string
  renewBefore?: string
  jitter?: number
  leases?: { paths: string[]; revoke?: boolean }
  files?: SecretFileSpec[]
  child?: ChildSpec
}

/** SecretFiles: secrets of any store as files, and as the environment of a supervised child. */
export const secretFilesKind: RoleKind = {
  spec: secretFilesSpec,
  check(given) {
    const { files = [], child } = given as unknown as SecretFilesSpec
    if (files.length === 0 && !child) return { path: ['spec'], message: 'spec has neither files nor child: nothing would be done' }
    const seen = new Set<string>()
    for (const [at, file] of files.entries()) {
      const wrong = (message: string) => ({ path: ['spec', 'files', String(at)], message: `spec.files[${at}] (${file.path}) ${message}` })
      if (seen.has(file.path)) return wrong('is written by another entry')
      seen.add(file.path)
      const ways = [file.template, file.templateFile, file.secret].filter((way) => way !== undefined).length
      if (ways !== 1) return wrong('needs one of template, templateFile and secret')
      if (file.secret === undefined && (file.key !== undefined || file.format !== undefined))
        return wrong('has key or format without secret')
      if (file.mode !== undefined && Number.parseInt(file.mode, 8) & 0o007)
        return wrong(`has mode ${file.mode}, by which everybody could read it: use 0600, or 0640 with a group`)
      const { signal, pidFile, command: run } = file.afterChange ?? {}
      if (file.afterChange && signal === undefined && pidFile === undefined && !run)
        return wrong('afterChange needs command, signal or pidFile')
      if (signal !== undefined && pidFile === undefined && !child) return wrong('afterChange.signal needs pidFile, or a child')
    }
    const name = Object.keys(child?.env ?? {}).find((one) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(one))
    return name === undefined
      ? undefined
      : { path: ['spec', 'child', 'env', name], message: `spec.child.env.${name} is no name of a variable` }
  },
}
