/** Verbs that stay: watch, wait, and the timeline, which is a picture of one deployment. */
import { Argument, Option, type Command } from 'commander';
import { STATES } from '../domain/event-schema.js';
import type { Client } from '../client/client.js';
import { ServiceError } from '../client/service-error.js';
import { addAskingFlags, clientOf, type AskingContext, type AskingOptions } from './asking.js';
import { examplesHelp } from './examples.js';
import { durationIn } from './flags.js';
import { refuse } from './service-verbs.js';
import { usageError } from './usage.js';

/** A verb's work on a client. Shape: the exit code. */
type Work<O> = (context: AskingContext, client: Client, options: O) => Promise<number>;

const EXAMPLES = {
  watch: ['watch', 'watch web --jsonl'],
  wait: ['wait web --for ready --timeout 5m', 'wait web --for ready,failed --json'],
  timeline: ['timeline web', 'timeline web --limit 5'],
} as const;

/** States to wait for: those of a deployment, and that there is nothing left of it. */
const GOALS = [...STATES, 'torn_down'] as const;

/** Adds the verbs. */
export function addLiveVerbs(program: Command, context: AskingContext): void {
  const watch = verb(
    program,
    'watch',
    'Follow what happens: a table on a terminal, else a line for each change.',
  )
    .addArgument(new Argument('[deployment]', 'only this one'))
    .addOption(new Option('--jsonl', 'print every event as a line of JSON'))
    .addOption(new Option('--after <position>', 'begin after this position, or at the start'));
  addAskingFlags(watch).action(async (deployment: string | undefined, options: AskingOptions) => {
    const work = async (): Promise<Work<never>> => (await import('./watch.js')).watch;
    await doing({ verb: 'watch', deployment, work, options }, context);
  });

  const wait = verb(
    program,
    'wait',
    'Wait until a deployment is in a state; exit 7 when the time is over.',
  )
    .addArgument(new Argument('<deployment>'))
    .addOption(
      new Option('--for <states>', `one of ${GOALS.join(', ')}, or several with commas`)
        .argParser(goals)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--timeout <time>', 'how long to wait').argParser(time).default(300_000, '5m'),
    );
  addAskingFlags(wait).action(async (deployment: string, options: AskingOptions) => {
    const work = async (): Promise<Work<never>> => (await import('./watch.js')).wait;
    await doing({ verb: 'wait', deployment, work, options }, context);
  });

  const timeline = verb(
    program,
    'timeline',
    'Draw the attempts of a deployment on one line of time.',
  )
    .addArgument(new Argument('<deployment>'))
    .addOption(new Option('--limit <number>', 'attempts at most').default('20'));
  addAskingFlags(timeline).action(async (deployment: string, options: AskingOptions) => {
    const work = async (): Promise<Work<never>> => (await import('./watch.js')).timeline;
    await doing({ verb: 'timeline', deployment, work, options }, context);
  });
}

function verb(program: Command, name: keyof typeof EXAMPLES, description: string): Command {
  return program
    .command(name)
    .description(description)
    .summary(description)
    .addHelpText('after', examplesHelp(EXAMPLES[name]));
}

interface Doing {
  readonly verb: string;
  readonly deployment: string | undefined;
  readonly work: () => Promise<Work<never>>;
  readonly options: AskingOptions;
}

async function doing(
  { verb: name, deployment, work, options }: Doing,
  context: AskingContext,
): Promise<void> {
  const client = clientOf(context, options);
  try {
    const run = await work();
    context.exit(await run(context, client, { ...options, deployment } as never));
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    const at = deployment === undefined ? {} : { deploymentId: deployment };
    await refuse(error, context, { verb: name, client, asJson: options.json === true, ...at });
  }
}

function goals(text: string): readonly string[] {
  const named = text.split(',');
  const wrong = named.find((goal) => !(GOALS as readonly string[]).includes(goal));
  if (wrong !== undefined) throw usageError(`--for ${wrong}: must be one of ${GOALS.join(', ')}`);
  return named;
}

function time(text: string): number {
  try {
    return durationIn(text);
  } catch (error) {
    throw usageError(`--timeout ${text}: ${error instanceof Error ? error.message : ''}`);
  }
}
