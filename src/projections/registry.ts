import { attempts } from './attempts.js';
import { deployments } from './deployments.js';
import type { Projection } from './projection.js';
import { stays } from './stays.js';
import { transitions } from './transitions.js';
import { unknowns } from './unknowns.js';

/** All read models. A new one is one file and one line here. */
export const PROJECTIONS: readonly Projection[] = [
  deployments,
  attempts,
  transitions,
  stays,
  unknowns,
];
