import { type Command, DATA_DIR_FLAG } from '../command.ts'
import { type Instance, Instances } from '../instances.ts'
import { dataDirectory } from '../paths.ts'
import { signalTo, stopGroup } from '../process.ts'
import { APP_GRACE, SIDECAR_GRACE } from '../session.ts'

export const stop: Command = {
  usage: 'stop [flags] [app-id ...]',
  summary: 'Stop running apps and their sidecars.',
  examples: ['outrider stop tasks', 'outrider stop --app-id tasks', '# All apps of a run file', 'outrider stop -f dapr.yaml'],
  flags: [
    { name: 'app-id', short: 'a', type: 'string', help: 'App to stop' },
    { name: 'run-file', short: 'f', type: 'string', help: 'Stop the apps of this run file' },
    DATA_DIR_FLAG,
  ],
  run: async ({ parsed, reporter }) => {
    const instances = new Instances(dataDirectory(parsed.text('outrider-data-dir')))
    if (parsed.text('run-file') !== '') {
      const { locateRunFile } = await import('../run-file.ts')
      const path = locateRunFile(parsed.text('run-file'))
      const ours = instances.running().filter((instance) => instance.runTemplatePath === path)
      if (ours.length === 0) {
        reporter.failure(`Failed to stop Dapr and app processes: couldn't find apps with run file "${path}"`)
        return 0
      }
      await Promise.all(ours.map((instance) => (instance.cliPid === 0 ? end(instance, instances) : endTool(instance, instances))))
      reporter.success('Dapr and app processes stopped successfully')
      return 0
    }
    const ids = [...(parsed.text('app-id') === '' ? [] : [parsed.text('app-id')]), ...parsed.words]
    for (const id of ids) {
      const running = instances.running()
      const ours = running.filter((instance) => instance.appId === id)
      if (ours.length === 0) {
        // Exit code 0 is what Dapr's tool gives here; scripts stop what may not run.
        reporter.failure(`failed to stop app id ${id}: couldn't find app id ${id}`)
        process.stderr.write(
          `   ${running.length > 0 ? `running: ${running.map((instance) => instance.appId).join(', ')}` : 'no app runs here'}\n`,
        )
        continue
      }
      const shared = (instance: Instance) => running.filter((other) => other.cliPid === instance.cliPid).length > 1
      await Promise.all(
        ours.map((instance) => (instance.cliPid !== 0 && !shared(instance) ? endTool(instance, instances) : end(instance, instances))),
      )
      reporter.success(`app stopped successfully: ${id}`)
    }
    return 0
  },
}

/** Asks the tool that runs the app to end it; the tool prints its own last lines. */
async function endTool(instance: Instance, instances: Instances): Promise<void> {
  if (!signalTo(instance.cliPid, 'SIGTERM')) await end(instance, instances)
}

/** Ends one sidecar and its app directly, when its tool is gone or runs other apps too. */
async function end(instance: Instance, instances: Instances): Promise<void> {
  if (instance.daprdPid) await stopGroup(instance.daprdPid, SIDECAR_GRACE)
  if (instance.appPid) await stopGroup(instance.appPid, APP_GRACE)
  instances.forget(instance)
}
