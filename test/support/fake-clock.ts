export { ManualClock as FakeClock, settled } from '../../src/adapters/memory/manual-clock.js';
