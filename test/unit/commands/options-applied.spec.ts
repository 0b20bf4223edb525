/**
 * Goal: options that change what others say: -global, -snapshot, -mon, -trace, -incoming. Method:
 * whole command lines, and the spec that they become.
 */
import { parameterValues } from '../../../src/monitor/parameters.js';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deviceTypes } from '../../../src/hw/device-types.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { parseLaunch, type Role } from '../../../src/commands/options/spec.js';
import { reachableWarnings } from '../../../src/commands/options/reachable.js';
import { setMigrationGlobals } from '../../../src/commands/vm/migration-globals.js';
import { help, launch, refusal, words } from '../../support/launch.js';
import { rememberingVm } from '../../support/remembering-vm.js';

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
    "-mon a,mode=x: Parameter 'mode' does not accept value 'x' | It takes readline, control.",
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
  const times = (interval: number, timeout: number) =>
    set(
      `-global migration.x-heartbeat-interval=${interval} ` +
        `-global migration.x-heartbeat-timeout=${timeout}`,
    );
  await times(400, 3000); // neither goes with the other's usual value
  expect(parameterValues(vm)).toMatchObject({
    'x-heartbeat-interval': 400,
    'x-heartbeat-timeout': 3000,
  });
  await expect(times(400, 1199)).rejects.toThrow(
    '-global migration.x-heartbeat-timeout=1199: x-heartbeat-timeout 1199: it is at least 3 ' +
      'intervals, 1200 ms',
  );
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
    reachableWarnings(parseLaunch(role, words(line))).map(text =>
      text.replace(/ without TLS.*/, ''),
    );
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
  expect(
    said(
      'secondary',
      '-incoming tcp:0:8888 -object tls-creds-psk,id=t,dir=/x,endpoint=server -global ' +
        'migration.tls-creds=t -chardev socket,id=c,host=0.0.0.0,port=1,server=on,tls-creds=t',
    ),
  ).toEqual([]);
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

/** The terms of a list. */
const names = (text: string) =>
  text.split('\n').flatMap(line => /^ {2}(\S+) {2,}\S.*/.exec(line)?.[1] ?? []);

test(
  'help in the place of a value lists what is taken, a sentence each, whatever else is ' +
    'missing',
  () => {
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
    expect(launch('primary', '-kernel k -accel soft,lockstep=on -smp 2')).toMatchObject({
      accel: 'soft',
      lockstep: true,
    });
    expect(launch('primary', '-kernel k -accel accel=soft,lockstep=off').lockstep).toBe(false);
    expect(names(help('-M help'))).toEqual(['pc', 'pc-i440fx-VERSION']);
    expect(help('-machine help')).toBe(help('-M ?'));
  },
);

test.each([
  ['-smp', ['cpus', 'sockets', 'cores', 'threads', 'maxcpus']],
  ['-boot', ['order', 'strict', 'menu']],
  ['-mon', ['chardev', 'mode']],
  ['-msg', ['timestamp', 'guest-name']],
  ['-rtc', ['base', 'clock', 'driftfix']],
  ['-m', ['size']],
])('%s help: its keys, which are those that a refusal names', (option, keys) => {
  const shown = names(help(`${option} help`)).map(name => name.replace(/=.*/, ''));
  expect(shown).toEqual(expect.arrayContaining(keys));
  expect(help(`${option} ?`)).toBe(help(`${option} help`));
  expect(refusal('primary', `-kernel k ${option} nope=1`)).toContain(
    `Parameter 'nope' is unexpected | It takes ${shown.join(', ')}.`,
  );
});
