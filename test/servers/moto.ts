import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'moto')
const complete = join(folder, '.venv', 'complete')
const run = promisify(execFile)

/** Brings moto and what it needs from PyPI, once. */
export async function installMoto(): Promise<void> {
  if (existsSync(complete)) return
  await run('python3', ['-m', 'venv', '--clear', '.venv'], { cwd: folder })
  const flags = ['--disable-pip-version-check', '--quiet', '--only-binary=:all:', '-r', 'requirements.txt']
  await run('.venv/bin/pip', ['install', ...flags], { cwd: folder })
  writeFileSync(complete, '')
}

/** Starts moto with one key. `checked`: from then on every request's signature is checked; it cannot read those in URLs. */
export async function startMoto(checked: boolean): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-moto-'))
  const host = `127.0.0.1:${await freePort()}`
  const child = spawn(join(folder, '.venv', 'bin', 'python'), [join(folder, 'serve.py'), host.split(':')[1] as string], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  await announced(child, /Running on http/, 'moto', directory)
  const [id, secret] = await oneKey(`http://${host}`)
  if (checked) await fetch(`http://${host}/moto-api/reset-auth`, { method: 'POST', body: '0' })
  return { address: `http://${id}:${encodeURIComponent(secret)}@${host}`, stop: () => end(child, 'SIGTERM', directory) }
}

/**
 * moto, the stand-in for AWS that its Python SDK is tested with: S3, DynamoDB, SNS, SQS, Secrets Manager, Parameter Store, STS.
 * It knows one key, and checks signatures with AWS's own code.
 */
export const moto: ServerKind = {
  name: 'moto (AWS)',
  variable: 'OUTRIDER_TEST_AWS',
  form: 'http://key:secret@host:port',
  wants: 'moto of PyPI: node test/servers/install.ts',
  shared: true,
  available: () => existsSync(complete) && findBinary('python3', []) !== undefined,
  start: () => startMoto(true),
}

/** Makes a user who may do everything. */
async function oneKey(url: string): Promise<[id: string, secret: string]> {
  const iam = async (action: string, more: Record<string, string>) => {
    const authorization = 'AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=x'
    const body = new URLSearchParams({ Action: action, Version: '2010-05-08', UserName: 'tests', ...more })
    return (await fetch(url, { method: 'POST', headers: { authorization }, body })).text()
  }
  await iam('CreateUser', {})
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } })
  await iam('PutUserPolicy', { PolicyName: 'all', PolicyDocument })
  const text = await iam('CreateAccessKey', {})
  const [id, secret] = ['AccessKeyId', 'SecretAccessKey'].map((name) => new RegExp(`<${name}>([^<]+)<`).exec(text)?.[1])
  if (!id || !secret) throw new Error(`moto gave no key: ${text.slice(0, 300)}`)
  return [id, secret]
}
