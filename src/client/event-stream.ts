/** Server-Sent Events, as the HTML standard reads them. */

/** One message: its id, or null when it had none, and its data. */
export interface StreamMessage {
  readonly id: string | null;
  readonly data: string;
}

/** A line longer than this is no event of ours, which have at most 1 MiB. */
const LINE_CHARACTERS_MAX = 4 * 1024 * 1024;

/** Reads the messages of a stream of events; comments and other fields are passed over. */
export async function* messagesOf(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<StreamMessage, void, void> {
  let id: string | null = null;
  let data: string[] = [];
  for await (const line of linesOf(chunks)) {
    const [field, value] = fieldOf(line);
    if (field === 'id') id = value;
    if (field === 'data') data.push(value);
    if (line !== '' || (id === null && data.length === 0)) continue;
    yield { id, data: data.join('\n') };
    [id, data] = [null, []];
  }
}

async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > LINE_CHARACTERS_MAX) throw new Error('a line of the stream is too long');
    yield* lines.map((line) => line.replace(/\r$/, ''));
  }
}

function fieldOf(line: string): readonly [field: string, value: string] {
  const colon = line.indexOf(':');
  if (colon === -1) return [line, ''];
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
}
