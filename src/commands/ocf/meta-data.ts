/** What the agent says of itself, as the OCF Resource Agent API 1.1 has it. */
interface Parameter {
  readonly name: string;
  readonly required: boolean;
  readonly short: string;
  readonly long: string;
}

const parameters: readonly Parameter[] = [
  {
    name: 'file',
    required: true,
    short: 'pair definition',
    long:
      'Path of the pair definition, colo-pair(5), the same on both nodes, with `back` and ' +
      'without `arbiter`.',
  },
  {
    name: 'side',
    required: false,
    short: 'a or b',
    long:
      'Which side this node is: a, what the definition calls primary, or b. Default: the one ' +
      'whose addresses are of this host.',
  },
  {
    name: 'log',
    required: false,
    short: 'log file',
    long: 'Where the VM appends what it has to say. Default: /var/log/colo-PAIR.log',
  },
];

/** Seconds. */
const actions: readonly { name: string; timeout: number; interval?: number; role?: string }[] = [
  { name: 'start', timeout: 60 },
  { name: 'stop', timeout: 90 },
  { name: 'monitor', timeout: 30, interval: 10, role: 'Unpromoted' },
  { name: 'monitor', timeout: 30, interval: 5, role: 'Promoted' },
  { name: 'promote', timeout: 120 },
  { name: 'demote', timeout: 120 },
  { name: 'notify', timeout: 60 },
  { name: 'meta-data', timeout: 5 },
  { name: 'validate-all', timeout: 20 },
];

const ABOUT =
  'A virtual machine that survives the loss of its host: a promotable clone with one ' +
  'instance on each of two nodes. Promoted is the instance that has the guest, unpromoted ' +
  'the secondary that follows it. The cluster is supervisor and arbiter in one: the ' +
  'definition has no `arbiter`, and neither `colo run` nor colo@.service keeps the same ' +
  'pair beside it. Promotion of a secondary in step is a failover: the guest goes on from ' +
  'the last checkpoint without a boot. Demotion ends the VM, so that the guest goes on ' +
  'where it is promoted next, and starts it as a secondary. When a secondary is lost, its ' +
  'primary holds the output of the guest until the cluster has stopped or fenced that node. ' +
  'Fencing is needed: without it a node that is merely cut off is taken for stopped. The ' +
  'clone needs promoted-max=1, clone-max=2, notify=true. A guest that shuts down by itself ' +
  'is started again.';

const escaped = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

export function metaData(): string {
  const given = parameters.map(
    ({ name, required, short, long }) => `<parameter name="${name}" unique="0" required="${
      required ? 1 : 0
    }">
<longdesc lang="en">${escaped(long)}</longdesc>
<shortdesc lang="en">${escaped(short)}</shortdesc>
<content type="string"/>
</parameter>`,
  );
  const done = actions.map(({ name, timeout, interval, role }) => {
    const every = interval === undefined ? '' : ` interval="${interval}s"`;
    return `<action name="${name}" timeout="${timeout}s"${every}${
      role === undefined ? '' : ` role="${role}"`
    }/>`;
  });
  return `<?xml version="1.0"?>
<resource-agent name="vm" version="1.0">
<version>1.1</version>
<longdesc lang="en">${escaped(ABOUT)}</longdesc>
<shortdesc lang="en">non-stop virtual machine (COLO)</shortdesc>
<parameters>
${given.join('\n')}
</parameters>
<actions>
${done.join('\n')}
</actions>
</resource-agent>
`;
}
