/** The demo goes on: one event a second, as long as somebody watches. */
import { Client } from '../client/client.js';
import { pause } from '../client/pause.js';
import { ServiceError } from '../client/service-error.js';
import { demoStory, type Plot } from './demo-story.js';
import type { Terminal } from './terminal.js';

const SECOND_MS = 1_000;
/** The service is out of reach, or does not want: that is said once in a while, not each second. */
const RETRY_MS = 5_000;

/** Opens, starts and ends attempts on the deployments of a story, until the process is ended. */
export async function keepComing(
  url: string,
  plot: Plot,
  { err }: Pick<Terminal, 'err'>,
): Promise<never> {
  const ids = [...new Set(demoStory(plot).map(({ deploymentId }) => deploymentId))];
  const client = new Client({ url, actor: 'service:demo' });
  await err.line(`DEMO  one event a second at ${url}; Ctrl-C ends it`);
  for (let turn = 0; ; turn += 1) {
    // A stride that shares no factor with the number of deployments comes by all of them.
    const deploymentId = ids[(turn * 37) % ids.length] ?? 'web-production';
    try {
      await attempt(client, deploymentId, turn % 8 === 7);
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      // What is unknown, torn down or under way is left as it is: the next one, then.
      if (error.isPassing) {
        await err.line(`DEMO  ${error.message}`);
        await pause(RETRY_MS);
      }
    }
  }
}

async function attempt(client: Client, deploymentId: string, fails: boolean): Promise<void> {
  const { attemptId = '' } = await client.call('openAttempt', { deploymentId });
  await pause(SECOND_MS);
  await client.call('startAttempt', { deploymentId, attemptId, body: { runner: { id: 'demo' } } });
  await pause(SECOND_MS);
  const body = fails
    ? ({ outcome: 'failed', exitCode: 1, reason: 'the new version did not answer' } as const)
    : ({ outcome: 'succeeded', exitCode: 0 } as const);
  await client.call('endAttempt', { deploymentId, attemptId, body });
  await pause(SECOND_MS);
}
