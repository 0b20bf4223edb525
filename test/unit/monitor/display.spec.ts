/**
 * Goal: pictures of the screen are what it shows, in both formats; the monitor tells of viewers and
 * sets their password. Method: both monitors over a screen and a server that remember.
 */
import { inflateSync } from 'node:zlib';
import { newSurface } from '../../../src/hw/display/surface.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import { rememberingVm } from '../../support/remembering-vm.js';

function monitors({ vnc = true, screen = true } = {}) {
  const vm = rememberingVm();
  const surface = newSurface(3, 2);
  surface.pixels.set([0xff0000, 0x00ff00, 0x0000ff, 0x123456, 0, 0xffffff]);
  const saved = new Map<string, Buffer>();
  const board = vm.machine.board as unknown as Record<string, unknown>;
  if (screen) board.screen = { paint: () => ({ surface, changed: [] }) };
  Object.assign(vm.host, {
    files: {
      replace: async (path: string) => ({
        file: { pwrite: async (bytes: Buffer) => void saved.set(`${path}~`, bytes) },
        keep: async () => void saved.set(path, saved.get(`${path}~`)!),
        discard: async () => undefined,
      }),
    },
  });
  const peer = { host: '::1', service: '4711', family: 'ipv6', websocket: false };
  const server = {
    address: { host: '127.0.0.1', service: '5907', family: 'ipv4', websocket: false },
    auth: 'vnc',
    clients: [peer],
    setPassword: (password: string) => void vm.calls.push(`password ${password}`),
  };
  if (vnc) Object.assign(vm, { vnc: server });
  const shell = new HmpShell(monitorRegistry, vm, false);
  const context = { registry: monitorRegistry, hmp: async () => '', mayWait: false };
  return {
    vm,
    saved,
    hmp: (line: string) => shell.run(line),
    qmp: (name: string, args: Record<string, unknown> = {}) =>
      monitorRegistry.qmp(name).runQmp(vm, args, context),
  };
}

const rgb = Buffer.from('ff000000ff000000ff123456000000ffffff', 'hex');

test('screendump as PPM', async () => {
  const { hmp, saved } = monitors();
  expect(await hmp('screendump /tmp/a.ppm')).toBe('');
  expect(saved.get('/tmp/a.ppm')).toEqual(Buffer.concat([Buffer.from('P6\n3 2\n255\n'), rgb]));
});

test('screendump as PNG, by both monitors', async () => {
  const { hmp, qmp, saved } = monitors();
  expect(await hmp('screendump /tmp/a.png -f png')).toBe('');
  await qmp('screendump', { filename: '/tmp/b.png', format: 'png' });
  const png = saved.get('/tmp/a.png')!;
  expect(saved.get('/tmp/b.png')).toEqual(png);
  expect(png.subarray(0, 8).toString('latin1')).toBe('\x89PNG\r\n\x1a\n');
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([3, 2]);
  const length = png.readUInt32BE(33);
  const rows = inflateSync(png.subarray(41, 41 + length));
  expect(rows).toEqual(
    Buffer.concat([Buffer.of(0), rgb.subarray(0, 9), Buffer.of(0), rgb.subarray(9)]),
  );
});

test('info vnc, query-vnc', async () => {
  const { hmp, qmp } = monitors();
  expect(await hmp('info vnc')).toBe(
    'default:\n  Server: 127.0.0.1:5907 (ipv4)\n    Auth: vnc\n  Client: ::1:4711 (ipv6)\n',
  );
  expect(await qmp('query-vnc')).toMatchObject({
    enabled: true,
    service: '5907',
    clients: [{ host: '::1' }],
  });
  expect(await monitors({ vnc: false }).qmp('query-vnc')).toEqual({ enabled: false });
});

test('the password, by every way', async () => {
  const { vm, hmp, qmp } = monitors();
  await hmp('set_password vnc one');
  await hmp('change vnc password two');
  await qmp('set_password', { protocol: 'vnc', password: 'three', connected: 'keep' });
  await qmp('change-vnc-password', { password: '' });
  expect(vm.calls).toEqual(['password one', 'password two', 'password three', 'password ']);
});

test('without a screen, or a server, a sentence says so', async () => {
  expect(await monitors({ screen: false }).hmp('screendump x')).toContain('no screen: -vga std');
  expect(await monitors({ vnc: false }).hmp('set_password vnc x')).toContain('-vnc was not given');
});
