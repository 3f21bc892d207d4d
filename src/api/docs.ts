/** The page that shows the OpenAPI document: Swagger UI from local files, under a strict policy. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Answer } from './answer.js';

const require = createRequire(import.meta.url);

/** Scripts, styles and data from here only; no inline script or style. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The page. Its links are relative, so that it works below any path. */
export const DOCS_PAGE: Answer = {
  status: 200,
  type: 'text/html; charset=utf-8',
  headers: { 'content-security-policy': PAGE_POLICY, 'cache-control': 'no-cache' },
  body: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shipslog – HTTP interface</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<noscript>This page needs JavaScript; <a href="openapi.json">openapi.json</a> does not.</noscript>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
`,
};

// No validator: it would send the document's address to a third party.
const START = `SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  docExpansion: 'list',
});
`;

const TYPES: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};
const files = new Map<string, Answer>();

/** A file of the page; null when it has none of that name. Cost: each is read once, 1.6 MB in all. */
export async function docsFile(name: string): Promise<Answer | null> {
  const headers = { 'cache-control': 'public, max-age=3600' };
  if (name === 'start.js') {
    return { status: 200, type: 'text/javascript; charset=utf-8', body: START, headers };
  }
  const type = Object.hasOwn(TYPES, name) ? TYPES[name] : undefined;
  if (type === undefined) return null;
  const known = files.get(name);
  if (known !== undefined) return known;
  const folder = dirname(require.resolve('swagger-ui-dist/package.json'));
  const answer = { status: 200, type, body: await readFile(join(folder, name)), headers };
  files.set(name, answer);
  return answer;
}
