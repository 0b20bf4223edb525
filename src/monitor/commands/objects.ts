/** Objects: filters and what else `-object` makes; their properties. */
import { VmError } from '../../base/errors.js';
import { objectHelp } from '../../vm/objects/all.js';
import { command, hmp } from '../schema.js';
import { anything, list, rest, str, struct } from '../../words/types.js';
import type { Vm } from '../../vm/vm.js';

const property = struct('ObjectPropertyInfo', { name: str(), type: str() });
const path = str('/objects, /objects/ID, or the id alone', { complete: 'objects' });

export const objectCommands = [
  command({
    name: 'object-add',
    since: '0.1',
    summary: 'create an object',
    notes: ['object_add help lists the types, object_add TYPE,help the properties of one.'],
    examples: ['object_add filter-dump,id=d0,netdev=hn0,file=/tmp/hn0.pcap'],
    open: true,
    args: { 'qom-type': str('its type', { complete: 'object-types' }), id: str('its name') },
    run: (vm, { 'qom-type': type, id, ...properties }) =>
      vm.objects.objectAdd(type, id, properties),
    hmp: hmp(
      { object: { ...rest('TYPE,id=ID,PROPERTY=VALUE,...'), complete: 'object-types' } },
      async (vm, { object }) => {
        const help = objectHelp(object);
        if (help === undefined) await vm.objects.objectAddText(object);
        return help;
      },
    ),
  }),
  command({
    name: 'object-del',
    since: '0.1',
    summary: 'destroy an object that nobody uses',
    examples: ['object_del f0'],
    args: { id: str('its name', { complete: 'objects' }) },
    run: (vm, { id }) => vm.objects.objectDel(id),
  }),
  command({
    name: 'qom-list',
    hmpName: 'qom-list',
    since: '0.1',
    summary: 'list the objects, or the properties of one',
    examples: ['qom-list /objects'],
    args: { path },
    returns: list(property),
    run: (vm, args) => listPath(vm.objects, args.path),
    show: all => all.map(p => `${p.name} (${p.type})`).join('\n'),
  }),
  command({
    name: 'qom-get',
    hmpName: 'qom-get',
    since: '0.1',
    summary: 'show a property of an object',
    examples: ['qom-get /objects/f0 interval'],
    args: { path, property: str('its name') },
    returns: anything(),
    run: (vm, args) => value(vm, args),
    hmp: hmp({ path, property: str('its name') }, (vm, args) => JSON.stringify(value(vm, args))),
  }),
  command({
    name: 'qom-set',
    hmpName: 'qom-set',
    since: '0.1',
    summary: 'change a property of an object, where it can be while the object is there',
    examples: ['qom-set b0 status off'],
    args: { path, property: str('its name'), value: anything('its new value') },
    run: (vm, args) => vm.objects.set(idOf(args.path), args.property, args.value),
    hmp: hmp({ path, property: str('its name'), value: rest('its new value') }, (vm, args) => {
      vm.objects.set(idOf(args.path), args.property, jsonOrWord(args.value));
      return undefined;
    }),
  }),
];

const CONTAINER = '/objects';

/** QEMU's partial path: the id alone is enough. */
function idOf(given: string): string {
  const id = given.startsWith(`${CONTAINER}/`) ? given.slice(CONTAINER.length + 1) : given;
  if (id.includes('/'))
    throw new VmError(`Device '${given}' not found`, {
      class: 'DeviceNotFound',
      hint: `Paths are ${CONTAINER} and ${CONTAINER}/ID.`,
    });
  return id;
}

function listPath(objects: Vm['objects'], given: string): { name: string; type: string }[] {
  const type = { name: 'type', type: 'string' };
  if (given !== CONTAINER) return [type, ...objects.properties(idOf(given))];
  return [type, ...objects.list().map(o => ({ name: o.id, type: `child<${o.type}>` }))];
}

function value(vm: Vm, args: { path: string; property: string }): unknown {
  const found = vm.objects.get(idOf(args.path), args.property);
  if (found === undefined)
    throw new VmError(`Property '${args.property}' of '${args.path}' was not given`);
  return found;
}

/** `on` is a word, `1000` a number: HMP's words are JSON where they can be. */
function jsonOrWord(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
