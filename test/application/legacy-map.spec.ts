import { describe, expect, it } from '@jest/globals';
import { EXAMPLE_MAP, parseLegacyMap, type LegacyMap } from '../../src/application/legacy-map.js';
import { RowReader, instantIn, type Cells } from '../../src/application/legacy-rows.js';
import type { DeploymentId } from '../../src/domain/event-schema.js';
import { idOf } from '../support/events.js';

const SMALL = {
  deployments: { id: 'id' },
  attempts: { id: 'no', deploymentId: 'dep', openedAt: 'opened' },
};

function mapOf(members: object): LegacyMap {
  const parsed = parseLegacyMap(JSON.stringify({ ...SMALL, ...members }));
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.map;
}

describe('a map', () => {
  it('to begin with is a right one, and its comments do not count', () => {
    expect(parseLegacyMap(EXAMPLE_MAP)).toMatchObject({
      ok: true,
      map: { nulls: new Set(['', '\\N', 'NULL']), utcOffset: 'Z', delimiter: ',', escape: '"' },
    });
    expect(mapOf({}).nulls).toEqual(new Set(['', '\\N', 'NULL']));
  });

  it.each<[string, object, string, RegExp]>([
    [
      'has no object',
      { deployments: { id: 'id', labels: [] } },
      '/deployments/labels',
      /an object/,
    ],
    ['misspells a table', { attemps: {} }, '/attemps', /did you mean attempts\?/],
    [
      'misspells a member',
      { deployments: { id: 'id', enviroment: 'e' } },
      '/deployments/enviroment',
      /did you mean environment\?/,
    ],
    ['names no column of an id', { deployments: {} }, '/deployments/id', /is missing/],
    ['names no time', { attempts: { id: 'a', deploymentId: 'd' } }, '/attempts', /openedAt/],
    ['names a column by a number', { deployments: { id: 1 } }, '/deployments/id', /a text/],
    ['has an outcome that is none', { outcomes: { 'a/b': 'ok' } }, '/outcomes/a~1b', /succeeded/],
    ['has a scope that is no text', { scopes: { a: null } }, '/scopes/a', /a text/],
    ['has an offset that is none', { utcOffset: '2' }, '/utcOffset', /\+02:00/],
    ['has two letters for one', { delimiter: '||' }, '/delimiter', /one letter/],
    ['has an empty reason', { acknowledgeUnknown: '' }, '/acknowledgeUnknown', /a reason/],
    ['has no list of nulls', { nulls: '' }, '/nulls', /list of texts/],
  ])('that %s is told so, where it is', (...[, members, pointer, says]) => {
    const parsed = parseLegacyMap(JSON.stringify({ ...SMALL, ...members }));
    expect(parsed).toEqual({
      ok: false,
      problems: [{ pointer, message: expect.stringMatching(says) }],
    });
  });

  it('that is no JSON is told so', () => {
    expect(parseLegacyMap('{')).toMatchObject({ ok: false, problems: [{ pointer: '' }] });
  });
});

describe('a time', () => {
  it.each([
    ['2024-03-01 10:00:00', '2024-03-01T10:00:00.000Z'],
    ['2024-03-01 10:00', '2024-03-01T10:00:00.000Z'],
    ['2024-03-01T10:00:00.123456Z', '2024-03-01T10:00:00.123Z'],
    ['2024-03-01 10:00:00.5+02', '2024-03-01T08:00:00.500Z'],
    ['2024-03-01 10:00:00-0330', '2024-03-01T13:30:00.000Z'],
    ['2024-03-01 10:00:00+05:30', '2024-03-01T04:30:00.000Z'],
    ['2024-03-01 10:00:00 UTC', '2024-03-01T10:00:00.000Z'],
    ['1709287200', '2024-03-01T10:00:00.000Z'],
    ['1709287200.25', '2024-03-01T10:00:00.250Z'],
    ['1709287200123', '2024-03-01T10:00:00.123Z'],
    ['1709287200123456', '2024-03-01T10:00:00.123Z'],
    ['2024-02-30 10:00:00', null],
    ['2024-03-01 25:00:00', null],
    ['2024-03-01', null],
    ['yesterday', null],
    ['12', null],
  ])('of %j is %j', (text, instant) => {
    expect(instantIn(text, 'Z')).toBe(instant);
  });

  it('without an offset has that of the map', () => {
    expect(instantIn('2024-03-01 10:00:00', '+02:00')).toBe('2024-03-01T08:00:00.000Z');
    expect(instantIn('2024-03-01 10:00:00Z', '+02:00')).toBe('2024-03-01T10:00:00.000Z');
  });
});

