/**
 * Goal: a guest moves to another VM, or into a file and back, and is the same there; whatever goes
 * wrong leaves it running in one place or says where to look. Method: two whole VMs of this
 * process, each with a guest that counts in its memory (skipped by name where the addon is not
 * built); the monitor's commands drive them.
 */
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseLaunch } from '../../../src/commands/options/spec.js';
import { Vm } from '../../../src/vm/vm.js';
import { testHost } from '../../support/vm-host.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import { type MigrationInfo, migrationInfo } from '../../../src/monitor/migration-info.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { Assembler } from '../../support/toy-guest.js';

const built = existsSync(new URL('../../../native/build/Release/colo.node', import.meta.url));
const withAddon = built ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-mig-'));
const file = (name: string) => join(dir, name);
const counter = 0x20_0000;
const kernel = file('kernel');

/** Counts for ever. */
function countingKernel(): Buffer {
  const entry = 0x100_0200;
  const image = fakeKernel();
  new Assembler(entry)
    .incDword(counter)
    .jumpTo(entry)
    .code()
    .copy(image, 1024 + 0x200);
  return image;
}

const sleep = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

class TestVm {
  readonly events: string[] = [];
  readonly shell: HmpShell;
  readonly qmp = (name: string, args: Record<string, unknown> = {}) =>
    this.registry.qmp(name).runQmp(this.vm, args, {
      registry: this.registry,
      hmp: line => this.shell.run(line),
      mayWait: false,
    });
  private readonly registry;

  private constructor(
    readonly vm: Vm,
    readonly notes: string[],
  ) {
    this.registry = monitorRegistry;
    this.shell = new HmpShell(this.registry, this.vm, true);
    for (const name of ['STOP', 'RESUME'] as const)
      vm.machine.events.on(name, () => void this.events.push(name));
    vm.machine.events.on('MIGRATION', e => void this.events.push(e.status));
  }

  static async start(role: 'primary' | 'secondary', ...extra: string[]): Promise<TestVm> {
    const notes: string[] = [];
    const { spec } = parseLaunch(role, ['-m', '32', '-accel', 'soft', '-kernel', kernel, ...extra]);
    const vm = new TestVm(
      await Vm.build(
        spec,
        testHost(line => void notes.push(line)),
      ),
      notes,
    );
    open.push(vm);
    await vm.vm.listen();
    await vm.vm.start();
    return vm;
  }

  get state(): string {
    return this.vm.machine.runState;
  }

  get counted(): number {
    return this.vm.machine.accel.ram.readU32(counter)!;
  }

  get info(): MigrationInfo {
    return migrationInfo.from(this.vm.colo);
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    for (let i = 0; i < 3000; i++) {
      if (condition()) return;
      await sleep(10);
    }
    throw new Error(
      `never: ${what}; ${JSON.stringify(this.info)} ${this.state} ${this.notes.join('\n')}`,
    );
  }

  async settled(): Promise<MigrationInfo> {
    await this.until('the migration is over', () =>
      ['completed', 'failed', 'cancelled', 'colo'].includes(this.info.status ?? ''),
    );
    return this.info;
  }

  async runs(): Promise<void> {
    const from = this.counted;
    await this.until('the guest counts', () => this.counted > from);
  }
}

