import { describe, expect, it } from '@jest/globals';
import {
  lifecycle,
  lifecycleMermaid,
  lifecycleSvg,
  lifecycleTable,
} from '../../src/application/lifecycle.js';
import { STATES } from '../../src/domain/event-schema.js';
import { TRANSITIONS, type Transition } from '../../src/domain/transitions.js';

const ROWS: readonly Transition[] = TRANSITIONS;

describe('the lifecycle', () => {
  it('as data is the table', () => {
    expect(lifecycle()).toEqual({ states: STATES, items: TRANSITIONS });
  });

  it('as text has a line for each row', () => {
    const [head, ...lines] = lifecycleTable().split('\n');
    expect(head).toMatch(/^row +commands +from +to +events +when$/);
    expect(lines.map((line) => line.split(' ')[0])).toEqual(ROWS.map(({ row }) => row));
    for (const [n, { when }] of ROWS.entries()) expect(lines[n]?.endsWith(when)).toBe(true);
  });

  it('as Mermaid tells every change of state, and which rows make it', () => {
    const text = lifecycleMermaid();
    expect(text).toMatch(/^stateDiagram-v2\n/);
    expect(text).toContain('[*] --> pending: CreateDeployment (1)');
    expect(text).toContain('deploying --> ready: EndAttempt (8, 10m, 14)');
    expect(text).toContain('pending --> deploying: StartAttempt (5)');
    expect(text).not.toMatch(/(\w+) --> \1:/);
  });

  it('as SVG shows all states and rows, and needs no style that a strict policy strips', () => {
    const svg = lifecycleSvg();
    for (const state of STATES) expect(svg).toContain(`>${state}</text>`);
    for (const { row } of ROWS)
      expect(svg).toContain(`font-weight="600" fill="#1f2328">${row}</text>`);
    expect(svg).not.toMatch(/<style|style=|<script|href=|NaN|undefined/);
    const open = svg.match(/<(svg|text)\b/g)?.length;
    expect(svg.match(/<\/(svg|text)>/g)).toHaveLength(open ?? 0);
  });

  it('as SVG puts no label on another', () => {
    const labels = [
      ...lifecycleSvg().matchAll(/<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="18"/g),
    ]
      .map(([, ...numbers]) => numbers.map(Number))
      .map(([x = 0, y = 0, width = 0]) => ({ left: x, right: x + width, top: y, bottom: y + 18 }));
    expect(labels.length).toBeGreaterThan(10);
    for (const [n, a] of labels.entries()) {
      for (const b of labels.slice(n + 1)) {
        const apart =
          a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
        expect(apart).toBe(true);
      }
    }
  });
});
