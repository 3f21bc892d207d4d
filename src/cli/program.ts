/** The command line as a whole: verbs, help, and one place where every ending gets its exit code. */
import { Command, CommanderError } from 'commander';
import { editsBetween, nearestTo } from '../application/spelling.js';
import type { Clock } from '../ports/clock.js';
import { isFault } from '../ports/faults.js';
import { actorOf } from './asking.js';
import { addCompletion } from './completion.js';
import { EXIT, exitCodesText, type ExitCode } from './exit-codes.js';
import { addLiveVerbs } from './live-verbs.js';
import { addLocalVerbs } from './local-verbs.js';
import { addRunVerbs } from './run-verbs.js';
import { addServiceVerbs } from './service-verbs.js';
import type { Terminal } from './terminal.js';
import { USAGE, usageError } from './usage.js';
import type { Verb } from './verb-table.js';
import type { LocalContext } from './workshop.js';

/** What the command line is started with. */
export interface CommandLine {
  /** Arguments without program and script. */
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly terminal: Terminal;
  readonly version: string;
  readonly clock: Clock;
  /** The verbs that ask a service. */
  readonly verbs: readonly Verb[];
  readonly workshop: LocalContext['workshop'];
  readonly serve: LocalContext['serve'];
}

const URL_DEFAULT = 'http://127.0.0.1:3000';

/** Runs one command line to its end. Shape: the exit code; never rejects. */
export async function runCommandLine(line: CommandLine): Promise<number> {
  const { terminal } = line;
  let exitCode: number = EXIT.ok;
  const exit = (code: number): void => {
    exitCode = code;
  };
  try {
    await programOf(line, exit).parseAsync([...line.args], { from: 'user' });
  } catch (error) {
    exitCode = await ending(error, terminal);
  }
  return exitCode;
}

/** The program with all its verbs. */
export function programOf(line: CommandLine, exit: (code: number) => void): Command {
  const { terminal, clock, environment, version, verbs, workshop, serve } = line;
  const program = new Command('shipslog')
    .description('Track deployments: their attempts, their state, their history.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand(false)
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError('(shipslog help lists the verbs)')
    .configureOutput({
      writeOut: (text) => void terminal.out.write(text),
      writeErr: (text) => void terminal.err.write(text),
      getOutHelpWidth: () => terminal.out.columns,
      getErrHelpWidth: () => terminal.err.columns,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  const urlOf = ({ url }: { readonly url?: string }): string =>
    addressIn(url ?? environment['SHIPSLOG_URL'] ?? URL_DEFAULT);
  const asking = { terminal, clock, environment, urlOf, exit };
  addServiceVerbs(program, verbs, asking);
  addLiveVerbs(program, asking);
  addRunVerbs(program, asking);
  addLocalVerbs(program, {
    ...{ terminal, version, workshop, serve, exit, urlOf },
    actorOf: (options) => actorOf(environment, options),
  });
  addCompletion(program, asking);
  addExitCodes(program, terminal);
  addHelp(program);
  for (const each of program.commands) {
    each.showHelpAfterError(`(shipslog help ${each.name()} tells its flags, with examples)`);
  }
  return program;
}

function addressIn(text: string): string {
  if (/^https?:\/\/[^/]/.test(text) && URL.canParse(text)) return text;
  throw usageError(`"${text}" is no address of a service: --url, SHIPSLOG_URL like ${URL_DEFAULT}`);
}

/** A topic of help that looks like a verb, so that `help exit-codes` finds it. */
function addExitCodes(program: Command, { out }: Terminal): void {
  const topic = program
    .command('exit-codes', { hidden: true })
    .description('What each exit code means.')
    .action(() => out.line(exitCodesText()));
  topic.helpInformation = () => `${exitCodesText()}\n`;
}

/** Commander's own verb shows the list of verbs for one that there is not, and says nothing of it. */
function addHelp(program: Command): void {
  program
    .command('help')
    .description('print help for a verb, or for exit-codes')
    .argument('[verb]')
    .action((name?: string) => {
      const asked =
        name === undefined ? program : program.commands.find((each) => each.name() === name);
      if (asked !== undefined) {
        asked.outputHelp();
        return;
      }
      const word = name ?? '';
      const nearest = nearestTo(
        word,
        program.commands.map((each) => each.name()),
      );
      const isNear = nearest !== null && editsBetween(nearest, word) <= EDITS_MAX;
      const meant = isNear ? `\n(Did you mean ${nearest}?)` : '';
      program.error(`error: unknown command '${word}'${meant}`, UNKNOWN_COMMAND);
    });
}

/** A word that needs more edits is another one. */
const EDITS_MAX = 2;

const UNKNOWN_COMMAND = { code: 'commander.unknownCommand', exitCode: EXIT.error };

/** Tells what went wrong, on one line where it can be, and answers the exit code. */
async function ending(error: unknown, { err }: Terminal): Promise<ExitCode> {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.ok;
    // Of its own errors commander has printed what there is to say.
    if (error.code === USAGE) await err.line(`shipslog: ${message}`);
    return EXIT.usage;
  }
  await err.line(`shipslog: ${message}`);
  if (isFault(error, 'STORE_OWNED')) {
    await err.line('A service has the log: ask it over HTTP, or stop it first.');
  }
  if (isFault(error, 'STORE_UNAVAILABLE')) {
    const settings = 'SHIPSLOG_EVENT_STORE, SHIPSLOG_READ_MODELS';
    // Who names the setting has said what to do.
    if (!message.includes('SHIPSLOG_'))
      await err.line(`next: look at it: shipslog doctor; or say where the stores are: ${settings}`);
    return EXIT.unreachable;
  }
  return EXIT.error;
}
