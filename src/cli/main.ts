#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { systemClock } from '../adapters/system-clock.js';
import { EXIT } from './exit-codes.js';
import { runCommandLine } from './program.js';
import { terminalOf } from './terminal.js';
import { usageError } from './usage.js';
import type { Verb } from './verb-table.js';
import type { Serve, Workshop } from './workshop.js';
import type { Settings } from '../settings.js';

/** Read from package.json, which lies two folders up in the sources and in the package. */
const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string };

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.error);
});

/** What these run is told of signals, or ends gracefully by them; the others just end. */
const TAKE_SIGNALS: ReadonlySet<string | undefined> = new Set(['run', 'serve']);
if (!TAKE_SIGNALS.has(process.argv[2])) {
  process.once('SIGINT', () => process.exit(EXIT.interrupted));
}

// A verb that waits for a store or a service may have nothing but timers that let a process end.
const atWork = setInterval(() => undefined, 60_000);
process.exitCode = await runCommandLine({
  args: process.argv.slice(2),
  environment: process.env,
  terminal: terminalOf(process, process.env),
  version,
  clock: systemClock,
  verbs: await verbs(),
  workshop,
  serve: serveHere,
});
clearInterval(atWork);

/** As the build wrote them down; where nothing was built, from what they are made of. */
async function verbs(): Promise<readonly Verb[]> {
  const written = new URL('./verbs.json', import.meta.url);
  if (existsSync(written)) return JSON.parse(readFileSync(written, 'utf8')) as readonly Verb[];
  const { serviceVerbs } = await import('../verbs.js');
  return serviceVerbs(version);
}

/** The stores of the settings; loaded only for verbs that need them. */
async function workshop(): Promise<Workshop> {
  const settings = await settingsOf({});
  const { workshopOf } = await import('../local.js');
  return workshopOf(settings);
}

/** Becomes the service: from here on it ends the process itself, with its own exit codes. */
async function serveHere(...[overrides, options]: Parameters<Serve>): ReturnType<Serve> {
  const settings = await settingsOf(overrides);
  const service = await import('../serve.js');
  await service.serve(settings, options);
}

async function settingsOf(overrides: Readonly<Record<string, string>>): Promise<Settings> {
  const { readSettings } = await import('../settings.js');
  const { assertPlaces } = await import('../stores.js');
  try {
    const settings = readSettings({ ...process.env, ...overrides });
    assertPlaces(settings);
    return settings;
  } catch (error) {
    throw usageError(error);
  }
}
