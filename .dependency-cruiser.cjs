/*
 * Who may import whom, type imports included. The order is one chain,
 *
 *   domain < ports < projections < application < { api, cli, outbound } < files at the root of src
 *
 * and beside it: adapters (one folder for each technology), observability, client. Siblings do not
 * know each other; what several of them need belongs further down, or is wired in the root module.
 * docs/decisions/0009-layers-and-gates.md says why.
 */

/** Anything that Node brings along, with or without its prefix; Node 20 has no `node:sqlite` yet. */
const NODE_SQLITE = 'node:sqlite';
const NODE = `^(node:)?(sqlite|${require('node:module').builtinModules.join('|')})(/|$)`;

/** Packages by name, as they resolve inside node_modules. */
const packages = (...names) =>
  names.map((name) => `^node_modules/${name.endsWith('/') ? name : `${name}/`}`);

/** A folder of src and all that it may import; whatever is not listed is refused. */
const layer = (name, { from = `^src/${name}/`, to, because }) => ({
  name: `${name}-imports`,
  comment: because,
  severity: 'error',
  from: { path: from },
  to: { pathNot: to },
});

const CORE = ['^src/domain/', '^src/ports/'];
const BELOW_THE_SHELLS = [...CORE, '^src/projections/', '^src/application/'];
/** What an adapter may see beside its own folder and its driver. */
const ADAPTER = [
  ...CORE,
  '^src/projections/projection\\.ts$',
  '^src/adapters/(folders|ownership|system-clock)\\.ts$', // what several stores do alike
  NODE,
];
/** The drivers of each adapter; a folder without a line has none. `sql` is shared dialect code. */
const DRIVERS = {
  eventstoredb: packages('@eventstore/db-client'),
  postgres: [...packages('pg', '@types/pg'), '^src/adapters/sql/'],
  sqlite: [...packages('@photostructure/sqlite'), '^src/adapters/sql/'],
  sql: [],
};
const drivenAdapters = Object.keys(DRIVERS).join('|');

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'Two files that need each other are one file, or need a third below them.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-unresolvable',
      comment: 'An import that does not resolve.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'src-needs-no-dev-dependency',
      comment: 'What the service needs at run time is a dependency, with its reason in a decision.',
      severity: 'error',
      from: { path: '^src/' },
      to: {
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'],
        dependencyTypesNot: ['npm', 'npm-optional', 'npm-peer', 'type-only'],
      },
    },
    {
      name: 'src-needs-no-test',
      comment: 'Programs do not know their tests, benchmarks and tools.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|bench|tools|scripts|examples)/' },
    },
    {
      name: 'root-files-are-the-top',
      comment: 'Only root files, and the command line as the other entry point, see a root file.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/[^/]+$', '^src/cli/main\\.ts$'] },
      to: { path: '^src/[^/]+$' },
    },
    {
      name: 'entry-points-are-started-not-imported',
      comment: 'main.ts starts things when it is loaded.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^src/(cli/)?main\\.ts$' },
    },
    layer('domain', {
      to: ['^src/domain/'],
      because: 'Rules only: no clock, no randomness, no promise, so nothing from outside either.',
    }),
    layer('ports', {
      to: [...CORE, '^(node:)?diagnostics_channel$'],
      because: 'Ports say what is needed in the words of the domain.',
    }),
    layer('projections', {
      to: [...CORE, '^src/projections/'],
      because: 'A projection is a fold, the same for every database.',
    }),
    layer('application', {
      to: [
        ...BELOW_THE_SHELLS,
        ...packages('@nestjs/common', '@nestjs/cqrs', 'class-validator'),
        ...packages('reflect-metadata', 'rxjs'),
        '^(node:)?(assert(/strict)?|crypto)$', // assertions and digests: neither time nor IO
      ],
      because: 'The application meets the world through ports.',
    }),
    layer('api', {
      to: [
        ...BELOW_THE_SHELLS,
        '^src/api/',
        NODE,
        ...packages('@nestjs/(common|core|cqrs|platform-fastify)', 'fastify', '@fastify/[^/]+'),
        ...packages('class-validator', 'reflect-metadata', 'rxjs'),
        ...packages('swagger-ui-dist', '@types/swagger-ui-dist'),
      ],
      because: 'HTTP translates to commands and queries.',
    }),
    layer('cli', {
      to: [
        ...BELOW_THE_SHELLS,
        '^src/(cli|client)/',
        '^src/[^/]+$', // from cli/main.ts only, by root-files-are-the-top
        '^src/adapters/(folders|system-clock)\\.ts$', // the command line keeps files and measures time, too
        NODE,
        ...packages('commander', 'csv-parse'),
      ],
      because:
        'The command line talks to the service through the client, and loads no Nest itself.',
    }),
    layer('outbound', {
      to: [...BELOW_THE_SHELLS, '^src/outbound/', NODE, ...packages('@nestjs/common')],
      because: 'Outbound deliveries follow the log like any other reader.',
    }),
    layer('observability', {
      to: [
        '^src/observability/',
        '^src/ports/signals\\.ts$',
        NODE,
        ...packages('pino', 'pino-pretty', 'prom-client', '@opentelemetry/api', '@nestjs/common'),
      ],
      because: 'It hears signals; what it watches does not know it, and it does not know what.',
    }),
    layer('client', {
      to: ['^src/client/', '^src/domain/', NODE],
      because: 'The client speaks HTTP with what Node brings along.',
    }),
    {
      name: 'client-knows-only-types',
      comment: 'No rule of the domain runs in the client.',
      severity: 'error',
      from: { path: '^src/client/' },
      to: { path: '^src/domain/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'adapters-know-only-projection-types',
      comment: 'An adapter stores rows by a definition, it knows no projection.',
      severity: 'error',
      from: { path: '^src/adapters/' },
      to: { path: '^src/projections/', dependencyTypesNot: ['type-only'] },
    },
    ...Object.entries(DRIVERS).map(([name, drivers]) =>
      layer(`adapters/${name}`, {
        to: [`^src/adapters/${name}/`, ...ADAPTER, ...drivers],
        because: 'An adapter knows its own driver and no other adapter.',
      }),
    ),
    {
      name: 'adapters-without-driver-imports',
      comment: 'An adapter without a driver knows only Node; a new driver gets a line in DRIVERS.',
      severity: 'error',
      from: { path: '^src/adapters/([^/]+)', pathNot: `^src/adapters/(${drivenAdapters})/` },
      to: { pathNot: ['^src/adapters/$1(/|$)', ...ADAPTER] },
    },
    {
      name: 'no-other-folders',
      comment: 'A new folder of src gets its place in the chain, and its rule here.',
      severity: 'error',
      from: {
        path: '^src/[^/]+/',
        pathNot:
          '^src/(domain|ports|projections|application|api|cli|outbound|adapters|observability|client)/',
      },
      to: {},
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    builtInModules: { add: [NODE_SQLITE] },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'types', 'default'],
    },
  },
};
