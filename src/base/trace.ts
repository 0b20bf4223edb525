/**
 * Trace events: typed and cheap. `const trace = tracer('colo')`; `trace('send_message', { message
 * })`. Off by default: one Set look-up. Tests and `-trace enable=PATTERN` switch them on; logs are
 * for people, traces are for tests.
 */
export type TraceFields = Readonly<Record<string, string | number | bigint | boolean | undefined>>;
export interface TraceEvent {
  readonly name: string;
  readonly fields: TraceFields;
}
type Sink = (event: TraceEvent) => void;

const sinks = new Set<{ pattern: RegExp; sink: Sink }>();
/** Every name that a tracer has announced, for `info trace-events`. */
export const traceNames = new Set<string>();

/** Calls sink for every event whose name matches the glob (`colo*`). Returns the way to stop. */
export function onTrace(glob: string, sink: Sink): { dispose(): void } {
  const pattern = new RegExp(
    `^${glob.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`,
  );
  const entry = { pattern, sink };
  sinks.add(entry);
  return { dispose: () => void sinks.delete(entry) };
}

/** A tracer whose events are named `prefix_event`. `names` announces them. */
export function tracer<N extends string>(
  prefix: string,
  names: readonly N[],
): (name: N, fields?: TraceFields) => void {
  for (const name of names) traceNames.add(`${prefix}_${name}`);
  return (name, fields = {}) => {
    if (sinks.size === 0) return;
    const full = `${prefix}_${name}`;
    for (const { pattern, sink } of sinks) if (pattern.test(full)) sink({ name: full, fields });
  };
}
