/**
 * Goal: no end of a command leaves O_NONBLOCK on a pipe, terminal or socket that it shares with its
 * shell. Method: a shell runs the command in front on its own standard files, a second process
 * sends the signal once the command has made one of its files non-blocking; then the shell's own
 * flags are read.
 */
import { spawn as spawnChild } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawn as spawnOnPty } from '@lydell/node-pty';

const colo = fileURLToPath(new URL('../../../bin/run.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'colo-stdio-'));
afterAll(() => rmSync(dir, { recursive: true }));
const env = { ...process.env, NODE_OPTIONS: '', XDG_RUNTIME_DIR: dir, TERM: 'xterm' };

const O_NONBLOCK = 0o4000;
type Shared = 'pipe' | 'socket' | 'terminal';
/** CHILD: a child of the command is killed, then the command is told to end. */
type End = 'by itself' | 'TERM' | 'INT' | 'HUP' | 'QUIT' | 'ALRM' | 'KILL' | 'CHILD';

/** $1: a folder; $2: the signal, or "by itself"; then the command. */
const shell = `
dir=$1 end=$2; shift 2
nonblocking() { grep -qE '^flags:\\s*[0-7]*[4-7][0-7]{3}$' /proc/$(< $dir/pid)/fdinfo/$1; }
if [ "$end" != "by itself" ]; then
  ( for n in {1..300}; do
      [ -e $dir/pid ] && { nonblocking 0 || nonblocking 1 || nonblocking 2; } && break
      sleep 0.1
    done
    pid=$(< $dir/pid)
    if [ $end = CHILD ]; then kill -KILL $(< /proc/$pid/task/$pid/children); end=TERM; fi
    kill -$end $pid ) < /dev/null > /dev/null 2>&1 &
fi
bash -c 'echo $$ > $0/new && mv $0/new $0/pid && exec "$@"' $dir "$@"
echo $? > $dir/code
grep -h ^flags /proc/$$/fdinfo/{0,1,2} > $dir/flags`;
/** A pipe on each side whose other end stays open. */
const piped = `feed=$(mktemp -u $1/feed.XXXX)
bash -c "$0" bash "$@" < <(echo $BASHPID > $feed; exec sleep 120) > >(cat > $1/output) 2>&1
kill $(< $feed)`;

interface Ended {
  readonly code: number;
  /** Of the shell's standard files, those that are non-blocking. */
  readonly nonblocking: readonly number[];
}

let runs = 0;
async function endOf(shared: Shared, end: End, words: readonly string[]): Promise<Ended> {
  const folder = join(dir, String(runs++));
  mkdirSync(folder);
  const given = [folder, end, process.execPath, colo, ...words];
  await (shared === 'terminal'
    ? onTerminal(['-c', shell, 'bash', ...given])
    : inShell(
        shared === 'pipe' ? ['-c', piped, shell, ...given] : ['-c', shell, 'bash', ...given],
      ));
  const flags = readFileSync(join(folder, 'flags'), 'utf8').trim().split('\n');
  return {
    code: Number(readFileSync(join(folder, 'code'), 'utf8')),
    nonblocking: [0, 1, 2].filter(
      fd => (parseInt(flags[fd].split(/\s+/)[1], 8) & O_NONBLOCK) !== 0,
    ),
  };
}

function inShell(args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawnChild('bash', args, { env, stdio: 'pipe' });
    child.stdout.resume();
    child.stderr.resume();
    child.once('error', reject);
    child.once('exit', () => (child.stdin.destroy(), resolve()));
  });
}

function onTerminal(args: string[]): Promise<void> {
  return new Promise(resolve => {
    const pty = spawnOnPty('bash', args, { env: env as Record<string, string> });
    pty.onData(() => undefined);
    pty.onExit(() => resolve());
  });
}

const vm = ['primary', '-S', '-m', '32', '-accel', 'soft', '-monitor', 'stdio'];
const receiving = [...vm, '-incoming', 'exec:sleep 120'];
const server = ['nbd', 'serve', '-p', '0', '-t', join(dir, 'disk.img')];

/** Those of which no process can undo anything after kill -9. */
const cases: readonly (readonly [Shared, readonly End[]])[] = [
  ['pipe', ['TERM', 'INT', 'HUP', 'QUIT', 'ALRM', 'KILL']],
  ['terminal', ['TERM', 'INT', 'HUP', 'QUIT', 'ALRM', 'KILL']],
  ['socket', ['TERM', 'INT', 'HUP', 'QUIT', 'ALRM']],
];
const SIGNALS = { TERM: 15, INT: 2, HUP: 1, QUIT: 3, ALRM: 14, KILL: 9 } as const;

test.each(cases)(
  'a %s after a VM, a server and a command that fails',
  async (shared, ends) => {
    writeFileSync(join(dir, 'disk.img'), new Uint8Array(1 << 20));
    for (const end of ends) {
      const [ofVm, ofServer] = await Promise.all([
        endOf(shared, end, vm),
        endOf(shared, end, server),
      ]);
      const dead = 128 + SIGNALS[end as keyof typeof SIGNALS];
      expect([end, ofVm.nonblocking, ofServer.nonblocking]).toEqual([end, [], []]);
      expect([0, dead]).toContain(ofVm.code);
      expect([0, dead]).toContain(ofServer.code);
    }
    const child = await endOf(shared, 'CHILD', receiving);
    expect(child.nonblocking).toEqual([]);
    const failed = await endOf(shared, 'by itself', ['image', 'info', '/none']);
    expect(failed).toEqual({ code: 1, nonblocking: [] });
  },
  120_000,
);
