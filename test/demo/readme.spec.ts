/**
 * Goal: what README.md tells people to paste works as it stands, after its first two commands, and
 * shows what it says. Method: each block of a shell into one shell in a network namespace, each of
 * a monitor into the monitor that the block before it opened. Skipped by name where a namespace
 * cannot be made, or no kernel be had.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BOOTED, bootSector } from '../guest/boot-sector.js';
import { type Block, readmeBlocks } from './blocks.js';
import { Shell } from './shell.js';

const PROMPT = /\((?:colo|qemu)\) /;
/** How the blocks of a guest alone begin. */
const KERNEL = 'npx colo primary -m 256 -kernel try/vmlinuz -initrd try/initrd.cpio';
const SEABIOS = '/usr/share/seabios/bios-256k.bin';
const root = fileURLToPath(new URL('../..', import.meta.url));
const blocks = readmeBlocks(join(root, 'README.md'));
const shellBlocks = blocks.filter(({ language }) => language === 'sh');
const starting = (text: string): Block => {
  const found = blocks.find(block => block.text.startsWith(text));
  if (!found) throw new Error(`README.md has no block that begins with: ${text}`);
  return found;
};
const after = (block: Block, language: string) => {
  const next = blocks[blocks.indexOf(block) + 1];
  expect([block.line, next.language]).toEqual([block.line, language]);
  return next;
};

const flags = process.getuid?.() === 0 ? ['-n'] : ['-Urn'];
const namespaces = spawnSync('unshare', [...flags, 'true']).status === 0;
const real =
  namespaces && existsSync(join(root, 'native/build/Release/colo.node')) ? test : test.skip;

/** A checkout to work in, whose files are those of this one. */
const dir = mkdtempSync(join(tmpdir(), 'colo-readme-'));
for (const name of [
  'package.json',
  'bin',
  'dist',
  'native',
  'node_modules',
  'src',
  'test',
  'tsconfig.json',
])
  symlinkSync(join(root, name), join(dir, name));
