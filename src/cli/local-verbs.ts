/** Verbs that need no service: they work on the stores of the settings. */
import { Option, type Command } from 'commander';
import { examplesHelp } from './examples.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { timeOption } from './flags.js';
import { usageError } from './usage.js';
import type { LocalContext, Workshop } from './workshop.js';

/** A verb's work: loaded when it is asked for, so that no verb pays for another. */
type Work<O> = (context: LocalContext, workshop: Workshop, options: O) => Promise<ExitCode>;

/** Adds the local verbs to the program. */
export function addLocalVerbs(program: Command, context: LocalContext): void {
  const working =
    <O>(load: () => Promise<Work<O>>) =>
    async (options: O): Promise<void> => {
      const work = await load();
      context.exit(await work(context, await context.workshop(), options));
    };
  addServe(program, context);
  addReaders(program, working);
  addTransfers(program, context);
  addLifecycle(program, context);
  addDemo(program, working);
  verb(
    program,
    'doctor',
    'Look at clock, disk, stores, ports and versions; each finding has a fix.',
  )
    .addOption(json())
    .option('--url <url>', 'where the service is asked')
    .action(working(async () => (await import('./doctor.js')).examine));
}

function addDemo(program: Command, working: Working): void {
  verb(
    program,
    'demo',
    'Fill the log with 200 deployments of 90 days to look at, the same for the same seed.',
  )
    .option('--seed <number>', 'another seed tells another story', '1')
    .option('--until <instant>', 'when the story ends; the last full hour, when absent')
    .option('--into-existing', 'though the log is not empty')
    .option('--live', 'go on with one event a second, until Ctrl-C')
    .option('--url <url>', 'the service to fill while it owns the log')
    .action(working(async () => (await import('./demo.js')).demo));
}

type Working = <O>(load: () => Promise<Work<O>>) => (options: O) => Promise<void>;

function addServe(program: Command, { serve, exit }: LocalContext): void {
  verb(program, 'serve', 'Serve HTTP on the stores of the settings, until it is told to stop.')
    .option('--host <address>', 'address to listen on; overrides SHIPSLOG_HOST')
    .option('--port <number>', 'port to listen on, 0 for any; overrides SHIPSLOG_PORT')
    .option(
      '--accept-loss',
      'go on with a log that is shorter than what was acknowledged; what is lost is told and recorded',
    )
    .action(async (options: { host?: string; port?: string; acceptLoss?: true }) => {
      const { host, port, acceptLoss = false } = options;
      await serve(
        {
          ...(host !== undefined && { SHIPSLOG_HOST: host }),
          ...(port !== undefined && { SHIPSLOG_PORT: port }),
        },
        { acceptLoss },
      );
      exit(EXIT.ok);
    });
}

function addReaders(program: Command, working: Working): void {
  verb(program, 'replay', 'Fold the whole log into deployments and count them by state.')
    .addOption(json())
    .action(working(async () => (await import('./audits.js')).replay));
  verb(
    program,
    'verify',
    'Compare every row of the read models with the log; exit 3 when one of them lies.',
  )
    .addOption(json())
    .action(working(async () => (await import('./audits.js')).verifyAll));
  verb(program, 'rebuild', 'Build read models anew from the log, beside the live ones.')
    .option('--projection <name>', 'only this one')
    .addOption(json())
    .action(working(async () => (await import('./audits.js')).rebuild));
}

function addTransfers(program: Command, context: LocalContext): void {
  verb(program, 'export', 'Write every event of the log as a line of JSON.')
    .option('-o, --output <file>', 'into this file, which must not exist; else to stdout')
    .action(async (options: { output?: string }) => {
      const { exportTo } = await import('./transfers.js');
      context.exit(await exportTo(context, await context.workshop(), options));
    });
  addImport(program, context);
}

interface ImportFlags {
  readonly legacy?: readonly string[] | true;
  readonly map?: string;
  readonly mapExample?: true;
  readonly apply?: true;
  readonly dryRun?: true;
  readonly report?: string;
  readonly actor?: string;
  readonly json?: true;
  readonly wait: number;
}

/** A server that is started anew, or elects a leader, is back by then. Milliseconds. */
const WAIT_MS = 300_000;

