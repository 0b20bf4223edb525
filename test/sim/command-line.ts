/** What a machine of the simulation is started with; both sides of a pair alike. */
export const ports = { migration: 8888, nbd: 8889, copies: 9000 } as const;
/** The host where copies of packets go, and whose name is asked for. */
export const collector = 'C';
export const kernelPath = '/vmlinuz';

export interface VmShape {
  readonly disks: number;
  readonly nics: number;
  readonly overlays: 'memory' | 'qcow2';
  /** A filter-mirror on the first nic. */
  readonly copies: boolean;
  /** Device state that does not fit into the connection's window. */
  readonly bulky: boolean;
  /** When its environment is unkind all the time. */
  readonly noise: boolean;
  /** Another one than the host's. */
  readonly checkpointDelayMs?: number;
  readonly checkpointGapMs?: number;
}

export type Role = 'primary' | 'secondary';

/** letter: of its host. */
export function argvOf(role: Role, letter: string, shape: VmShape): string[] {
  const each = (count: number, words: (n: number) => string[]) =>
    Array.from({ length: count }, (_, n) => words(n)).flat();
  return [
    ...['-m', '16', '-accel', 'soft', '-kernel', kernelPath],
    ...each(shape.disks, n =>
      role === 'primary' ? primaryDisk(letter, n) : secondaryDisk(letter, n, shape.overlays),
    ),
    ...each(shape.nics, n => [
      '-netdev',
      `tap,id=hn${n},script=no,downscript=no`,
      '-device',
      `virtio-net-pci,id=net${n},netdev=hn${n}`,
    ]),
    ...['-chardev', 'null,id=nowhere'],
    ...(shape.copies ? copies() : []),
    ...(role === 'secondary' ? ['-incoming', 'defer'] : []),
  ];
}

function primaryDisk(letter: string, n: number): string[] {
  const child = `children.0.file.filename=/${letter}${n}.img,children.0.driver=raw`;
  return [
    '-drive',
    `if=virtio,id=colo-disk${n},driver=quorum,read-pattern=fifo,vote-threshold=1,${child}`,
  ];
}

function secondaryDisk(letter: string, n: number, overlays: VmShape['overlays']): string[] {
  const hidden = `file.backing.driver=qcow2,file.backing.file.filename=/hidden${n}`;
  const layers =
    overlays === 'qcow2'
      ? `file.driver=qcow2,file.file.filename=/active${n},${hidden},file.backing.backing`
      : 'file.driver=memory,file.backing';
  return [
    '-drive',
    `if=none,id=colo-disk${n},file.filename=/${letter}${n}.img,driver=raw`,
    '-drive',
    `if=virtio,id=active-disk${n},driver=replication,mode=secondary,${layers}=colo-disk${n}`,
  ];
}

function copies(): string[] {
  return [
    '-chardev',
    `socket,id=copies,host=${collector},port=${ports.copies},reconnect-ms=20`,
    '-object',
    'filter-mirror,id=copies,netdev=hn0,queue=rx,outdev=copies',
  ];
}
