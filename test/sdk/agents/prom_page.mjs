// prom_page.mjs: a page of metrics as prom-client writes it.
import { Counter, Gauge, Histogram, register, Summary } from 'prom-client'

const orders = new Counter({ name: 'orders_total', help: 'Orders, "all" of them.', labelNames: ['kind'] })
orders.inc({ kind: 'a"b\nc' }, 5)
new Gauge({ name: 'depth', help: 'Depth.' }).set(-3.5)
const latency = new Histogram({ name: 'latency_seconds', help: 'Latency.', buckets: [0.1, 1] })
for (const value of [0.05, 0.5, 5]) latency.observe(value)
const wait = new Summary({ name: 'wait_seconds', help: 'Wait.', percentiles: [0.5] })
wait.observe(2)
process.stdout.write(await register.metrics())
