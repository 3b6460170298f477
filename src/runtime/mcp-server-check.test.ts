import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { McpServerResource } from '../resources/kinds.ts'
import { checkMcpServer, McpServerError } from './mcp-server-check.ts'

const check = (endpoint: McpServerResource['endpoint']) => () => checkMcpServer({ name: 'a', endpoint } as McpServerResource)

test('an MCPServer calls http and https only, and starts programs that are meant', () => {
  check({ streamableHTTP: { url: 'https://mcp.example/mcp' } })()
  check({ sse: { url: 'http://localhost:1' } })()
  for (const command of ['npx', '/usr/bin/tool', './tools/mcp', 'tools/../mcp']) check({ stdio: { command } })()
  check({ stdio: { command: 'npx', env: [{ name: 'A', value: 'x=y' }] } })()
  for (const [endpoint, told] of [
    [
      { streamableHTTP: { url: 'ftp://example.com/mcp' } },
      /^MCPServer "a" failed security validation: .*scheme must be http or https, got "ftp"/,
    ],
    [{ sse: { url: 'http:///mcp' } }, /sse.url must have a host/],
    [{ sse: { url: 'nothing' } }, /sse.url is not a valid URL/],
    [{ stdio: { command: '../mcp' } }, /must not escape working directory/],
    [{ stdio: { command: 'a/../../mcp' } }, /must not escape working directory/],
    [{ stdio: { command: 'npx', env: [{ name: 'A=B', value: '' }] } }, /env name "A=B" contains invalid characters/],
  ] as const)
    assert.throws(
      check(endpoint as McpServerResource['endpoint']),
      (error: Error) => error instanceof McpServerError && told.test(error.message),
    )
})
