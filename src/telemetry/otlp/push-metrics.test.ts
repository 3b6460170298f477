import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import { createGrpcServer } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { createLogger } from '../log.ts'
import { pushMetrics } from './push-metrics.ts'

const METHOD = '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export'
const page = '# HELP dapr_a_total A.\n# TYPE dapr_a_total counter\ndapr_a_total{app_id="shop"} 1\n'

function logger() {
  const lines: string[] = []
  return { lines, log: createLogger({ level: 'info', json: false, appId: 'a', version: '0', write: (line) => lines.push(line) }) }
}

test('metrics go over HTTP at each interval and once more at the end; a collector that fails is told of once, and its return', async (t) => {
  const got: { url: string; type: string; tenant: string; body: Buffer }[] = []
  let status = 503
  let heard = (): void => {}
  const server = createServer(async (request, response) => {
    const body = Buffer.concat((await request.toArray()) as Buffer[])
    const { url = '', headers } = request
    got.push({ url, type: headers['content-type'] as string, tenant: headers.tenant as string, body })
    response.writeHead(status).end(() => heard())
  }).listen(0, '127.0.0.1')
  t.after(() => server.close().closeAllConnections())
  await once(server, 'listening')
  const requests = (count: number) =>
    new Promise<void>((resolve) => {
      heard = () => void (got.length >= count && resolve())
    })
  const { lines, log } = logger()
  const pushed = pushMetrics({
    appId: 'shop',
    page: () => [page],
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      OTEL_EXPORTER_OTLP_HEADERS: 'tenant=a',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=test',
      OTEL_METRIC_EXPORT_INTERVAL: '20',
    },
    log,
  })
  await requests(3)
  status = 200
  await requests(5)
  heard = () => {}
  await pushed[Symbol.asyncDispose]()
  const before = got.length
  assert.ok(before >= 6, `${before} with the one of the end`)
  const [first] = got
  assert.deepEqual([first?.url, first?.type, first?.tenant], ['/v1/metrics', 'application/x-protobuf', 'a'])
  for (const text of ['service.name', 'shop', 'deployment.environment', 'dapr_a_total', 'app_id'])
    assert.ok(first?.body.includes(text), text)
  assert.equal(lines.filter((line) => line.includes('metrics could not be exported') && line.includes('answered 503')).length, 1)
  assert.equal(lines.filter((line) => line.includes('metrics are exported again')).length, 1)
})

test('metrics go over gRPC; a collector that takes none does not hold up the end', async (t) => {
  const got: Buffer[] = []
  const server = createGrpcServer({
    methods: new Map([
      [
        METHOD,
        {
          kind: 'unary',
          handle: (message) => {
            got.push(Buffer.from(message))
            if (got.length > 1) throw new GrpcStatus(Code.Unimplemented, 'no metrics here')
            return Buffer.alloc(0)
          },
        },
      ],
    ]),
  })
  t.after(() => server.close(0))
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const env = { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `http://127.0.0.1:${port}` }
  const { lines, log } = logger()
  await pushMetrics({ appId: 'shop', page: () => [page], env, log })[Symbol.asyncDispose]()
  assert.equal(got.length, 1)
  assert.ok(got[0]?.includes('dapr_a_total'))
  await pushMetrics({ appId: 'shop', page: () => [page], env, log })[Symbol.asyncDispose]()
  assert.equal(lines.filter((line) => line.includes('no metrics here')).length, 1)
})
