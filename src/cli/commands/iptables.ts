import { isIP } from 'node:net'
import { messageOf } from '../../errors.ts'
import { type Parsed, UsageError } from '../args.ts'
import type { Command } from '../command.ts'
import { CommandError } from '../status.ts'

export const iptables: Command = {
  usage: 'iptables print|install|remove [flags]',
  summary: 'Send the connections of this network namespace through the proxy: rules for iptables and ip6tables. Linux, as root.',
  examples: ['# Look first', 'outrider iptables print --uid 1337', 'outrider iptables install --uid 1337', 'outrider iptables remove'],
  flags: [
    { name: 'uid', type: 'int', help: 'User that the proxy runs as: its own connections are left alone' },
    { name: 'outbound-port', type: 'int', default: 15001, help: 'Port of the proxy for what the application sends' },
    { name: 'inbound-port', type: 'int', default: 15006, help: 'Port of the proxy for what is sent to the application; 0: left alone' },
    { name: 'only-uid', type: 'int', default: -1, help: 'Only what this user sends is redirected' },
    { name: 'exclude-ports', type: 'list', help: 'Destination ports that are left alone' },
    { name: 'exclude-ranges', type: 'list', help: 'Destinations that are left alone, as 10.0.0.0/8' },
    { name: 'ipv6', type: 'boolean', default: true, help: 'Also ip6tables' },
  ],
  run: async ({ parsed, reporter }) => {
    const [word] = parsed.words
    if (parsed.words.length !== 1 || !['print', 'install', 'remove'].includes(word ?? ''))
      throw new UsageError('say what to do: print, install or remove')
    const { install, remove, restoreText } = await import('../../proxy/iptables.ts')
    const families = parsed.on('ipv6') ? (['ipv4', 'ipv6'] as const) : (['ipv4'] as const)
    try {
      if (word === 'remove') {
        for (const family of families) remove(family)
        reporter.success('the rules are out')
        return 0
      }
      const options = optionsOf(parsed)
      for (const family of families) {
        if (word === 'install') install(family, options)
        else process.stdout.write(`# ${family === 'ipv4' ? 'iptables' : 'ip6tables'}-restore --noflush\n${restoreText(family, options)}`)
      }
      if (word === 'install')
        reporter.success(`connections go through ${options.outbound}${options.inbound === undefined ? '' : ` and ${options.inbound}`}`)
      return 0
    } catch (error) {
      if (error instanceof UsageError) throw error
      throw new CommandError(messageOf(error))
    }
  },
}

function optionsOf(parsed: Parsed) {
  if (!parsed.given.includes('uid'))
    throw new UsageError('--uid is missing: the user that the proxy runs as, or it would be sent its own connections')
  const port = (text: string): number => {
    if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new UsageError(`${text} is no port`)
    return Number(text)
  }
  const range = (text: string): string => {
    const [base = '', bits] = text.split('/', 2)
    if (isIP(base) === 0 || (bits !== undefined && !/^\d{1,3}$/.test(bits)))
      throw new UsageError(`${text} is no range of addresses; write e.g. 10.0.0.0/8`)
    return text
  }
  const only = parsed.number('only-uid')
  const inbound = port(String(parsed.number('inbound-port')))
  return {
    outbound: port(String(parsed.number('outbound-port'))),
    inbound: inbound === 0 ? undefined : inbound,
    uid: parsed.number('uid'),
    excludePorts: parsed.list('exclude-ports').map(port),
    excludeRanges: parsed.list('exclude-ranges').map(range),
    onlyUid: only < 0 ? undefined : only,
  }
}
