/** What every verb that asks a service is given, and the flags that all of them take. */
import { userInfo } from 'node:os';
import { Option, type Command } from 'commander';
import { Client } from '../client/client.js';
import type { Clock } from '../ports/clock.js';
import type { Terminal } from './terminal.js';

/** What verbs that ask a service are given. */
export interface AskingContext {
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where a service is asked, by the flag or the environment. */
  readonly urlOf: (options: { readonly url?: string }) => string;
  /** Takes the exit code of a verb. */
  readonly exit: (code: number) => void;
}

/** The values of the flags that all of them take. */
export interface AskingOptions {
  readonly url?: string;
  readonly actor?: string;
  readonly json?: true;
}

/** Adds the flags that every verb that asks a service takes. */
export function addAskingFlags(command: Command): Command {
  return command
    .addOption(new Option('--json', 'print JSON'))
    .addOption(
      new Option('--url <url>', 'where the service is; else SHIPSLOG_URL, else port 3000 here'),
    )
    .addOption(
      new Option('--actor <kind:id>', 'who asks; else SHIPSLOG_ACTOR, else human and your name'),
    );
}

/** A client by the flags and the environment. */
export function clientOf(
  { environment, urlOf }: Pick<AskingContext, 'environment' | 'urlOf'>,
  options: AskingOptions,
): Client {
  return new Client({ url: urlOf(options), actor: actorOf(environment, options) });
}

/** Who asks, as `kind:id`: by the flag, the environment, or the user's name. */
export function actorOf(
  environment: AskingContext['environment'],
  { actor }: Pick<AskingOptions, 'actor'>,
): string {
  return actor ?? environment['SHIPSLOG_ACTOR'] ?? `human:${userName()}`;
}

/** The name of the user; of one without an entry, the number. Only what a header may hold. */
export function userName(): string {
  try {
    return userInfo().username.replaceAll(/[^ -~]/g, '?');
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}
