/**
 * Goal: whatever a user says of objects is done, or refused in QEMU's words with what to do.
 * Method: the real registry over a netdev whose ends are lists; every mistake, as text and as JSON.
 */
import { objectType } from '../../../src/vm/objects/type.js';
import { objectHelp } from '../../../src/vm/objects/all.js';
import type { VmError } from '../../../src/base/errors.js';
import { objectsFixture } from '../../support/objects.js';

async function fixture() {
  const all = objectsFixture();
  await all.ready;
  return all;
}

test.each([
  ['foo,id=b0', "Parameter 'qom-type' does not accept value 'foo'"],
  ['filter-bufer,id=b0', "Parameter 'qom-type' does not accept value 'filter-bufer'"],
  ['filter-buffer,netdev=hn0,interval=1', "Parameter 'id' is missing"],
  ['filter-buffer,id=b0', "Parameter 'netdev' is missing"],
  ['filter-buffer,id=b0,netdev=hn0', "Parameter 'interval' is missing"],
  ['filter-buffer,id=b0,netdev=x,interval=1', "Parameter 'netdev' expects a network backend id"],
  ['filter-buffer,id=9b,netdev=hn0,interval=1', "Parameter 'id' expects an identifier"],
  [
    `filter-buffer,id=${'a'.repeat(200)},netdev=hn0,interval=1`,
    "Parameter 'id' expects an identifier",
  ],
  [
    'filter-buffer,id=b0,netdev=hn0,interval=0',
    "Parameter 'interval' expects an integer from 1 to 4294967295",
  ],
  ['filter-buffer,id=b0,netdev=hn0,interval=abc', "Parameter 'interval' expects integer"],
  ['filter-buffer,id=b0,netdev=hn0,interval=1,foo=1', "Parameter 'foo' is unexpected"],
  [
    'filter-buffer,id=b0,netdev=hn0,interval=1,queue=foo',
    "Parameter 'queue' does not accept value 'foo'",
  ],
  ['filter-buffer,id=b0,netdev=hn0,interval=1,status=foo', "Parameter 'status' expects on, off"],
  [
    'filter-buffer,id=b0,netdev=hn0,interval=1,position=foo',
    "Parameter 'position' expects 'head', 'tail' or 'id=<id>'",
  ],
  ['filter-buffer,id=b0,netdev=hn0,interval=1,position=id=foo', "filter 'foo' not found"],
  [
    'filter-buffer,id=b0,netdev=hn0,interval=1,position=id=nop,insert=before',
    "filter 'nop' not found",
  ],
  [
    'filter-buffer,id=b0,netdev=hn0,interval=1,insert=foo',
    "Parameter 'insert' does not accept value 'foo'",
  ],
  ['filter-buffer,id=b0,netdev=hn0,interval=1,netdev=hn0', "'netdev' is given twice"],
  [
    'filter-rewriter,id=r0,netdev=hn0',
    "object type 'filter-rewriter' is not supported: it belongs to compare mode",
  ],
  [
    'colo-compare,id=c0,primary_in=a',
    "object type 'colo-compare' is not supported: it belongs to compare mode",
  ],
  ['iothread,id=t0', "object type 'iothread' is not supported"],
])('%s', async (text, message) => {
  const { objects, netdevs, netdev } = await fixture();
  await expect((async () => objects.objectAddText(text))()).rejects.toThrow(message);
  expect([objects.list(), netdevs.usersOf('hn0'), netdev.filters.info()]).toEqual([[], [], []]);
});

test('an unknown type is answered with those that there are', async () => {
  const { objects } = await fixture();
  const error = await objects
    .objectAdd('filter-bufer', 'b0', {})
    .catch((e: unknown) => e as VmError);
  expect(error).toMatchObject({
    options: { hint: expect.stringMatching(/filter-buffer.*Did you mean 'filter-buffer'\?/) },
  });
});

test('JSON is not text: a number in quotes is refused, as QEMU does', async () => {
  const { objects } = await fixture();
  await expect(
    objects.objectAdd('filter-buffer', 'b0', { netdev: 'hn0', interval: '10' }),
  ).rejects.toThrow("Invalid parameter type for 'interval', expected: integer");
  await expect(
    objects.objectAdd('filter-buffer', 'b0', { netdev: 'hn0', interval: 10, foo: 1 }),
  ).rejects.toThrow("Parameter 'foo' is unexpected");
});