const env: NodeJS.ProcessEnv = {
  ...process.env,
  NODE_OPTIONS: '',
  NO_COLOR: '1',
  XDG_RUNTIME_DIR: join(dir, 'run'),
};
const shells: Shell[] = [];
afterEach(async () => {
  for (const shell of shells.splice(0).reverse()) await shell.end();
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Numbers and paths are those of another run and machine. */
const shape = (line: string) =>
  line
    .trim()
    .replace(/(\S*\/)+/g, '')
    .replace(/\d+/g, '9');

async function openShell(): Promise<Shell> {
  const shell = new Shell(['unshare', ...flags, 'bash'], { cwd: dir, env });
  shells.push(shell);
  await shell.paste('ip link set lo up');
  return shell;
}

/** The same namespace, for a command that keeps its terminal. */
function openTerminal(shell: Shell, command: string): Shell {
  const enter = [
    'nsenter',
    '-t',
    String(shell.pid),
    '-n',
    ...(flags[0] === '-Urn' ? ['-U', '--preserve-credentials'] : []),
  ];
  const terminal = new Shell([...enter, 'bash', '-c', command], { cwd: dir, env });
  shells.push(terminal);
  return terminal;
}

/**
 * What README shows after a block has been seen, a line each, in any order: two processes write.
 */
async function showsAsWritten(shell: Shell, recorded: Block): Promise<void> {
  for (const line of recorded.text.split('\n')) {
    const deadline = performance.now() + 120_000;
    while (!shell.seen.split('\n').some(seen => shape(seen) === shape(line))) {
      if (performance.now() > deadline)
        throw new Error(
          `README.md:${recorded.line} shows a line that did not come: ` +
            `${line}\nSeen:\n${shell.seen}`,
        );
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }
}

/** Gives the process of the primary. */
async function whenProtected(shell: Shell, primary: Shell): Promise<number> {
  const deadline = performance.now() + 120_000;
  for (;;) {
    const { seen } = await shell.paste('npx colo qmp pvm query-vm');
    if (/"protected": true/.test(seen)) return Number(/"pid": (\d+)/.exec(seen)?.[1]);
    if (performance.now() > deadline) throw new Error(`not protected: ${seen}\n${primary.seen}`);
  }
}

test('the first two blocks are the two commands, and every other one is run below', () => {
  expect(shellBlocks.slice(0, 2).map(block => block.text)).toEqual([
    'npm ci && npm run demo',
    'npm ci && npm test',
  ]);
  const run = [
    'npm run guest',
    `${KERNEL} -append console=`,
    'npx colo primary -m 1G',
    `${KERNEL} -append 'console=`,
    'npx colo init',
    'kill -9',
    'npx colo secondary --config',
    'mkdir -p try/arbiter',
    'npx colo switchover',
    'ip link',
    'npx colo secondary -name',
    'npx colo primary -name',
  ];
  expect(
    shellBlocks.slice(2).map(block => run.find(start => block.text.startsWith(start))),
  ).toEqual(run);
});

real(
  'a guest, and a pair from one file',
  async () => {
    const made = spawnSync('bash', ['-c', starting('npm run guest').text], {
      cwd: dir,
      env,
      encoding: 'utf8',
    });
    expect([made.stderr, made.status]).toEqual([expect.not.stringContaining('guest: '), 0]);
    const shell = await openShell();
    const console = openTerminal(shell, starting(`${KERNEL} -append console=`).text);
    await console.sees('colo-guest: ready');
    await console.end();
    writeFileSync(join(dir, 'disk.img'), Buffer.concat([bootSector(), Buffer.alloc(1 << 20)]));
    const disk = openTerminal(shell, starting('npx colo primary -m 1G').text);
    await disk.sees(existsSync(SEABIOS) ? BOOTED : `install the package 'seabios'`);
    await disk.end();
    const user = openTerminal(shell, starting(`${KERNEL} -append 'console=`).text);
    await user.sees('colo-guest: ready');
    // The guest may be up before its server is, and refuses then.
    const ask = 'exec 3<>/dev/tcp/127.0.0.1/7777 && echo next >&3 && timeout 5 head -1 <&3';
    const asked = await shell.paste(`for n in {1..60}; do ${ask} | grep . && break; done`);
    expect(asked.seen).toMatch(/^1 \d+ 0/m);
    await user.end();

    const pair = starting('npx colo init');
    await shell.goesWell(pair.text);
    await showsAsWritten(shell, after(pair, 'text'));
    const late = starting('kill -9');
    await shell.goesWell(late.text);
    await showsAsWritten(shell, after(late, 'text'));

    const back = starting('npx colo secondary --config');
    await shell.goesWell(back.text);
    await showsAsWritten(shell, after(back, 'text'));
    for (const side of ['secondary', 'primary']) await shell.paste(`npx colo hmp web-${side} quit`);

    const alone = starting('mkdir -p try/arbiter');
    await shell.goesWell(alone.text);
    await shell.sees('pair-primary is primary, protected');
    await shell.sees('pair-secondary is secondary, protected');
    const kill =
      'kill -9 $(npx colo qmp pair-primary query-vm | grep -o \'"pid": [0-9]*\' | cut -c8-)';
    await shell.goesWell(kill);
    await showsAsWritten(shell, after(alone, 'text'));
    await shell.sees('pair-primary is secondary, protected');
    const swap = starting('npx colo switchover');
    await shell.goesWell(swap.text);
    await showsAsWritten(shell, after(swap, 'text'));
    // In this shell's session: the VMs are in their own, and end with their supervisors.
    await shell.paste('pkill -TERM -s 0 -f "run try/pair.yaml"');
    const gone = 'for n in {1..60}; do npx colo list | grep -q pair- || break; sleep 0.5; done';
    expect((await shell.paste(`${gone}; npx colo list`)).seen).not.toMatch(/^pair-/m);
  },
  400_000,
);

real(
  'by hand: two terminals, their monitors, and a guest that answers before and after',
  async () => {
    const shell = await openShell();
    await shell.goesWell(starting('ip link').text);
    const sides = ['npx colo secondary -name', 'npx colo primary -name'].map(start => {
      const block = starting(start);
      return { terminal: openTerminal(shell, block.text), lines: after(block, 'hmp').text };
    });
    const [secondary, primary] = sides.map(({ terminal }) => terminal);
    for (const { terminal, lines } of sides) {
      await terminal.sees(PROMPT);
      terminal.type(lines);
      // The other terminal's turn comes when this one is done with all of it.
      await terminal.sees(PROMPT, lines.split('\n').length + 1);
    }
    const open =
      'for n in {1..60}; do exec 3<>/dev/tcp/10.99.0.2/7777 && break; sleep 1; done 2>/dev/null';
    const ask = () => shell.paste(`${open}; echo next >&3 && timeout 20 head -1 <&3`);
    const pid = await whenProtected(shell, primary);
    expect((await ask()).seen).toMatch(/^\d+ \d+ 0/m);
    await shell.paste(`kill -9 ${pid}`);
    const lost = blocks.find(block => block.text === 'x_colo_lost_heartbeat');
    expect(lost?.language).toBe('hmp');
    secondary.type(lost?.text ?? '');
    expect((await ask()).seen).toMatch(/^\d+ \d+ 0/m);
  },
  400_000,
);
