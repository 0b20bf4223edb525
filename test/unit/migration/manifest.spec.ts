/**
 * Goal: every difference between two machines is named in a sentence, and a manifest from a
 * stranger cannot hurt.
 */
import fc from 'fast-check';
import type { Manifest } from '../../../src/migration/contract.js';
import { decodeHello, encodeHello, manifestDifference } from '../../../src/migration/manifest.js';

const manifest: Manifest = {
  machineType: 'pc-i440fx-7.2',
  ramBytes: 2048 * 1048576,
  cpus: 2,
  cpu: {
    model: 'qemu64',
    vendor: 'AuthenticAMD',
    signature: 0x60fb1,
    features: ['fpu', 'pni'],
    sockets: 1,
    cores: 2,
    threads: 1,
  },
  accel: 'soft',
  devices: [
    { id: 'serial0', vmstate: 'serial', version: 1 },
    { id: 'net-pci0', vmstate: 'virtio-net', version: 3 },
  ],
  disks: [{ id: 'colo-disk0', length: 1 << 30 }],
  netdevs: ['hn0'],
};
const other = (change: Partial<Manifest>) =>
  manifestDifference({ ...manifest, ...change }, manifest);

it('names an arbiter that differs, and a side that two hosts claim', () => {
  const seat = { arbiter: 'file:/a', node: 'alpha', peer: 'beta' };
  const mirrored = { ...seat, node: 'beta', peer: 'alpha' };
  const difference = (theirs: Manifest['seat'], ours: Manifest['seat'], sender?: 'source') =>
    manifestDifference({ ...manifest, seat: theirs }, { ...manifest, seat: ours }, sender);
  expect(difference(seat, mirrored)).toBeUndefined();
  expect(difference(seat, { ...mirrored, arbiter: 'file:/b' })).toBe(
    "the primary has the arbiter 'file:/a', this secondary the arbiter 'file:/b': " +
      'give both the same',
  );
  expect(difference(seat, undefined)).toBe(
    "the primary has the arbiter 'file:/a', this secondary none: give both the same",
  );
  expect(difference(undefined, seat)).toMatch(/^the primary has none, this secondary the arbiter/);
  expect(difference(seat, seat)).toBe(
    "both sides call themselves 'alpha' at the arbiter: one is the other side",
  );
  expect(difference(seat, { ...mirrored, node: 'gamma' })).toBe(
    "at the arbiter the primary is 'alpha' and expects 'beta', this secondary is 'gamma' and " +
      "expects 'alpha'",
  );
  const [here, there] = [
    { ...seat, place: '1' },
    { ...mirrored, arbiter: 'file:/b' },
  ];
  expect(difference(here, { ...there, place: '1' })).toBeUndefined();
  expect(difference(here, { ...mirrored, place: '2' })).toMatch(/^the primary has the arbiter/);
  // What one name means is one place as far as anybody knows.
  expect(difference(here, mirrored)).toBeUndefined();
  expect(difference(here, there)).toBe(
    "the primary has the arbiter 'file:/a', this secondary the arbiter 'file:/b', which is away: " +
      'give both the same',
  );
  // A guest that only moves may come to a host that has no pair.
  expect(difference(seat, undefined, 'source')).toBeUndefined();
});

it('names a CD-ROM drive that holds another medium, or none', () => {
  const cd = (length: number): Partial<Manifest> => ({
    disks: [{ id: 'ide1-cd0', length, readOnly: true }],
  });
  const difference = (theirs: number, ours: number) =>
    manifestDifference({ ...manifest, ...cd(theirs) }, { ...manifest, ...cd(ours) });
  expect(difference(0, 0)).toBeUndefined();
  expect(difference(2048, 0)).toBe(
    "drive 'ide1-cd0' holds 2048 bytes on the primary and is empty here",
  );
  expect(difference(0, 2048)).toBe(
    "drive 'ide1-cd0' is empty on the primary and holds 2048 bytes here",
  );
  expect(difference(4096, 2048)).toBe(
    "disk 'ide1-cd0' has 4096 bytes on the primary and 2048 here",
  );
});

it('takes a seat there and back, and none that is no text', () => {
  const hello = { leaseMs: 1000, colo: true };
  const arbiter = `etcd:${'https://10.0.0.1:2379,'.repeat(30)}`;
  const seat = { arbiter, place: 'x', node: 'a', peer: 'b' };
  const sent = { ...hello, manifest: { ...manifest, seat } };
  expect(decodeHello(encodeHello(sent))).toEqual(sent);
  for (const wrong of [
    {},
    { ...seat, node: 7 },
    { ...seat, place: 7 },
    { ...seat, arbiter: 'x'.repeat(5000) },
  ]) {
    const bad = { ...hello, manifest: { ...manifest, seat: wrong as typeof seat } };
    expect(() => decodeHello(encodeHello(bad))).toThrow(/manifest: seat\.\w+ is not a short text/);
  }
});

it('takes an equal machine, whatever its accelerator', () => {
  expect(other({ accel: 'kvm' })).toBeUndefined();
});

