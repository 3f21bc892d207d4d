/**
 * Runs a task as a user whom the modes of files bind; root is bound by none.
 * Only for a task whose modules are loaded: this user may not be able to read them.
 */
export async function asAnybody<T>(task: () => T | Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return task();
  process.seteuid?.('nobody');
  try {
    return await task();
  } finally {
    process.seteuid?.(0);
  }
}
