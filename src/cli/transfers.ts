/** Export and import of a log as lines of JSON. */
import { createReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFolder } from '../adapters/folders.js';
import type { PatienceOptions } from '../application/bulk-append.js';
import { exportLog, importLog, type Contents } from '../application/transfer.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { inWords, Progress, withCommas } from './progress.js';
import type { Terminal } from './terminal.js';
import { withFile } from './usage.js';
import type { LocalContext, Workshop } from './workshop.js';

/** Writes the log as lines into a new file, or to stdout. */
export async function exportTo(
  { terminal }: LocalContext,
  { clock, openLogToRead }: Workshop,
  { output }: { readonly output?: string },
): Promise<ExitCode> {
  const store = await openLogToRead();
  const progress = new Progress(terminal, clock, { verb: 'export', unit: 'events' });
  let file: FileHandle | null = null;
  try {
    // A file of that name is somebody's copy already; it is never overwritten.
    if (output !== undefined)
      file = await withFile(`--output ${output}`, () => open(output, 'wx', 0o600));
    const contents = await exportLog({
      store,
      write: async (lines) => {
        if (file === null) await terminal.out.write(lines);
        else await file.write(lines);
      },
      onProgress: (step) => progress.update(step),
    });
    await file?.sync();
    if (output !== undefined) syncFolder(dirname(output));
    progress.end();
    await terminal.err.line(
      `${told(contents)} written${output === undefined ? '' : ` to ${output}`}`,
    );
    return EXIT.ok;
  } finally {
    progress.end();
    await file?.close();
    await store.close();
  }
}

/** Appends the lines of a file to the log, or refuses it naming the line. */
export async function importFrom(
  { terminal }: LocalContext,
  { clock, random, openLog }: Workshop,
  { file, json, waitMs }: { readonly file: string; readonly json?: true; readonly waitMs: number },
): Promise<ExitCode> {
  await assertFile(file); // before the log is made, where there is none yet
  const store = await openLog();
  const steps = new Map<string, Progress>();
  const end = (): void => steps.forEach((progress) => progress.end());
  try {
    const outcome = await importLog({
      store,
      lines: () => linesOf(file),
      patience: { clock, random, forMs: waitMs, onOutage: tellingOutages(terminal, waitMs, end) },
      onProgress: ({ step, ...rest }) => {
        const unit = step === 'check' ? 'lines' : 'events';
        const known = steps.get(step);
        if (known === undefined) end();
        const progress = known ?? new Progress(terminal, clock, { verb: step, unit });
        steps.set(step, progress);
        progress.update(rest);
      },
    });
    end();
    if (!outcome.ok) {
      const { line, problem } = outcome.refusal;
      await terminal.err.line(`${file}, line ${line}: ${problem}`);
      return EXIT.refused;
    }
    const { file: contents, present } = outcome;
    const added = contents.events - present;
    await terminal.out.line(
      json
        ? JSON.stringify({ ...contents, added, present })
        : `${told(contents)}: ${withCommas(added)} added, ${withCommas(present)} were there; both sides agree`,
    );
    return EXIT.ok;
  } finally {
    end();
    await store.close();
  }
}

/** Tells of an outage of the log that is waited out, and of its end, beside the bars. */
export function tellingOutages(
  { err }: Terminal,
  waitMs: number,
  endBars: () => void,
): NonNullable<PatienceOptions['onOutage']> {
  return (outage) => {
    endBars();
    void err.line(
      'problem' in outage
        ? `shipslog import: ${outage.problem}; waiting for it, ${inWords(waitMs)} at most`
        : `shipslog import: the log answers again after ${inWords(outage.overAfterMs)}; going on`,
    );
  };
}

async function assertFile(file: string): Promise<void> {
  const named = `import ${file}`;
  const handle = await withFile(named, () => open(file, 'r'));
  const isFolder = (await handle.stat()).isDirectory();
  await handle.close();
  if (isFolder) throw new Error(`${named}: it is a folder, not a file that export has written`);
}

/** The lines of a file. Only line feeds end one: JSON may hold the other line ends of Unicode as they are. */
export async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of createReadStream(file, { encoding: 'utf8' })) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') yield rest;
}

function told({ events, streams, digest }: Contents): string {
  return `${withCommas(events)} events of ${withCommas(streams)} deployments (${digest.slice(0, 12)})`;
}
