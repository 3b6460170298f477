import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { SMTPServer } from 'smtp-server'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
interface Mail {
  from: string
  to: string[]
  text: string
}
const mails: Mail[] = []
const server = new SMTPServer({
  authOptional: true,
  allowInsecureAuth: true,
  disabledCommands: ['STARTTLS'],
  onAuth({ username, password }, _session, done) {
    if (username === 'me' && password === 'canary') done(null, { user: 'me' })
    else done(new Error('Invalid username or password'))
  },
  onData(stream, session, done) {
    let text = ''
    stream.on('data', (part: Buffer) => {
      text += part.toString()
    })
    stream.on('end', () => {
      const { mailFrom, rcptTo } = session.envelope
      mails.push({ from: mailFrom ? mailFrom.address : '', to: rcptTo.map(({ address }) => address), text })
      done()
    })
  },
})
let port = 0
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.server.address() as AddressInfo).port
})
after(() => new Promise<void>((resolve) => server.close(() => resolve())))

async function open(properties: Record<string, string> = {}) {
  const all = {
    host: '127.0.0.1',
    port: String(port),
    emailFrom: 'a@example.com',
    emailTo: 'b@example.com',
    subject: 'Hello',
    ...properties,
  }
  const binding = driver.create({ name: 'mail', type: 'bindings.smtp', version: 'v1', properties: all, appId: 'app', namespace: '', log })
  await binding.init(AbortSignal.timeout(5000))
  return binding
}
const send = (binding: Awaited<ReturnType<typeof open>>, data: string, metadata: Record<string, string> = {}) =>
  binding.invoke?.({ operation: 'create', data: Buffer.from(data), metadata })

test('a mail goes out as the component says, or as the request does, for that request alone', async () => {
  await using binding = await open({ emailCC: 'c@example.com;d@example.com', emailBCC: 'e@example.com' })
  await binding.ping?.(AbortSignal.timeout(2000))
  await send(binding, '"<b>hi</b>\\nthere"')
  await send(binding, 'plain', { emailTo: 'x@example.com', emailCC: '', subject: 'Other', priority: '1' })
  await send(binding, 'plain')
  const [first, second, third] = mails.splice(0) as [Mail, Mail, Mail]
  assert.equal(first.from, 'a@example.com')
  assert.deepEqual(first.to, ['b@example.com', 'c@example.com', 'd@example.com', 'e@example.com'])
  assert.match(first.text, /^Subject: Hello$/m)
  assert.match(first.text, /^X-Priority: 3$/im)
  assert.match(first.text, /Content-Type: text\/html/)
  assert.match(first.text, /<b>hi<\/b>\r\nthere/)
  assert.ok(!first.text.includes('e@example.com'))
  assert.deepEqual(second.to[0], 'x@example.com')
  assert.match(second.text, /^Subject: Other$/m)
  assert.match(second.text, /^X-Priority: 1$/im)
  assert.match(third.text, /^Subject: Hello$/m)
})

test('line breaks in a subject or an address start no header: they are refused', async () => {
  await using binding = await open()
  const evil: Record<string, string>[] = [{ subject: 'a\r\nX-Evil: 1' }, { emailTo: 'b@example.com\r\nBcc: z@example.com' }]
  for (const metadata of evil) await assert.rejects(send(binding, 'x', metadata) as Promise<unknown>, /line break/)
  assert.deepEqual(mails, [])
})

test('signs in; a refusal names the server, never the password', async () => {
  await using binding = await open({ user: 'me', password: 'canary' })
  await send(binding, 'x')
  assert.equal(mails.splice(0).length, 1)
  await using wrong = await open({ user: 'me', password: 'canary-2' })
  await assert.rejects(
    send(wrong, 'x') as Promise<unknown>,
    (error: Error) => /535|Invalid/.test(error.message) && !error.message.includes('canary'),
  )
})

test('what is missing is named', async () => {
  await assert.rejects(open({ user: 'me' }), /both user and password/)
  await assert.rejects(open({ priority: '9' }), /priority/)
  await using binding = await open({ emailTo: '' })
  await assert.rejects(send(binding, 'x') as Promise<unknown>, /emailTo, emailCC and emailBCC/)
  await assert.rejects(send(binding, 'x', { emailTo: 'b@example.com', priority: 'high' }) as Promise<unknown>, /priority high/)
})
