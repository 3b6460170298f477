import { createWriteStream } from 'node:fs'

const { FlagError, NOT_ACTED_UPON, parseFlags, usage } = await import('./flags.ts')
const { createLogger } = await import('../telemetry/log.ts')
const { messageOf } = await import('../errors.ts')
const { VERSION } = await import('../version.ts')

function parse() {
  try {
    return parseFlags(process.argv.slice(3), process.env)
  } catch (error) {
    const exitCode = (error as { exitCode?: number }).exitCode
    if (!(error instanceof FlagError) && exitCode === undefined) throw error
    console.error(`outriderd: ${messageOf(error)}`)
    process.exit(exitCode ?? 1)
  }
}

const { flags, warnings } = parse()
if (flags.help) {
  console.log(usage())
} else if (flags.version) {
  console.log(VERSION)
} else if (flags.buildInfo) {
  console.log(`Version: ${VERSION}\nNode Version: ${process.version}\nCode: ${import.meta.url.endsWith('.ts') ? 'src' : 'dist'}`)
} else if (flags.wait) {
  process.exitCode = await (await import('./wait.ts')).waitForOutbound(flags.daprHttpPort)
} else {
  const sink = flags.logFile ? createWriteStream(flags.logFile, { flags: 'a' }) : process.stdout
  const log = createLogger({
    level: flags.logLevel,
    json: flags.logAsJson,
    appId: flags.appId,
    version: VERSION,
    write: (line) => void sink.write(`${line}\n`),
  })
  for (const warning of warnings) log.warn(warning)
  const inert = [...flags.given].filter((name) => (NOT_ACTED_UPON as readonly string[]).includes(name))
  if (inert.length > 0) log.warn(`accepted, without effect in this version: ${inert.map((name) => `--${name}`).join(', ')}`)
  const { trustSystemAuthorities } = await import('../transport/system-authorities.ts')
  trustSystemAuthorities()
  const { supervise } = await import('../runtime/supervise.ts')
  const code = await supervise(flags, log)
  // Whatever is still open after a fatal error must not keep the process alive.
  sink.write('', () => process.exit(code))
}
