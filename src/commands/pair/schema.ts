/**
 * A pair definition: what both sides of a pair are started from. Declared once; the check of a
 * file, the manual page and the file that `colo init` writes derive from it.
 */
import { defaultColoOptions, HEARTBEAT_INTERVAL_MAX_MS } from '../../colo/options.js';
import { arbiterKind } from './arbiter-kind.js';
import {
  address,
  integer,
  items,
  map,
  matching,
  maybe,
  need,
  choice,
  type Parsed,
  sizeIn,
  truth,
  nonEmpty,
} from './fields.js';

/** Times that are parameters of migration, by these names with x- before them. */
export const pairTimes = ['checkpoint-gap', 'heartbeat-interval', 'heartbeat-timeout'] as const;
export const defaultDelayMs = defaultColoOptions.checkpointDelayMs;

const path = nonEmpty('a path');
const id = matching(
  /^[A-Za-z][A-Za-z0-9._-]{0,40}$/,
  'an id: a letter, then letters, digits and - . _',
);
const tap = matching(
  /^[A-Za-z0-9_.-]{1,15}$/,
  'the name of an interface, of at most 15 characters',
);
const mac = matching(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i, 'six pairs of hexadecimal digits');
const vmName = matching(
  /^(?=.{1,52}$)[A-Za-z0-9_][A-Za-z0-9_.-]*$/,
  'a name: letters, digits and - . _',
);

const side = map({
  name: maybe(
    vmName,
    '-name of this side, and its address on its host; default: the name of the pair, -primary ' +
      'or -secondary',
    'web-a',
  ),
  accel: maybe(
    choice('auto', 'soft', 'kvm'),
    'what runs the guest on this side, if not as on the other',
    'soft',
  ),
  serial: maybe(
    nonEmpty('a character device'),
    'COM1 of this side, as of -serial',
    'file:console.log',
  ),
  monitor: maybe(
    nonEmpty('a character device'),
    'a human monitor, as of -monitor; colo monitor NAME works without',
    'stdio',
  ),
  qmp: maybe(
    nonEmpty('a character device'),
    'a QMP monitor, as of -qmp',
    'unix:/run/web.qmp,server=on,wait=off',
  ),
  options: maybe(
    items(nonEmpty('an option')),
    'more options of this side, each as on the command line',
    '["-uuid 8f1c6e0a-5d54-4c3b-9c59-3d2f5d7a1b10"]',
  ),
});

const disk = map({
  id: maybe(
    id,
    'name of the disk in the monitor and of its export; default: disk0, disk1 ...',
    'root',
  ),
  format: maybe(choice('raw', 'qcow2'), 'format of both images; default: raw', 'qcow2'),
  size: maybe(
    sizeIn('B'),
    'an image that is missing is made with this size; without it a missing image is an error',
    '10G',
  ),
  primary: need(path, 'the image on the primary', 'web.img'),
  secondary: need(path, 'the image on the secondary: the replica', 'web-replica.img'),
  active: maybe(
    path,
    'on the secondary: qcow2 overlay for what its own guest writes; made if missing. Default: ' +
      'both overlays in memory',
    'web-active.qcow2',
  ),
  hidden: maybe(
    path,
    'on the secondary: qcow2 overlay for the undo data of a checkpoint',
    'web-hidden.qcow2',
  ),
});

const card = map({
  id: maybe(id, 'name of the netdev; default: net0, net1 ...', 'lan'),
  mac: maybe(
    mac,
    "the guest's address, the same on both sides; default: QEMU's, 52:54:00:12:34:56 and up",
    '52:54:00:00:00:07',
  ),
  primary: need(tap, 'tap interface on the primary', 'tap-web'),
  secondary: need(tap, 'tap interface on the secondary', 'tap-web'),
  script: maybe(
    path,
    'run with the name of the tap when it is opened; default: nothing is run',
    '/etc/qemu-ifup',
  ),
  downscript: maybe(path, 'run with the name of the tap when it is closed', '/etc/qemu-ifdown'),
});

const peer = map({
  migration: need(
    address,
    'where the secondary waits for checkpoints, as the primary reaches it',
    'tcp:10.0.0.2:8888',
  ),
  nbd: maybe(
    address,
    'where the secondary exports its disks; needed when there are disks',
    'tcp:10.0.0.2:8889',
  ),
  wait: maybe(
    integer(0, 86_400),
    'seconds that the primary tries to reach the secondary; then it goes on without, and says ' +
      'so. With an arbiter also: how long a side that comes back alone waits for the other one ' +
      'before it asks whether it may go on. Default: 60',
    '600',
  ),
});

const back = map({
  migration: need(
    address,
    'where it waits for checkpoints, as the other side reaches it',
    'tcp:10.0.0.1:8888',
  ),
  nbd: maybe(
    address,
    'where it exports its disks; needed when there are disks',
    'tcp:10.0.0.1:8889',
  ),
});

