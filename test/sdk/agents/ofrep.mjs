// node ofrep.mjs BASE_URL: what OpenFeature's own SDK and OFREP provider make of flags, as JSON.
import { OFREPProvider } from '@openfeature/ofrep-provider'
import { OpenFeature } from '@openfeature/server-sdk'

await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: process.argv[2] }))
const client = OpenFeature.getClient()
const pro = { targetingKey: 'ann', plan: 'pro' }
const shown = ({ value, reason, variant, errorCode }) => ({ value, reason, variant, errorCode })
console.log(
  JSON.stringify({
    checkout: shown(await client.getBooleanDetails('new-checkout', false, {})),
    banner: shown(await client.getStringDetails('banner', 'none', pro)),
    bannerFree: shown(await client.getStringDetails('banner', 'none', { targetingKey: 'bob' })),
    limit: shown(await client.getNumberDetails('limit', 1, pro)),
    colors: shown(await client.getObjectDetails('colors', {}, pro)),
    split: shown(await client.getStringDetails('split', 'none', pro)),
    noKey: shown(await client.getStringDetails('split', 'none', {})),
    missing: shown(await client.getBooleanDetails('missing', true, pro)),
    mismatch: shown(await client.getBooleanDetails('limit', true, pro)),
    broken: shown(await client.getBooleanDetails('broken', true, pro)),
  }),
)
await OpenFeature.close()