describe('a row', () => {
  const NOW = '2026-01-01T00:00:00.000Z';
  const cellsOf =
    (cells: Readonly<Record<string, string>>): Cells =>
    (column) =>
      cells[column] ?? null;

  it('of an attempt says what its columns say, by the words of the map', () => {
    const map = mapOf({
      attempts: {
        ...{ id: 'no', deploymentId: 'dep', scope: 'kind', status: 'st', exitCode: 'code' },
        ...{ openedAt: ['queued', 'opened'], endedAt: 'ended', reason: 'why', meta: 'extra' },
      },
      ...{ scopes: { install: 'full' }, outcomes: { ok: 'succeeded' } },
    });
    const read = new RowReader(map, NOW).attempt(
      cellsOf({
        ...{ no: '7', kind: 'install', st: 'ok', code: '-1', queued: '\\N' },
        ...{ opened: '2024-03-01 10:00:00', ended: '0000-00-00 00:00:00' },
        ...{ why: `a\u001b[1m\n${'x'.repeat(2_000)}`, extra: '{"version":7}' },
      }),
    );
    expect(read).toEqual({
      ok: true,
      value: {
        ...{ attemptId: '7', scope: 'full', status: 'ok', meaning: 'succeeded', exitCode: -1 },
        openedAt: '2024-03-01T10:00:00.000Z',
        reason: `a [1m\n${'x'.repeat(993)}…`,
        meta: { version: 7 },
      },
    });
  });

  it('of a deployment has labels from columns, or from one that holds JSON', () => {
    const id = idOf<DeploymentId>('d');
    const deploymentOf = (labels: unknown, cells: Readonly<Record<string, string>>): unknown => {
      const map = mapOf({ deployments: { id: 'id', name: 'name', labels } });
      return new RowReader(map, NOW).deployment(id, cellsOf(cells));
    };
    expect(deploymentOf({ team: 't', tier: 'none' }, { t: 'shop', name: 'two\nlines' })).toEqual({
      ok: true,
      value: { deploymentId: 'd', name: 'two lines', labels: { team: 'shop' } },
    });
    expect(deploymentOf('l', { l: '{"a":1,"b":null,"c":"x"}' })).toMatchObject({
      value: { labels: { a: '1', c: 'x' } },
    });
    expect(deploymentOf('l', { l: 'a=1' })).toMatchObject({ ok: false });
  });

  it.each<[Readonly<Record<string, string>>, RegExp]>([
    [{ no: 'a b' }, /"a b" is no attempt id/],
    [{}, /the id of the attempt has no value/],
    [{ no: '1', opened: 'soon' }, /openedAt is "soon", which is no time/],
    [{ no: '1', opened: '1999-12-31 23:59:59' }, /from the year 2000 up to now/],
    [{ no: '1', opened: '2026-01-01 00:06:00' }, /from the year 2000 up to now/],
    [{ no: '1', code: '1.5' }, /exitCode is "1\.5"/],
    [{ no: '1', code: '9999999999' }, /exitCode is/],
  ])('with %j can not be read', (cells, problem) => {
    const attempts = { ...SMALL.attempts, exitCode: 'code' };
    const read = new RowReader(mapOf({ attempts }), NOW).attempt(cellsOf(cells));
    expect(read).toEqual({ ok: false, problem: expect.stringMatching(problem) });
  });
});
