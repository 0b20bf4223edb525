/**
 * Goal: QEMU's command lines become a spec, or are refused by the very option that is in the way.
 * Method: the seed's two command lines, the demo's, and every kind of mistake.
 */
import { parseArgv, UsageError } from '../../../src/commands/options/argv.js';
import { parseLaunch } from '../../../src/commands/options/spec.js';
import { optionTable, refusedOptions } from '../../../src/commands/options/table.js';
import { launch, refusal, words } from '../../support/launch.js';

const seedPrimary =
  words(`-enable-kvm -boot c -m 2048 -smp 2 -qmp stdio -vnc :7 -name primary -cpu qemu64,+kvmclock -device piix3-usb-uhci -device usb-tablet
  -netdev tap,id=hn0,vhost=off -device virtio-net-pci,id=net-pci0,netdev=hn0
  -drive if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,children.0.file.filename=/images/1.raw,children.0.driver=raw -S`);
const seedSecondary =
  words(`-enable-kvm -boot c -m 2048 -smp 2 -qmp stdio -vnc :7 -name secondary -cpu qemu64,+kvmclock -device piix3-usb-uhci -device usb-tablet
  -netdev tap,id=hn0,vhost=off -device virtio-net-pci,id=net-pci0,netdev=hn0
  -drive if=none,id=colo-disk0,file.filename=/images/1.raw,driver=raw,node-name=node0
  -drive if=virtio,id=active-disk0,throttling.bps-total=70000000,driver=replication,mode=secondary,file.driver=qcow2,file.file.filename=/mnt/active_disk.img,file.backing.driver=qcow2,file.backing.file.filename=/mnt/hidden_disk.img,file.backing.backing=colo-disk0
  -incoming tcp:0:8888`);

test("the seed's primary is a spec", () => {
  const argv = [...seedPrimary, '-kernel', '/boot/vmlinuz'];
  const { disks, ...spec } = parseLaunch('primary', argv).spec;
  expect(disks).toMatchObject({
    nodes: [],
    drives: [{ id: 'colo-disk0', interface: 'virtio', root: { driver: 'quorum' } }],
  });
  expect(spec).toEqual({
    name: 'primary',
    role: 'primary',
    machineType: 'pc-i440fx-7.2',
    ramBytes: 2 ** 31,
    boot: { order: 'c', menu: false, strict: false },
    cpus: 2,
    topology: { sockets: 1, cores: 2, threads: 1 },
    cpu: { model: 'qemu64', flags: [{ name: 'kvmclock', on: true }] },
    accel: 'kvm',
    append: '',
    kernel: '/boot/vmlinuz',
    startPaused: true,
    noShutdown: false,
    noReboot: false,
    objects: [],
    serials: [],
    blockdevs: [],
    drives: [
      {
        id: 'colo-disk0',
        interface: 'virtio',
        options: {
          driver: 'quorum',
          'read-pattern': 'fifo',
          'vote-threshold': '1',
          children: { 0: { file: { filename: '/images/1.raw' }, driver: 'raw' } },
        },
      },
    ],
    netdevs: [{ type: 'tap', id: 'hn0' }],
    devices: [
      { model: 'VGA', id: 'vga', properties: {} },
      { model: 'piix3-usb-uhci', id: 'piix3-usb-uhci0', properties: {} },
      { model: 'usb-tablet', id: 'usb-tablet0', properties: {} },
      { model: 'virtio-net-pci', id: 'net-pci0', properties: { netdev: 'hn0' } },
    ],
    vnc: { host: '', display: 7, password: false },
    chardevs: [{ id: 'qmp0', backend: { kind: 'stdio', input: 'lines' } }],
    monitors: [{ mode: 'qmp', chardev: 'qmp0' }],
  });
});

test("the seed's secondary", () => {
  const { spec } = parseLaunch('secondary', seedSecondary);
  expect(spec.incoming).toBe('tcp:0:8888');
  expect(spec.drives).toEqual([
    {
      id: 'colo-disk0',
      interface: 'none',
      options: { file: { filename: '/images/1.raw' }, driver: 'raw', 'node-name': 'node0' },
    },
    {
      id: 'active-disk0',
      interface: 'virtio',
      options: {
        throttling: { 'bps-total': '70000000' },
        driver: 'replication',
        mode: 'secondary',
        file: {
          driver: 'qcow2',
          file: { filename: '/mnt/active_disk.img' },
          backing: {
            driver: 'qcow2',
            file: { filename: '/mnt/hidden_disk.img' },
            backing: 'colo-disk0',
          },
        },
      },
    },
  ]);
});

