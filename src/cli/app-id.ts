import { randomInt } from 'node:crypto'

const FIRST =
  'amber brisk calm daring eager fabled gentle hidden ivory jolly keen lucid mellow noble opal proud quiet rapid sunny tidy upbeat vivid witty young'.split(
    ' ',
  )
const SECOND =
  'badger cedar dune ember falcon grove harbor island jasper kestrel lagoon meadow nectar otter pebble quartz raven summit thicket umbra valley willow yarrow zephyr'.split(
    ' ',
  )

/** A readable app id of two words that is not among `taken`. */
export function inventAppId(taken: ReadonlySet<string>): string {
  for (let attempt = 0; ; attempt++) {
    const words = `${FIRST[randomInt(FIRST.length)]}-${SECOND[randomInt(SECOND.length)]}`
    const id = attempt < 20 ? words : `${words}-${randomInt(10_000)}`
    if (!taken.has(id)) return id
  }
}
