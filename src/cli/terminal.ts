/** Where the command line writes: data on stdout, everything else on stderr. */
import type { Writable } from 'node:stream';

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'blue' | 'magenta' | 'cyan';
/** Paints text, where the reader is a person who wants colours. */
export type Paint = (style: Style, text: string) => string;

/** One of the two outputs. */
export interface Output {
  /** Writes a line; resolves when the reader took it, so that a slow pipe slows the writer down. */
  line(text: string): Promise<void>;
  /** Writes text as it stands. */
  write(text: string): Promise<void>;
  readonly isTerminal: boolean;
  /** Columns of the terminal; 80 where there is none. */
  readonly columns: number;
  readonly paint: Paint;
}

/** Both outputs, and what is known of the reader. */
export interface Terminal {
  readonly out: Output;
  readonly err: Output;
  /** Whether symbols beyond ASCII can be shown. */
  readonly isUnicode: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;
interface Stream extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const CODES: Readonly<Record<Style, string>> = {
  bold: '1',
  dim: '2',
  red: '31',
  green: '32',
  yellow: '33',
  blue: '34',
  magenta: '35',
  cyan: '36',
};
const COLUMNS = 80;

/** The terminal of a process. A reader who has gone (`| head`) ends the process quietly. */
export function terminalOf(
  { stdout, stderr }: { readonly stdout: Stream; readonly stderr: Stream },
  environment: Environment,
): Terminal {
  return {
    out: outputOf(stdout, environment),
    err: outputOf(stderr, environment),
    isUnicode: isUnicode(environment),
  };
}

function outputOf(stream: Stream, environment: Environment): Output {
  const isTerminal = stream.isTTY === true;
  const painted = isTerminal && wantsColour(environment);
  const write = (text: string): Promise<void> =>
    new Promise((resolve) => {
      if (stream.write(text)) resolve();
      else stream.once('drain', resolve);
    });
  return {
    write,
    line: (text) => write(`${text}\n`),
    isTerminal,
    get columns() {
      // Some terminals say 0, which is no width to fit anything into.
      const { columns = 0 } = stream;
      return columns > 0 ? columns : COLUMNS;
    },
    paint: (style, text) =>
      painted && text !== '' ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text,
  };
}

/** See https://no-color.org: any value but the empty one. */
function wantsColour(environment: Environment): boolean {
  const noColour = environment['NO_COLOR'];
  return (noColour === undefined || noColour === '') && environment['TERM'] !== 'dumb';
}

/** What the locale says, by the precedence that POSIX gives its variables. */
function isUnicode({ LC_ALL, LC_CTYPE, LANG }: Environment): boolean {
  const locale = [LC_ALL, LC_CTYPE, LANG].find((value) => value !== undefined && value !== '');
  return locale === undefined ? process.platform !== 'win32' : /utf-?8/i.test(locale);
}
