import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzz } from '../testing/fuzz.ts'
import { expiryOf } from './expiry.ts'
import { compileTemplate } from './template.ts'

const source = { secret: async () => ({ a: '1', b: 'two' }), env: () => 'v' }
const TEMPLATE = Buffer.from(
  'x {{- with $s := secret "db" -}} {{ .Data.a | toUpper | printf "%s %q" "z" }}{{ range $k, $v := $s.Data.data }}{{ $k }}={{ $v | indent 2 }}{{ else }}none{{ end }}{{ end -}} y {{ if not (eq (env "A") "b") }}`q`{{ end }}{{/* c }} */}}',
)

test('whatever a template is, it is filled in or refused with its line', async () => {
  assert.equal(await compileTemplate(TEMPLATE.toString())(source), 'xz "1"a=  1b=  twoy `q`')
  let filled = 0
  const running: Promise<void>[] = []
  fuzz((random) => {
    const text = random.mutate(TEMPLATE).toString()
    let fill: ReturnType<typeof compileTemplate>
    try {
      fill = compileTemplate(text)
    } catch (error) {
      assert.match((error as Error).message, /^line \d+: /)
      return
    }
    if (running.length > 5000) return
    running.push(
      fill(source).then(
        (made) => {
          assert.equal(typeof made, 'string')
          filled++
        },
        (error: Error) => assert.match(error.message, /^line \d+: /),
      ),
    )
  })
  await Promise.all(running)
  assert.ok(filled > 0)
})

test('whatever a file says, when it ends is a time or nothing', () => {
  const token = `eyJhbGciOiJub25lIn0.${Buffer.from('{"exp":1800000000}').toString('base64url')}.x`
  const text = Buffer.from(`-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n${token}`)
  fuzz((random) => {
    const found = expiryOf(random.mutate(text).toString())
    assert.ok(found === undefined || Number.isFinite(found))
  })
})
