import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joinedPages } from './pages.ts'

test('a family that two roles of one kind have stands once in the page, with the rows of both', () => {
  const page = (name: string) =>
    `# HELP a A.\n# TYPE a counter\na{name="${name}"} 1\n# HELP ${name} Own.\n# TYPE ${name} gauge\n${name} 2\n`
  assert.equal(
    joinedPages([page('x'), '', page('y')]),
    '# HELP a A.\n# TYPE a counter\na{name="x"} 1\na{name="y"} 1\n# HELP x Own.\n# TYPE x gauge\nx 2\n# HELP y Own.\n# TYPE y gauge\ny 2\n',
  )
  assert.equal(joinedPages(['', page('x')]), page('x'))
})
