import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** What the profile of AWS_PROFILE (else `default`) says in ~/.aws/config and ~/.aws/credentials, the latter first. */
export interface Profile {
  name: string
  region?: string | undefined
  id?: string | undefined
  secret?: string | undefined
  token?: string | undefined
  /** Ways to sign in that are not ours: sso, other programs, roles of other profiles. */
  foreign?: string | undefined
}

const FOREIGN = ['credential_process', 'sso_session', 'sso_start_url', 'login_session', 'role_arn']

export function readProfile(env: NodeJS.ProcessEnv): Profile {
  const name = env.AWS_PROFILE || 'default'
  const config = section(
    env.AWS_CONFIG_FILE || join(homedir(), '.aws', 'config'),
    name === 'default' ? ['default', 'profile default'] : [`profile ${name}`],
  )
  const keys = section(env.AWS_SHARED_CREDENTIALS_FILE || join(homedir(), '.aws', 'credentials'), [name])
  const all = { ...config, ...keys }
  return {
    name,
    region: all.region,
    id: all.aws_access_key_id,
    secret: all.aws_secret_access_key,
    token: all.aws_session_token,
    foreign: FOREIGN.find((field) => all[field] !== undefined),
  }
}

function section(file: string, names: readonly string[]): Record<string, string> {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return {}
  }
  const found: Record<string, string> = {}
  let inside = false
  for (const line of text.split(/\r?\n/)) {
    const head = /^\s*\[\s*([^\]]*?)\s*\]/.exec(line)
    if (head) inside = names.includes((head[1] as string).replace(/\s+/g, ' '))
    // Deeper lines are settings of one service.
    const pair = /^([A-Za-z_][\w.-]*)\s*=\s*(.*?)\s*$/.exec(line)
    if (inside && !head && pair) found[(pair[1] as string).toLowerCase()] = pair[2] as string
  }
  return found
}
