/**
 * `colo monitor` on a terminal: the line editor, or plain lines where the cursor cannot be moved.
 */
import type { Stdio } from '../chardev/contract.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { isForPeople } from '../monitor/events.js';
import { pairNews } from '../monitor/health.js';
import { eventLine } from '../monitor/hmp/event-line.js';
import { failoverGuard } from '../monitor/hmp/failover-guard.js';
import { LineMonitor, PROMPT } from '../monitor/hmp/lines.js';
import { Repl } from '../monitor/hmp/repl.js';
import { isObject } from '../words/types.js';
import { doubtOf } from './ask.js';
import { healthFrom } from './survey.js';
import type { RemoteShell } from './remote-shell.js';
import { processStdio, processTerminal } from './terminal.js';
import { processTypist } from './typist.js';

/** The look at the peer before a failover. */
const GUARD_MS = 5000;

/**
 * With a line editor; on a terminal that cannot move its cursor line by line, as that edits them.
 */
export function interactive(client: QmpClient, shell: RemoteShell, address: string): Promise<void> {
  const terminal = processTerminal();
  const stdio = processStdio();
  const local = !address.startsWith('tcp:');
  // A QEMU has no query-vm, and asks nothing.
  const guard = failoverGuard(() => doubtOf(client, GUARD_MS).catch(() => undefined));
  let gone = false;
  return new Promise(resolve => {
    const leave = (text: string) => {
      if (gone) return;
      gone = true;
      stdio.setMode('cooked');
      stdio.pause();
      process.stdout.write(text);
      resolve();
    };
    const banner = `connected to ${address} - type 'help' for more information, Ctrl-D to leave`;
    const left = "\nleft the monitor: the VM goes on ('quit' would have ended it)\n";
    if (terminal.dumb) return plainLines(client, shell, stdio, banner, () => leave(left), leave);
    stdio.setMode('raw');
    const { clock, history, files } = processTypist();
    const repl = new Repl({
      terminal,
      write: text => void process.stdout.write(text.replace(/\r?\n/g, '\r\n')),
      prompt: PROMPT,
      banner,
      clock,
      history,
      run: async line => (await guard(line)) ?? shell.run(line, terminal),
      assist: line => shell.assist(line),
      // Of this host: the VM's own, unless it is elsewhere.
      files: prefix => (local ? files(prefix) : Promise.resolve([])),
      left: () => leave(left),
    });
    stdio.onData(bytes => repl.push(bytes));
    stdio.onEnd(() => repl.close());
    onNews(client, text => repl.print(text));
    client.onEnd(() => {
      repl.print('the connection has ended\n');
      repl.close();
      leave('\n');
    });
  });
}

/**
 * What happens meanwhile, in words for people. What becomes of a pair is asked of the VM: the event
 * alone does not say it.
 */
function onNews(client: QmpClient, print: (text: string) => void): void {
  client.onEvent(({ event, data }) => {
    const given = isObject(data) ? data : {};
    if (!isForPeople(event, given)) return;
    if (event !== 'COLO_EXIT') return print(eventLine(event, given));
    client.execute('query-vm', undefined, GUARD_MS).then(
      vm => print(`${pairNews(healthFrom(vm), 'x_colo_lost_heartbeat').join('\n')}\n`),
      () => print(eventLine(event, given)), // a QEMU has no query-vm
    );
  });
}

function plainLines(
  client: QmpClient,
  shell: RemoteShell,
  stdio: Stdio,
  banner: string,
  finished: () => void,
  leave: (text: string) => void,
): void {
  const lines = new LineMonitor(
    {
      send: text => void process.stdout.write(text),
      drained: () => Promise.resolve(),
      congested: on => (on ? stdio.pause() : stdio.resume()),
      finished,
      run: line => shell.run(line),
    },
    banner,
    PROMPT,
  );
  stdio.onData(bytes => lines.push(bytes));
  stdio.onEnd(() => lines.endInput());
  onNews(client, text => void process.stdout.write(`\n${text}${PROMPT}`));
  client.onEnd(() => {
    lines.close();
    leave('\nthe connection has ended\n');
  });
  lines.greet();
}