const tls = map({
  dir: need(
    path,
    'folder that `colo init --tls` makes. In it `a` and `b`, of each side: ca-cert.pem, ' +
      'server-cert.pem, server-key.pem, client-cert.pem, client-key.pem; or keys.psk. A host ' +
      'needs that of its own side only',
    'web-tls',
  ),
  kind: maybe(
    choice('x509', 'psk'),
    'certificates, or pre-shared keys (the one of user qemu is shown). Default: x509',
    'psk',
  ),
});

export const pairFields = {
  name: need(vmName, 'Name of the pair.', 'web'),
  memory: need(sizeIn('M'), 'RAM of the guest, as of -m: MiB without a suffix.', '512M'),
  cpus: maybe(integer(1, 255), 'vCPUs, as of -smp. Default: 1', '2'),
  accel: maybe(
    choice('auto', 'soft', 'kvm'),
    'What runs the guest: auto (default) takes KVM where it really runs code.',
    'soft',
  ),
  kernel: need(
    path,
    'Linux kernel to boot, on both hosts. Paths are relative to this file.',
    'vmlinuz',
  ),
  initrd: maybe(path, 'Its initial RAM disk.', 'initrd.img'),
  append: maybe(nonEmpty(), 'Its command line.', 'console=ttyS0 root=/dev/vda'),
  'checkpoint-delay': maybe(
    integer(0, 3_600_000),
    'The longest, in milliseconds, from one checkpoint to the next, as of x-checkpoint-delay. ' +
      `Default: ${defaultDelayMs}`,
    '200',
  ),
  'checkpoint-gap': maybe(
    integer(0, 3_600_000),
    'The shortest, where answers of the guest wait for one, as of x-checkpoint-gap. Default: ' +
      `${defaultColoOptions.checkpointGapMs}`,
    '20',
  ),
  'heartbeat-interval': maybe(
    integer(10, HEARTBEAT_INTERVAL_MAX_MS),
    'Milliseconds between two signs of life for the other side, as of x-heartbeat-interval. ' +
      `Default: ${defaultColoOptions.heartbeatMs}`,
    '50',
  ),
  'heartbeat-timeout': maybe(
    integer(50, 3_600_000),
    'Milliseconds without a sign of life after which the other side is lost, as of ' +
      `x-heartbeat-timeout: three intervals or more. Default: ${defaultColoOptions.peerTimeoutMs}`,
    '2000',
  ),
  peer: need(
    peer,
    'The secondary, as the primary reaches it.',
    '{migration: "tcp:10.0.0.2:8888", nbd: "tcp:10.0.0.2:8889"}',
  ),
  back: maybe(
    back,
    'The side that is called primary here, when it is the secondary (--side a), as the other ' +
      'side reaches it.',
    '{migration: "tcp:10.0.0.1:8888", nbd: "tcp:10.0.0.1:8889"}',
  ),
  arbiter: maybe(
    arbiterKind,
    'Who decides in place of a person when a side is lost, as of -arbiter; node and peer are ' +
      'the names of the sides.',
    'etcd:https://10.0.0.3:2379,key=colo/web,tls=/etc/colo',
  ),
  tls: maybe(
    tls,
    'What both sides prove to each other who they are with; all that goes between them is ' +
      'encrypted then.',
    '{dir: web-tls, kind: x509}',
  ),
  insecure: maybe(
    truth,
    'Without `tls` also over a network, where all who get there may read the guest and change ' +
      'it: true or false.',
    'true',
  ),
  disks: maybe(
    items(disk),
    'Disks of the guest, in order. Both images of a disk have one size.',
    '[{primary: web.img, secondary: web-replica.img}]',
  ),
  network: maybe(
    items(card),
    'Network cards of the guest, in order.',
    '[{primary: tap-web, secondary: tap-web}]',
  ),
  options: maybe(
    items(nonEmpty('an option')),
    'More options of both sides, each as on the command line.',
    '["-no-reboot"]',
  ),
  primary: maybe(side, 'What only the primary has.', '{monitor: stdio}'),
  secondary: maybe(side, 'What only the secondary has.', '{monitor: stdio}'),
};

export const pairKind = map(pairFields);
export type PairDefinition = Parsed<typeof pairFields>;
export type DiskDefinition = NonNullable<PairDefinition['disks']>[number];
export type CardDefinition = NonNullable<PairDefinition['network']>[number];

export type SideDefinition = NonNullable<PairDefinition['primary']>;

export const DEFAULT_WAIT_SECONDS = 60;

export const sideName = (pair: PairDefinition, role: 'primary' | 'secondary'): string =>
  pair[role]?.name ?? `${pair.name}-${role}`;
export const diskId = (disk: DiskDefinition, n: number): string => disk.id ?? `disk${n}`;
/** The drive that the guest of a secondary has, over its replica. */
export const activeDiskId = (id: string): string => `${id}-active`;
export const cardId = (card: CardDefinition, n: number): string => card.id ?? `net${n}`;
