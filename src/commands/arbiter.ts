/** `colo arbiter`: what an arbiter holds of a VM, and an operator's decision. */
import { Args, Flags } from './flags.js';
import { mayTakeOver } from '../arbiter/arbitration.js';
import type { Arbiter } from '../arbiter/contract.js';
import type { ArbiterRecord } from '../arbiter/record.js';
import { VmError } from '../base/errors.js';
import type { Host } from '../host/ports.js';
import { BaseCommand } from './base.js';

export class ArbiterCommand extends BaseCommand {
  static override readonly summary = 'show, or decide, what an arbiter holds of a VM';
  static override readonly description =
    'An arbiter decides which side of a pair goes on where neither can ask the other. It holds ' +
    'one record of the VM: the owner, its replica, and whether the replica is in step, so that ' +
    'it may take over. file:DIR is a directory that both hosts mount, one for each VM. ' +
    'etcd:https://HOST:PORT,...,key=KEY is a key of an etcd; tls=DIR is where ca-cert.pem, ' +
    'client-cert.pem and client-key.pem are. exec:COMMAND,dir=DIR is a fence agent, and DIR is ' +
    'where the record of this host is: it knows no planned swap and no leaving, and a host that ' +
    'was down waits for the other side or a person. ' +
    'timeout=MS bounds each question. ' +
    "--owner writes an operator's decision, made while nobody else may decide: see to it that " +
    'the other host is off until then.';
  static override readonly examples = [
    '<%= config.bin %> arbiter file:/mnt/shared/web',
    '<%= config.bin %> arbiter etcd:https://a:2379,https://b:2379,key=colo/web,tls=/etc/colo',
    '<%= config.bin %> arbiter file:/mnt/shared/web --owner alpha --image disk.img',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    arbiter: Args.string({
      required: true,
      description: 'where it is: file:DIR, etcd:... or exec:...',
    }),
  };

  static override readonly flags = {
    owner: Flags.string({
      helpValue: 'NODE',
      dependsOn: ['image'],
      description: 'an operator decides: this node is the owner, and no replica is in step',
    }),
    image: Flags.string({
      helpValue: 'IMAGE',
      dependsOn: ['owner'],
      description: 'a disk of the owner: it says of which VM and on which branch it is',
    }),
    wait: Flags.integer({
      min: 1,
      helpValue: 'SECONDS',
      dependsOn: ['owner'],
      description: 'how long an arbiter that is away is asked to take the decision; default: 60',
    }),
  };

  async run(): Promise<{ record: ArbiterRecord | null }> {
    const { args, flags } = await this.parse(ArbiterCommand);
    const { parseArbiterAddress } = await import('../arbiter/address.js');
    const { openArbiter } = await import('../arbiter/open.js');
    const { nodeHost } = await import('../host/node/host.js');
    const host = nodeHost();
    const arbiter = await openArbiter(parseArbiterAddress(args.arbiter), host);
    try {
      if (flags.owner !== undefined && flags.image !== undefined)
        await this.order(
          arbiter,
          { node: flags.owner, image: flags.image },
          flags.wait ?? WAIT_SECONDS,
          host,
        );
      const held = await arbiter.read();
      if (!this.jsonEnabled())
        this.log(
          held ? recordLines(held.record).join('\n') : 'no record: no pair has formed there',
        );
      return { record: held?.record ?? null };
    } finally {
      arbiter.dispose();
    }
  }

  private async order(
    arbiter: Arbiter,
    { node, image }: { node: string; image: string },
    waitSeconds: number,
    host: Host,
  ): Promise<void> {
    const { isNode } = await import('../arbiter/record.js');
    const named: unknown = node;
    if (!isNode(named)) throw new VmError(`'${node}' is not the name of a node`);
    const { ImageRecord } = await import('../block/record/image-record.js');
    const file = await host.files.open(image, { readOnly: true, lock: 'none' });
    const known = await ImageRecord.open(image, file.label).finally(() => file.close());
    if (known.problem) throw known.problem;
    if (!known.value) throw new VmError(`image '${image}' has no record: it belongs to no pair`);
    const { pair: vm, branch } = known.value;
    const { Referee } = await import('../arbiter/referee.js');
    const report = (line: string) => this.note(line);
    const parts = { arbiter, clock: host.clock, node, vm, retryMs: RETRY_MS, report };
    const endMs = host.clock.nowMs() + waitSeconds * 1000;
    const verdict = await new Referee(parts).order(branch, () => host.clock.nowMs() < endMs);
    if (verdict === 'won') return;
    throw new VmError(`the arbiter has not taken the decision within ${waitSeconds} s`, {
      hint: 'It may have, without an answer: look at the record before anything else is decided.',
    });
  }
}

const RETRY_MS = 1000;
const WAIT_SECONDS = 60;

function recordLines(record: ArbiterRecord): string[] {
  const { vm, term, branch, owner, replica, inStep } = record;
  const heir = replica !== undefined && mayTakeOver(record, { node: replica, branch });
  const step = inStep ? 'in step' : 'not in step';
  return [
    `vm: ${vm}`,
    `term: ${term}, on branch ${branch.slice(0, 8)}`,
    `owner: ${owner}`,
    `replica: ${replica === undefined ? 'none' : `${replica}, ${step}`}`,
    `if ${owner} is lost: ${heir ? `${replica} takes over` : 'the guest waits for it'}`,
  ];
}
