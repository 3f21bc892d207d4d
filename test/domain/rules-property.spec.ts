import { fc, it } from '@fast-check/jest';
import { describe, expect } from '@jest/globals';
import type { DeploymentCommand } from '../../src/domain/command.js';
import { allowedCommands } from '../../src/domain/decide.js';
import { evolve, unrecorded, type Deployment } from '../../src/domain/deployment.js';
import {
  EVENT_TYPES,
  parseEvent,
  type DeploymentEvent,
  type Fact,
  type Policy,
} from '../../src/domain/event-schema.js';
import { FACT, METADATA, POLICY, RECIPE, type Recipe } from '../support/arbitraries.js';
import { CIRCUMSTANCES, HUMAN, SERVICE, SHOP, create } from '../support/commands.js';
import { metadataOf } from '../support/events.js';
import { eventOf } from '../support/facts.js';
import { NO_WITNESS, brokenRule, stepOf, type Moment } from '../support/rules.js';

const LIVES = 10_000;
/** Without it a property stops at five seconds and counts as held; nothing here waits. Milliseconds. */
const TIMEOUT_MS = 60_000;
const ASKS = fc.array(fc.tuple(RECIPE, fc.boolean()), { minLength: 8, maxLength: 24, size: 'max' });
/** A deployment's policy, and what it is asked, each with whether the time of its attempt is past. */
interface Life {
  readonly policy: Policy;
  readonly asks: readonly (readonly [Recipe, boolean])[];
}
const LIFE = { policy: POLICY, asks: ASKS };

const METADATA_OF_HUMAN = metadataOf({ actor: HUMAN });
const METADATA_OF_OTHERS = metadataOf({ actor: SERVICE });

/** Lives a life and looks at every step; answers where it led and what it left. */
function live({ policy, asks }: Life): { end: Moment; events: readonly DeploymentEvent[] } {
  const events: DeploymentEvent[] = [];
  const asked: DeploymentCommand[] = [];
  let moment: Moment = { deployment: unrecorded(SHOP), witness: NO_WITNESS };
  for (const [recipe, silentTooLong] of [[() => create({ policy }), false] as const, ...asks]) {
    const command = recipe(moment.deployment);
    asked.push(command);
    const metadata = command.actor.kind === 'human' ? METADATA_OF_HUMAN : METADATA_OF_OTHERS;
    const circumstances = { ...CIRCUMSTANCES, silentTooLong };
    const step = stepOf(moment, { command, circumstances }, metadata);
    const broken = brokenRule(step);
    if (broken !== null) throw new Error(`${broken}, after ${JSON.stringify(asked, replacer)}`);
    events.push(...step.events.map((fact) => eventOf(fact, metadata)));
    moment = step.after;
  }
  return { end: moment, events };
}
const replacer = (_key: string, value: unknown) =>
  typeof value === 'bigint' ? String(value) : value;

const foldOf = (events: readonly DeploymentEvent[]): Deployment =>
  events.reduce(evolve, unrecorded(SHOP));
const stored = ({ type, data, metadata }: DeploymentEvent) =>
  parseEvent(type, JSON.stringify(data), JSON.stringify(metadata));

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
}

