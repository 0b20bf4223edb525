/** How users name an arbiter. Method: what is read of a word, and the sentence of a refusal. */
import {
  parseArbiterAddress,
  parseArbiterSeat,
  placeOfRecord,
} from '../../../src/arbiter/address.js';

test('a directory', () => {
  expect(parseArbiterAddress('file:/mnt/web')).toEqual({
    kind: 'file',
    dir: '/mnt/web',
    timeoutMs: 5000,
  });
  expect(parseArbiterAddress('file:/mnt/a,,b,timeout=250')).toEqual({
    kind: 'file',
    dir: '/mnt/a,b',
    timeoutMs: 250,
  });
});

test('members of an etcd', () => {
  const address = 'etcd:https://a:2379,https://[::1]:2379/,key=colo/web,tls=/etc/colo,timeout=900';
  expect(parseArbiterAddress(address)).toEqual({
    kind: 'etcd',
    endpoints: ['https://a:2379', 'https://[::1]:2379'],
    key: 'colo/web',
    tls: '/etc/colo',
    timeoutMs: 900,
  });
  expect(parseArbiterAddress('etcd:http://127.0.0.1:2379,key=k')).toMatchObject({
    endpoints: ['http://127.0.0.1:2379'],
    tls: undefined,
    timeoutMs: 5000,
  });
});

test('with the names of both sides', () => {
  expect(parseArbiterSeat('exec:a,,b,dir=/x,node=web-a,peer=web-b')).toEqual({
    address: { kind: 'exec', command: 'a,b', dir: '/x', timeoutMs: 60_000 },
    node: 'web-a',
    peer: 'web-b',
  });
});

test.each([
  ['file:/x,node=a', "'peer' is missing"],
  ['file:/x,peer=b', "'node' is missing"],
  ['file:/x,node=a,peer=a', "both sides of the pair call themselves 'a'"],
  ['file:/x,node=a,peer=-b', "'-b' is no name"],
  ['file:x,node=a,peer=b', 'is not a whole path'],
])('as a seat %s is refused', (text, why) => {
  expect(() => parseArbiterSeat(text)).toThrow(why);
});

test('a fence agent', () => {
  const address = 'exec:fence_ipmilan -a 10.0.0.2,, -o off,dir=/var/lib/colo/web';
  expect(parseArbiterAddress(address)).toEqual({
    kind: 'exec',
    command: 'fence_ipmilan -a 10.0.0.2, -o off',
    dir: '/var/lib/colo/web',
    timeoutMs: 60_000,
  });
});

test.each([
  ['exec:', "'command' is missing"],
  ['exec:true', "'dir' is missing"],
  ['exec:true,dir=x', "'x' is not a whole path: it is where this host's record is kept"],
  ['etcd:', "'etcd:': it names no https://HOST:PORT"],
  ['etcd:key=k', 'it names no https://HOST:PORT'],
  ['etcd:https://a', "'key' is missing"],
  ['etcd:https://,key=k', "'https://' is not https://HOST:PORT"],
  ['etcd:ftp://a,key=k', "'ftp://a' is not https://HOST:PORT"],
  ['etcd:https://a/v3,key=k', "'https://a/v3' is not https://HOST:PORT"],
  ['etcd:https://me:pw@a,key=k', "'https://me:pw@a' is not https://HOST:PORT"],
  ['etcd:http://a:2379,key=k', 'who answers there is not known without https://'],
  ['etcd:https://a,https://a,key=k', 'an endpoint is named twice'],
  ['etcd:https://a,key=k,tls=pem', "'pem' is not a whole path: it is the directory of the cert"],
  ['etcd:http://localhost,key=k,tls=/p', "'tls' is for https:// endpoints"],
  ['etcd:https://a,key=k,dir=/x', "'dir' is not supported here; colo knows: https://HOST:PORT"],
  ['', "unknown arbiter: ''"],
  ['/mnt/web', "unknown arbiter: '/mnt/web'"],
  ['zk:a', "unknown arbiter: 'zk:a'"],
  ['file:', "arbiter 'file:': 'dir' is missing"],
  ['file:web', "'web' is not a whole path: where this host has the directory"],
  ['file:/a,timeout=1', "'timeout' is a number from 100 to 600000, not '1'"],
  ['file:/a,key=x', "'key' is not supported here; colo knows: dir, timeout"],
])('%s is refused', (text, why) => {
  expect(() => parseArbiterAddress(text)).toThrow(why);
});

test('one place, however each host reaches it', () => {
  const place = (text: string) => placeOfRecord(parseArbiterAddress(text));
  expect(place('etcd:https://b,https://a,key=k,tls=/here,timeout=500')).toBe(
    place('etcd:https://a,https://b,key=k'),
  );
  expect(place('etcd:https://a,key=k')).not.toBe(place('etcd:https://a,key=other'));
  expect(place('file:/mnt/web,timeout=500')).toBe('file:/mnt/web');
  expect(place('exec:fence --now,dir=/a')).toBe(place('exec:other,dir=/b'));
});
