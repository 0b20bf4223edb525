/** The options of `colo primary` and `colo secondary`: QEMU's names and syntax. */
import { accelOption, enableKvmOption } from './accel.js';
import { blockdevOption } from './blockdev.js';
import {
  chardevOption,
  debugconOption,
  monOption,
  monitorOption,
  nographicOption,
  qmpOption,
  serialOption,
} from './channels.js';
import { cpuOption } from './cpu.js';
import { vgaOption, vncOption } from './display.js';
import {
  cdromOption,
  deviceOption,
  driveOption,
  ideOptions,
  netdevOption,
  objectOption,
} from './device.js';
import { biosOption, bootOption, dataDirOption } from './firmware.js';
import { globalOption } from './globals.js';
import {
  appendOption,
  displayOption,
  initrdOption,
  kernelOption,
  machineOption,
  memoryOption,
  nameOption,
  noDefaultsOption,
  noRebootOption,
  noShutdownOption,
  startPausedOption,
  uuidOption,
} from './machine.js';
import { nothingTable } from './nothing.js';
import type { VmOption } from './option.js';
import {
  arbiterOption,
  configOption,
  incomingOption,
  insecureOption,
  rejoinOption,
  sideOption,
  syncFromOption,
} from './pair.js';
import {
  daemonizeOption,
  explainOption,
  jsonOption,
  logfileOption,
  messagesOption,
  pidfileOption,
  traceOption,
} from './process.js';
import { smpOption } from './smp.js';
import { smbiosOption } from './smbios.js';
import { snapshotOption } from './snapshot.js';
import { usbdeviceOption, usbOption } from './usb.js';

/** In the order of help and manual. */
export const optionTable: readonly VmOption[] = [
  configOption,
  sideOption,
  rejoinOption,
  insecureOption,
  syncFromOption,
  arbiterOption,
  nameOption,
  uuidOption,
  memoryOption,
  smpOption,
  cpuOption,
  accelOption,
  enableKvmOption,
  kernelOption,
  initrdOption,
  appendOption,
  biosOption,
  dataDirOption,
  blockdevOption,
  driveOption,
  ...ideOptions,
  cdromOption,
  netdevOption,
  deviceOption,
  usbOption,
  usbdeviceOption,
  vgaOption,
  vncOption,
  chardevOption,
  objectOption,
  serialOption,
  debugconOption,
  qmpOption,
  monitorOption,
  nographicOption,
  monOption,
  incomingOption,
  startPausedOption,
  noRebootOption,
  noShutdownOption,
  snapshotOption,
  globalOption,
  machineOption,
  bootOption,
  smbiosOption,
  displayOption,
  noDefaultsOption,
  daemonizeOption,
  pidfileOption,
  messagesOption,
  logfileOption,
  traceOption,
  explainOption,
  jsonOption,
  ...nothingTable,
];

/** QEMU's options that people will try, with what to do instead. */
export const refusedOptions: Readonly<Record<string, string>> = {
  spice: 'The screen is shown over VNC: use -vnc.',
  loadvm: 'colo has no snapshots.',
  readconfig: 'Use --config FILE with a pair definition: colo init writes one.',
  writeconfig: 'colo init writes a pair definition for --config.',
  runas: 'Start colo as the user that it shall be.',
  chroot: 'Use a service manager for this, or bwrap.',
  gdb: 'colo has no gdb stub; the monitor shows registers and memory of a stopped VM.',
  s: 'colo has no gdb stub; the monitor shows registers and memory of a stopped VM.',
  fda: 'There is no floppy drive. Use -drive if=virtio.',
  soundhw: 'There is no sound. Leave it out.',
  k: 'The keyboard is an American one; viewers that send raw keys have their own. Leave it out.',
  'full-screen': 'There is no window: use -vnc. Leave it out.',
  'no-acpi': 'The machine has ACPI; a guest leaves it alone with acpi=off in -append.',
  'mem-path': 'Guest memory is memfd. Leave it out.',
  'mem-prealloc': 'Guest memory comes as it is touched. Leave it out.',
  numa: 'There is one NUMA node. Leave it out.',
  watchdog: 'There is no watchdog. Leave it out.',
  virtfs: 'There is no shared folder. Use -drive or the network.',
  fsdev: 'There is no shared folder. Use -drive or the network.',
  fw_cfg: 'Files of your own for firmware are not supported. Leave it out.',
  icount: 'Guest time follows real time. Leave it out.',
};
