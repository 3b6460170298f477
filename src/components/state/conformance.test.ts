import { proveColumns } from './conformance-columns.ts'

proveColumns('state.in-memory', 'state.sqlite', 'state.sqlite3', 'state.postgresql', 'state.mysql')