describe('whatever is asked, in whatever order', () => {
  const seen = new Set<string>();
  let asked = 0;

  it.prop(LIFE, { numRuns: LIVES })(
    'every rule holds at every step',
    (life) => {
      const { events } = live(life);
      asked += life.asks.length;
      for (const { type, data } of events) {
        seen.add(type === 'state_transition' ? `${data.from} → ${data.to}` : type);
      }
    },
    TIMEOUT_MS,
  );

  it('and that was about something: every event, every change of state, and no other', () => {
    expect(asked).toBeGreaterThan(LIVES * 12);
    const types = EVENT_TYPES.filter((type) => type !== 'state_transition');
    const changes = [
      'null → pending',
      ...['deploying', 'failed', 'ready', 'unknown'].map((to) => `pending → ${to}`),
      ...['failed', 'pending', 'ready', 'unknown'].map((to) => `deploying → ${to}`),
      ...['deploying', 'failed', 'pending', 'ready'].map((to) => `unknown → ${to}`),
      'ready → pending',
      'failed → pending',
    ];
    // Only by a human's second word; too rare to be sure of.
    const rare = ['ready → failed', 'failed → ready'];
    expect([...seen]).toEqual(expect.arrayContaining([...types, ...changes]));
    expect([...types, ...changes, ...rare]).toEqual(expect.arrayContaining([...seen]));
  });

  it.prop(LIFE, { numRuns: 500 })(
    'the events fold to the same deployment again, also out of the log, and frozen',
    (life) => {
      const { end, events } = live(life);
      expect(foldOf(events)).toEqual(end.deployment);
      const parsed = events.map(stored).map((event) => (event.ok ? event.event : null));
      expect(parsed).toEqual(events);
      let deployment = frozen(unrecorded(SHOP));
      for (const event of parsed) deployment = frozen(evolve(deployment, frozen(event!)));
      expect(deployment).toEqual(end.deployment);
    },
    TIMEOUT_MS,
  );
});

describe('whatever stands in a log', () => {
  const HISTORY = fc.array(fc.tuple(FACT, METADATA), { maxLength: 30, size: 'max' });
  const asEvents = (told: readonly (readonly [Fact, DeploymentEvent['metadata']])[]) =>
    told.map(([fact, metadata]) => eventOf(fact, metadata));

  it.prop([HISTORY], { numRuns: 2000 })(
    'well-formed events fold, in any order, and always to the same',
    (told) => {
      const events = asEvents(told);
      const deployment = foldOf(events);
      expect(deployment.deploymentId).toBe(SHOP);
      if (events.length % 10 === 0) expect(foldOf(events)).toEqual(deployment);
      expect(allowedCommands(deployment, CIRCUMSTANCES.defaults)).toEqual(expect.any(Array));
    },
    TIMEOUT_MS,
  );

  it.prop([FACT, METADATA], { numRuns: 3000 })(
    'each well-formed event comes back as it was written',
    (fact, metadata) => {
      const event = eventOf(fact, metadata);
      expect(stored(event)).toEqual({ ok: true, event });
    },
    TIMEOUT_MS,
  );

  const ANY_JSON = fc.json({ maxDepth: 3 });
  const ANY_TYPE = fc.oneof(fc.constantFrom(...EVENT_TYPES), fc.string());
  const ANY_TEXT = fc.oneof(ANY_JSON, fc.string());
  it.prop([ANY_TYPE, ANY_TEXT, ANY_TEXT], { numRuns: 3000 })(
    'any other text is refused with the problem, never thrown at',
    (type, data, metadata) => {
      const parsed = parseEvent(type, data, metadata);
      expect(parsed).toEqual({ ok: false, problem: expect.any(String) });
    },
    TIMEOUT_MS,
  );

  const SPOILT = fc.tuple(FACT, METADATA, fc.nat(), fc.jsonValue({ maxDepth: 2 }), fc.boolean());
  it.prop([SPOILT], { numRuns: 3000 })(
    'an event of which one member is anything is refused or folds, never thrown at',
    ([fact, metadata, nth, value, inMetadata]) => {
      const [data, about]: Record<string, unknown>[] = [{ ...fact.data }, { ...metadata }];
      const spoilt = inMetadata ? about! : data!;
      const members = Object.keys(spoilt);
      if (members.length > 0) spoilt[members[nth % members.length]!] = value;
      const parsed = parseEvent(fact.type, JSON.stringify(data), JSON.stringify(about));
      if (!parsed.ok) return;
      const before = foldOf(asEvents([[fact, metadata]]));
      expect(() => [before, unrecorded(SHOP)].map((it) => evolve(it, parsed.event))).not.toThrow();
    },
    TIMEOUT_MS,
  );
});
