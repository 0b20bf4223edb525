/**
 * Trace events: typed, and free when off. `const trace = tracer('nbd', { lost: event<{ export:
 * string }>() })`; `trace.lost?.({ export })`. An event that nothing listens to is undefined, so
 * its fields are not even put together. Tests and `-trace enable=PATTERN` switch events on; logs
 * are for people, traces are for tests.
 */
export type TraceFields = Readonly<Record<string, string | number | bigint | boolean | undefined>>;
export interface TraceEvent {
  readonly name: string;
  readonly fields: TraceFields;
}
type Sink = (event: TraceEvent) => void;
type Emit<F extends TraceFields> = (fields: F) => void;

/** What an event is declared by: the type of its fields. */
export interface EventType<F extends TraceFields> {
  readonly fields?: F;
}
export const event = <
  F extends TraceFields = Readonly<Record<string, never>>,
>(): EventType<F> => ({});

type Declared = Readonly<Record<string, EventType<TraceFields>>>;
export type Tracer<D extends Declared> = {
  readonly [N in keyof D]: D[N] extends EventType<infer F> ? Emit<F> | undefined : never;
};

/** An event of a tracer, as the sinks switch it. */
interface Point {
  readonly name: string;
  set(emit: Emit<TraceFields> | undefined): void;
}

const points: Point[] = [];
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
  points.forEach(connect);
  return {
    dispose: () => {
      sinks.delete(entry);
      points.forEach(connect);
    },
  };
}

/** A tracer whose events are named `prefix_event`. */
export function tracer<D extends Declared>(prefix: string, declared: D): Tracer<D> {
  const events: Record<string, Emit<TraceFields> | undefined> = {};
  for (const name of Object.keys(declared)) {
    const point = {
      name: `${prefix}_${name}`,
      set: (emit: Emit<TraceFields> | undefined) => (events[name] = emit),
    };
    points.push(point);
    traceNames.add(point.name);
    connect(point);
  }
  return events as Tracer<D>;
}

function connect({ name, set }: Point): void {
  const listening = [...sinks].filter(({ pattern }) => pattern.test(name));
  if (listening.length === 0) return set(undefined);
  set(fields => listening.forEach(({ sink }) => sink({ name, fields })));
}
