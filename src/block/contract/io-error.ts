/**
 * Errors of requests: a sentence for people and the errno that a guest or an NBD client is told.
 */
import { AssertionError, VmError } from '../../base/errors.js';

export type IoCode = 'EIO' | 'EPERM' | 'ENOSPC' | 'EINVAL' | 'ENOMEM' | 'ESHUTDOWN' | 'ENOTSUP';

export function ioError(code: IoCode, message: string): VmError {
  return new VmError(message, { cause: { code } });
}

const aliases: Record<string, IoCode> = {
  EACCES: 'EPERM',
  EROFS: 'EPERM',
  EDQUOT: 'ENOSPC',
  EFBIG: 'ENOSPC',
  EOPNOTSUPP: 'ENOTSUP',
};
const known: readonly string[] = [
  'EIO',
  'EPERM',
  'ENOSPC',
  'EINVAL',
  'ENOMEM',
  'ESHUTDOWN',
  'ENOTSUP',
];

/** An assertion is not an error of a request: it is thrown on, and the process stops. */
export function unlessAssertion(thrown: unknown): unknown {
  if (thrown instanceof AssertionError) throw thrown;
  return thrown;
}

/** The code anywhere in the chain of causes, as the system or we put it there. */
function systemCode(thrown: unknown): string | undefined {
  for (let depth = 0, at = thrown; depth < 8 && typeof at === 'object' && at !== null; depth++) {
    const { code, cause, options } = at as {
      code?: unknown;
      cause?: unknown;
      options?: { cause?: unknown };
    };
    if (typeof code === 'string') return code;
    at = cause ?? options?.cause;
  }
  return undefined;
}

export function ioCode(thrown: unknown): IoCode {
  const code = systemCode(thrown) ?? 'EIO';
  if (known.includes(code)) return code as IoCode;
  return aliases[code] ?? 'EIO';
}

export function isMissingFile(thrown: unknown): boolean {
  return systemCode(thrown) === 'ENOENT';
}

/** No server listens there, or not yet. */
export function isAbsentServer(thrown: unknown): boolean {
  return [
    'ECONNREFUSED',
    'ENOENT',
    'ECONNRESET',
    'ETIMEDOUT',
    'EHOSTUNREACH',
    'ENETUNREACH',
  ].includes(systemCode(thrown) ?? '');
}
