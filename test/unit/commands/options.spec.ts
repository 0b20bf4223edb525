/**
 * Goal: QEMU's command lines become a spec, or are refused by the very option that is in the way.
 * Method: the seed's two command lines, the demo's, and every kind of mistake.
 */
import { parameterValues } from '../../../src/monitor/parameters.js';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deviceTypes } from '../../../src/hw/device-types.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { HelpAsked, parseArgv, UsageError } from '../../../src/commands/options/argv.js';
import { parseLaunch, type Role } from '../../../src/commands/options/spec.js';
import { reachableWarnings } from '../../../src/commands/options/reachable.js';
import { optionTable, refusedOptions } from '../../../src/commands/options/table.js';
import { setMigrationGlobals } from '../../../src/commands/vm/migration-globals.js';
import { rememberingVm } from '../../support/remembering-vm.js';

const words = (line: string) => line.trim().split(/\s+/);
const launch = (role: Role, line: string) => parseLaunch(role, words(line)).spec;

/** The message and the hint of what is thrown. */
function refusal(role: Role, argv: string | string[]): string {
  try {
    parseLaunch(role, typeof argv === 'string' ? words(argv) : argv);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    const { message, options } = error as UsageError;
    return options.hint === undefined ? message : `${message} | ${options.hint}`;
  }
  throw new Error('nothing was refused');
}

function help(line: string): string {
  try {
    parseLaunch('primary', words(line));
  } catch (error) {
    expect(error).toBeInstanceOf(HelpAsked);
    return (error as HelpAsked).message;
  }
  throw new Error('no help was given');
}

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

/** Takes out what is refused, one after the other, until the rest parses. */
function peel(role: Role, argv: string[]): { refused: string[]; rest: string[] } {
  const refused: string[] = [];
  let rest = argv;
  for (;;) {
    try {
      parseLaunch(role, rest);
      return { refused, rest };
    } catch (error) {
      const { message } = error as UsageError;
      const at = rest.findIndex(
        (w, i) => w.startsWith('-') && message.startsWith(`${w} ${rest[i + 1]}:`),
      );
      if (at < 0) throw error;
      refused.push(`${rest[at]} ${rest[at + 1]}`);
      rest = [...rest.slice(0, at), ...rest.slice(at + 2)];
    }
  }
}

const notOurs = ['-vnc :7', '-device piix3-usb-uhci', '-device usb-tablet'];

test("the seed's primary: three options are refused by name, the rest is a spec", () => {
  const { refused, rest } = peel('primary', [...seedPrimary, '-kernel', '/boot/vmlinuz']);
  expect(refused).toEqual(notOurs);
  const { disks, ...spec } = parseLaunch('primary', rest).spec;
  expect(disks).toMatchObject({
    nodes: [],
    drives: [{ id: 'colo-disk0', interface: 'virtio', root: { driver: 'quorum' } }],
  });
  expect(spec).toEqual({
    name: 'primary',
    role: 'primary',
    ramBytes: 2 ** 31,
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
    devices: [{ model: 'virtio-net-pci', id: 'net-pci0', properties: { netdev: 'hn0' } }],
    chardevs: [{ id: 'qmp0', backend: { kind: 'stdio', input: 'lines' } }],
    monitors: [{ mode: 'qmp', chardev: 'qmp0' }],
  });
});

