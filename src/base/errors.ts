/**
 * Operations fail with VmError; we being wrong is an assertion. Guest misbehaviour is neither (the
 * device acts like the chip).
 */

/** QMP's error classes (QAPI `QapiErrorClass`). */
export type QmpErrorClass =
  'GenericError' | 'CommandNotFound' | 'DeviceNotActive' | 'DeviceNotFound' | 'KVMMissingCap';

export class VmError extends Error {
  constructor(
    message: string,
    readonly options: { class?: QmpErrorClass; hint?: string; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'VmError';
  }

  get class(): QmpErrorClass {
    return this.options.class ?? 'GenericError';
  }

  /** The same failure, one step further out: "action: message". */
  during(action: string): VmError {
    return new VmError(`${action}: ${this.message}`, { ...this.options, cause: this });
  }
}

export const deviceNotFound = (id: string) =>
  new VmError(`Device '${id}' not found`, { class: 'DeviceNotFound' });

/** Wraps whatever was thrown; a system error keeps its sentence. */
export function asVmError(thrown: unknown): VmError {
  if (thrown instanceof VmError) return thrown;
  return new VmError(thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}

export class AssertionError extends Error {}

/** Not the failure of an operation: the system's own errors of these classes have a code. */
export function isOurMistake(thrown: unknown): boolean {
  const kinds = [AssertionError, TypeError, RangeError, ReferenceError];
  if (!kinds.some(kind => thrown instanceof kind)) return false;
  return (thrown as { code?: unknown }).code === undefined;
}

/**
 * The failure of an operation. A mistake of ours is thrown on, to the caller that ends what it was
 * part of.
 */
export function failureOf(thrown: unknown): VmError {
  if (isOurMistake(thrown)) throw thrown;
  return asVmError(thrown);
}

/** What a mistake of ours is called where people read of it; its stack is in the log. */
export function internalError(thrown: unknown): VmError {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new VmError(`internal error: ${text}`, { cause: thrown });
}

/**
 * For the last catch of something that runs by itself: ends it like any failure. A mistake of ours
 * reaches the process too, as an unhandled rejection.
 */
export function lastFailure(thrown: unknown): VmError {
  if (!isOurMistake(thrown)) return asVmError(thrown);
  void Promise.reject(thrown);
  return internalError(thrown);
}

/** We are wrong: what is under way stops here. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(`assertion failed: ${message}`);
}

export function assertNever(value: never): never {
  throw new AssertionError(`unexpected value ${JSON.stringify(value)}`);
}