test('an id is taken once; the netdev has a user as long as the object is there', async () => {
  const { objects, netdevs } = await fixture();
  await objects.objectAddText('filter-buffer,id=b0,netdev=hn0,interval=1000');
  await expect(
    objects.objectAdd('filter-buffer', 'b0', { netdev: 'hn0', interval: 1 }),
  ).rejects.toThrow("attempt to add duplicate property 'b0'");
  expect(() => netdevs.take('hn0')).toThrow("netdev 'hn0' is in use by filter-buffer 'b0'");
  objects.objectDel('b0');
  expect(() => objects.objectDel('b0')).toThrow("object 'b0' not found");
  expect(netdevs.take('hn0')).toBeDefined();
});

test('two of the same id at once: one wins', async () => {
  const { objects } = await fixture();
  const results = await Promise.allSettled(
    [1, 2].map(() => objects.objectAddText('filter-buffer,id=b0,netdev=hn0,interval=1000')),
  );
  expect(results.map(r => r.status).sort()).toEqual(['fulfilled', 'rejected']);
});

test('there is a limit', async () => {
  const { objects } = await fixture();
  for (let i = 0; i < 256; i++)
    await objects.objectAddText(`filter-buffer,id=b${i},netdev=hn0,interval=1000`);
  await expect(
    objects.objectAddText('filter-buffer,id=last,netdev=hn0,interval=1000'),
  ).rejects.toThrow('there are 256 objects already, no more fit');
  objects.dispose();
});

test('what is used is not deleted, and the refusal names the user', async () => {
  const { objects } = await fixture();
  const buffers = [
    objectType({
      name: 'filter-buffer',
      summary: '',
      fields: {},
      phase: 'late',
      create: () => ({ dispose: () => undefined }),
    }),
  ];
  const others = [
    objectType({
      name: 'tls-creds-psk',
      summary: '',
      fields: {},
      phase: 'early',
      create: () => ({ dispose: () => undefined }),
    }),
  ];
  await objects.objectAddText('filter-buffer,id=b0,netdev=hn0,interval=1000');
  expect(() => objects.claim(others, 'b0', 'the NBD server')).toThrow(
    "Object with id 'b0' is a filter-buffer, not a tls-creds-psk",
  );
  expect(() => objects.claim(buffers, 'b1', 'the NBD server')).toThrow("No object with id 'b1'");
  const [first, second] = [
    objects.claim(buffers, 'b0', 'the NBD server'),
    objects.claim(buffers, 'b0', "blockdev 'd0'"),
  ];
  expect(() => objects.objectDel('b0')).toThrow(
    "object 'b0' is in use by the NBD server, blockdev 'd0'",
  );
  first.dispose();
  first.dispose();
  expect(() => objects.objectDel('b0')).toThrow("object 'b0' is in use by blockdev 'd0'");
  second.dispose();
  objects.objectDel('b0');
});

test('properties: listed, read with their defaults, changed where they can be', async () => {
  const { objects, netdev } = await fixture();
  await objects.objectAddText('filter-buffer,id=b0,netdev=hn0,interval=1000');
  expect(objects.properties('b0').map(p => p.name)).toEqual([
    'netdev',
    'queue',
    'status',
    'position',
    'insert',
    'interval',
    'packets',
  ]);
  expect(
    ['type', 'queue', 'status', 'position', 'insert', 'interval', 'packets'].map(name =>
      objects.get('b0', name),
    ),
  ).toEqual(['filter-buffer', 'all', 'on', 'tail', 'behind', 1000, 0]);
  objects.set('b0', 'status', 'off');
  objects.set('b0', 'interval', 5);
  expect([objects.get('b0', 'status'), objects.get('b0', 'interval')]).toEqual(['off', 5]);
  expect(netdev.filters.info()).toMatchObject([
    { name: 'b0', status: 'off', properties: { interval: 5 } },
  ]);
  expect(() => objects.set('b0', 'status', 'xx')).toThrow(
    "Parameter 'status' does not accept value 'xx'",
  );
  expect(() => objects.set('b0', 'netdev', 'hn1')).toThrow(
    "Property 'filter-buffer.netdev' cannot be changed while the object is there",
  );
  expect(() => objects.set('b0', 'foo', 1)).toThrow("Property 'filter-buffer.foo' not found");
  expect(() => objects.get('b0', 'foo')).toThrow("Property 'filter-buffer.foo' not found");
  expect(() => objects.get('b1', 'status')).toThrow("Device 'b1' not found");
});

test('help is there where a type or a property is asked for', () => {
  expect(objectHelp('help')).toMatch(
    /^List of user creatable objects:\n {2}filter-buffer +keeps packets/,
  );
  expect(objectHelp('filter-buffer,help')).toMatch(
    /^filter-buffer options:\n {2}netdev=<string> .*\(needed\)\n/,
  );
  expect(() => objectHelp('foo,help')).toThrow("does not accept value 'foo'");
  expect(objectHelp('filter-buffer,id=help,netdev=hn0')).toBeUndefined();
});
