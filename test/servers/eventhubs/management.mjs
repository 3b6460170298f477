import rhea from 'rhea'

const { types } = rhea
const STRING = 0xb1

/** What `$management` says to a request. */
export function management({ application_properties: asked = {} }, address, hubOf) {
  const { operation, type, name, partition: id } = asked
  if (operation !== 'READ')
    return { code: 400, description: `the operation ${operation} is not supported`, condition: 'amqp:not-implemented' }
  if (!asked.security_token) return { code: 401, description: 'no security_token', condition: 'amqp:unauthorized-access' }
  const hub = hubOf(name ?? '')
  if (!hub || (address !== '$management' && address.toLowerCase() !== `${name.toLowerCase()}/$management`))
    return { code: 404, description: `The messaging entity '${name}' could not be found.`, condition: 'amqp:not-found' }
  if (type === 'com.microsoft:eventhub') {
    const ids = hub.partitions.map((partition) => partition.id)
    const body = {
      name: hub.name,
      type,
      created_at: types.wrap_timestamp(hub.created.getTime()),
      partition_count: types.wrap_int(ids.length),
      partition_ids: types.wrap_array(ids, STRING),
    }
    return { code: 200, description: 'OK', body }
  }
  const partition = hub.partitions.find((one) => one.id === id)
  if (type !== 'com.microsoft:partition' || !partition)
    return { code: 400, description: `The specified partition '${id}' is invalid.`, condition: 'com.microsoft:argument-out-of-range' }
  const { last } = partition
  const body = {
    name: hub.name,
    type,
    partition: id,
    begin_sequence_number: types.wrap_long(0),
    last_enqueued_sequence_number: types.wrap_long(last?.sequence ?? -1),
    last_enqueued_offset: String(last?.offset ?? -1),
    last_enqueued_time_utc: types.wrap_timestamp(last?.time ?? 0),
    is_partition_empty: last === undefined,
  }
  return { code: 200, description: 'OK', body }
}