test('-blockdev: text or JSON, in order; devices name nodes', () => {
  const { blockdevs, devices } = parseLaunch('primary', [
    '-S',
    '-blockdev',
    'driver=file,node-name=f,filename=a,,b',
    '-blockdev',
    '{"driver":"raw","node-name":"d","file":"f","read-only":true}',
    '-device',
    'virtio-blk-pci,drive=d,werror=enospc,rerror=auto,write-cache=off,serial=x,' +
      'logical_block_size=512',
  ]).spec;
  expect(blockdevs).toEqual([
    { nodeName: 'f', options: { driver: 'file', 'node-name': 'f', filename: 'a,b' } },
    { nodeName: 'd', options: { driver: 'raw', 'node-name': 'd', file: 'f', 'read-only': true } },
  ]);
  expect(devices).toEqual([
    {
      model: 'virtio-blk-pci',
      id: 'virtio-blk-pci0',
      properties: {
        drive: 'd',
        serial: 'x',
        werror: 'enospc',
        rerror: 'auto',
        'write-cache': 'off',
        logical_block_size: '512',
      },
    },
  ]);
});

test('-device in JSON says what its text says', () => {
  const devices = (text: string) =>
    parseLaunch('primary', ['-S', '-drive', 'if=none,id=a,file=F', '-device', text]).spec.devices;
  expect(
    devices(
      '{"driver": "virtio-blk-pci", "id": "vd0", "drive": "a", "serial": "x,y", ' +
        '"logical_block_size": 512}',
    ),
  ).toEqual(devices('virtio-blk-pci,id=vd0,drive=a,serial=x,,y,logical_block_size=512'));
  expect(refusal('primary', ['-S', '-device', '{"drive": "a"}'])).toContain("'driver' is missing");
  expect(
    refusal('primary', ['-S', '-device', '{"driver": "virtio-blk-pci", "drive": ["a"]}']),
  ).toContain("'drive' is a word, a number or a boolean");
  expect(refusal('primary', ['-S', '-device', '{"driver": "rtl8139"}'])).toContain(
    "'rtl8139' is not a device of colo",
  );
});

test.each([
  [
    ['-blockdev', 'driver=raw,filename=F'],
    "-blockdev driver=raw,filename=F: 'node-name' is missing: node-name=NAME",
  ],
  [['-blockdev', '{"driver":'], '-blockdev {"driver":: not JSON: '],
  [['-blockdev', '{"driver":"raw","node-name":7}'], "'node-name' is a word"],
  [['-blockdev', 'node-name=n,filename=F'], "-blockdev node-name=n: parameter 'driver' is missing"],
  [
    ['-blockdev', 'driver=vmdk,node-name=n,filename=F'],
    "-blockdev node-name=n: driver 'vmdk' (parameter 'driver') is not implemented",
  ],
  [
    ['-blockdev', 'driver=file,node-name=n,filename=F,foo=1'],
    "-blockdev node-name=n: parameter 'foo' is not known to driver 'file'",
  ],
  [
    [
      '-blockdev',
      'driver=raw,node-name=n,file=f',
      '-blockdev',
      'driver=file,node-name=f,filename=F',
    ],
    "-blockdev node-name=n: there is no node 'f' before it | Each -blockdev is opened in its " +
      'turn, and all of them before the first -drive.',
  ],
  [
    [
      '-blockdev',
      'driver=file,node-name=n,filename=F',
      '-blockdev',
      'driver=file,node-name=n,filename=G',
    ],
    "-blockdev: there are two with node-name 'n'",
  ],
  [
    ['-blockdev', 'driver=file,node-name=n,filename=F', '-drive', 'if=none,id=n,file=G'],
    '-drive id=n: a -blockdev has that node-name',
  ],
  [
    ['-blockdev', 'driver=file,node-name=n,filename=F', '-snapshot'],
    '-snapshot: it does not reach a -blockdev | Lay an overlay',
  ],
  [
    ['-device', 'virtio-blk-pci,drive=n'],
    "-device virtio-blk-pci: there is no drive or node 'n' | Add -drive ...,id=n, or " +
      '-blockdev ...,node-name=n',
  ],
  [
    ['-drive', 'if=none,id=d,file=F', '-device', 'virtio-blk-pci,drive=d,werror=sometimes'],
    "Parameter 'werror' does not accept value 'sometimes' | It takes report, ignore, stop, enospc",
  ],
  [
    ['-drive', 'if=none,id=d,file=F', '-device', 'virtio-blk-pci,drive=d,rerror=enospc'],
    "Parameter 'rerror' does not accept value 'enospc' | It takes report, ignore, stop, auto.",
  ],
  [
    ['-drive', 'if=none,id=d,file=F', '-device', 'virtio-blk-pci,drive=d,logical_block_size=4096'],
    "logical_block_size=4096: only '512' is taken here | A disk has sectors of 512 bytes.",
  ],
  [
    [
      '-drive',
      'if=none,id=d,file=F',
      '-device',
      'virtio-blk-pci,drive=d,serial=123456789012345678901',
    ],
    'at most 20 letters',
  ],
  [
    ['-drive', 'if=none,id=d,file=F', '-device', 'virtio-blk-pci,drive=d,iothread=1'],
    "Parameter 'iothread' is unexpected | It takes drive, serial, werror, rerror, bootindex",
  ],
])('%s', (options, message) => {
  const check = () => parseLaunch('primary', ['-S', ...options]);
  let said = 'nothing was refused';
  try {
    check();
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    const {
      message: text,
      options: { hint },
    } = error as UsageError;
    said = hint === undefined ? text : `${text} | ${hint}`;
  }
  expect(said).toContain(message);
});

