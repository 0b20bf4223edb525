/** systemd's end of sd_notify(3): a datagram socket of a name, and what has come there. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const receiver = `
import json, socket, sys
name = sys.argv[1]
box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
box.bind('\\0' + name[1:] if name[0] == '@' else name)
print(json.dumps('bound'), flush=True)
while True:
    print(json.dumps(box.recv(8192).decode()), flush=True)
`;

export class NotifySocket {
  /** The lines of all datagrams, in order. */
  readonly lines: string[] = [];
  private readonly child: ChildProcess;
  private readonly bound: Promise<void>;

  /** name: a path, or @ and an abstract name. */
  constructor(readonly name: string) {
    const stdio = ['ignore', 'pipe', 'inherit'] as const;
    const child = spawn('python3', ['-c', receiver, name], { stdio: [...stdio] });
    this.child = child;
    this.bound = new Promise(resolve =>
      createInterface({ input: child.stdout! }).on('line', line => {
        const text = JSON.parse(line) as string;
        if (text === 'bound') resolve();
        else this.lines.push(...text.split('\n'));
      }),
    );
  }

  static async open(name: string): Promise<NotifySocket> {
    const socket = new NotifySocket(name);
    await socket.bound;
    return socket;
  }

  count(line: string): number {
    return this.lines.filter(one => one === line).length;
  }

  close(): void {
    this.child.kill('SIGKILL');
  }
}