const open: TestVm[] = [];
const servers: Server[] = [];
beforeAll(() => writeFileSync(kernel, countingKernel()));
afterEach(async () => {
  for (const vm of open.splice(0)) await vm.vm.dispose();
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => rmSync(dir, { recursive: true }));

async function running(): Promise<TestVm> {
  const vm = await TestVm.start('primary');
  await vm.runs();
  vm.events.length = 0;
  return vm;
}

/** Takes connections and says nothing, ever. */
function deadPeer(path: string): Promise<void> {
  const server = createServer(() => undefined);
  servers.push(server);
  return new Promise(resolve => server.listen(path, resolve));
}

describe('live', () => {
  withAddon(
    'the guest goes on there, and stands still here (skipped where the addon is not built)',
    async () => {
      const uri = `unix:${file('live')}`;
      const source = await running();
      const target = await TestVm.start('primary', '-incoming', uri);
      expect([target.state, await target.shell.run('info status')]).toEqual([
        'inmigrate',
        'VM status: paused (inmigrate)\n',
      ]);
      expect(await source.shell.run('info migrate')).toBe('Migration status: none\n');
      await source.qmp('migrate-set-capabilities', {
        capabilities: [{ capability: 'events', state: true }],
      });
      await source.qmp('migrate', { uri });
      const { status, ram, downtime, ...times } = await source.settled();
      await target.runs();
      expect([status, source.state, target.state]).toEqual(['completed', 'postmigrate', 'running']);
      expect(target.counted).toBeGreaterThan(source.counted);
      expect(ram).toMatchObject({ total: 32 << 20, remaining: 0, 'page-size': 4096 });
      expect(ram!.normal! * 4096).toBe(ram!['normal-bytes']);
      expect(ram!.normal! + ram!.duplicate!).toBeGreaterThanOrEqual(8192);
      expect(ram!['dirty-sync-count']).toBeGreaterThanOrEqual(2);
      expect([downtime, times['total-time'], times['setup-time']].every(ms => ms! >= 0)).toBe(true);
      expect(source.events).toEqual(['setup', 'active', 'device', 'STOP', 'completed']);
      expect(target.events).toEqual(['active', 'RESUME', 'completed']);
      expect(await source.shell.run('cont')).toBe('Error: the guest went on elsewhere\n');
      expect(await source.shell.run('migrate -d tcp:127.0.0.1:1')).toBe(
        "Error: Can't migrate the vm that was paused due to previous migration\n",
      );
      // And back again, to where a new VM waits.
      const back = await TestVm.start('primary', '-incoming', 'tcp:127.0.0.1:0', '-S');
      await target.shell.run(`migrate ${await portOf(back)}`);
      await back.until('it is there', () => back.state === 'paused');
      expect([target.state, back.counted]).toEqual(['postmigrate', target.counted]);
      await back.vm.machine.cont();
      await back.runs();
    },
  );

  withAddon(
    'a guest that was stopped stays stopped there (skipped where the addon is not built)',
    async () => {
      const source = await running();
      const target = await TestVm.start('primary', '-incoming', `unix:${file('paused')}`);
      await source.vm.machine.stop();
      await source.shell.run(`migrate unix:${file('paused')}`);
      expect([source.state, source.info.status]).toEqual(['postmigrate', 'completed']);
      await target.until('it is there', () => target.info.status === 'completed');
      expect([target.state, target.counted]).toEqual(['paused', source.counted]);
      expect(await target.shell.run('info registers')).toBe(
        await source.shell.run('info registers'),
      );
    },
  );

  withAddon(
    'max-bandwidth holds it back, and it can be cancelled: the guest never knew (skipped ' +
      'where the addon is not built)',
    async () => {
      const source = await running();
      const target = await TestVm.start('primary', '-incoming', `unix:${file('cancel')}`);
      await source.shell.run('migrate_set_parameter max-bandwidth 4k');
      await source.shell.run(`migrate -d unix:${file('cancel')}`);
      await source.until(
        'it is under way',
        () => source.info.status === 'active' && source.info.ram!.transferred > 0,
      );
      expect(await source.shell.run('migrate_set_capability x-colo on')).toBe(
        "Error: There's a migration process in progress\n",
      );
      expect(await source.shell.run('migrate -d tcp:127.0.0.1:1')).toBe(
        "Error: There's a migration process in progress\n",
      );
      expect(source.info.ram!.remaining).toBeGreaterThan(0);
      await source.shell.run('migrate_cancel');
      expect((await source.settled()).status).toBe('cancelled');
      await source.runs();
      expect([source.state, source.events]).toEqual([
        'running',
        ['setup', 'active', 'cancelling', 'cancelled'],
      ]);
      await target.until('the target saw it', () => target.info.status === 'failed');
      // The target waits on; a limit that is lifted while it runs takes effect.
      await source.shell.run(`migrate -d unix:${file('cancel')}`);
      await source.until('it is under way', () => source.info.status === 'active');
      await source.shell.run('migrate_set_parameter max-bandwidth 1G');
      await source.settled();
      await target.runs();
      expect([source.info.status, target.state]).toEqual(['completed', 'running']);
    },
  );

  withAddon(
    'who does not fit is refused with the reason on both sides, and the guest runs on ' +
      '(skipped where the addon is not built)',
    async () => {
      const source = await running();
      const serial = await TestVm.start(
        'primary',
        '-incoming',
        `unix:${file('serial')}`,
        '-serial',
        'null',
        '-serial',
        'null',
      );
      await source.shell.run(`migrate unix:${file('serial')}`);
      expect(source.info['error-desc']).toBe(
        "the other side gave up: device 'serial1' (isa-serial) is missing on the source",
      );
      await source.runs();
      expect(serial.state).toBe('inmigrate');
      const secondary = await TestVm.start('secondary', '-incoming', `unix:${file('sec')}`);
      await source.shell.run(`migrate unix:${file('sec')}`);
      expect(source.info['error-desc']).toContain(
        'this side is a secondary and waits for a primary: the capability x-colo is off on ' +
          'the other side',
      );
      expect(await secondary.shell.run('info migrate_capabilities')).toBe(
        'x-colo: on\nevents: off\n',
      );
      await source.shell.run('migrate_set_capability x-colo on');
      await source.shell.run(`migrate unix:${file('serial')}`);
      expect(source.info['error-desc']).toContain(
        'takes a migration without COLO: the capability x-colo is off here',
      );
      expect(await source.shell.run(`migrate file:${file('x')}`)).toBe(
        'Error: COLO needs a peer that answers, not file:\nmigrate_set_capability x-colo off ' +
          'saves the guest.\n',
      );
      await source.runs();
    },
  );

  withAddon(
    'a peer that accepts and never answers: cancel and the guest runs on (skipped where the ' +
      'addon is not built)',
    async () => {
      const source = await running();
      await deadPeer(file('dead'));
      await source.shell.run(`migrate -d unix:${file('dead')}`);
      await sleep(50);
      expect(source.info.status).toBe('setup');
      await source.shell.run('migrate_cancel');
      expect((await source.settled()).status).toBe('cancelled');
      await source.runs();
    },
  );
});

describe('state files', () => {
  withAddon(
    'saved, taken up again, and loaded elsewhere (skipped where the addon is not built)',
    async () => {
      const source = await running();
      const path = file('state');
      await source.shell.run(`migrate file:${path},offset=4096`);
      expect([source.info.status, source.state, statSync(path).mode & 0o777]).toEqual([
        'completed',
        'postmigrate',
        0o600,
      ]);
      const saved = source.counted;
      const loaded = await TestVm.start('primary', '-S', '-incoming', `file:${path},offset=4096`);
      expect([loaded.state, loaded.counted]).toEqual(['paused', saved]);
      expect(loaded.vm.machine.accel.ram.hash()).toBe(source.vm.machine.accel.ram.hash());
      await source.vm.machine.cont();
      await source.runs();
      const second = await TestVm.start('primary', '-incoming', `file:${path},offset=4096`);
      await second.runs();
      await expect(TestVm.start('primary', '-incoming', `file:${path}`)).rejects.toThrow(
        `-incoming file:${path}: the state is damaged: this is not a colo migration stream`,
      );
    },
  );

  withAddon(
    'through commands; one that fails leaves the guest running (skipped where the addon is ' +
      'not built)',
    async () => {
      const source = await running();
      const path = file('state.gz');
      await source.shell.run('migrate "exec:cat > /dev/null; exit 3"');
      expect(source.info).toMatchObject({
        status: 'failed',
        'error-desc': 'the command failed with exit code 3',
      });
      await source.runs();
      expect(await source.shell.run('migrate exec:false')).toMatch(/^Error: /);
      await source.runs();
      await source.shell.run(`migrate "exec:gzip -1 > ${path}"`);
      expect([source.info.status, source.state]).toEqual(['completed', 'postmigrate']);
      const loaded = await TestVm.start('primary', '-S', '-incoming', `exec:gzip -dc ${path}`);
      expect(loaded.counted).toBe(source.counted);
      await expect(TestVm.start('primary', '-incoming', 'exec:exit 2')).rejects.toThrow(
        '-incoming exec:exit 2: the command failed with exit code 2',
      );
      await expect(TestVm.start('primary', '-incoming', `file:${file('none')}`)).rejects.toThrow(
        'No such file or directory',
      );
      expect(await source.shell.run('migrate file:/proc/none/x')).toMatch(
        /^Error: .*Can't migrate/,
      );
    },
  );

  withAddon(
    'cut short or damaged: refused whole, and another try may follow (skipped where the addon ' +
      'is not built)',
    async () => {
      const source = await running();
      await source.shell.run(`migrate file:${file('good')}`);
      const good = readFileSync(file('good'));
      const target = await TestVm.start('primary', '-incoming', 'defer');
      const attempt = async (bytes: Uint8Array) => {
        writeFileSync(file('bad'), bytes);
        await target.qmp('migrate-incoming', { uri: `file:${file('bad')}` });
        await target.until('it is over', () => target.notes.length > 0);
        return target.notes.splice(0).join('\n');
      };
      for (const share of [0, 0.00001, 0.3, 0.9, 0.9999]) {
        const text = await attempt(good.subarray(0, Math.floor(good.length * share)));
        expect(text).toContain('the state ends before its end: it was cut short');
        expect([target.state, target.vm.machine.running]).toEqual(['inmigrate', false]);
      }
      expect(await attempt(good.subarray(0, good.length - 1))).toContain('cut short');
      for (const at of [3, 100, good.length >> 1, good.length - 20, good.length - 2]) {
        const bad = Buffer.from(good);
        bad[at] ^= 0x10;
        expect(await attempt(bad)).toMatch(/the state is damaged|cut short/);
        expect(target.state).toBe('inmigrate');
      }
      expect(await target.shell.run('info status')).toBe('VM status: paused (inmigrate)\n');
      await target.shell.run(`migrate_incoming file:${file('good')}`);
      await target.runs();
      expect(await target.shell.run(`migrate_incoming file:${file('good')}`)).toBe(
        'Error: The incoming migration has already been started\n',
      );
      expect(await source.shell.run(`migrate_incoming file:${file('good')}`)).toBe(
        "Error: '-incoming' was not specified on the command line\n",
      );
    },
  );

  withAddon(
    'a save that fails or is cancelled leaves the older file as it was (skipped where the ' +
      'addon is not built)',
    async () => {
      const source = await running();
      const path = file('kept');
      writeFileSync(path, 'older');
      const folder = () => readdirSync(dir).filter(name => name.startsWith('kept'));
      await source.shell.run('migrate_set_parameter max-bandwidth 4k');
      await source.shell.run(`migrate -d file:${path}`);
      await source.until(
        'something is written',
        () => existsSync(`${path}.part`) && statSync(`${path}.part`).size > 0,
      );
      await source.shell.run('migrate_cancel');
      expect((await source.settled()).status).toBe('cancelled');
      await source.until('nothing is left of it', () => folder().length === 1);
      expect(readFileSync(path, 'utf8')).toBe('older');
      await source.runs();
      // What a killed one left is taken over; a link stays a link.
      await source.shell.run('migrate_set_parameter max-bandwidth 1G');
      writeFileSync(`${path}.part`, 'of the dead '.repeat(1 << 12));
      symlinkSync(path, file('kept-link'));
      await source.shell.run(`migrate file:${file('kept-link')}`);
      expect([source.info.status, folder(), lstatSync(file('kept-link')).isSymbolicLink()]).toEqual(
        ['completed', ['kept', 'kept-link'], true],
      );
      const loaded = await TestVm.start('primary', '-S', '-incoming', `file:${path}`);
      expect(loaded.counted).toBe(source.counted);
    },
  );

  withAddon(
    'a full disk fails the save, and the guest runs on (skipped where the addon is not built)',
    async () => {
      const source = await running();
      expect(await source.shell.run('migrate "exec:head -c 1000 > /dev/null"')).toMatch(/^Error: /);
      expect(await source.shell.run('migrate file:/dev/full')).toMatch(/^Error: /);
      await source.runs();
    },
  );
});

/** Where a VM that chose its port waits. */
async function portOf(vm: TestVm): Promise<string> {
  const address = (vm.vm as unknown as { colo: { incoming: { address: { port: number } } } }).colo
    .incoming.address;
  return `tcp:127.0.0.1:${address.port}`;
}
