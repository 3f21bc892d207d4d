/** `run` and `flush`: commands as attempts, and ends that were kept. */
import { Option, type Command } from 'commander';
import { addAskingFlags, type AskingContext } from './asking.js';
import { examplesHelp } from './examples.js';
import { EXIT } from './exit-codes.js';
import { timeOption } from './flags.js';
import { usageError } from './usage.js';

/** Values of the flags of `run`. */
interface RunFlags {
  readonly deployment: string;
  readonly scope?: string;
  readonly attempt?: string;
  readonly create?: true;
  readonly label?: Readonly<Record<string, string>>;
  readonly leaseMs?: number;
  readonly grace: number;
  readonly startTimeout: number;
  readonly endTimeout: number;
  readonly quiet?: true;
  readonly url?: string;
  readonly actor?: string;
  readonly json?: true;
}

const EXAMPLES = [
  'run --deployment web -- ./deploy.sh',
  'run --deployment web --create --label team=shop --grace 30s -- ./deploy.sh production',
];

/** Adds both verbs. */
export function addRunVerbs(program: Command, context: AskingContext): void {
  const run = program
    .command('run')
    .description(
      'Run a command as an attempt: with its terminal, with heartbeats, and with an end by its exit code.',
    )
    .argument('<command...>', 'what is run; everything after -- is passed on untouched')
    .passThroughOptions()
    .addOption(new Option('--deployment <id>', 'the deployment').makeOptionMandatory())
    .option('--scope <text>', 'what the attempt does: a registered scope (default: full)')
    .option('--attempt <id>', 'the attempt; one that is open already is only started')
    .option('--create', 'create the deployment where there is none')
    .addOption(
      new Option('--label <key=value>', 'a label of the deployment that is created').argParser(
        label,
      ),
    )
    .addOption(timeOption('--lease-ms <time>', 'the lease of this attempt'))
    .addOption(
      timeOption('--grace <time>', 'between a cancel (SIGTERM) and the end (SIGKILL)').default(
        60_000,
        '60s',
      ),
    )
    .addOption(
      timeOption(
        '--start-timeout <time>',
        'how long to look for the service before the command',
      ).default(30_000, '30s'),
    )
    .addOption(
      timeOption(
        '--end-timeout <time>',
        'how long to tell the end before it is left to the next run',
      ).default(900_000, '15m'),
    )
    .option('--quiet', 'say only what is not as it should be');
  addAskingFlags(run).addHelpText('after', examplesHelp(EXAMPLES));
  run.action(async (command: readonly string[], flags: RunFlags) => {
    const [program_, ...args] = command;
    if (program_ === undefined) throw usageError('there is no command to run');
    if (flags.label !== undefined && flags.create !== true) {
      throw usageError(
        '--label is for a deployment that is created: say --create, or use shipslog update',
      );
    }
    const { run: runCommand } = await import('./run.js');
    const { grace: graceMs, startTimeout: startTimeoutMs, endTimeout: endTimeoutMs } = flags;
    const times = { graceMs, startTimeoutMs, endTimeoutMs };
    context.exit(await runCommand(context, { ...flags, ...times, command: [program_, ...args] }));
  });
  addFlush(program, context);
}

const FLUSH_EXAMPLES = ['flush', 'flush --json'];
const FLUSH_MS = 15_000;

function addFlush(program: Command, { environment, terminal, exit }: AskingContext): void {
  program
    .command('flush')
    .description('Tell the service of ends that `shipslog run` could not tell.')
    .addOption(new Option('--json', 'print JSON'))
    .addHelpText('after', examplesHelp(FLUSH_EXAMPLES))
    .action(async ({ json }: { readonly json?: true }) => {
      const { Spool, spoolFolder } = await import('./spool.js');
      const deliveries = await new Spool(spoolFolder(environment)).flush(FLUSH_MS);
      for (const delivery of deliveries) {
        const { deploymentId, attemptId, body } = delivery.end;
        const told =
          delivery.outcome === 'delivered'
            ? { state: delivery.state }
            : { problem: delivery.problem.message };
        const { outcome } = delivery;
        const line = json
          ? JSON.stringify({ deploymentId, attemptId, result: body.outcome, outcome, ...told })
          : `${deploymentId} ${attemptId} (${body.outcome}): ${outcome}, ${Object.values(told).join()}`;
        await terminal.out.line(line);
      }
      if (deliveries.length === 0 && !json) await terminal.err.line('There is nothing to tell.');
      const outcomes = new Set(deliveries.map(({ outcome }) => outcome));
      exit(
        outcomes.has('kept') ? EXIT.unreachable : outcomes.has('refused') ? EXIT.refused : EXIT.ok,
      );
    });
}

function label(text: string, before: unknown): Readonly<Record<string, string>> {
  const split = text.indexOf('=');
  if (split < 1) throw usageError(`--label ${text}: must be key=value`);
  const labels = before as Readonly<Record<string, string>> | undefined;
  return { ...labels, [text.slice(0, split)]: text.slice(split + 1) };
}
