// read_index.mjs URL INDEX: what OpenSearch's own client finds there, as JSON: how many for each tag, and one document of each.
import { Client } from '@opensearch-project/opensearch'

const client = new Client({ node: process.argv[2] })
const index = process.argv[3]
await client.indices.refresh({ index })
const { body } = await client.search({ index, body: { size: 1000, query: { match_all: {} } } })
const found = {}
for (const { _source } of body.hits.hits) {
  found[_source.tag] ??= { count: 0, first: _source }
  found[_source.tag].count++
}
console.log(JSON.stringify(found))
