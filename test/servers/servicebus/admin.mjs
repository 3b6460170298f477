import { Queue, queues, Topic, topics } from './entities.mjs'

const CONNECT = 'http://schemas.microsoft.com/netservices/2010/10/servicebus/connect'
/** Elements of a description in the order that the service insists on. */
const ORDER = ['LockDuration', 'RequiresSession', 'DefaultMessageTimeToLive', 'MaxDeliveryCount', 'AutoDeleteOnIdle']

/** The ATOM API: GET, PUT and DELETE of queues, topics and subscriptions. */
export function admin(request, response, { claimOf }) {
  const { pathname, host } = new URL(request.url, `http://${request.headers.host}`)
  const path = decodeURIComponent(pathname.slice(1))
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const say = (status, body = '') => {
      response.writeHead(status, { 'content-type': 'application/atom+xml;type=entry;charset=utf-8' })
      response.end(body)
    }
    const refuse = (status, detail) =>
      say(status, `<Error><Code>${status}</Code><Detail>${detail}. TrackingId:0, SystemTracker:test</Detail></Error>`)
    try {
      claimOf(request.headers.authorization ?? request.headers.servicebusauthorization ?? '', `https://${host}/${path}`)
    } catch (error) {
      return refuse(401, `${error.message}`)
    }
    const [topic, name] = path.toLowerCase().split('/subscriptions/')
    if (name !== undefined && !topics.has(topic)) return refuse(404, `The messaging entity '${topic}' could not be found`)
    const table = name === undefined ? undefined : topics.get(topic).subscriptions
    const there = table ? table.get(name) : (queues.get(topic) ?? topics.get(topic))
    if (request.method === 'GET') {
      if (there) return say(200, entryOf(path, there, table !== undefined))
      return table
        ? refuse(404, `Entity '${path}' was not found`)
        : say(200, '<feed xmlns="http://www.w3.org/2005/Atom"><title>Publicly Listed Services</title></feed>')
    }
    if (request.method === 'DELETE') {
      if (table) table.delete(name)
      else {
        queues.delete(topic)
        topics.delete(topic)
      }
      return say(200)
    }
    if (there) return refuse(409, `SubCode=40900. Conflict. The messaging entity '${path}' already exists`)
    const text = Buffer.concat(chunks).toString()
    const element = /<(\w+)Description[\s>]/.exec(text)?.[1]
    const settings = settingsOf(text)
    if (settings === undefined) return refuse(400, 'The elements are not in the order of the schema')
    if (element === 'Topic') topics.set(topic, new Topic())
    else if (element === 'Queue') queues.set(topic, new Queue(path, settings))
    else if (element === 'Subscription' && table) table.set(name, new Queue(path, settings))
    else return refuse(400, `no ${element} can be made at ${path}`)
    say(201, entryOf(path, entityAt(topic, name), table !== undefined))
  })
}

function entityAt(topic, name) {
  return name === undefined ? (queues.get(topic) ?? topics.get(topic)) : topics.get(topic).subscriptions.get(name)
}

/** Undefined: they stand in another order. */
function settingsOf(text) {
  const given = ORDER.map((element) => ({
    element,
    at: text.indexOf(`<${element}>`),
    value: new RegExp(`<${element}>([^<]*)<`).exec(text)?.[1],
  }))
  const present = given.filter(({ at }) => at !== -1).map(({ at }) => at)
  if (present.some((at, index) => index > 0 && at < present[index - 1])) return undefined
  const value = (element) => given.find((one) => one.element === element)?.value
  const settings = {}
  if (value('LockDuration')) settings.lockDuration = secondsOf(value('LockDuration'))
  if (value('RequiresSession')) settings.requiresSession = value('RequiresSession') === 'true'
  if (value('DefaultMessageTimeToLive')) settings.timeToLive = secondsOf(value('DefaultMessageTimeToLive'))
  if (value('MaxDeliveryCount')) settings.maxDeliveryCount = Number(value('MaxDeliveryCount'))
  return settings
}

function secondsOf(text) {
  const [, days = 0, hours = 0, minutes = 0, seconds = 0] = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$/.exec(text) ?? []
  return Number(days) * 86_400 + Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)
}

function entryOf(path, entity, subscription) {
  const kind = entity instanceof Topic ? 'Topic' : subscription ? 'Subscription' : 'Queue'
  const settings = entity.settings ?? {}
  const inner =
    kind === 'Topic'
      ? '<DefaultMessageTimeToLive>P14D</DefaultMessageTimeToLive><MaxSizeInMegabytes>1024</MaxSizeInMegabytes>'
      : [
          `<LockDuration>PT${settings.lockDuration}S</LockDuration>`,
          `<RequiresSession>${settings.requiresSession}</RequiresSession>`,
          `<DefaultMessageTimeToLive>${settings.timeToLive ? `PT${settings.timeToLive}S` : 'P14D'}</DefaultMessageTimeToLive>`,
          `<MaxDeliveryCount>${settings.maxDeliveryCount}</MaxDeliveryCount>`,
        ].join('')
  const name = path.split('/').at(-1)
  return `<entry xmlns="http://www.w3.org/2005/Atom"><title type="text">${name}</title><content type="application/xml"><${kind}Description xmlns="${CONNECT}">${inner}</${kind}Description></content></entry>`
}
