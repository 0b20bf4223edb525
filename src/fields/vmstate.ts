/**
 * A device's state, declared once; the declaration is the live state. Saving, loading, versions and
 * the checks of untrusted input derive from it, so nothing can be forgotten.
 */
import { VmError } from '../base/errors.js';
import { Reader, Writer } from './bytes.js';
import { type Field, type RecordField, record } from './field.js';

export interface VmState<T> {
  readonly name: string;
  readonly version: number;
  readonly layout: RecordField<Record<string, Field<unknown>>>;
  reset(): T;
  save(state: T): Buffer;
  /**
   * Untrusted: a VmError that names the device and the field, or a value that the device may take
   * as it is.
   */
  parse(data: Uint8Array, version: number): T;
}

/** check: throws a VmError for a combination of values that no device of ours could have saved. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export function vmstate<S extends { [K in keyof S]: Field<any> }>(
  name: string,
  version: number,
  fields: S,
  check: (state: ReturnType<RecordField<S>['reset']>) => void = () => undefined,
): VmState<ReturnType<RecordField<S>['reset']>> {
  const layout = record(fields);
  return {
    name,
    version,
    layout,
    reset: () => layout.reset(),
    save(state) {
      const w = new Writer();
      layout.write(w, state);
      return w.done();
    },
    parse(data, from) {
      try {
        if (from > version) throw new VmError(`version ${from} is newer than ours, ${version}`);
        const r = new Reader(data);
        const state = layout.read(r, from);
        r.end();
        check(state);
        return state;
      } catch (error) {
        throw error instanceof VmError ? error.during(name) : error;
      }
    },
  };
}
