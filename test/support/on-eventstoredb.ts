/** Import this before suites: their logs are then kept in EventStoreDB; see `log-under-test.ts`. */
process.env['TEST_LOG'] = 'eventstoredb';