function addImport(program: Command, context: LocalContext): void {
  const command = verb(
    program,
    'import',
    'Append the events of an export, or of a table whose states were never advanced; a repeat adds nothing.',
  )
    .argument('[file]', 'what export has written')
    .option(
      '--legacy [file]',
      'in place of an export: a CSV or NDJSON dump of tables whose states were never advanced; repeat it for a second file (import --legacy --help teaches it)',
      (file: string, before: readonly string[] | true | undefined) =>
        Array.isArray(before) ? [...(before as readonly string[]), file] : [file],
    )
    .option('--map <file>', 'which columns of the dump say what')
    .option('--map-example', 'print a map to begin with')
    .addOption(new Option('--dry-run', 'only tell what would be added (default)'))
    .addOption(new Option('--apply', 'add it').conflicts('dryRun'))
    .option('--report <file>', 'tell of each row of the dump, as a line of JSON, in this new file')
    .option(
      '--actor <kind:id>',
      'who answers for it; else SHIPSLOG_ACTOR, else human and your name',
    )
    .addOption(
      timeOption(
        '--wait <time>',
        'how long to wait for a log in EventStoreDB that goes out of reach meanwhile',
      ).default(WAIT_MS, '5m'),
    )
    .addOption(json())
    .action(async (file: string | undefined, flags: ImportFlags) => {
      const work = await importWork(file, flags, context);
      context.exit(await work(context, await context.workshop()));
    });
  command.addHelpText('after', () => (command.opts<ImportFlags>().legacy ? LEGACY_HELP : ''));
}

/** What an import is asked: an export, a legacy dump, or the map for one. */
async function importWork(
  file: string | undefined,
  flags: ImportFlags,
  context: LocalContext,
): Promise<(context: LocalContext, workshop: Workshop) => Promise<ExitCode>> {
  const { legacy, mapExample, json: asJson, wait: waitMs, ...rest } = flags;
  if (mapExample) return (await import('./legacy.js')).printMapExample;
  if (Array.isArray(legacy) && file === undefined) {
    const { importLegacy } = await import('./legacy.js');
    const actor = context.actorOf(flags);
    return (the, workshop) => importLegacy(the, workshop, { ...flags, legacy, actor, waitMs });
  }
  const [odd] = Object.keys(rest);
  if (legacy !== undefined || file === undefined || odd !== undefined) {
    throw usageError(
      'import takes a file that export has written, or --legacy FILE --map MAP [--apply]',
    );
  }
  const { importFrom } = await import('./transfers.js');
  return (the, workshop) =>
    importFrom(the, workshop, { file, waitMs, ...(asJson && { json: asJson }) });
}

const LEGACY_HELP = `
A table of deployments or attempts whose states were never advanced still holds
what happened. From its rows come the events that must have happened, marked
recovered; where a row does not say how an attempt ended, it becomes unknown.

  1. Dump the tables, as CSV with a header or as one JSON object a line:
       \\copy deployments to deployments.csv csv header
       sqlite3 -csv -header app.db 'select * from attempts' > attempts.csv
  2. Write the map: shipslog import --map-example > map.json
  3. See what would happen; nothing is written:
       shipslog import --legacy deployments.csv --legacy attempts.csv --map map.json
  4. Do it: the same with --apply. A repeat adds nothing; after a kill it goes on.

A file is named after its table, or says it (attempts=dump.csv); a lone file of
another name has an attempt in each row, with its deployment beside it.
Each row is derived, unknown or refused; --report tells of every one. A
deployment is written whole or not at all: mend what was refused, run it again.
Exit code 3 when rows were refused; the others are written all the same.`;

function addLifecycle(program: Command, { terminal, exit }: LocalContext): void {
  verb(program, 'lifecycle', 'Show the states and what changes them: the table that the rules use.')
    .addOption(new Option('--table', 'as a table (default)').conflicts(['svg', 'mermaid', 'json']))
    .addOption(new Option('--svg', 'as a picture').conflicts(['mermaid', 'json']))
    .addOption(new Option('--mermaid', 'as a Mermaid diagram').conflicts('json'))
    .addOption(new Option('--json', 'as data'))
    .action(async (options: { svg?: true; mermaid?: true; json?: true }) => {
      const drawn = await import('../application/lifecycle.js');
      const { out } = terminal;
      if (options.svg) await out.write(drawn.lifecycleSvg());
      else if (options.mermaid) await out.line(drawn.lifecycleMermaid());
      else if (options.json) await out.line(JSON.stringify(drawn.lifecycle()));
      else await out.line(drawn.lifecycleTable());
      exit(EXIT.ok);
    });
}

/** Two examples for each verb; a test runs them. */
const EXAMPLES = {
  serve: ['serve --port 0', 'serve --host localhost --port 3000'],
  replay: ['replay', 'replay --json'],
  verify: ['verify', 'verify --json'],
  rebuild: ['rebuild', 'rebuild --projection attempts'],
  export: ['export --output events.ndjson', 'export | grep \'"deploymentId":"web"\''],
  import: ['import events.ndjson', 'import events.ndjson --json'],
  lifecycle: ['lifecycle', 'lifecycle --svg > lifecycle.svg'],
  demo: ['demo', 'demo --seed 7 --until 2026-01-01T00:00:00Z'],
  doctor: ['doctor', 'doctor --json'],
} as const;

function verb(program: Command, name: keyof typeof EXAMPLES, description: string): Command {
  return program
    .command(name)
    .description(description)
    .summary(description)
    .addHelpText('after', examplesHelp(EXAMPLES[name]));
}

function json(): Option {
  return new Option('--json', 'print JSON');
}