test("the seed's secondary", () => {
  const { refused, rest } = peel('secondary', seedSecondary);
  expect(refused).toEqual(notOurs);
  const { spec } = parseLaunch('secondary', rest);
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
  expect(refusal('primary', ['-S', '-device', '{"driver": "e1000"}'])).toContain(
    "'e1000' is not a device of colo",
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
    ['-drive', 'if=none,id=d,file=F', '-device', 'virtio-blk-pci,drive=d,bootindex=1'],
    "Parameter 'bootindex' is unexpected | It takes drive, serial, werror, rerror, write-cache",
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
    "-m 1G,slots=2: 'slots' is not supported here; colo knows: size",
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

test.each<[Role, string, string | RegExp]>([
  [
    'primary',
    '-kernel k -kernle x',
    "unknown option -kernle. Did you mean '-kernel'? | All options: --help",
  ],
  [
    'primary',
    '-kernel k disk.img',
    "'disk.img' is not an option | Every option begins with a dash; a disk is -drive " +
      'if=virtio,file.filename=PATH,driver=raw.',
  ],
  ['primary', '-kernel', '-kernel needs a value: -kernel PATH'],
  ['primary', '-kernel k -m 1G -m 2G', '-m is given twice'],
  [
    'primary',
    '-m 1G',
    '-kernel is missing | colo has no firmware: give it a Linux kernel, and with -initrd and ' +
      '-append what it needs. With -S a machine starts without one: an empty machine to try the ' +
      'monitor on.',
  ],
  ['primary', '-S -append x', '-initrd and -append need -kernel'],
  [
    'primary',
    '-kernel k -serial stdio -monitor stdio',
    '-monitor stdio: standard input is taken by -serial stdio',
  ],
  [
    'primary',
    '-S -serial mon:stdio -monitor stdio',
    '-monitor stdio: standard input is taken by -serial mon:stdio',
  ],
  [
    'primary',
    '-S -chardev stdio,id=c -serial chardev:c -mon c',
    "chardev 'c' has two users | With mux=on it takes several.",
  ],
  [
    'secondary',
    '-incoming file:state',
    '-incoming file:state: a secondary waits for a primary on tcp: or unix: | A saved guest ' +
      'is loaded by `colo primary -incoming file:PATH`.',
  ],
  [
    'secondary',
    '-m 1G',
    'a secondary needs -incoming | Example: -incoming tcp:0:8888. A VM that runs at once is ' +
      'started with `colo primary`.',
  ],
  [
    'primary',
    '-kernel k -smp 2 -accel soft',
    '-smp 2: the software CPU has one vCPU | More need KVM: -accel kvm.',
  ],
  [
    'primary',
    '-kernel k -accel tcg',
    "-accel tcg: 'tcg' is not an accelerator of colo; it has auto, soft, kvm | The software " +
      'CPU is called soft.',
  ],
  [
    'primary',
    '-kernel k -netdev user,id=n',
    "-netdev user,id=n: network type 'user' is not supported: there is no network stack in " +
      'colo; use tap',
  ],
  [
    'primary',
    '-kernel k -object filter-mirro,id=m0',
    /^-object filter-mirro,id=m0: Parameter 'qom-type' does not accept value 'filter-mirro' \| Object types: filter-buffer/,
  ],
  [
    'primary',
    '-kernel k -object filter-buffer,id=b0,netdev=n0',
    "-object filter-buffer,id=b0,netdev=n0: Parameter 'interval' is missing",
  ],
  [
    'primary',
    '-kernel k -object throttle-group,id=g',
    /^-object throttle-group,id=g: object type 'throttle-group' is not supported: limits are of a disk/,
  ],
  [
    'primary',
    '-kernel k -object iothread,id=t0',
    /^-object iothread,id=t0: object type 'iothread' is not supported/,
  ],
  [
    'primary',
    '-kernel k -drive if=ide,file=x',
    '-drive if=ide,file=x: if=ide is not supported; colo has if=virtio and if=none',
  ],
  [
    'primary',
    '-kernel k -drive if=virtio,file=a,file.filename=b',
    "-drive id=virtio0: parameters 'file' and 'file.filename' say the same thing",
  ],
  [
    'primary',
    '-kernel k -netdev tap,id=n,vhost=on',
    '-netdev tap,id=n,vhost=on: vhost=on is not supported: COLO must see every packet. Use ' +
      'vhost=off',
  ],
  [
    'primary',
    '-kernel k -netdev tap,id=n,queues=2',
    "-netdev tap,id=n,queues=2: Parameter 'queues' is unexpected | It takes ifname, script, " +
      'downscript, vhost, vnet_hdr.',
  ],
  [
    'primary',
    '-kernel k -device e1000',
    "-device e1000: 'e1000' is not a device of colo; it has virtio-blk-pci, virtio-net-pci, " +
      'isa-debug-exit.',
  ],
  [
    'primary',
    '-kernel k -device virtio-net-pci,netdev=n',
    "-device virtio-net-pci: there is no netdev 'n' | Add -netdev ...,id=n",
  ],
  [
    'primary',
    '-kernel k -serial pty',
    "-serial pty: 'pty' is not a character device of colo; it has null, stdio, file:PATH, " +
      'unix:PATH, tcp:HOST:PORT and ringbuf',
  ],
  [
    'primary',
    '-kernel k -qmp unix:/q,server=on,telnet=on',
    "-qmp unix:/q,server=on,telnet=on: Parameter 'telnet' is unexpected | It takes path, " +
      'host, port, server, wait, reconnect, reconnect-ms.',
  ],
  [
    'primary',
    '-kernel k -qmp unix:/q,wait=off',
    "-qmp unix:/q,wait=off: 'wait' is for a server: add server=on",
  ],
  ['primary', '-kernel k -display gtk', '-display gtk: colo has no display: only `none` is taken'],
  ['primary', '-kernel k -name a -uuid zz', '-uuid zz: not a UUID'],
])('%s %s', (role, line, message) => {
  expect(refusal(role, line)).toEqual(
    typeof message === 'string' ? message : expect.stringMatching(message),
  );
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
  ['0', "'cpus' is a number from 1 to 255, not '0'"],
  ['two', "'cpus' is a number from 1 to 255, not 'two'"],
  ['4,sockets=3', 'sockets=3 x cores=1 x threads=1 make 3 vCPUs, not 4'],
  ['4,sockets=2,cores=2,threads=2', 'sockets=2 x cores=2 x threads=2 make 8 vCPUs, not 4'],
  ['2,maxcpus=4', 'maxcpus=4: vCPUs cannot be plugged in later; leave it out, or make it 2'],
  ['2,dies=2', "dies=2: only '1' is taken here | A processor has sockets, cores and threads."],
  ['2,slots=2', "'slots' is not supported here; colo knows: cpus, sockets, cores, threads"],
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
  ['-m 1T', '-m: 1048576 MiB is not a whole number from 16 to 262144'],
  ['-m 257k', '-m: 0.2509765625 MiB is not a whole number from 16 to 262144'],
  ['-smp 9', '-smp 9: machines have 1 to 8 vCPUs'],
  ['-drive driver=raw', "-drive id=virtio0: parameter 'file' is missing"],
  [
    '-drive file=a.img,format=raw,bogus=1',
    "-drive id=virtio0: parameter 'bogus' is not known to driver 'raw'",
  ],
])('%s: what this build cannot do is a mistake of usage', (line, message) => {
  const parse = () => launch('primary', `-kernel k ${line}`);
  expect(parse).toThrow(UsageError);
  expect(parse).toThrow(message);
});

test('-machine is one machine by many names; -boot c is what happens anyway', () => {
  for (const option of [
    '-M pc',
    '-machine pc-i440fx-2.3',
    '-machine type=pc,accel=soft',
    '-boot c',
    '-boot order=c',
  ])
    expect(launch('primary', `-kernel k ${option}`).kernel).toBe('k');
  expect(launch('primary', '-kernel k -M pc,accel=soft').accel).toBe('soft');
  expect(refusal('primary', '-kernel k -M q35')).toBe(
    "-M q35: 'q35' is not a machine of colo; it has pc. | pc-i440fx-2.3 and its like are " +
      'names for the same machine.',
  );
  expect(refusal('primary', '-kernel k -M pc,usb=on')).toBe(
    "-M pc,usb=on: usb=on: only 'off' is taken here | There is no USB. Leave it out.",
  );
  expect(refusal('primary', '-kernel k -boot d')).toBe(
    "-boot d: order=d: only 'c' is taken here | What boots is the kernel of -kernel. Leave " +
      '-boot out, or say -boot c.',
  );
  expect(refusal('primary', '-kernel k -boot menu=on')).toBe(
    "-boot menu=on: menu=on: only 'off' is taken here | There is no firmware that could show " +
      'a menu. Leave it out.',
  );
});

const asksForNothing = `
  -name guest=vm1,debug-threads=on; -name vm1,debug-threads=off; -msg timestamp=on
  -msg timestamp=off,guest-name=off; -no-user-config; -nodefconfig
  -machine pc-i440fx-7.2,accel=soft,usb=off,vmport=off,dump-guest-core=off,mem-merge=no,hpet=off
  -boot strict=on; -boot menu=off,strict=on; -boot c,strict; -rtc base=utc
  -rtc base=utc,clock=host,driftfix=none; -overcommit mem-lock=off; -overcommit cpu-pm=off
  -realtime mlock=off; -vga none; -vnc none; -net none -nic none; -parallel none -parallel none
  -no-hpet; -no-fd-bootchk; -balloon none; -audio none; -audiodev none,id=a
  -audiodev {"id":"audio1","driver":"none"}; -only-migratable; -sandbox off; -sandbox enable=off
  -smp 1,maxcpus=1,dies=1,clusters=1,cores=1
  -global PIIX4_PM.disable_s3=1 -global PIIX4_PM.disable_s4=1
  -global kvm-pit.lost_tick_policy=delay
  -netdev tap,id=n -device virtio-net-pci,netdev=n,romfile=,rombar=0
  -drive if=none,id=d,file=F -device virtio-blk-pci,drive=d,scsi=off,num-queues=1`
  .trim()
  .split(/[;\n]/)
  .map(line => line.trim());

test.each(asksForNothing)('%s asks for nothing, and is taken', line => {
  expect(launch('primary', `-kernel k ${line}`).kernel).toBe('k');
});

test.each([
  ['-vga std', "-vga std: only 'none' is taken here | colo has no display. Leave it out."],
  [
    '-vnc :7',
    "-vnc :7: only 'none' is taken here | colo has no display. Use -serial and a kernel with " +
      'console=ttyS0.',
  ],
  [
    '-net nic,model=virtio',
    "-net nic,model=virtio: only 'none' is taken here | Use -netdev with -device virtio-net-pci.",
  ],
  [
    '-rtc base=localtime',
    "-rtc base=localtime: base=localtime: only 'utc' is taken here | The clock is UTC: tell " +
      'the guest so, or set its time zone.',
  ],
  ['-rtc base=utc,driftfix=slew', /driftfix=slew: only 'none' is taken here/],
  [
    '-overcommit mem-lock=on',
    /^-overcommit mem-lock=on: mem-lock=on: only 'off' is taken here \| Memory of the guest is not locked/,
  ],
  ['-overcommit mem-lock', /mem-lock=on: only 'off'/],
  [
    '-sandbox on,obsolete=deny',
    /^-sandbox on,obsolete=deny: only 'off' is taken here \| Use a service manager/,
  ],
  ['-audiodev pa,id=a', /only 'none' is taken here \| There is no sound/],
  [
    '-audiodev none,id=a,timer-period=1',
    "-audiodev none,id=a,timer-period=1: 'timer-period' is not supported here; colo knows: driver",
  ],
  [
    '-machine pc,dump-guest-core=on',
    /dump-guest-core=on: only 'off' is taken here \| The memory of the guest is never in a core file/,
  ],
  ['-machine pc,acpi=off', /acpi=off: only 'on' or 'auto' is taken here/],
  ['-msg timestamp=maybe', "-msg timestamp=maybe: 'timestamp' is on or off, not 'maybe'"],
  ['-msg guest-name=on', /guest-name=on: only 'off'/],
  ['-name vm1,process=x', /'process' is not supported here; colo knows: guest, debug-threads/],
  [
    '-global PIIX4_PM.disable_s3=0',
    "-global PIIX4_PM.disable_s3=0: PIIX4_PM.disable_s3=0: only '1' or 'on' or 'true' is " +
      'taken here | Guests cannot suspend to memory.',
  ],
  ['-global kvm-pit.lost_tick_policy=discard', /only 'delay' is taken here/],
  [
    '-netdev tap,id=n -device virtio-net-pci,netdev=n,romfile=x.rom',
    /romfile=x.rom: only nothing is taken here/,
  ],
])('%s asks for something', (line, message) => {
  expect(refusal('primary', `-kernel k ${line}`)).toEqual(
    typeof message === 'string' ? message : expect.stringMatching(message),
  );
});

test('-global gives every -device of a driver what it does not say itself', () => {
  const line =
    '-kernel k -netdev tap,id=a -netdev tap,id=b -device virtio-net-pci,netdev=a -global ' +
    'virtio-net-pci.mac=52:54:00:00:00:09 -device ' +
    'virtio-net-pci,netdev=b,mac=52:54:00:00:00:01';
  expect(launch('primary', line).devices.map(({ properties }) => properties['mac'])).toEqual([
    '52:54:00:00:00:09',
    '52:54:00:00:00:01',
  ]);
  expect(
    launch(
      'primary',
      '-kernel k -device isa-debug-exit -global isa-debug-exit.iobase=1 -global ' +
        'driver=isa-debug-exit,property=iobase,value=0x600',
    ).devices,
  ).toMatchObject([{ properties: { iobase: 0x600 } }]);
  expect(
    refusal('primary', '-kernel k -device isa-debug-exit -global isa-debug-exit.iobsae=1'),
  ).toBe(
    "-global isa-debug-exit.iobsae=1: Parameter 'iobsae' is unexpected | It takes iobase, " +
      "iosize. Did you mean 'iobase'?",
  );
  expect(refusal('primary', '-kernel k -global isa-debug-exit.iobase=1')).toBe(
    '-global isa-debug-exit.iobase=1: there is no -device isa-debug-exit that it could be given to',
  );
  expect(refusal('primary', '-kernel k -global PIIX4_PM.smm_enabled=1')).toMatch(
    /^-global PIIX4_PM.smm_enabled=1: 'PIIX4_PM' is not a device of colo; it has migration, /,
  );
  expect(refusal('primary', '-kernel k -global migration')).toBe(
    '-global migration: not DRIVER.PROP=VALUE | Example: -global migration.x-checkpoint-delay=100',
  );
  expect(
    refusal('primary', '-kernel k -drive driver=memory,size=1M -global virtio-blk-pci.serial=1'),
  ).toMatch(/does not reach the device that comes with -drive if=virtio/);
  expect(
    parseLaunch(
      'primary',
      words('-kernel k -global migration.x-colo=on -global migration.x-checkpoint-delay=9'),
    ).migration.map(m => `${m.property}=${m.value}`),
  ).toEqual(['x-colo=on', 'x-checkpoint-delay=9']);
});

test('-drive takes a word beside a group of its name, as drive_add does', () => {
  const opened = (line: string) => parseLaunch('primary', words(line)).spec.disks.drives[0];
  const cached = opened('-S -drive file=F,driver=raw,cache=none,cache.direct=off,if=none,id=d');
  expect(cached).toEqual(parseDrive('file=F,driver=raw,cache=none,cache.direct=off,if=none,id=d'));
  expect(opened('-S -snapshot -drive file=F,driver=raw,file.locking=off').root).toMatchObject({
    driver: 'memory',
    backing: { driver: 'raw', file: { driver: 'file', filename: 'F', lock: 'none' } },
  });
});

test('-snapshot puts memory over every writable disk', () => {
  const spec = launch(
    'primary',
    '-kernel k -snapshot -drive file=a.img,format=raw,cache=unsafe -drive ' +
      'if=none,driver=qcow2,file.filename=b,read-only=on',
  );
  expect(spec.drives.map(d => d.options)).toEqual([
    { driver: 'memory', cache: 'unsafe', backing: { filename: 'a.img', format: 'raw' } },
    { driver: 'qcow2', file: { filename: 'b' }, 'read-only': 'on' },
  ]);
  expect(refusal('secondary', '-incoming tcp:0:1 -snapshot')).toBe(
    '-snapshot: a secondary cannot have it | What it takes over must be there afterwards.',
  );
});

test('-mon, and -trace from a file', () => {
  expect(
    launch(
      'primary',
      '-kernel k -chardev null,id=a -chardev null,id=b -mon a,mode=control -mon chardev=b',
    ).monitors,
  ).toEqual([
    { mode: 'qmp', chardev: 'a' },
    { mode: 'hmp', chardev: 'b' },
  ]);
  expect(refusal('primary', '-kernel k -mon a,mode=x -chardev null,id=a')).toBe(
    "-mon a,mode=x: 'mode' is readline or control, not 'x'",
  );
  expect(refusal('primary', '-kernel k -mon a')).toBe(
    "-monitor: there is no chardev 'a' | Add -chardev ...,id=a",
  );
  const file = join(mkdtempSync(join(tmpdir(), 'colo-trace-')), 'events');
  writeFileSync(file, 'colo_* # all\n\n# none\nvm_x\n');
  expect(
    parseLaunch('primary', words(`-kernel k -trace a -trace events=${file},enable=b`)).traces,
  ).toEqual(['a', 'b', 'colo_*', 'vm_x']);
  expect(refusal('primary', '-kernel k -trace file=x')).toBe(
    "-trace file=x: 'file' is not supported: trace events go where the log goes | Name a file " +
      'with -D.',
  );
  expect(refusal('primary', '-kernel k -trace events=/none')).toBe(
    "-trace events=/none: Could not read '/none': No such file or directory",
  );
  rmSync(dirname(file), { recursive: true });
});

test('-global migration.* is what the monitor would set, or refused by name', async () => {
  const vm = rememberingVm();
  const set = async (line: string) =>
    setMigrationGlobals(vm, parseLaunch('primary', words(`-kernel k ${line}`)).migration);
  await set('-global migration.x-colo=on -global migration.x-checkpoint-delay=7');
  expect(vm.colo.capability.get('x-colo')).toBe(true);
  expect(parameterValues(vm)).toMatchObject({ 'x-checkpoint-delay': 7 });
  await expect(set('-global migration.x-checkpont-delay=1')).rejects.toThrow(
    "-global migration.x-checkpont-delay=1: migration has no 'x-checkpont-delay'. Did you " +
      "mean 'x-checkpoint-delay'?",
  );
  await expect(set('-global migration.x-colo=maybe')).rejects.toThrow(
    "-global migration.x-colo=maybe: it is on or off, not 'maybe'",
  );
  await expect(set('-global migration.x-checkpoint-delay=soon')).rejects.toThrow(
    '-global migration.x-checkpoint-delay=soon: ',
  );
});

test('what can be reached from elsewhere is said, what cannot is not', () => {
  const said = (role: Role, line: string) =>
    reachableWarnings(launch(role, line)).map(text => text.replace(/ without TLS.*/, ''));
  expect(said('secondary', '-incoming tcp:0:8888')).toEqual([
    'warning: -incoming tcp:0:8888 can be reached from elsewhere (every address of this host, ' +
      'port 8888)',
  ]);
  expect(
    said(
      'secondary',
      '-incoming tcp:10.0.0.2:8888 -qmp tcp::4444,server=on -serial tcp:[::]:5,server=on',
    ),
  ).toHaveLength(3);
  expect(
    said(
      'secondary',
      '-incoming tcp:127.0.0.1:8888 -qmp tcp:localhost:4444,server=on -monitor ' +
        'tcp:[::1]:4,server=on -serial tcp:10.0.0.2:5',
    ),
  ).toEqual([]);
  expect(said('secondary', '-incoming unix:/x')).toEqual([]);
});

test('-incoming is looked at where it is given', () => {
  expect(refusal('secondary', '-incoming foo')).toBe(
    '-incoming foo: unknown migration protocol: foo | use tcp:HOST:PORT, unix:PATH, file:PATH ' +
      'or exec:COMMAND',
  );
  expect(refusal('secondary', '-incoming tcp:0:99999')).toBe(
    "-incoming tcp:0:99999: 'tcp:0:99999': port 99999 is not possible",
  );
});

test(
  'help in the place of a value lists what is taken, a sentence each, whatever else is ' +
    'missing',
  () => {
    const names = (text: string) =>
      text.split('\n').flatMap(line => /^ {2}(\S+) {2,}\S.*/.exec(line)?.[1] ?? []);
    const [models, flags] = help('-cpu help').split('\n\nRecognized CPUID flags:\n');
    expect(models).toMatch(/^Available CPUs:\n {2}soft-v1 {2}what the software CPU has/);
    expect(names(models)).toEqual(['soft-v1', 'soft-v2', 'qemu64', 'host', 'max']);
    for (const model of names(models))
      expect(launch('primary', `-kernel k -cpu ${model}`).cpu?.model).toBe(model);
    const listed = words(flags);
    expect(listed).toContain('sse4.2');
    expect(
      launch('primary', `-kernel k -cpu max,${listed.map(flag => `+${flag}`).join(',')}`).cpu
        ?.flags,
    ).toHaveLength(listed.length);
    const devices = names(help('-device help'));
    expect(devices).toEqual(deviceTypes.map(({ name }) => name));
    for (const device of devices) {
      const shown = names(help(`-device ${device},help`)).map(name => name.replace(/=.*/, ''));
      expect(help(`-device ${device},id=x,?`)).toBe(help(`-device ${device},help`));
      // What is not known is refused with the same names.
      expect(refusal('primary', `-kernel k -device ${device},drive=d,netdev=n,nope=1`)).toContain(
        shown.join(', '),
      );
    }
    expect(refusal('primary', '-kernel k -device virtio-blk,help')).toContain(
      "'virtio-blk' is not a device",
    );
    expect(names(help('-accel ?'))).toEqual(['auto', 'soft', 'kvm']);
    for (const accel of names(help('-accel help')))
      expect(launch('primary', `-kernel k -accel ${accel}`).accel).toBe(accel);
    expect(names(help('-M help'))).toEqual(['pc', 'pc-i440fx-VERSION']);
    expect(help('-machine help')).toBe(help('-M ?'));
  },
);
