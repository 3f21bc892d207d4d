/** The thread that writes the log: takes one group at a time, answers when it is on the disk. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Fault } from '../../ports/faults.js';
import { LogWriter, type LogWriterOptions } from './log-writer.js';
import { isLone, toGroup, toPlaces, type FromWriter, type ToWriter } from './writer-messages.js';

type Group = Extract<ToWriter, { type: 'group' }>;

/**
 * Looks for the next message after a group of one, about 50 µs: a caller who is alone comes back at once,
 * and a thread that has gone to sleep takes 30 µs to wake.
 */
const LOOKS_MAX = 500;

const port = parentPort;
if (port === null) throw new Error('this file runs as a worker thread');
const say = (message: FromWriter): void => {
  port.postMessage(message);
};
let isOver = false;

function start(): void {
  try {
    const writer = LogWriter.open(workerData as LogWriterOptions);
    const { position, sqliteVersion, synchronous, loss, endWasKnown } = writer;
    say({ type: 'opened', position, sqliteVersion, synchronous, loss, endWasKnown });
    port?.on('message', (message: ToWriter) => {
      serve(writer, message);
      if (isLone(message)) serveWhatComesAtOnce(writer);
    });
  } catch (error) {
    stop(error);
  }
}

function serveWhatComesAtOnce(writer: LogWriter): void {
  if (port === null) return;
  for (let looks = 0; looks < LOOKS_MAX && !isOver; looks++) {
    const next = receiveMessageOnPort(port) as { readonly message: ToWriter } | undefined;
    if (next === undefined) continue;
    serve(writer, next.message);
    looks = isLone(next.message) ? 0 : LOOKS_MAX;
  }
}

function serve(writer: LogWriter, message: ToWriter): void {
  if (isOver) return;
  try {
    switch (message.type) {
      case 'group':
        write(writer, message);
        return;
      case 'room':
        say({ type: 'room', hasRoom: writer.hasRoom() });
        return;
      case 'close':
        isOver = true;
        writer.close();
        say({ type: 'closed' });
        port?.close();
    }
  } catch (error) {
    stop(error);
  }
}

function write(writer: LogWriter, message: Group): void {
  try {
    say({ type: 'committed', places: toPlaces(writer.append(toGroup(message))) });
  } catch (error) {
    if (!isHarmless(error)) throw error;
    say({ type: 'failed', code: error.code, detail: error.message });
    return;
  }
  writer.settle();
}

function isHarmless(error: unknown): error is Fault {
  return error instanceof Fault && ['STORE_FULL', 'STORE_UNAVAILABLE'].includes(error.code);
}

/** Says why and touches the file no more: after an I/O error only reopening tells what is on the disk. */
function stop(error: unknown): void {
  isOver = true;
  port?.removeAllListeners('message');
  if (error instanceof Fault) say({ type: 'stopped', code: error.code, detail: error.message });
  else throw error;
}

start();