test('one dash or two; a value may begin with a dash', () => {
  expect(launch('primary', '--kernel k --m 1G --append -x').append).toBe('-x');
});

test('sizes', () => {
  const bytes = (text: string) => launch('primary', `-kernel k -m ${text}`).ramBytes;
  expect(['512', '2048M', '2G', 'size=1G', '262144k'].map(bytes)).toEqual([
    2 ** 29,
    2 ** 31,
    2 ** 31,
    2 ** 30,
    2 ** 28,
  ]);
  expect(refusal('primary', '-kernel k -m lots')).toBe(
    "-m lots: 'lots' is not a size | Examples: 512 (MiB), 2048M, 2G.",
  );
  expect(refusal('primary', '-kernel k -m 1G,slots=2')).toBe(
    "-m 1G,slots=2: Parameter 'slots' is unexpected | It takes size.",
  );
});

test('console and monitor on one terminal', () => {
  const parts = (line: string) => {
    const { chardevs, serials, monitors } = launch('primary', `-S ${line}`);
    return { chardevs, serials, monitors };
  };
  const keys = { kind: 'stdio', input: 'keys' };
  const shared = {
    chardevs: [{ id: 'mux0', backend: { kind: 'mux', base: keys } }],
    serials: ['mux0'],
    monitors: [{ mode: 'hmp', chardev: 'mux0' }],
  };
  expect(parts('-serial mon:stdio')).toEqual(shared);
  expect(parts('-nographic')).toEqual(shared);
  expect(parts('-nographic -serial null')).toMatchObject({
    serials: ['serial0'],
    monitors: [{ mode: 'hmp', chardev: 'monitor0' }],
  });
  expect(parts('-nographic -serial mon:stdio')).toEqual(shared);
  expect(refusal('primary', '-kernel k -nographic -chardev stdio,id=c')).toBe(
    '-nographic: standard input is taken by -chardev stdio,id=c',
  );
  expect(parts('-nographic -monitor none')).toMatchObject({
    chardevs: [{ id: 'serial0', backend: { kind: 'stdio' } }],
    monitors: [],
  });
  expect(
    parts('-chardev stdio,id=c,mux=on -serial chardev:c -mon chardev=c,mode=readline'),
  ).toEqual({
    chardevs: [{ id: 'c', backend: { kind: 'mux', base: keys } }],
    serials: ['c'],
    monitors: [{ mode: 'hmp', chardev: 'c' }],
  });
});

test.each<[string, number, number, number, number]>([
  ['2', 2, 1, 2, 1],
  ['cpus=4', 4, 1, 4, 1],
  ['4,sockets=2', 4, 2, 2, 1],
  ['8,cores=2,threads=2', 8, 2, 2, 2],
  ['sockets=2,cores=3', 6, 2, 3, 1],
  ['6,threads=2', 6, 1, 3, 2],
  ['2,maxcpus=2', 2, 1, 2, 1],
])('-smp %s', (text, cpus, sockets, cores, threads) => {
  const spec = launch('primary', `-kernel k -smp ${text}`);
  expect([spec.cpus, spec.topology]).toEqual([cpus, { sockets, cores, threads }]);
});

