/**
 * Goal: what bin/run.js runs was bundled for a quick start, and is still what the sources say.
 * Method: processes of the bundle: what they have loaded, and how they show an error.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const path = (name: string) => fileURLToPath(new URL(`../../../${name}`, import.meta.url));
const program = path('bin/run.js');

/** Says, when its process ends, what was loaded with require(), as all of oclif is. */
const listRequired =
  'data:text/javascript,import Module from "node:module";' +
  'process.on("exit",()=>console.error(Object.keys(Module._cache).join("\\n")))';

function run(...argv: string[]) {
  const env = { ...process.env, NODE_OPTIONS: '' };
  const { stdout, stderr, status } = spawnSync(process.execPath, argv, { encoding: 'utf8', env });
  return { out: stdout, err: stderr, code: status };
}

test('list and a VM start without oclif; its help has it', () => {
  const loads = (...words: string[]) => run('--import', listRequired, program, ...words);
  expect(loads('list').err).not.toContain('@oclif');
  const devices = loads('primary', '-device', 'help');
  expect([devices.out.includes('virtio-net-pci'), devices.err, devices.code]).toEqual([
    true,
    '\n',
    0,
  ]);
  const help = loads('primary', '--help');
  expect(help.out).toContain('-incoming');
  expect(help.err).toContain('@oclif/core');
});

test('a mistake in the words of a VM is said as ever', () => {
  const { out, err, code } = run(program, 'primary', '--bogus');
  expect([out, err, code]).toEqual([
    '',
    'Error: unknown option --bogus.\nAll options: --help\n',
    2,
  ]);
});

test('a stack is by file and line of the sources, down to what the bundle holds', () => {
  const { err } = run(
    '--input-type=module',
    '-e',
    `const { startProcess } = await import('${path('dist/bundle/start.js')}');
     startProcess();
     const { quicklyVm } = await import('${path('dist/bundle/vm.js')}');
     await quicklyVm(undefined).catch(error => console.error(error.stack));`,
  );
  expect(err).toMatch(/^TypeError: undefined is not iterable.*\n/);
  expect(err).toMatch(/at quicklyVm \(src\/commands\/quick-vm\.ts:\d+:\d+\)/);
});
