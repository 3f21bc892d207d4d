/** Requests and what they were really answered; made and checked by test/api/openapi.spec.ts. */

/** An exchange of one route. */
export interface Example {
  readonly request?: unknown;
  readonly answer?: unknown;
  readonly problem?: { readonly status: number; readonly [member: string]: unknown };
}

export const EXAMPLES: Readonly<Record<string, Example>> = {};
