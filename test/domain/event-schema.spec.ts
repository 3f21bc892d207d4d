import { describe, expect, it } from '@jest/globals';
import {
  EVENT_TYPES,
  ID_PATTERN,
  SCHEMA_VERSION,
  parseEvent,
  parseId,
  resultOf,
  type EventMetadata,
} from '../../src/domain/event-schema.js';
import { effectivePolicy, policyProblems, silenceLimitMs } from '../../src/domain/lease.js';
import { CIRCUMSTANCES } from '../support/commands.js';
import { metadataOf } from '../support/events.js';

const METADATA = JSON.stringify(metadataOf());
const START = JSON.stringify({ attemptId: 'a1' });

/** An event of each type with nothing but what it can not be without. */
const LEAST = {
  deployment_created: { name: 'shop' },
  deployment_updated: {},
  attempt_opened: {
    attemptId: 'a1',
    number: 1,
    scope: 'full',
    kind: 'deploy',
    settledState: 'pending',
  },
  attempt_start: { attemptId: 'a1' },
  cancel_requested: { attemptId: 'a1' },
  attempt_end: { attemptId: 'a1', outcome: 'succeeded' },
  attempt_lost: { attemptId: 'a1', cause: 'lease_expired' },
  attempt_recovered: { attemptId: 'a1' },
  unknown_resolved: { as: 'ready', reason: 'looked at it' },
  late_result_recorded: { attemptId: 'a1', outcome: 'failed' },
  stale_result_recorded: { attemptId: 'a1', outcome: 'cancelled' },
  deployment_archived: {},
  state_transition: {
    deploymentId: 'shop',
    from: null,
    to: 'pending',
    trigger: 'CreateDeployment',
  },
};
const poison = { ok: false, problem: expect.any(String) };

describe('ids', () => {
  it.each([
    ['one character', 'a'],
    ['a digit first', '0'],
    ['all that is allowed', 'Az09._:-'],
    ['a UUID', '0196f0a2-7c11-7000-8000-000000000001'],
    ['128 characters', `a${'-'.repeat(127)}`],
  ])('may be %s', (_what, text) => {
    expect(parseId(text)).toBe(text);
  });

  it.each([
    ['empty', ''],
    ['129 characters', `a${'-'.repeat(128)}`],
    ['a dot first', '.a'],
    ['an underscore first', '_a'],
    ['a colon first', ':a'],
    ['a hyphen first', '-a'],
    ['with a blank', 'a b'],
    ['with a blank before', ' a'],
    ['with a line break after', 'a\n'],
    ['with a NUL', 'a\0'],
    ['a path', 'a/../b'],
    ['percent-encoded', 'a%2e'],
    ['with an accent', 'é'],
    ['with digits of another script', '٣'],
    ['with a Kelvin sign', 'a\u212a'],
  ])('are never %s', (_what, text) => {
    expect(parseId(text)).toBeNull();
  });

  it('keep their case', () => {
    expect(parseId('Shop')).not.toBe(parseId('shop'));
  });

  it('have the documented pattern', () => {
    expect(ID_PATTERN).toBe('^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$');
  });
});

describe('events', () => {
  it('are of the documented types, in their order', () => {
    expect(EVENT_TYPES).toEqual(Object.keys(LEAST));
  });

  it.each(Object.entries(LEAST))('%s needs no more than it must have', (type, data) => {
    const metadata = metadataOf();
    expect(parseEvent(type, JSON.stringify(data), JSON.stringify(metadata))).toEqual({
      ok: true,
      event: { type, data, metadata },
    });
  });

  it.each(
    Object.entries(LEAST).flatMap(([type, data]) =>
      Object.keys(data).map((member) => [type, member, data] as const),
    ),
  )('%s is poison without a good %s', (type, member, data) => {
    for (const value of [undefined, '', 0, -1, 1.5, true, [], {}, ['pending'], 'nonsense?', null]) {
      const isText = typeof value === 'string' && value !== '';
      const freeText = ['name', 'scope', 'attemptId', 'reason', 'trigger', 'deploymentId'];
      if (isText && freeText.includes(member)) continue;
      if (value === null && member === 'from') continue;
      const text = JSON.stringify({ ...data, [member]: value });
      expect(parseEvent(type, text, METADATA)).toEqual(poison);
    }
  });

  it('keep members that this version does not know', () => {
    const data = { attemptId: 'a1', colour: 'blue', nested: { __proto__: null, deep: [1] } };
    const metadata = { ...metadataOf(), tenant: 'acme' };
    expect(
      parseEvent('attempt_start', JSON.stringify(data), JSON.stringify(metadata)),
    ).toMatchObject({
      ok: true,
      event: { data: { colour: 'blue' }, metadata: { tenant: 'acme' } },
    });
  });

  it.each(['', 'attempt_hexed', 'Attempt_Start', '__proto__', 'constructor', 'toString'])(
    'of the type "%s" are poison',
    (type) => {
      expect(parseEvent(type, '{}', METADATA)).toEqual(poison);
    },
  );

  const NO_OBJECTS = [
    '',
    ' ',
    '{',
    '{}}',
    "{'attemptId':'a1'}",
    'undefined',
    'NaN',
    'null',
    'true',
    '17',
    '"text"',
    '[]',
    '[{"attemptId":"a1"}]',
    '\ufeff{"attemptId":"a1"}',
    '{"attemptId":"a1"}\0',
    '{"attemptId":"a1",}',
    '\ud800',
  ];
  it.each(NO_OBJECTS)('are poison when their data, or metadata, is %j', (text) => {
    expect(parseEvent('attempt_start', text, METADATA)).toEqual(poison);
    expect(parseEvent('attempt_start', START, text)).toEqual(poison);
  });

  it('do not take a member from a prototype', () => {
    const data = '{"__proto__":{"attemptId":"a1"}}';
    expect(parseEvent('attempt_start', data, METADATA)).toEqual(poison);
    expect(Object.prototype).not.toHaveProperty('attemptId');
  });

  it('may be nested deeper than a stack, where it is no member that is needed', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    expect(parseEvent('attempt_start', `{"attemptId":"a1","meta":${deep}}`, METADATA).ok).toBe(
      true,
    );
    expect(parseEvent('attempt_start', `{"attemptId":${deep}}`, METADATA)).toEqual(poison);
    expect(parseEvent('attempt_start', START, deep)).toEqual(poison);
  });

  it('say what is wrong with them in a few words, however long they are', () => {
    const long = 'x'.repeat(1_000_000);
    for (const [type, data] of [
      ['attempt_end', JSON.stringify({ attemptId: 'a1', outcome: long })],
      ['attempt_start', long],
      [long, '{}'],
    ] as const) {
      const parsed = parseEvent(type, data, METADATA);
      expect(parsed).toEqual(poison);
      expect(JSON.stringify(parsed).length).toBeLessThan(300);
    }
    expect(parseEvent('attempt_end', START, METADATA)).toEqual({
      ok: false,
      problem: 'attempt_end: outcome is missing',
    });
  });
});