it('names what differs', () => {
  const [serial, net] = manifest.devices;
  expect(other({ machineType: 'pc-i440fx-2.3' })).toBe(
    'the primary is a pc-i440fx-2.3, this secondary a pc-i440fx-7.2: give both sides the same ' +
      '-machine',
  );
  expect(other({ machineType: undefined })).toBeUndefined();
  expect(other({ ramBytes: 1024 * 1048576 })).toBe(
    'the primary has 1024 MiB of RAM, this secondary 2048 MiB',
  );
  expect(other({ romBytes: 262144 })).toBe(
    'the primary has 262144 bytes of ROM, this secondary 0 MiB',
  );
  expect(other({ videoBytes: 16 * 1048576 })).toBe(
    'the primary has a graphics card with 16 MiB, this secondary no graphics card: give both ' +
      'sides the same -vga and -vnc',
  );
  expect(other({ cpus: 4 })).toBe('the primary has 4 CPUs, this secondary 2');
  expect(other({ devices: [serial] })).toBe(
    "device 'net-pci0' (virtio-net) is missing on the primary",
  );
  expect(other({ devices: [serial, net, { id: 'usb0', vmstate: 'uhci', version: 1 }] })).toBe(
    "device 'usb0' (uhci) of the primary is missing here",
  );
  expect(other({ devices: [serial, { ...net, version: 4 }] })).toBe(
    "device 'net-pci0' has state version 4 on the primary and 3 here",
  );
  expect(other({ devices: [serial, { ...net, vmstate: 'rtl8139' }] })).toBe(
    "device 'net-pci0' is 'rtl8139' on the primary and 'virtio-net' here",
  );
  expect(other({ devices: [net, serial] })).toBe(
    "the devices stand in another order: number 0 is 'net-pci0' on the primary and 'serial0' here",
  );
  expect(other({ disks: [{ id: 'colo-disk0', length: 512 }] })).toBe(
    "disk 'colo-disk0' has 512 bytes on the primary and 1073741824 here",
  );
  expect(other({ disks: [] })).toBe("disk 'colo-disk0' is missing on the primary");
  const readOnly = [{ ...manifest.disks[0], readOnly: true }];
  const sentence = "disk 'colo-disk0' is read-only on the primary and writable here";
  expect(other({ disks: readOnly })).toBe(sentence);
  const sent = decodeHello(
    encodeHello({ manifest: { ...manifest, disks: readOnly }, colo: true, leaseMs: 80 }),
  );
  expect(sent.manifest.disks).toEqual(readOnly);
  expect(other({ disks: [...manifest.disks, { id: 'd2', length: 512 }] })).toBe(
    "disk 'd2' of the primary is not replicated here",
  );
  expect(other({ netdevs: [] })).toBe("netdev 'hn0' is missing on the primary");
  expect(other({ netdevs: ['hn0', 'hn1'] })).toBe("netdev 'hn1' of the primary is missing here");
  expect(other({ devices: [serial, serial] })).toBe(
    "device 'serial0' (serial) of the primary is missing here",
  );
});

it('names what differs between two processors', () => {
  const { cpu } = manifest;
  const others = (change: Partial<Manifest['cpu']>) => other({ cpu: { ...cpu, ...change } });
  const advice = ': give both sides the same -cpu';
  expect(others({ model: 'max' })).toBeUndefined(); // another name for the same
  expect(others({ model: 'soft-v1', features: ['fpu'] })).toBe(
    `this secondary's CPU (qemu64) has pni, the primary's (soft-v1) does not${advice}`,
  );
  expect(others({ model: 'host', features: ['fpu', 'pni', 'aes'] })).toBe(
    `the primary's CPU (host) has aes, this secondary's (qemu64) does not${advice}`,
  );
  expect(others({ signature: 0xa00f11 })).toBe(
    `the primary's CPU is qemu64, AuthenticAMD 0xa00f11, this secondary's qemu64, ` +
      `AuthenticAMD 0x60fb1${advice}`,
  );
  expect(others({ cores: 1, threads: 2 })).toBe(
    'the primary has -smp sockets=1,cores=1,threads=2, this secondary sockets=1,cores=2,threads=1',
  );
});

it('survives the wire', () => {
  expect(decodeHello(encodeHello({ manifest, colo: true, leaseMs: 1000 }))).toEqual({
    manifest,
    colo: true,
    leaseMs: 1000,
  });
});

it('gives a sentence for anything else', () => {
  expect(() => decodeHello(Buffer.from('{'))).toThrow('the manifest is not JSON');
  expect(() => decodeHello(encodeHello({ manifest, colo: true, leaseMs: 1e9 }))).toThrow(
    'leaseMs 1000000000 is more than 60000',
  );
  expect(() =>
    decodeHello(encodeHello({ manifest: { ...manifest, ramBytes: -1 }, colo: true, leaseMs: 1 })),
  ).toThrow('manifest: ramBytes is not a count');
  fc.assert(
    fc.property(fc.jsonValue(), value => {
      expect(() => decodeHello(Buffer.from(JSON.stringify(value)))).toThrow(/./);
    }),
  );
});
