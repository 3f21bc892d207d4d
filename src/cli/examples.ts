/** Two examples for the help of each verb; a test runs every one of them. */
import { argumentsOf } from './flags.js';
import { dashed, type Schema, type Verb } from './verb-table.js';

/** Examples by verb, without the program's name. `web` and `first` are a deployment and its attempt. */
const EXAMPLES: Readonly<Record<string, readonly [string, string]>> = {
  create: [
    'create web --environment production --label team=shop',
    "create web --policy-lease-ms 5m --confirm-phrase 'tear web down'",
  ],
  update: ["update web --name 'Web shop' --label team=shop", 'update web --clear environment'],
  open: ['open web', 'open web first --scope configure --meta \'{"version":"1.4.0"}\''],
  start: ['start web', 'start web first --runner-id ci-7 --lease-ms 2m'],
  heartbeat: ['heartbeat web', 'heartbeat web first --progress \'{"step":"migrate"}\''],
  end: [
    'end web --outcome succeeded --exit-code 0',
    "end web first --outcome failed --exit-code 7 --reason 'no room for two replicas'",
  ],
  cancel: ['cancel web', "cancel web first --reason 'wrong version'"],
  unknown: ['unknown web --cause orphaned', 'unknown web first --cause operator'],
  resolve: [
    "resolve web --as failed --reason 'looked at the host: half installed'",
    "resolve web --as ready --reason 'the new version answers' --actor human:alice",
  ],
  teardown: ['teardown web', "teardown web --confirm-phrase 'tear web down'"],
  archive: ['archive web', "archive web --reason 'replaced by web2'"],
  get: ['get web', 'get web --revision 0 --json'],
  list: ['list --state failed --label team=shop', 'list --at -24h --state unknown'],
  attempts: ['attempts web', 'attempts web --json'],
  attempt: ['attempt web', 'attempt web first --json'],
  history: ['history web', 'history web --jsonl'],
  transitions: ['transitions --to unknown', 'transitions --deployment-id web --json'],
  projections: ['projections', 'projections --json'],
  retry: ['retry deployments web', "retry deployments web --reason 'version 1.4 knows it'"],
  skip: [
    "skip deployments web --reason 'a test of last year'",
    "skip transitions web --reason 'torn down since' --actor human:alice",
  ],
  parked: ['parked deployments', 'parked deployments --json'],
  count: ['count', 'count --at 2026-01-01T12:00:00Z --json'],
  'time-in-state': ['time-in-state', 'time-in-state --deployment-id web --json'],
  'attempt-stats': ['attempt-stats', 'attempt-stats --deployment-id web --json'],
  unknowns: ['unknowns', 'unknowns --jsonl'],
  diff: ['diff 2026-01-01T12:00:00Z', 'diff -7d -24h --json'],
};

/** The examples of a verb; of one that has none here, what it cannot do without, in both forms. */
export function examplesOf(verb: Verb): readonly string[] {
  const known = EXAMPLES[verb.name];
  if (known !== undefined) return known.map((example) => `shipslog ${example}`);
  const args = argumentsOf(verb)
    .filter(({ isNeeded }) => isNeeded)
    .map(({ name }) => (name === 'deploymentId' ? 'web' : 'first'));
  const { properties = {}, required = [] } = verb.body ?? {};
  const flags = required.flatMap((name) => [`--${dashed(name)}`, sampleOf(properties[name] ?? {})]);
  const line = ['shipslog', verb.name, ...args, ...flags].join(' ');
  return [line, `${line} --json`];
}

function sampleOf({ enum: words, type, minimum }: Schema): string {
  if (words !== undefined) return String(words[0]);
  return type === 'integer' ? String(minimum ?? 1) : "'…'";
}

/** The examples as the end of a verb's help. */
export function examplesText(verb: Verb): string {
  return examplesHelp(examplesOf(verb).map((line) => line.replace(/^shipslog /, '')));
}

/** Examples, without the program's name, as the end of a help. */
export function examplesHelp(examples: readonly string[]): string {
  return ['', 'Examples:', ...examples.map((example) => `  shipslog ${example}`)].join('\n');
}
