/** Paths with parameters in braces, and what every route says of itself. */

/** The path of one deployment. */
export const DEPLOYMENT = '/v1/deployments/{deploymentId}';
/** The path of one attempt. */
export const ATTEMPT = `${DEPLOYMENT}/attempts/{attemptId}` as const;

/** The parameters of a path, by their names in braces. */
export type PathValues<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? { readonly [K in Name]: string } & PathValues<Rest>
  : unknown;

/** What every route has. */
export interface RouteOptions {
  /** The `operationId` of the documents. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'PATCH';
  /** The path, parameters in braces. */
  readonly path: string;
  readonly doc: string;
}

/** The names of the parameters in a path. */
export function pathParametersOf(path: string): readonly string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
}
