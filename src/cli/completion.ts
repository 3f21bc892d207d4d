/** Completion for shells: verbs, flags, words, and the ids that there are right now. */
import { Argument, type Command, type Option } from 'commander';
import type { Client } from '../client/client.js';
import { clientOf, type AskingContext } from './asking.js';
import { examplesHelp } from './examples.js';
import { EXIT } from './exit-codes.js';

/** One way to go on, and what it is. */
interface Candidate {
  readonly value: string;
  readonly doc: string;
}

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `# bash completion of shipslog; add to ~/.bashrc:  source <(shipslog completion bash)
_shipslog() {
  local IFS=$'\\n'
  COMPREPLY=($(shipslog complete bash "\${COMP_WORDS[COMP_CWORD]}" -- "\${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
}
complete -o default -F _shipslog shipslog`,
  zsh: `#compdef shipslog
# zsh completion of shipslog; add to ~/.zshrc:  source <(shipslog completion zsh)
_shipslog() {
  local -a candidates
  candidates=("\${(@f)$(shipslog complete zsh '' -- "\${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
  [[ -n "$candidates" ]] && _describe shipslog candidates || _files
}
compdef _shipslog shipslog`,
  fish: `# fish completion of shipslog; add to ~/.config/fish/config.fish:  shipslog completion fish | source
function __shipslog_complete
  set -l candidates (shipslog complete fish "" -- (commandline -cp) 2>/dev/null)
  set -q candidates[1]; and printf '%s\\n' $candidates; or __fish_complete_path (commandline -ct)
end
complete -c shipslog -f -a '(__shipslog_complete)'`,
};

/** Adds the verb that prints the script of a shell, and the hidden one that the script asks. */
export function addCompletion(program: Command, context: AskingContext): void {
  const { terminal, exit } = context;
  program
    .command('completion')
    .description('Print the completion script of a shell.')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText('after', examplesHelp(['completion bash', 'completion fish']))
    .action(async (shell: Shell) => {
      await terminal.out.line(SCRIPTS[shell]);
      exit(EXIT.ok);
    });
  program
    .command('complete', { hidden: true })
    .argument('<shell>')
    .argument('<word>')
    .argument('<line>')
    .action(async (shell: Shell, word: string, line: string) => {
      const [, ...words] = wordsOf(line);
      const current = words.at(-1) ?? '';
      const candidates = await candidatesFor(program, words, () => clientOf(context, {}));
      for (const candidate of candidates.filter(({ value }) => value.startsWith(current))) {
        await terminal.out.line(told(candidate, shell, { current, word }));
      }
    });
}

/** The words of a line as far as the cursor; the last one is empty after a blank. */
function wordsOf(line: string): readonly string[] {
  const words = [...line.matchAll(/(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"?|'[^']*'?)+/g)].map(
    ([word]) => word.replaceAll(/["']|\\(?=.)/g, ''),
  );
  return /\s$/.test(line) ? [...words, ''] : words;
}

function told(
  { value, doc }: Candidate,
  shell: Shell,
  at: { readonly current: string; readonly word: string },
): string {
  switch (shell) {
    case 'bash': {
      // Bash breaks words at : and =, and replaces only what follows the last break.
      const kept = /^[:=]$/.test(at.word) ? 0 : at.word.length;
      return value.slice(at.current.length - kept);
    }
    case 'zsh':
      return doc === '' ? value.replaceAll(':', '\\:') : `${value.replaceAll(':', '\\:')}:${doc}`;
    case 'fish':
      return doc === '' ? value : `${value}\t${doc}`;
  }
}

/** Everything that could stand in place of the last word. */
async function candidatesFor(
  program: Command,
  [verb = '', ...rest]: readonly string[],
  client: () => Client,
): Promise<readonly Candidate[]> {
  const verbs = program.createHelp().visibleCommands(program).map(candidateOf);
  if (rest.length === 0) return verbs;
  if (verb === 'help') return [...verbs, { value: 'exit-codes', doc: '' }];
  const command = program.commands.find((each) => each.name() === verb);
  // What stands behind -- is another program's.
  return command === undefined || rest.slice(0, -1).includes('--')
    ? []
    : candidatesOf(command, rest, client);
}

async function candidatesOf(
  command: Command,
  words: readonly string[],
  client: () => Client,
): Promise<readonly Candidate[]> {
  const taking = takingOption(command, words.at(-2));
  if (taking !== undefined) return valuesOf(taking, client);
  const given = argumentsIn(command, words.slice(0, -1));
  const argument = command.registeredArguments[given.length];
  const isFlag = words.at(-1)?.startsWith('-') === true;
  return isFlag || argument === undefined ? flagsOf(command) : idsFor(argument, given, client);
}

/** The flag that a word is, where it takes the next word as its value. */
function takingOption(command: Command, word: string | undefined): Option | undefined {
  return command.options.find(
    ({ long, short, required }) => required && word !== undefined && [long, short].includes(word),
  );
}

function candidateOf(command: Command): Candidate {
  return { value: command.name(), doc: command.summary() };
}

function flagsOf(command: Command): readonly Candidate[] {
  const options = command.createHelp().visibleOptions(command);
  return options.map(({ long, short, description }) => ({
    value: long ?? short ?? '',
    doc: description,
  }));
}

/** The arguments among the words: no flags, and no values of flags. */
function argumentsIn(command: Command, words: readonly string[]): readonly string[] {
  return words.filter(
    (word, n) => !word.startsWith('-') && takingOption(command, words[n - 1]) === undefined,
  );
}

async function valuesOf(option: Option, client: () => Client): Promise<readonly Candidate[]> {
  const name = option.attributeName();
  if (name === 'deployment' || name === 'deploymentId') return deploymentIds(client());
  return (option.argChoices ?? []).map((value) => ({ value, doc: '' }));
}

async function idsFor(
  argument: Argument,
  [deployment]: readonly string[],
  client: () => Client,
): Promise<readonly Candidate[]> {
  const name = argument.name();
  if (name === 'deployment') return deploymentIds(client());
  if (name === 'attempt' && deployment !== undefined) return attemptIds(client(), deployment);
  return (argument.argChoices ?? []).map((value) => ({ value, doc: '' }));
}

/** Nobody waits longer for a completion. */
const TIMEOUT_MS = 700;
const IDS_MAX = 200;

async function deploymentIds(client: Client): Promise<readonly Candidate[]> {
  try {
    const options = { timeoutMs: TIMEOUT_MS, once: true };
    const { items } = await client.call('listDeployments', { limit: IDS_MAX }, options);
    return items.map(({ deploymentId, state }) => ({ value: deploymentId, doc: state }));
  } catch {
    return [];
  }
}

async function attemptIds(client: Client, deploymentId: string): Promise<readonly Candidate[]> {
  try {
    const options = { timeoutMs: TIMEOUT_MS, once: true };
    const { items } = await client.call('listAttempts', { deploymentId, limit: IDS_MAX }, options);
    return items.map(({ attemptId, state }) => ({ value: attemptId, doc: state }));
  } catch {
    return [];
  }
}
