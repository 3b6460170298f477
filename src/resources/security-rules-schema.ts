import { count, duration, flag, list, map, object, text } from './agent-schema.ts'
import type { RoleKind } from './role-kinds.ts'

export const PRIORITIES = ['emergency', 'alert', 'critical', 'error', 'warning', 'notice', 'informational', 'debug'] as const

/** spec of a SecurityRules. */
export const securityRulesSpec = object({
  rulesFiles: list(text('Path.'), "Files of Falco's rules, read in this order.", { maxItems: 100 }),
  rules: { type: 'string', 'x-text': true, description: "Falco's rules here: a list of rule, macro and list, after those of the files." },
  unsupported: {
    type: 'string',
    enum: ['fail', 'skip'],
    description:
      'What becomes of a rule with a field or an operator that is not seen here: nothing runs (default), or the rule is left out, and told.',
  },
  minimumPriority: { type: 'string', enum: [...PRIORITIES], description: 'Rules below it are left out. Default debug.' },
  processes: object(
    {
      interval: duration('How often new processes are looked for; only a file of one line is read while there are none. Default 100ms.'),
      existing: flag('Processes that run at the start count as started. Default false.'),
      proc: text('Where the proc file system is. Default /proc.'),
    },
    [],
    'Processes that can be seen. Default: on.',
  ),
  files: list(
    object({ path: text('File or folder.'), recursive: flag('And the folders in it, at most 1000. Default false.') }, ['path']),
    'What is watched for changes.',
    { maxItems: 100 },
  ),
  sockets: object(
    { interval: duration('How often sockets are looked at. Default 1s.') },
    [],
    'Listening, outgoing and accepted TCP, and bound UDP. Default: on.',
  ),
  outputs: object(
    {
      stdout: flag('A line of JSON on standard output. Default: true when there is no other output.'),
      file: object(
        {
          path: text('Of the file; lines of JSON are added.'),
          maxBytes: count('Then it is renamed to .1 and begun anew. Default 10485760.', 1024, 2 ** 40),
        },
        ['path'],
      ),
      http: object({ url: text('Gets each event by POST.', { pattern: '^https?://[^/]' }), headers: map(text('Value.'), 'Sent along.') }, [
        'url',
      ]),
      logPipeline: object(
        { url: text('Of the intake of a LogPipeline. Default http://127.0.0.1:9001/log.', { pattern: '^https?://[^/]' }) },
        [],
        'Events become entries of a log pipeline.',
      ),
    },
    [],
    'Where events go.',
  ),
  eventsPerSecond: count('On average, after a burst of ten times as many; more are counted and left out. Default 100.', 1, 100_000),
})

export interface SecurityRulesSpec {
  rulesFiles?: string[]
  rules?: string
  unsupported?: 'fail' | 'skip'
  minimumPriority?: (typeof PRIORITIES)[number]
  processes?: { interval?: string; existing?: boolean; proc?: string }
  files?: { path: string; recursive?: boolean }[]
  sockets?: { interval?: string }
  outputs?: {
    stdout?: boolean
    file?: { path: string; maxBytes?: number }
    http?: { url: string; headers?: Record<string, string> }
    logPipeline?: { url?: string }
  }
  eventsPerSecond?: number
}

/** SecurityRules: Falco's rules over what can be seen without the kernel's help. */
export const securityRulesKind: RoleKind = {
  spec: securityRulesSpec,
  check(given) {
    const { rules, rulesFiles = [] } = given as SecurityRulesSpec
    if (rules === undefined && rulesFiles.length === 0) return { path: ['spec'], message: 'spec has neither rules nor rulesFiles' }
    return undefined
  },
}
