import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface FoundError {
  code: string
  http: string[]
  grpc: string[]
  hints: string[]
}

/** Codes by which clients know a failure; other constants of that look are variables and prefixes. */
const CODE = /^(ERR_(CRYPTO|OVERLOADED|UNLOCK)|ERR_[A-Z0-9]+_[A-Z0-9_]+|DAPR_(STATE|PUBSUB|SCHEDULER|CONVERSATION|LOCK|CRYPTO)_[A-Z0-9_]+)$/

/** Every error code that the sources throw, with the statuses and hints written beside it. */
export function findErrors(root: string): FoundError[] {
  const found = new Map<string, { http: Set<string>; grpc: Set<string>; hints: Set<string> }>()
  const folders = ['api', 'app', 'blocks', 'peers', 'policy', 'runtime']
  for (const file of globSync([...folders.map((folder) => `src/${folder}/**/*.ts`), 'src/transport/*.ts'], { cwd: root }).sort()) {
    if (/\.test\.ts$|conformance|harness/.test(file)) continue
    const text = readFileSync(join(root, file), 'utf8')
    for (const [, code] of text.matchAll(/'([A-Z0-9_]+)'/g)) {
      if (code && CODE.test(code)) entry(code)
    }
    for (const [, body] of text.matchAll(/new OutriderError\(\{([\s\S]*?)\}\)/g)) {
      const code = /code:\s*'([A-Z0-9_]+)'/.exec(body ?? '')?.[1]
      if (!code || !CODE.test(code)) continue
      const http = /http:\s*(\d{3})/.exec(body ?? '')?.[1]
      const grpc = /grpc:\s*Code\.(\w+)/.exec(body ?? '')?.[1]
      const hint = /hint:\s*(?:'([^']*)'|"([^"]*)"|`([^`]*)`)/.exec(body ?? '')
      if (http) entry(code).http.add(http)
      if (grpc) entry(code).grpc.add(grpc)
      const words = hint?.[1] ?? hint?.[2] ?? hint?.[3]
      // A value in a template is shown as what it stands for.
      if (words) entry(code).hints.add(words.replace(/\$\{(?:[\w.]*\.)?(\w+)[^}]*\}/g, '<$1>'))
    }
  }
  function entry(code: string) {
    const known = found.get(code) ?? { http: new Set<string>(), grpc: new Set<string>(), hints: new Set<string>() }
    found.set(code, known)
    return known
  }
  return [...found]
    .map(([code, { http, grpc, hints }]) => ({ code, http: [...http].sort(), grpc: [...grpc].sort(), hints: [...hints] }))
    .sort((left, right) => left.code.localeCompare(right.code))
}
