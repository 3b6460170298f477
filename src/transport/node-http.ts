/**
 * What is used of node:http at run time. An ES import of it loads Node's own fetch and WebSocket too, because its exports are
 * read one by one: 7 MiB and 45 ms of every start. scripts/architecture.ts holds that nothing else does.
 */
export const { createServer, get, IncomingMessage, request, STATUS_CODES } = process.getBuiltinModule('node:http')
