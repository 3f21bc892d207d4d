import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/*
 * What the compiler cannot see. The limits on size are the ones of docs/STYLE.md; the order of
 * imports is checked by dependency-cruiser, words and file names by test/tidy.spec.ts.
 *
 * Each rule that is switched off says why beside it.
 */

const TIME_AND_CHANCE = [
  { object: 'Date', property: 'now', message: 'Take time from the Clock port.' },
  { object: 'performance', property: 'now', message: 'Take time from the Clock port.' },
  { object: 'process', property: 'hrtime', message: 'Take time from the Clock port.' },
  { object: 'Math', property: 'random', message: 'Chance comes in as an argument or a port.' },
];

const FORBIDDEN_SYNTAX = [
  {
    selector: 'TSAsExpression > TSAsExpression > TSUnknownKeyword',
    message: 'Two casts in a row hide a wrong type: parse, or narrow.',
  },
];

const FORBIDDEN_SYNTAX_IN_SRC = [
  ...FORBIDDEN_SYNTAX,
  {
    selector: 'NewExpression[callee.name="Date"][arguments.length=0]',
    message: 'Take time from the Clock port.',
  },
  { selector: 'ExportDefaultDeclaration', message: 'Exports have names.' },
];

const NO_BARRELS = [
  { selector: 'ExportAllDeclaration', message: 'src/index.ts is the only barrel.' },
  { selector: 'ExportNamedDeclaration[source]', message: 'src/index.ts is the only barrel.' },
];

export default defineConfig(
  globalIgnores(['**/dist/', 'coverage/', 'data/', 'examples/', '.nest-host/']),
  {
    // A rule that is wrong is changed here, for everybody, with its reason.
    linterOptions: { noInlineConfig: true, reportUnusedInlineConfigs: 'error' },
    rules: {
      // `== null` is the one way to say null or undefined.
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-console': 'error',
      'no-self-compare': 'error',
      'no-template-curly-in-string': 'error',
      'no-unreachable-loop': 'error',
      'no-constructor-return': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'prefer-object-has-own': 'error',
      'max-lines': ['error', 500],
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
      'max-params': ['error', 3],
      // A switch over a union counts as one branch: it is a table, and the compiler finds a hole.
      complexity: ['error', { max: 10, variant: 'modified' }],
    },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      // A missing case is an error even beside a default, which would swallow it.
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: false, requireDefaultForNonUnion: true },
      ],
      // `{ secret: _, ...rest }` is how a member is left out.
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
      // Loops that wait and stop themselves are written `while (true)`.
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      // `[...text].length` counts code points, which is how lengths of texts are bounded.
      '@typescript-eslint/no-misused-spread': ['error', { allow: ['string'] }],
      // Nest declares its options as classes and means plain objects.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      // Nest modules and controllers are classes for the decorator's sake.
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      // Numbers, revisions and positions print the same everywhere; null and objects do not.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // `this: void` says that a method may be called without its object.
      '@typescript-eslint/no-invalid-void-type': ['error', { allowAsThisParameter: true }],
      // `(x) => emit(x)` as a listener is clear, whatever emit returns.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Ports are interfaces, unions and rows are type aliases: the form tells which one it is.
      '@typescript-eslint/consistent-type-definitions': 'off',
      // A port's method answers with a promise, and `async` turns its throw into a rejection, also
      // in an adapter that has nothing to wait for.
      '@typescript-eslint/require-await': 'off',
      // A type parameter that is used once picks a branded or a typed result at the call.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      'no-restricted-syntax': ['error', ...FORBIDDEN_SYNTAX],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      'no-restricted-properties': ['error', ...TIME_AND_CHANCE],
      'no-restricted-syntax': ['error', ...FORBIDDEN_SYNTAX_IN_SRC, ...NO_BARRELS],
    },
  },
  {
    files: ['src/index.ts'],
    rules: { 'no-restricted-syntax': ['error', ...FORBIDDEN_SYNTAX_IN_SRC] },
  },
  {
    // The one place where the machine's clocks are read.
    files: ['src/adapters/system-clock.ts'],
    rules: {
      'no-restricted-properties': 'off',
      'no-restricted-syntax': ['error', ...FORBIDDEN_SYNTAX, ...NO_BARRELS],
    },
  },
  {
    // Written by a test and by `npm run client`; they grow with the routes.
    files: ['src/api/examples.ts', 'src/client/operations.ts'],
    rules: { 'max-lines': 'off' },
  },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts', 'tools/**/*.ts'],
    rules: {
      // A describe block is a list, and grows with what it lists.
      'max-lines-per-function': 'off',
      // A test that reads a missing item fails there and then, which is what it is for.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // expect(object.method) compares a function, it does not call it.
      '@typescript-eslint/unbound-method': 'off',
      // A stub of a callback that must not be called is empty.
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/explicit-module-boundary-types': 'off',
    },
  },
  {
    // Programs for a terminal: their output is their purpose.
    files: ['bench/**/*.ts', 'tools/**/*.ts', '**/*.mjs', '**/*.cjs'],
    rules: { 'no-console': 'off' },
  },
);
