/**
 * Goal: what bin/run.js runs was bundled for a quick start, and is still what the sources say.
 * Method: processes of the bundle: what they have loaded, and how they show an error.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { addonBuilt } from '../../support/colo-process.js';

const path = (name: string) => fileURLToPath(new URL(`../../../${name}`, import.meta.url));
const withAddon = addonBuilt ? test : test.skip;
const program = path('bin/run.js');
const bundle = new URL('../../../dist/bundle/vm.cjs', import.meta.url).href;

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
    `const { loadCached, startProcess } = await import('${path('dist/bundle/start.js')}');
     startProcess();
     await loadCached('${bundle}').exports.quicklyVm(undefined).catch(error => console.error(error.stack));`,
  );
  expect(err).toMatch(/^TypeError: undefined is not iterable.*\n/);
  expect(err).toMatch(/at Object\.quicklyVm \(src\/commands\/quick-vm\.ts:\d+:\d+\)/);
});

withAddon('V8 takes the code cache of a VM (skipped where the addon is not built)', () => {
  const { out, err } = run(
    '--input-type=module',
    '-e',
    `import vm from 'node:vm';
     let script;
     vm.Script = class extends vm.Script { constructor(...given) { super(...given); script = this; } };
     (await import('node:module')).syncBuiltinESMExports();
     const { loadCached } = await import('${path('dist/bundle/start.js')}');
     loadCached('${bundle}');
     console.log(script.cachedDataRejected);`,
  );
  expect([out, err]).toEqual(['false\n', '']);
});

test('what a VM loads late is found, wherever the bundle was made', () => {
  const { out, err, code } = run(program, 'primary', '--config', '/nowhere.yaml');
  expect([out, err.split('\n')[0], code]).toEqual([
    '',
    "Error: --config /nowhere.yaml: Could not read '/nowhere.yaml': No such file or directory",
    2,
  ]);
});
