/** The objects of one machine: what was added, who uses it, what may be changed. */
import { filesClosed } from '../closing.js';
import { deviceNotFound, VmError } from '../../base/errors.js';
import type { Disposable } from '../../base/disposable.js';
import { type Claim, Inventory } from '../../base/inventory.js';
import { neededWord, readNamed } from '../../words/named.js';
import type { Type } from '../../words/types.js';
import { checkFields } from '../../words/types.js';
import { objectTypeNamed } from './all.js';
import type { ObjectType, ObjectContext, VmObject } from './type.js';
import { fromWords } from '../../words/from-words.js';

const MAX_OBJECTS = 256;

/** `-object` as parsed: an id, a type, and properties that its fields have checked. */
export interface ObjectRequest {
  readonly id: string;
  readonly type: ObjectType;
  readonly properties: Readonly<Record<string, unknown>>;
}

interface Live {
  readonly type: ObjectType;
  readonly value: VmObject;
  readonly properties: Record<string, unknown>;
}

/** `filter-buffer,id=b0,netdev=hn0,...` */
export function readObject(text: string): ObjectRequest {
  const { kind, id, own } = readNamed(text, 'qom-type');
  const type = objectTypeNamed(kind);
  return { id: neededWord(id, 'id'), type, properties: fromWords(type.fields, own) };
}

export class Objects implements Disposable {
  private readonly live = new Inventory<Live>({
    kind: 'object',
    limit: MAX_OBJECTS,
    use: 'shared',
    duplicate: id =>
      new VmError(`attempt to add duplicate property '${id}' to object (type 'container')`, {
        hint: `There is an object with id '${id}' already: object_del ${id}.`,
      }),
  });

  constructor(private readonly context: ObjectContext) {}

  async add({ id, type, properties }: ObjectRequest): Promise<void> {
    const all = { ...type.defaults, ...properties };
    await this.live.add(id, async () => ({
      type,
      value: await type.create(id, all, this.context),
      properties: all,
    }));
  }

  /** As QMP sends it. */
  async objectAdd(
    typeName: string,
    id: string,
    given: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const type = objectTypeNamed(typeName);
    await this.add({ id, type, properties: checkFields(type.fields, given) });
  }

  /** As a line has it. */
  async objectAddText(text: string): Promise<void> {
    return this.add(readObject(text));
  }

  objectDel(id: string): void {
    const found = this.live.take(id);
    if (!found) throw new VmError(`object '${id}' not found`);
    found.value.dispose();
  }

  /**
   * The object of one of these types. user: as a refusal of object-del names it. Whoever claims it
   * disposes of the claim.
   */
  claim<V extends Disposable>(types: readonly ObjectType<V>[], id: string, user: string): Claim<V> {
    const found = this.live.get(id);
    if (!found) throw new VmError(`No object with id '${id}'`);
    if (!types.some(type => type.name === found.type.name)) {
      throw new VmError(
        `Object with id '${id}' is a ${found.type.name}, not a ` +
          `${types.map(type => type.name).join(' or ')}`,
      );
    }
    const claim = this.live.claim(id, user);
    return { value: claim.value.value as V, dispose: () => claim.dispose() };
  }

  list() {
    return this.live.ids.map(id => ({
      id,
      type: this.need(id).type.name,
      users: this.live.usersOf(id),
    }));
  }

  properties(id: string) {
    const { type } = this.need(id);
    const fields = Object.entries(type.fields).map(([name, field]) => ({
      name,
      type: typeName(field),
    }));
    return [...fields, ...Object.keys(type.counters).map(name => ({ name, type: 'int' }))];
  }

  get(id: string, property: string): unknown {
    const { type, value, properties } = this.need(id);
    if (property === 'type') return type.name;
    if (Object.hasOwn(type.counters, property)) return type.counters[property].read(value);
    if (!Object.hasOwn(type.fields, property)) throw noProperty(type, property);
    return properties[property];
  }

  set(id: string, property: string, value: unknown): void {
    const { type, value: object, properties } = this.need(id);
    if (!Object.hasOwn(type.fields, property) && !Object.hasOwn(type.counters, property))
      throw noProperty(type, property);
    if (!type.changeable.includes(property)) {
      throw new VmError(
        `Property '${type.name}.${property}' cannot be changed while the object is there`,
        { hint: `What can be: ${type.changeable.join(', ') || 'nothing'}.` },
      );
    }
    const checked = type.fields[property].check(value, property);
    type.change(object, property, checked);
    properties[property] = checked;
  }

  /** Disposes in reverse order, because an object may use one that was added before it. */
  dispose(): void {
    for (const { value } of this.live.values.reverse()) value.dispose();
  }

  /** Resolves when every object that writes a file has written it, or hangs. */
  async close(): Promise<void> {
    this.dispose();
    const { host, note } = this.context;
    await filesClosed(
      host.clock,
      this.live.values.map(({ value }) => value.closed),
      line => note(line),
    );
  }

  private need(id: string): Live {
    const found = this.live.get(id);
    if (!found) throw deviceNotFound(id);
    return found;
  }
}

const noProperty = (type: ObjectType, property: string) =>
  new VmError(`Property '${type.name}.${property}' not found`, {
    hint: `It has ${[...Object.keys(type.fields), ...Object.keys(type.counters)].join(', ')}.`,
  });

const typeName = (type: Type) => type.describe({ add: name => name, builtin: name => name });