test.each([
  ['0', "Parameter 'cpus' expects an integer from 1 to 255"],
  ['two', "Parameter 'cpus' expects integer"],
  ['4,sockets=3', 'sockets=3 x cores=1 x threads=1 make 3 vCPUs, not 4'],
  ['4,sockets=2,cores=2,threads=2', 'sockets=2 x cores=2 x threads=2 make 8 vCPUs, not 4'],
  ['2,maxcpus=4', 'maxcpus=4: vCPUs cannot be plugged in later; leave it out, or make it 2'],
  ['2,dies=2', "dies=2: only '1' is taken here | A processor has sockets, cores and threads."],
  [
    '2,slots=2',
    "Parameter 'slots' is unexpected | It takes cpus, sockets, cores, threads, maxcpus, dies, " +
      'clusters, modules, books, drawers.',
  ],
])('-smp %s is refused', (text, message) => {
  expect(refusal('primary', `-kernel k -smp ${text}`)).toBe(`-smp ${text}: ${message}`);
});

test('channels', () => {
  const spec = launch(
    'primary',
    '-kernel k -qmp unix:/q,server,nowait -qmp tcp::4444,server=on -monitor stdio -serial ' +
      'file:/log -serial chardev:c0 -chardev socket,id=c0,host=h,port=1,reconnect=2 -monitor ' +
      'none',
  );
  expect(spec.chardevs).toEqual([
    {
      id: 'qmp0',
      backend: {
        kind: 'socket',
        address: { kind: 'unix', path: '/q' },
        server: true,
        wait: false,
        reconnectMs: 0,
      },
    },
    {
      id: 'qmp1',
      backend: {
        kind: 'socket',
        address: { kind: 'tcp', host: '', port: 4444 },
        server: true,
        wait: true,
        reconnectMs: 0,
      },
    },
    { id: 'monitor0', backend: { kind: 'stdio', input: 'keys' } },
    { id: 'serial0', backend: { kind: 'file', path: '/log', append: false } },
    {
      id: 'c0',
      backend: {
        kind: 'socket',
        address: { kind: 'tcp', host: 'h', port: 1 },
        server: false,
        wait: false,
        reconnectMs: 2000,
      },
    },
  ]);
  expect(spec.serials).toEqual(['serial0', 'c0']);
  expect(spec.monitors.map(m => m.mode)).toEqual(['qmp', 'qmp', 'hmp']);
});

test('a drive without if= is virtio, and gets an id', () => {
  const { drives } = launch('primary', '-kernel k -drive file=a.img -drive file=b.img');
  expect(drives.map(d => [d.id, d.interface])).toEqual([
    ['virtio0', 'virtio'],
    ['virtio1', 'virtio'],
  ]);
});

test('firmware, where it is looked for, and what it boots', () => {
  const given = launch('primary', '-S -bios b.bin -L /one -L /two -boot nd,menu=on,strict=on');
  expect([given.bios, given.dataDirs]).toEqual(['b.bin', ['/one', '/two']]);
  expect(given.boot).toEqual({ order: 'nd', menu: true, strict: true });
  const { drives, boot } = launch('primary', '-drive file=a.img -boot splash-time=100');
  expect([drives.length, boot?.order, boot?.splashMs]).toEqual([1, 'cdn', 100]);
});

test('a comma in a file name is doubled', () => {
  expect(
    launch('primary', '-kernel k -drive if=none,file.filename=/a,,b,driver=raw').drives[0].options,
  ).toEqual({ file: { filename: '/a,b' }, driver: 'raw' });
});

test('no option is both known and refused; every one has a summary', () => {
  expect(optionTable.filter(o => Object.hasOwn(refusedOptions, o.name))).toEqual([]);
  expect(optionTable.filter(o => o.summary.length === 0)).toEqual([]);
  expect(() => parseArgv(['-'], optionTable, refusedOptions)).toThrow("'-' is not an option");
});

test.each([
  ['on', 'by-display'],
  ['off', undefined],
  ['5801', 5801],
])('-vnc :1,websocket=%s', (word, port) => {
  expect(parseLaunch('primary', ['-S', '-vnc', `:1,websocket=${word}`]).spec.vnc?.websocket).toBe(
    port,
  );
});

test('-vga and -vnc: a card comes with a screen, and is there once', () => {
  const spec = (...argv: string[]) => parseLaunch('primary', ['-S', ...argv]).spec;
  const cards = (...argv: string[]) =>
    spec(...argv)
      .devices.filter(({ model }) => model === 'VGA')
      .map(({ id }) => id);
  expect(cards()).toEqual([]);
  expect(cards('-vga', 'std')).toEqual(['vga']);
  expect(cards('-vnc', 'none')).toEqual([]);
  expect(cards('-vnc', ':1', '-device', 'VGA,id=v')).toEqual(['v']);
  expect(spec('-vnc', '[::1]:3,to=9,password=on,tls-creds=t').vnc).toEqual({
    host: '::1',
    display: 3,
    to: 9,
    password: true,
    tlsCreds: 't',
  });
});
