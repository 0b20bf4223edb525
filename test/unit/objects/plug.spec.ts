/**
 * Goal: a chardev or netdev is the same whether the command line, HMP or QMP asks for it, mistakes
 * read as QEMU's do, and what is used stays. Method: the declarations in all their spellings; the
 * real inventories over real sockets of the host.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Stdio } from '../../../src/chardev/contract.js';
import { RingbufChar } from '../../../src/chardev/ringbuf.js';
import { Chardevs } from '../../../src/vm/chardevs.js';
import { defaultLimits } from '../../../src/vm/host.js';
import { Network } from '../../../src/vm/network.js';
import { noCredentials } from '../../../src/host/credentials.js';
import { NodeClock } from '../../../src/host/node/clock.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import type { Files, Stream, Programs, Tap } from '../../../src/host/ports.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import {
  chardevBackend,
  chardevHelp,
  readChannel,
  readChardev,
  specOfBackend,
} from '../../../src/vm/objects/chardevs.js';
import { netdevHelp, netdevOf, readNetdev } from '../../../src/vm/objects/netdevs.js';
import { rememberingVm } from '../../support/remembering-vm.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-plug-'));
const opened: { close(): void }[] = [];
const streams: Stream[] = [];
const sockets = new NodeSockets();
const clock = new NodeClock();
afterEach(() => {
  opened.splice(0).forEach(o => o.close());
  streams.splice(0).forEach(s => s.destroy());
});
afterAll(() => rmSync(dir, { recursive: true }));

async function until(condition: () => boolean): Promise<void> {
  for (
    const deadline = performance.now() + 5000;
    !condition();
    await new Promise(resolve => setTimeout(resolve, 5))
  )
    if (performance.now() > deadline) throw new Error('it never came');
}

describe('one declaration', () => {
  const json = (backend: unknown) => specOfBackend(chardevBackend.check(backend, 'backend'));

  test.each([
    ['null,id=c0', 'null', { type: 'null', data: {} }],
    ['file,id=c0,path=/x', 'file:/x', { type: 'file', data: { out: '/x' } }],
    [
      'socket,id=c0,path=/x',
      'unix:/x',
      { type: 'socket', data: { addr: { type: 'unix', data: { path: '/x' } }, server: false } },
    ],
    [
      'socket,id=c0,host=::1,port=5,server,nowait',
      'tcp:[::1]:5,server=yes,wait=no',
      { type: 'socket', data: { addr: { type: 'inet', data: { host: '::1', port: '5' } } } },
    ],
    [
      'socket,id=c0,host=h,port=5,reconnect=2',
      'tcp:h:5,reconnect-ms=2000',
      {
        type: 'socket',
        data: {
          addr: { type: 'inet', data: { host: 'h', port: '5' } },
          server: false,
          reconnect: 2,
        },
      },
    ],
    [
      'socket,id=c0,path=/x,tls-creds=t',
      'unix:/x,tls-creds=t',
      {
        type: 'socket',
        data: {
          addr: { type: 'unix', data: { path: '/x' } },
          server: false,
          'tls-creds': 't',
        },
      },
    ],
    ['ringbuf,id=c0', 'ringbuf,size=64K', { type: 'ringbuf', data: { size: 65536 } }],
  ])('%s', (option, short, backend) => {
    const { id, backend: spec } = readChardev(option);
    expect([id, readChannel(short, 'lines'), json(backend)]).toEqual(['c0', spec, spec]);
  });

  test.each([
    ['foo,id=c', "'foo' is not a valid char driver name"],
    ['pty,id=c', "'pty' is not a valid char driver name: colo does not have it; use socket"],
    ['null', 'chardev: no id specified'],
    ['file,id=c', "Parameter 'path' is missing"],
    ['socket,id=c', 'a socket needs an address'],
    ['socket,id=c,path=/x,port=1', 'not both'],
    ['socket,id=c,port=1', 'a host is needed to connect to'],
    ['socket,id=c,host=h,port=99999', "'99999' is not a port number"],
    ['socket,id=c,path=/x,wait=on', "'wait' is for a server"],
    ['socket,id=c,path=/x,server=on,reconnect=1', "'reconnect' is for a client"],
    ['socket,id=c,path=/x,reconnect=1,reconnect-ms=1', 'exclude each other'],
    ['socket,id=c,path=/x,reconnect=-1', "Parameter 'reconnect' expects an integer from 0"],
    ['socket,id=c,path=/x,server=maybe', "Parameter 'server' expects 'on' or 'off'"],
    ['socket,id=c,path=/x,telnet=on', "Parameter 'telnet' is unexpected"],
    ['ringbuf,id=c,size=1000', 'size of ringbuf chardev must be power of two'],
    ['ringbuf,id=c,size=1T', 'size of ringbuf chardev must be power of two'],
    ['null,id=c,path=/x', "Parameter 'path' is unexpected"],
  ])('%s', (text, message) => expect(() => readChardev(text)).toThrow(message));

  test.each([
    [{ type: 'foo', data: {} }, "Parameter 'type' does not accept value 'foo'"],
    [{ type: 'socket', data: {} }, "Parameter 'backend.data.addr' is missing"],
    [
      { type: 'socket', data: { addr: { type: 'unix', data: { path: '/x' } }, wait: true } },
      "'wait=on' is for the command line",
    ],
    [{ type: 'ringbuf', data: { size: 3 } }, 'size of ringbuf chardev must be power of two'],
  ])('%j', (backend, message) => expect(() => json(backend)).toThrow(message));

  test('no monitor waits for a peer; the command line may', () => {
    expect(readChardev('socket,id=c,path=/x,server=on').backend).toMatchObject({ wait: true });
    expect(readChardev('socket,id=c,path=/x,server=on', true).backend).toMatchObject({
      wait: false,
    });
    expect(() => readChardev('socket,id=c,path=/x,server=on,wait=on', true)).toThrow(
      "'wait=on' is for the command line",
    );
  });

  test.each([
    ['foo,id=n', "Parameter 'type' does not accept value 'foo'"],
    ['hubport,id=n,hubid=0', "network type 'hubport' is not supported: there are no hubs"],
    ['tap', "Parameter 'id' is missing"],
    ['tap,id=n,vhost=on', 'vhost=on is not supported'],
    ['tap,id=n,vnet_hdr=on', 'vnet_hdr=on is not supported'],
    ['socket,id=n', 'exactly one of listen= and connect= is required'],
    ['socket,id=n,listen=:1,connect=h:1', 'exactly one of listen= and connect= is required'],
    ['socket,id=n,connect=:1', 'a host is needed to connect to'],
    ['socket,id=n,listen=foo', "'foo' is not HOST:PORT"],
    ['socket,id=n,mcast=230.0.0.1:1234', "Parameter 'mcast' is unexpected"],
  ])('%s', (text, message) => expect(() => readNetdev(text)).toThrow(message));

  test('netdevs as text and as JSON', () => {
    const tap = { type: 'tap', id: 'n', ifname: 't', script: 'no', downscript: undefined };
    expect([
      readNetdev('tap,id=n,ifname=t,script=no,vhost=off'),
      netdevOf('tap', 'n', { ifname: 't', script: 'no', vhost: false }),
    ]).toEqual([tap, tap]);
    const socket = {
      type: 'socket',
      id: 'n',
      address: { kind: 'tcp', host: '::1', port: 7 },
      server: true,
    };
    expect([
      readNetdev('socket,id=n,listen=[::1]:7'),
      netdevOf('socket', 'n', { listen: '[::1]:7' }),
    ]).toEqual([socket, socket]);
    expect(
      [
        netdevHelp('help'),
        netdevHelp('socket,help'),
        chardevHelp('help'),
        chardevHelp('ringbuf,?'),
      ].every(text => text !== undefined),
    ).toBe(true);
  });
});

describe('chardevs', () => {
  const stdio = {
    terminal: undefined,
    setMode: () => undefined,
    onData: () => undefined,
    onEnd: () => undefined,
    onDrain: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
  } as unknown as Stdio;
  async function chardevs() {
    const all = await Chardevs.create([], {
      sockets,
      clock,
      files: {} as Files,
      stdio,
      credentials: noCredentials,
      log: () => undefined,
    });
    opened.push(all);
    return all;
  }

  test('come and go; one that is used stays, and the refusal names the user', async () => {
    const all = await chardevs();
    const path = join(dir, 'c0');
    await all.add('c0', readChardev(`socket,id=c0,path=${path},server=on`, true).backend);
    await expect(all.add('c0', { kind: 'null' })).rejects.toThrow(
      "Chardev with id 'c0' already exists",
    );
    await expect(all.add('9c', { kind: 'null' })).rejects.toThrow(
      "Parameter 'id' expects an identifier",
    );
    const claim = all.claim('c0', "filter-mirror 'm0'");
    expect(() => all.remove('c0')).toThrow("Chardev 'c0' is busy: filter-mirror 'm0' uses it");
    expect(all.info()).toEqual([
      { id: 'c0', label: `unix:${path},server=on`, connected: false, used: true },
    ]);
    claim.dispose();
    claim.dispose();
    all.remove('c0');
    expect(() => all.remove('c0')).toThrow("Chardev 'c0' not found");
    await expect(sockets.connect({ kind: 'unix', path }, { timeoutMs: 1000 })).rejects.toThrow(
      'Failed to connect',
    );
  });

  test('the next user hears a peer that was there, and nothing that was meant for the last', async () => {
    const all = await chardevs();
    const path = join(dir, 'c1');
    await all.add('c1', readChardev(`socket,id=c1,path=${path},server=on`, true).backend);
    const stream = await sockets.connect({ kind: 'unix', path }, { timeoutMs: 1000 });
    streams.push(stream);
    stream.onData(() => undefined);
    const first = all.claim('c1', 'first');
    let got = '';
    first.value.onData(bytes => (got += Buffer.from(bytes).toString()));
    await stream.write(Buffer.from('one'));
    await until(() => got === 'one');
    first.dispose();
    await stream.write(Buffer.from('two'));
    const second = all.claim('c1', 'second');
    const events: string[] = [];
    let later = '';
    second.value.onEvent(event => events.push(event));
    second.value.onData(bytes => (later += Buffer.from(bytes).toString()));
    await until(() => later === 'two');
    expect([got, events]).toEqual(['one', ['opened']]);
  });

  test(
    'standard input is taken once; a client without a server fails aloud, and leaves its name ' +
      'free',
    async () => {
      const all = await chardevs();
      await all.add('s0', { kind: 'stdio', input: 'characters' });
      await expect(all.add('s1', { kind: 'stdio', input: 'characters' })).rejects.toThrow(
        "standard input is taken by chardev 's0'",
      );
      await expect(
        all.add('c2', readChardev(`socket,id=c2,path=${join(dir, 'nobody')}`).backend),
      ).rejects.toThrow('Failed to connect');
      await all.add('c2', { kind: 'ringbuf', sizeBytes: 8 });
      expect(() => all.ringbuf('s0')).toThrow('s0 is not a ringbuf device');
      expect(() => all.ringbuf('zz')).toThrow("Device 'zz' not found");
      all.ringbuf('c2').write(Buffer.from('0123456789'));
      expect([
        all.ringbuf('c2').read(3).toString(),
        all.ringbuf('c2').read(100).toString(),
      ]).toEqual(['234', '56789']);
    },
  );

  test('a ring buffer keeps the last bytes, whatever is written and read', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.nat(20))), calls => {
        const ring = new RingbufChar('r', 16);
        let model = Buffer.alloc(0);
        for (const call of calls) {
          if (typeof call === 'number') {
            expect(ring.read(call)).toEqual(model.subarray(0, call));
            model = model.subarray(call);
          } else {
            ring.write(call);
            model = Buffer.concat([model, call]).subarray(-16);
          }
        }
        expect(ring.read(99)).toEqual(model);
      }),
    );
  });
});

describe('netdevs', () => {
  const fakeTap = (ifname = 'tap0'): Tap & { closed?: boolean } => ({
    ifname,
    onFrame: () => undefined,
    write: () => true,
    pause: () => undefined,
    resume: () => undefined,
    dispose() {
      this.closed = true;
    },
  });
  async function network(open: (ifname?: string) => Tap = fakeTap) {
    const all = await Network.create(
      { netdevs: [] },
      {
        clock,
        sockets,
        taps: { open },
        programs: {} as Programs,
        limits: defaultLimits,
        note: () => undefined,
      },
    );
    opened.push(all);
    return all;
  }
  const nic = (got: number[], room = { now: true }) => ({
    mac: Buffer.from('525400123456', 'hex'),
    receive: (f: Uint8Array) => room.now && got.push(f[0]) > 0,
    announce: () => undefined,
  });
  const frame = (n: number) => Buffer.alloc(60, n);

  test('come and go; one that is used stays', async () => {
    const tap = fakeTap();
    const all = await network(() => tap);
    await all.add(readNetdev('tap,id=n0,script=no,downscript=no'));
    await expect(all.add(readNetdev('tap,id=n0,script=no'))).rejects.toThrow("Duplicate ID 'n0'");
    const use = all.use('n0', "filter-dump 'd0'");
    expect(() => all.del('n0')).toThrow("netdev 'n0' is in use by filter-dump 'd0'");
    use.dispose();
    all.del('n0');
    await until(() => tap.closed === true);
    expect(() => all.del('n0')).toThrow("Device 'n0' not found");
    expect(() => all.announce(undefined, ['n0'])).toThrow("Device 'n0' not found");
    await expect(all.add(readNetdev(`tap,id=n1,script=${dir}/none`))).rejects.toThrow(
      `network script ${dir}/none tap0 failed`,
    );
    expect(all.netdevs).toEqual([]);
  });

  test(
    'two machines over a socket, with back-pressure; an unread peer costs frames in the end, ' +
      'never more',
    async () => {
      const [a, b] = [await network(), await network()];
      const port = 20_000 + (process.pid % 20_000);
      await a.add(readNetdev(`socket,id=n,listen=127.0.0.1:${port}`));
      await b.add(readNetdev(`socket,id=n,connect=127.0.0.1:${port}`));
      const got: number[] = [];
      const room = { now: true };
      const [left, right] = [a.claim('n', 'nic'), b.claim('n', 'nic')];
      left.attachNic(nic([]));
      right.attachNic(nic(got, room));
      left.setRunning(true);
      right.setRunning(true);
      await until(() => left.info().properties.peer === 'yes');
      for (let n = 0; n < 100; n++) expect(left.send(frame(n))).toBe(true);
      await until(() => got.length === 100);
      expect(got).toEqual(Array.from({ length: 100 }, (_, n) => n));
      room.now = false;
      let refused = 0;
      let wakes = 0;
      left.onRoom(() => wakes++);
      const started = performance.now();
      for (
        let sent = 0;
        performance.now() - started < 10_000 && left.info().properties.dropped === 0;
        sent++
      ) {
        if (left.send(Buffer.alloc(60_000, 1))) continue;
        refused++;
        await new Promise(resolve => setTimeout(resolve, 5));
      }
      expect(left.info().properties.dropped).toBeGreaterThan(0);
      expect([refused > 0, wakes > 0]).toEqual([true, true]);
      expect(performance.now() - started).toBeLessThan(9000);
    },
  );

  test('without a peer frames are dropped, and no sender waits', async () => {
    const all = await network();
    const port = 40_000 + (process.pid % 20_000);
    await all.add(readNetdev(`socket,id=n,listen=127.0.0.1:${port}`));
    const netdev = all.claim('n', 'nic');
    netdev.attachNic(nic([]));
    netdev.setRunning(true);
    for (let n = 0; n < 1000; n++) expect(netdev.send(frame(1))).toBe(true);
    await expect(all.add(readNetdev(`socket,id=m,listen=127.0.0.1:${port}`))).rejects.toThrow(
      /listen/,
    );
    await expect(all.add(readNetdev('socket,id=m,connect=127.0.0.1:1'))).rejects.toThrow(
      'Failed to connect',
    );
  });
});

describe('commands', () => {
  test.each([
    ['chardev-add ringbuf,id=r0', 'chardev-add ["r0",{"kind":"ringbuf","sizeBytes":65536}]', ''],
    ['chardev_remove r0', 'chardev-remove "r0"', ''],
    [
      'netdev_add socket,id=n,listen=:1',
      'netdev-add ' +
        '{"type":"socket","id":"n","address":{"kind":"tcp","host":"","port":1},"server":true}',
      '',
    ],
    ['netdev_del n', 'netdev-del "n"', ''],
    ['ringbuf_write r0 "a\\n"', 'ringbuf-write "a\\n"', ''],
    ['ringbuf_read r0 5', undefined, 'r0 \\u001B5\n'],
    ['announce_self hn0,hn1', 'announce [null,["hn0","hn1"]]', ''],
    ['object_add filter-buffer,id=b', 'object-add "filter-buffer,id=b"', ''],
    ['object_del b', 'object-del "b"', ''],
    ['qom-set f0 status off', 'object-set ["f0","status","off"]', ''],
    ['qom-set /objects/f0 interval 5', 'object-set ["f0","interval",5]', ''],
    ['qom-get f0 status', undefined, '"on"\n'],
    ['qom-list /objects', undefined, 'type (string)\nf0 (child<filter-buffer>)\n'],
    ['qom-list f0', undefined, 'type (string)\nstatus (on|off)\n'],
    [
      'qom-get /machine/x status',
      undefined,
      "Error: Device '/machine/x' not found\nPaths are /objects and /objects/ID.\n",
    ],
  ])('%s', async (line, call, output) => {
    const vm = rememberingVm();
    expect(await new HmpShell(monitorRegistry, vm, false).run(line)).toBe(output);
    expect(vm.calls).toEqual(call === undefined ? [] : [call]);
  });

  test('QMP: nested backends, base64, all names', async () => {
    const vm = rememberingVm();
    const registry = monitorRegistry;
    const context = { registry, hmp: async () => '', mayWait: false };
    const run = (name: string, args: Record<string, unknown> = {}) =>
      registry.qmp(name).runQmp(vm, args, context);
    await run('chardev-add', {
      id: 'c',
      backend: {
        type: 'socket',
        data: { addr: { type: 'unix', data: { path: '/x' } }, server: true },
      },
    });
    await run('ringbuf-write', { device: 'r', data: 'aGk=', format: 'base64' });
    expect(vm.calls).toEqual([
      'chardev-add ' +
        '["c",{"kind":"socket","address":{"kind":"unix","path":"/x"},"server":true,' +
        '"wait":false,"reconnectMs":0}]',
      'ringbuf-write "hi"',
    ]);
    await expect(
      run('ringbuf-write', { device: 'r', data: '???', format: 'base64' }),
    ).rejects.toThrow("Parameter 'data' is not base64");
    await expect(run('ringbuf-read', { device: 'r', size: 0 })).rejects.toThrow(
      "Parameter 'size' expects an integer from 1",
    );
    expect(await run('query-chardev-backends')).toEqual(
      ['null', 'stdio', 'file', 'socket', 'ringbuf'].map(name => ({ name })),
    );
    await run('announce-self', { initial: 50, max: 550, rounds: 5, step: 50, interfaces: ['hn0'] });
    expect(vm.calls.at(-1)).toBe(
      'announce [{"initialMs":50,"maxMs":550,"rounds":5,"stepMs":50},["hn0"]]',
    );
  });
});
