import { ROWS } from './annotations.ts'
import { HTTP_PORT, type Platform, PUBLIC_PORT, SOCKETS_FOLDER } from './platform.ts'
import type { Wishes } from './wishes.ts'

/** The sidecar's flags, in the order of the table. */
export function sidecarArguments(wishes: Wishes, platform: Platform): string[] {
  const values = platformValues(wishes, platform)
  return ROWS.flatMap((row): string[] => {
    if (row.flag === undefined) return []
    const flag = `--${row.flag}`
    if ('platform' in row) {
      const value = values[row.platform] ?? ''
      if (value === '') return []
      return row.form === 'switch' ? [flag] : [flag, value]
    }
    if (row.with !== undefined && !wishes.on(row.with)) return []
    const value = wishes.given(row.name) ? wishes.text(row.name) : (values[row.name] ?? wishes.text(row.name))
    switch (row.form) {
      case 'value':
        return [flag, value]
      case 'filled':
        return value.trim() === '' ? [] : [flag, value]
      case 'given':
        return wishes.given(row.name) || values[row.name] !== undefined ? [flag, value] : []
      case 'positive':
        return Number(value) > 0 ? [flag, value] : []
      case 'switch':
        return wishes.on(row.name) ? [flag] : []
      case 'equals':
        return wishes.given(row.name) ? [`${flag}=${wishes.on(row.name)}`] : []
      default:
        return []
    }
  })
}

/** By the name of the row: what only the control plane knows, and defaults that it has. */
function platformValues(wishes: Wishes, platform: Platform): Readonly<Record<string, string | undefined>> {
  const { environment, mtls, schedulerEnabled } = platform
  const { namespace, clusterDomain, actors, reminders } = environment
  const service = (name: string) => `${name}.${namespace}.svc.${clusterDomain}:443`
  const placement = wishes.given('placement-host-address')
    ? wishes.text('placement-host-address')
    : actors?.name === 'placement'
      ? actors.address
      : ''
  return {
    httpPort: String(HTTP_PORT),
    publicPort: String(PUBLIC_PORT),
    mode: 'kubernetes',
    operatorAddress: service('dapr-api'),
    sentryAddress: service('dapr-sentry'),
    'placement-host-address': placement,
    actorsService: placement.trim() === '' && actors && actors.name !== 'placement' ? `${actors.name}:${actors.address}` : '',
    remindersService: reminders && `${reminders.name}:${reminders.address}`,
    mtls: mtls ? 'true' : '',
    unixDomainSocket: wishes.text('unix-domain-socket-path') === '' ? '' : SOCKETS_FOLDER,
    'scheduler-host-address': schedulerEnabled ? service('dapr-scheduler-server-a') : undefined,
  }
}
