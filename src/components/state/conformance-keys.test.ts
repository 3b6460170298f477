import { proveColumns } from './conformance-columns.ts'

// In a file of its own, so that both run side by side.
proveColumns('state.redis', 'state.etcd', 'state.memcached')
