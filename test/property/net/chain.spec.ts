/**
 * Goal: whatever filters come, go, are switched and fill up, a frame meets those that are on, of
 * its direction, in the order of their places; nothing reaches the world but through the hold.
 * Method: the chain of a netdev against a list of names.
 */
import fc from 'fast-check';
import type { FilterPlace, NetFilter } from '../../../src/net/contract.js';
import { TapNetdev } from '../../../src/net/netdev/tap.js';
import { SimNode } from '../../support/sim/node.js';
import { World } from '../../support/sim/world.js';

type Direction = NetFilter['direction'];
interface Model {
  name: string;
  direction: Direction;
  on: boolean;
}

const names = ['a', 'b', 'c', 'd', 'e', 'f'];
/** A number picks one of those that are there; -1: the hold, which is no filter of the chain. */
const place = fc.oneof(
  fc.constantFrom<'head' | 'tail'>('head', 'tail'),
  fc.record({
    insert: fc.constantFrom('before' as const, 'behind' as const),
    at: fc.integer({ min: -1, max: 5 }),
  }),
);
function placeIn(
  model: readonly Model[],
  at: 'head' | 'tail' | { insert: 'before' | 'behind'; at: number },
): FilterPlace {
  return typeof at === 'string'
    ? at
    : { insert: at.insert, id: at.at < 0 ? 'nop' : (model[at.at % model.length]?.name ?? 'f') };
}
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('insert' as const),
      name: fc.constantFrom(...names),
      direction: fc.constantFrom<Direction>('rx', 'tx', 'all'),
      place,
    }),
  },
  fc.record({ do: fc.constant('remove' as const), name: fc.constantFrom(...names) }),
  fc.record({ do: fc.constant('switch' as const), name: fc.constantFrom(...names) }),
  fc.record({ do: fc.constantFrom('hold' as const, 'release' as const) }),
  fc.record({
    do: fc.constant('frame' as const),
    direction: fc.constantFrom('rx' as const, 'tx' as const),
  }),
  fc.record({
    do: fc.constant('inject' as const),
    name: fc.constantFrom(...names),
    direction: fc.constantFrom('rx' as const, 'tx' as const),
  }),
);

/** Where a list has room for one at this place; undefined: that place is not there. */
function indexFor(model: readonly Model[], at: FilterPlace): number | undefined {
  if (at === 'head') return 0;
  if (at === 'tail') return model.length;
  const found = model.findIndex(m => m.name === at.id);
  return found < 0 ? undefined : found + (at.insert === 'behind' ? 1 : 0);
}

function path(model: readonly Model[], direction: 'rx' | 'tx', from?: string): string[] {
  const inOrder = direction === 'tx' ? [...model] : [...model].reverse();
  const rest =
    from === undefined ? inOrder : inOrder.slice(inOrder.findIndex(m => m.name === from) + 1);
  return rest
    .filter(m => m.on && (m.direction === 'all' || m.direction === direction))
    .map(m => m.name);
}

test('the order of the chain is the order of the places', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 60 }), steps => {
      let seen: string[] = [];
      const model: Model[] = [];
      const live = new Map<
        string,
        { filter: NetFilter; port: ReturnType<TapNetdev['filters']['insert']> }
      >();
      const tap = {
        ifname: 't',
        onFrame: (fn: (f: Uint8Array) => void) => void (arrive = fn),
        write: () => seen.push('world') > 0,
        pause: () => undefined,
        resume: () => undefined,
        dispose: () => undefined,
      };
      let arrive: (frame: Uint8Array) => void = () => undefined;
      const netdev = new TapNetdev('n', tap, new SimNode('n', new World(1)).clock);
      netdev.attachNic({
        mac: new Uint8Array(6),
        receive: () => seen.push('guest') > 0,
        announce: () => undefined,
      });
      netdev.setRunning(true);
      let holding = false;
      let held = 0;
      const end = (direction: 'rx' | 'tx') =>
        direction === 'tx' ? ['guest'] : holding ? [] : ['world'];
      for (const s of steps) {
        seen = [];
        if (s.do === 'insert' && !live.has(s.name)) {
          const own: Model = { name: s.name, direction: s.direction, on: true };
          const filter: NetFilter = {
            name: s.name,
            direction: s.direction,
            get on() {
              return own.on;
            },
            take: () => (seen.push(s.name), 'pass'),
            info: () => ({
              name: s.name,
              type: '',
              direction: s.direction,
              status: 'on',
              properties: {},
            }),
          };
          const place = placeIn(model, s.place);
          const at = indexFor(model, place);
          if (at === undefined)
            expect(() => netdev.filters.insert(filter, place)).toThrow('not found');
          else {
            live.set(s.name, { filter, port: netdev.filters.insert(filter, place) });
            model.splice(at, 0, own);
          }
        }
        if (s.do === 'remove' && live.has(s.name)) {
          netdev.filters.remove(live.get(s.name)!.filter);
          live.delete(s.name);
          model.splice(
            model.findIndex(m => m.name === s.name),
            1,
          );
        }
        if (s.do === 'switch') model.filter(m => m.name === s.name).forEach(m => (m.on = !m.on));
        if (s.do === 'hold' && !holding) {
          netdev.outputHold.hold(() => true);
          holding = true;
        }
        if (s.do === 'release') {
          netdev.outputHold.releaseAll();
          expect(seen).toEqual(Array(held).fill('world'));
          [holding, held] = [false, 0];
        }
        if (s.do === 'frame') {
          if (s.direction === 'rx') netdev.send(new Uint8Array(60));
          else arrive(new Uint8Array(60));
          expect(seen).toEqual([...path(model, s.direction), ...end(s.direction)]);
          held += holding && s.direction === 'rx' ? 1 : 0;
        }
        if (s.do === 'inject' && live.has(s.name)) {
          expect(live.get(s.name)!.port.forward(new Uint8Array(60), s.direction)).toBe(true);
          expect(seen).toEqual([...path(model, s.direction, s.name), ...end(s.direction)]);
          held += holding && s.direction === 'rx' ? 1 : 0;
        }
        expect(netdev.info().filters.map(f => f.name)).toEqual(['nop', ...model.map(m => m.name)]);
      }
    }),
  );
});
