import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Flag, flagHelp, parseArgs, UsageError } from './args.ts'

const FLAGS: readonly Flag[] = [
  { name: 'app-id', short: 'a', type: 'string', help: 'id' },
  { name: 'app-port', short: 'p', type: 'int', default: -1, help: 'port' },
  { name: 'resources-path', type: 'list', help: 'paths' },
  { name: 'verbose', short: 'v', type: 'boolean', help: 'more' },
  { name: 'old', type: 'string', help: '', deprecated: 'use app-id' },
]

test('flags and words mix; all spellings are read', () => {
  const parsed = parseArgs(
    ['node', '--app-id', 'x', '-p8000', 'app.mjs', '--verbose', '--resources-path', 'a,b', '--resources-path=c'],
    FLAGS,
  )
  assert.deepEqual(parsed.words, ['node', 'app.mjs'])
  assert.equal(parsed.text('app-id'), 'x')
  assert.equal(parsed.number('app-port'), 8000)
  assert.equal(parsed.on('verbose'), true)
  assert.deepEqual(parsed.list('resources-path'), ['a', 'b', 'c'])
  assert.deepEqual(parsed.given, ['app-id', 'app-port', 'resources-path', 'verbose'])
})

test('everything after -- is the command', () => {
  const parsed = parseArgs(['-a=x', '--', 'node', '--app-id', 'y', '--', '-z'], FLAGS)
  assert.equal(parsed.text('app-id'), 'x')
  assert.deepEqual(parsed.words, ['node', '--app-id', 'y', '--', '-z'])
})

test('booleans join with other short flags and can be switched off', () => {
  assert.equal(parseArgs(['-vp', '1'], FLAGS).number('app-port'), 1)
  assert.equal(parseArgs(['--verbose=false', 'word'], FLAGS).on('verbose'), false)
})

test('defaults hold and are not counted as given', () => {
  const parsed = parseArgs([], FLAGS)
  assert.equal(parsed.number('app-port'), -1)
  assert.deepEqual(parsed.given, [])
  assert.deepEqual(parsed.list('resources-path'), [])
})

test('what cannot be understood is a usage error with the words of Dapr', () => {
  const message = (args: string[], flags = FLAGS) => {
    try {
      parseArgs(args, flags)
    } catch (error) {
      assert.ok(error instanceof UsageError)
      return error.message
    }
    return assert.fail('no error')
  }
  assert.equal(message(['--x']), 'unknown flag: --x')
  assert.equal(message(['-x1']), "unknown shorthand flag: 'x' in -x1")
  assert.equal(message(['--app-id']), 'flag needs an argument: --app-id')
  assert.match(message(['-p', 'many']), /invalid argument "many" for "-p, --app-port" flag/)
  assert.equal(
    message(
      [],
      [
        { name: 'a', type: 'string', help: '', required: true },
        { name: 'b', type: 'string', help: '', required: true },
      ],
    ),
    'required flag(s) "a", "b" not set',
  )
})

test('a deprecated flag works, warns, and is not in the help', () => {
  const parsed = parseArgs(['--old', '1'], FLAGS)
  assert.equal(parsed.text('old'), '1')
  assert.deepEqual(parsed.warnings, ['Flag --old has been deprecated, use app-id'])
  assert.doesNotMatch(flagHelp(FLAGS), /--old/)
})
