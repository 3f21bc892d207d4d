/** The public API for other Nest modules. Everything here follows semantic versioning. */
export {
  Shipslog,
  ShipslogModule,
  ShipslogTestingModule,
  type ShipslogAsyncOptions,
  type ShipslogOptions,
} from './shipslog.module.js';
export { ManualClock } from './adapters/memory/manual-clock.js';
export {
  ArchiveDeployment,
  CancelAttempt,
  CreateDeployment,
  EndAttempt,
  MarkUnknown,
  OpenAttempt,
  ResolveUnknown,
  StartAttempt,
  UpdateDeployment,
  type Receipt,
} from './application/commands.js';
export type { HeartbeatReceipt } from './application/handle.js';
export { Refused } from './application/refused.js';
export {
  CountByState,
  CountByStateAt,
  GetAttempt,
  GetAttemptStats,
  GetDeployment,
  GetHistory,
  GetStateAt,
  GetTimeInState,
  ListAttempts,
  ListChanges,
  ListDeployments,
  ListDeploymentsAt,
  ListTransitions,
  ListUnknowns,
  type Counts,
  type LogPage,
  type Page,
  type VisiblePage,
} from './application/queries.js';
export type { ChangeView, DeploymentThen } from './application/fleet.js';
export type { AttemptCount, TimeInState, UnknownView } from './application/stats.js';
export type { AttemptView, DeploymentView, EventView } from './application/views.js';
export type { Actor, EventData, EventMetadata, EventType, State } from './domain/event-schema.js';
export { REFUSALS, type Refusal, type RefusalCode } from './domain/refusals.js';
export { TRANSITIONS, type Transition } from './domain/transitions.js';
export { Fault, FAULTS, type FaultCode } from './ports/faults.js';
export type { Position, Revision } from './ports/event-store.js';
export type { TransitionRow } from './projections/transitions.js';
