import { createLogger } from './observability/logging.js';
import { serve } from './serve.js';
import { readSettings, type Settings } from './settings.js';

const EXIT_USAGE = 2;

let settings: Settings | null = null;
try {
  settings = readSettings(process.env);
} catch (error) {
  createLogger({ level: 'info', format: null }).fatal(
    String(error instanceof Error ? error.message : error),
  );
  process.exitCode = EXIT_USAGE;
}
if (settings !== null) await serve(settings);
