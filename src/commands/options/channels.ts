/** Options about character devices: serial ports, monitors, and what they are connected to. */
import { chardevHelp, chardevHelped, readChardev } from '../../vm/objects/chardevs.js';
import { neededWord } from '../../words/named.js';
import { oneOf, optional, parsed } from '../../words/types.js';
import type { GivenOption } from './argv.js';
import { deviceWithGlobals } from './device.js';
import type { Draft } from './draft.js';
import { answerHelp, keyedOption, kindOffers, type VmOption } from './option.js';

export const chardevOption: VmOption = {
  name: 'chardev',
  value: 'OPTS',
  repeatable: true,
  summary:
    'character device: socket|file|stdio|ringbuf|null,id=ID[,mux=on],...; mux=on: for ' +
    'several users, Ctrl-A c between them; -chardev help, -chardev KIND,help',
  offers: kindOffers(chardevHelped),
  take(draft, value, given) {
    answerHelp(chardevHelp(value));
    const { id, backend } = readChardev(value);
    draft.addChardev(id, backend, given);
  },
};

export const serialOption: VmOption = {
  name: 'serial',
  value: 'DEV',
  repeatable: true,
  summary:
    'COM1, COM2 ...: stdio, file:PATH, unix:PATH,server=on,wait=off, chardev:ID, null, ' +
    'none; mon:stdio with a monitor beside it (Ctrl-A c)',
  take: (draft, value, given) => draft.addSerial(value, given),
};

export const qmpOption: VmOption = {
  name: 'qmp',
  value: 'DEV',
  repeatable: true,
  summary: 'QMP monitor on stdio, unix:PATH,server=on,wait=off or tcp:HOST:PORT,server=on,wait=off',
  take: (draft, value, given) => draft.addMonitor('qmp', value, given),
};

export const monitorOption: VmOption = {
  name: 'monitor',
  value: 'DEV',
  repeatable: true,
  summary: 'human monitor on the same; on stdio of a terminal with line editing',
  take: (draft, value, given) => draft.addMonitor('hmp', value, given),
};

export const monOption = keyedOption({
  name: 'mon',
  value: 'OPTS',
  repeatable: true,
  summary: 'monitor on a -chardev: chardev=ID[,mode=readline|control]',
  implied: 'chardev',
  keys: {
    chardev: parsed('the -chardev', 'id', neededWord),
    mode: optional(
      oneOf(['readline', 'control'], 'readline (default): for people; control: for QMP'),
    ),
  },
  take(draft, { chardev: id, mode }) {
    draft.spec.monitors.push({ mode: mode === 'control' ? 'qmp' : 'hmp', chardev: id });
  },
});

export const debugconOption: VmOption = {
  name: 'debugcon',
  value: 'DEV',
  summary:
    "firmware's log to the same as -serial: brings a -device isa-debugcon; SeaBIOS needs " +
    '-global isa-debugcon.iobase=0x402 with it',
  take(draft, value, given) {
    const chardev = draft.addDebugcon(value, given);
    if (chardev === undefined) return;
    const device = `isa-debugcon,chardev=${chardev.replaceAll(',', ',,')}`;
    draft.spec.devices.push(deviceWithGlobals(device, draft.ids, draft.globals));
  },
};

export const nographicOption: VmOption = {
  name: 'nographic',
  summary:
    'serial port and human monitor on the terminal (-serial mon:stdio), unless they are ' +
    'elsewhere; Ctrl-A c switches, Ctrl-A h helps',
  // All other options must be known: onTerminal() follows them.
  take: () => undefined,
};

/** -nographic: console and monitor on the terminal, as far as neither was put elsewhere. */
export function onTerminal(draft: Draft, given: GivenOption): void {
  const beside = draft.spec.monitors.length > 0; // -serial mon:stdio has brought one
  const [hasSerial, hasMonitor] = [
    draft.given.has('serial'),
    beside || ['monitor', 'qmp', 'mon'].some(option => draft.given.has(option)),
  ];
  if (!hasSerial) draft.addSerial(hasMonitor ? 'stdio' : 'mon:stdio', given);
  else if (!hasMonitor) draft.addMonitor('hmp', 'stdio', given);
}