describe('metadata', () => {
  const MEMBERS: readonly (keyof EventMetadata)[] = [
    'schemaVersion',
    'commandId',
    'commandDigest',
    'actor',
    'occurredAt',
    'recordedAt',
    'correlationId',
    'causationId',
  ];
  const parsedWith = (member: string, value: unknown) =>
    parseEvent('attempt_start', START, JSON.stringify({ ...metadataOf(), [member]: value }));

  it.each(MEMBERS)('is poison without a good %s', (member) => {
    for (const value of [undefined, null, '', 0, [], {}, true]) {
      expect(parsedWith(member, value)).toEqual(poison);
    }
  });

  it('names an actor of a known kind', () => {
    for (const kind of ['human', 'service', 'runner', 'system']) {
      expect(parsedWith('actor', { id: 'somebody', kind }).ok).toBe(true);
    }
    for (const actor of [{ id: 'x' }, { kind: 'human' }, { id: '', kind: 'human' }, 'human:x']) {
      expect(parsedWith('actor', actor)).toEqual(poison);
    }
    expect(parsedWith('actor', { id: 'x', kind: 'robot' })).toEqual(poison);
  });

  it('may have no traceparent', () => {
    expect(parsedWith('traceparent', undefined).ok).toBe(true);
    expect(parsedWith('traceparent', '00-ab-cd-01').ok).toBe(true);
  });

  it('of a newer version is refused by name, not misread', () => {
    expect(parsedWith('schemaVersion', SCHEMA_VERSION + 1)).toEqual({
      ok: false,
      problem: expect.stringContaining('newer'),
    });
    for (const version of [0, -1, 1.5, '1', 2 ** 53]) {
      expect(parsedWith('schemaVersion', version)).toEqual(poison);
    }
  });
});

describe('results', () => {
  it('are taken out of what holds them, without members that are not there', () => {
    const end = { attemptId: 'a1', outcome: 'failed', exitCode: 0, late: true } as const;
    expect(Object.entries(resultOf(end))).toEqual([
      ['outcome', 'failed'],
      ['exitCode', 0],
    ]);
    const all = { outcome: 'failed', exitCode: 1, code: 'E', reason: 'why' } as const;
    expect(resultOf(all)).toEqual(all);
  });
});

describe('policies', () => {
  const { defaults } = CIRCUMSTANCES;

  it('have the documented defaults', () => {
    expect(effectivePolicy({}, defaults)).toEqual({
      heartbeatMs: 30_000,
      leaseMs: 90_000,
      startTimeoutMs: 90_000,
      lateResults: 'accept',
      afterTeardown: 'reopen',
    });
  });

  it('beat at the smaller of the setting and a third of the lease', () => {
    expect(effectivePolicy({ leaseMs: 60_000 }, defaults).heartbeatMs).toBe(20_000);
    expect(effectivePolicy({ leaseMs: 600_000 }, defaults).heartbeatMs).toBe(30_000);
    expect(effectivePolicy({ leaseMs: 1000 }, defaults).heartbeatMs).toBe(333);
    expect(effectivePolicy({ leaseMs: 1000, heartbeatMs: 500 }, defaults).heartbeatMs).toBe(500);
  });

  it('beat at least twice in a lease', () => {
    expect(policyProblems({ heartbeatMs: 500, leaseMs: 1000 }, defaults)).toEqual([]);
    expect(policyProblems({ heartbeatMs: 501, leaseMs: 1000 }, defaults)).toEqual([
      { pointer: '/policy/heartbeatMs', message: expect.stringContaining('1000') },
    ]);
    expect(policyProblems({ leaseMs: 1000 }, defaults)).toEqual([]);
  });

  it('bound the silence of an attempt: before its start, and by its own lease', () => {
    const policy = effectivePolicy({ startTimeoutMs: 7000, leaseMs: 5000 }, defaults);
    expect(silenceLimitMs({ state: 'pending', leaseMs: null }, policy)).toBe(7000);
    expect(silenceLimitMs({ state: 'running', leaseMs: null }, policy)).toBe(5000);
    expect(silenceLimitMs({ state: 'running', leaseMs: 60_000 }, policy)).toBe(60_000);
  });
});
