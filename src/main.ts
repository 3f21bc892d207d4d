/** Starts the service. Until it can stop gracefully, which takes a moment to load, a signal ends it at once. */
const stop = (): void => process.exit(0);
process.once('SIGTERM', stop);
process.once('SIGINT', stop);

const EXIT_USAGE = 2;
const { readSettings } = await import('./settings.js');

try {
  const settings = readSettings(process.env);
  const { assertPlaces } = await import('./stores.js');
  assertPlaces(settings);
  const { serve } = await import('./serve.js');
  process.off('SIGTERM', stop);
  process.off('SIGINT', stop);
  await serve(settings);
} catch (error) {
  process.stderr.write(`shipslog: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = EXIT_USAGE;
}
