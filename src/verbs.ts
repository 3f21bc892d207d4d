/** The verbs of the command line, made from the tables of the service. The build keeps them as a file. */
import 'reflect-metadata';
import { openApiDocument } from './api/openapi.js';
import { verbTable, type ApiDocument, type Verb } from './cli/verb-table.js';

/** Makes the table of verbs of this version. Loads what describes the service: not for a quick start. */
export function serviceVerbs(version: string): readonly Verb[] {
  // As JSON tells it: what the schemas of the document have in common.
  return verbTable(JSON.parse(JSON.stringify(openApiDocument(version))) as ApiDocument);
}
