/**
 * Goal: the migration URIs of QEMU's users mean what they mean there; the others are refused by
 * name.
 */
import { parseMigrationUri } from '../../../src/migration/uri.js';

it('reads tcp and unix', () => {
  expect(parseMigrationUri('tcp:0:8888', 'listen')).toEqual({
    kind: 'tcp',
    host: '0.0.0.0',
    port: 8888,
  });
  expect(parseMigrationUri('tcp::8888', 'listen')).toEqual({
    kind: 'tcp',
    host: '0.0.0.0',
    port: 8888,
  });
  expect(parseMigrationUri('tcp:192.168.2.88:8888', 'connect')).toEqual({
    kind: 'tcp',
    host: '192.168.2.88',
    port: 8888,
  });
  expect(parseMigrationUri('tcp:[::1]:4444', 'connect')).toEqual({
    kind: 'tcp',
    host: '::1',
    port: 4444,
  });
  expect(parseMigrationUri('unix:/run/colo', 'connect')).toEqual({
    kind: 'unix',
    path: '/run/colo',
  });
});

it('reads file and exec', () => {
  expect(parseMigrationUri('file:/var/save', 'connect')).toEqual({
    kind: 'file',
    path: '/var/save',
    offset: 0,
  });
  expect(parseMigrationUri('file:a,b,offset=0x1000', 'listen')).toEqual({
    kind: 'file',
    path: 'a,b',
    offset: 4096,
  });
  expect(parseMigrationUri('exec:gzip > "a:b"', 'connect')).toEqual({
    kind: 'exec',
    command: 'gzip > "a:b"',
  });
});

it.each([
  ['fd:3', "migration over 'fd:' is not offered"],
  ['rdma:x', "migration over 'rdma:' is not offered"],
  ['exec: ', 'needs a command'],
  ['file:', 'needs a path'],
  ['file:x,offset=one', 'offset=one is not a number of bytes'],
  ['tcp:host', "'tcp:host' is not tcp:HOST:PORT"],
  ['tcp:host:70000', 'port 70000 is not possible'],
  ['tcp:host:0', 'port 0 is not possible'],
  ['tcp:0:8888', 'names no host to connect to'],
  ['unix:', 'needs a path'],
  [`unix:/${'x'.repeat(120)}`, 'is too long'],
  ['nonsense', 'unknown migration protocol: nonsense'],
])('refuses %s', (uri, sentence) => {
  expect(() => parseMigrationUri(uri, 'connect')).toThrow(sentence);
});
