/** `colo run FILE`: one side of a pair, kept there. The same line on both hosts. */
import { Args, Flags } from '@oclif/core';
import { NodeClock } from '../host/node/clock.js';
import { ownHost } from '../host/node/own-host.js';
import { serviceManager } from '../host/node/service-manager.js';
import { BaseCommand } from './base.js';
import { insecureFlag } from './insecure.js';
import type { Service } from './pair/service.js';
import { sides } from './pair/side.js';
import type { SupervisorEvent } from './pair/supervisor.js';

export class Run extends BaseCommand {
  static override readonly summary =
    'keep one side of a pair: start its VM, and again, in its role';
  static override readonly description =
    'The same command on both hosts, in any order. It starts the VM of this side as primary or ' +
    'secondary, as its images know, starts it again when it was lost, turns it into the ' +
    'secondary when the other side has the guest, and a guest that is alone is given its ' +
    'secondary as soon as that is there. Which side goes on when one is lost, the `arbiter` of ' +
    'the definition decides, or a person by colo failover NAME. A VM that runs already is ' +
    'found. SIGTERM ends the VM in order, and this.';
  static override readonly examples = [
    '<%= config.bin %> run web.yaml',
    '<%= config.bin %> run web.yaml --side b --json',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({
      ignoreStdin: true,
      required: true,
      description: 'the pair definition, with `back`',
    }),
  };
  static override readonly flags = {
    side: Flags.option({ options: sides })({
      helpValue: 'a|b',
      description:
        'the host that this is, a: what the definition calls primary, b: what it calls ' +
        'secondary; default: the one whose addresses are of this host',
    }),
    insecure: insecureFlag,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Run);
    const [{ readPairFile }, { supervise }, { backOf, localSide }, { ProcessSide }] =
      await Promise.all([
        import('./pair/read.js'),
        import('./pair/supervisor.js'),
        import('./pair/side.js'),
        import('./pair/process-side.js'),
        // Asked for later: by then an upgrade may have taken the file away.
        import('../block/record/image-record.js'),
      ]);
    const file = readPairFile(args.file, flags.insecure);
    backOf(file); // either role may come to this side
    const side = flags.side ?? (await localSide(file, ownHost));
    const service = await this.service();
    const host = new ProcessSide(file, side, event => {
      this.say(event);
      service?.tell(event, sentence(event));
    });
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        service?.stopping();
        host.stop();
      });
    process.exitCode = await supervise(service?.watch(host) ?? host);
    process.exit();
  }

  /** undefined: no service manager has started it. */
  private async service(): Promise<Service | undefined> {
    const manager = serviceManager();
    if (!manager) return undefined;
    const { Service } = await import('./pair/service.js');
    const note = (line: string) => this.note(`colo run: ${line}`);
    return new Service({ manager, clock: new NodeClock(), note });
  }

  private say(event: SupervisorEvent): void {
    if (this.jsonEnabled()) process.stdout.write(`${JSON.stringify(event)}\n`);
    else this.note(`colo run: ${sentence(event)}`);
  }
}

function sentence(event: SupervisorEvent): string {
  switch (event.event) {
    case 'started':
      return `${event.why}: starts as ${event.role}`;
    case 'found':
      return `${event.vm.name} runs already, process ${event.vm.pid}`;
    case 'stands':
      if (event.vm.state === 'not answering') return `${event.vm.name} does not answer`;
      return `${event.vm.name} is ${event.vm.role}, ${event.vm.pair}`;
    case 'follows':
      return `${event.why}: it is ended, and another takes its place`;
    case 'lost':
      return `${event.why}: again in ${event.againMs / 1000} s`;
    case 'over':
      return event.why;
  }
}
