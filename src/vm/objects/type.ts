/**
 * An object type is declared once, as a command is: from its fields derive what -object, object_add
 * and object-add take, the checks, help and completion, what qom-list, qom-get and qom-set show and
 * change.
 */
import type { Claim } from '../../base/inventory.js';
import type { Disposable } from '../../base/disposable.js';
import type { CharBackend } from '../../chardev/contract.js';
import type { Host } from '../../host/ports.js';
import type { Netdev } from '../../net/contract.js';
import type { ArgsOf, Fields, Type } from '../../words/types.js';

/** What an object is made from. */
export interface ObjectContext {
  readonly host: Pick<Host, 'clock' | 'files'>;
  /** user: as a refusal names it. The claim is the object's until it is disposed. */
  netdev(id: string, user: string): Claim<Netdev>;
  chardev(id: string, user: string): Claim<CharBackend>;
  /** A line for people. */
  note(line: string): void;
}

/** A property of a live object beyond its fields: what it counts. */
export interface Counter<V> {
  readonly summary: string;
  read(object: V): number;
}

export interface VmObject extends Disposable {
  /** Set by dispose where something is still to be written: settles when it is. */
  readonly closed?: Promise<unknown>;
}

export interface ObjectType<V extends VmObject = VmObject> {
  readonly name: string;
  readonly summary: string;
  readonly notes: readonly string[];
  readonly fields: Fields;
  /**
   * early: before drives and chardevs, which may use it. late: it uses netdevs and chardevs itself.
   */
  readonly phase: 'early' | 'late';
  /** Of the properties that need not be given. */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** Properties that qom-set may change. */
  readonly changeable: readonly string[];
  /** value: checked. */
  change(object: V, property: string, value: unknown): void;
  readonly counters: Readonly<Record<string, Counter<V>>>;
  /**
   * properties: checked. Throws a VmError when the object cannot be made, and then leaves nothing
   * open.
   */
  create(
    id: string,
    properties: Readonly<Record<string, unknown>>,
    context: ObjectContext,
  ): Promise<V>;
}

interface Declaration<F extends Fields, V extends VmObject> {
  name: string;
  summary: string;
  notes?: readonly string[];
  fields: F;
  phase: 'early' | 'late';
  defaults?: Partial<ArgsOf<F>>;
  /** How qom-set changes what it may. */
  changes?: {
    readonly [K in keyof F]?: (object: V, value: F[K] extends Type<infer T> ? T : never) => void;
  };
  counters?: Readonly<Record<string, Counter<V>>>;
  create: (id: string, properties: ArgsOf<F>, context: ObjectContext) => V | Promise<V>;
}

export function objectType<F extends Fields, V extends VmObject>(
  d: Declaration<F, V>,
): ObjectType<V> {
  const changes = (d.changes ?? {}) as Readonly<
    Record<string, (object: V, value: unknown) => void>
  >;
  return {
    name: d.name,
    summary: d.summary,
    notes: d.notes ?? [],
    fields: d.fields,
    phase: d.phase,
    defaults: d.defaults ?? {},
    changeable: Object.keys(changes),
    change: (object, property, value) => changes[property](object, value),
    counters: d.counters ?? {},
    create: async (id, properties, context) => d.create(id, properties as ArgsOf<F>, context),
  };
}
