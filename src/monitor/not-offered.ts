/** Commands of QEMU's that people will try: why they are not here, and what to do instead. */
const HOT_PLUG =
  'The PCI bus of this machine is fixed when it starts: give -device on the command line.';
const SNAPSHOTS =
  'There are no snapshots inside images: `migrate file:PATH` saves the guest, `colo primary ' +
  '-incoming file:PATH` loads it.';

/** QMP's spelling, and HMP's where that is another. */
const reasons: Readonly<Record<string, string>> = {
  device_add: HOT_PLUG,
  device_del: HOT_PLUG,
  'device-list-properties': HOT_PLUG,
  'chardev-change': 'Take the chardev away and add it anew: chardev-remove, chardev-add.',
  'chardev-send-break':
    'A break comes from the terminal itself: Ctrl-A b on a chardev with mux=on.',
  'query-rx-filter':
    'What the driver of the guest lets through is not shown; `info network` tells of netdevs ' +
    'and their filters.',
  commit: 'Use block-commit, which works while the guest runs.',
  savevm: SNAPSHOTS,
  loadvm: SNAPSHOTS,
  delvm: SNAPSHOTS,
  'query-snapshots': SNAPSHOTS,
  'snapshot-save': SNAPSHOTS,
  'snapshot-load': SNAPSHOTS,
  'blockdev-snapshot': 'drive-backup copies a disk as it is at one moment, while the guest runs.',
  'blockdev-snapshot-sync':
    'drive-backup copies a disk as it is at one moment, while the guest runs.',
  usb_add: 'A USB device is there from the start: give -device usb-tablet on the command line.',
  balloon: 'There is no balloon: a guest keeps the memory that -m gave it.',
  'query-balloon': 'There is no balloon: a guest keeps the memory that -m gave it.',
  'migrate-pause': 'A migration is given up with migrate_cancel, and begun anew.',
  'migrate-recover': 'A migration is given up with migrate_cancel, and begun anew.',
  'migrate-start-postcopy':
    'There is no postcopy: `migrate_set_parameter max-bandwidth` lets a migration converge.',
  gdbserver: 'There is no gdb stub: x, xp and info registers look into a stopped VM.',
  'inject-nmi': 'There is no NMI from the monitor.',
  nmi: 'There is no NMI from the monitor.',
  'dump-guest-memory': 'Use `migrate file:PATH` for the state, xp for a piece of memory.',
  'xen-save-devices-state': 'The guest is saved whole: `migrate file:PATH`.',
  'colo-lost-heartbeat': 'It is called x-colo-lost-heartbeat.',
};

const asQmp = (name: string) =>
  name.startsWith('info ') ? `query-${name.slice(5).replaceAll('_', '-')}` : name;

/** Undefined: a command that QEMU does not have either. Underscores and dashes count alike. */
export function whyNotOffered(name: string): string | undefined {
  const wanted = asQmp(name);
  return [wanted, wanted.replaceAll('_', '-'), wanted.replaceAll('-', '_')].flatMap(spelling =>
    Object.hasOwn(reasons, spelling) ? [reasons[spelling]] : [],
  )[0];
}

export const notOffered = Object.keys(reasons);
