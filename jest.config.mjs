/** Jest runs the sources as ESM through swc; see docs/decisions/0002-toolchain.md. */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.spec.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest'] },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  setupFiles: ['reflect-metadata'],
  coverageProvider: 'v8',
  maxWorkers: '100%',
  // Nothing here waits for time; a machine that is busy with something else is no failure.
  testTimeout: 30_000,
};
