/** The cluster by Pacemaker's own programs, 2.1 or later. */
import { execFile } from 'node:child_process';
import { VmError } from '../../base/errors.js';
import type { ClusterPort, PeerStands } from './agent.js';

const ANSWER_MS = 10_000;

function ask(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) =>
    execFile(program, args, { timeout: ANSWER_MS }, (error, out, err) => {
      if (!error) return resolve(out);
      const said = err.trim().split('\n').at(-1) || error.message;
      reject(new VmError(`${program} ${args[0]}: ${said}`));
    }),
  );
}

export class Pacemaker implements ClusterPort {
  /** instance: OCF_RESOURCE_INSTANCE, which crm_attribute reads by itself. */
  constructor(
    private readonly instance: string,
    private readonly node: string,
  ) {}

  async score(value: number | undefined): Promise<void> {
    const what = value === undefined ? ['--delete'] : ['--update', String(value)];
    await ask('crm_attribute', [
      `--promotion=${baseOf(this.instance)}`,
      '--lifetime',
      'reboot',
      ...what,
    ]);
  }

  async peer(): Promise<PeerStands> {
    return (await this.view()).peer;
  }

  async failPeer(): Promise<void> {
    const { at } = await this.view();
    if (at === undefined) return;
    await ask('crm_resource', ['--fail', '--resource', baseOf(this.instance), '--node', at]);
  }

  private async view(): Promise<PeerView> {
    const xml = await ask('crm_mon', ['--one-shot', '--inactive', '--output-as=xml']);
    return peerIn(xml, baseOf(this.instance), this.node);
  }
}

const baseOf = (instance: string) => instance.replace(/:\d+$/, '');

export interface PeerView {
  readonly peer: PeerStands;
  /** The other node that has an instance. */
  readonly at: string | undefined;
}

/** Of what crm_mon prints. */
export function peerIn(xml: string, resource: string, own: string): PeerView {
  const tags = [...xml.matchAll(/<(\/?)([\w-]+)((?:\s+[\w-]+="[^"]*")*)\s*(\/?)>/g)].map(
    ([, closing, name, attributes]) => ({ closing: closing === '/', name, ...read(attributes) }),
  );
  const quorum = tags.some(({ name, of }) => name === 'current_dc' && of['with_quorum'] === 'true');
  let within: Record<string, string> | undefined;
  let unclean = false;
  let at: string | undefined;
  for (const { name, closing, of } of tags) {
    if (name === 'resource')
      within = closing || baseOf(of['id'] ?? '') !== resource ? undefined : of;
    if (name !== 'node' || closing || of['name'] === own) continue;
    if (of['unclean'] === 'true') unclean = true;
    if (within?.['active'] === 'true') at = of['name'];
  }
  if (unclean || !quorum) return { peer: 'unknown', at };
  return { peer: at === undefined ? 'gone' : 'there', at };
}

const read = (attributes: string) => ({
  of: Object.fromEntries(
    [...attributes.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value]),
  ) as Record<string, string>,
});
