/**
 * Goal: a line of QEMU's is judged option by option, and what is left of it runs. Method: lines as
 * libvirt, Proxmox and QEMU's guide for COLO write them.
 */
import { expect, test } from '@jest/globals';
import { explain, explanationText } from '../../../src/commands/options/explain.js';
import { parseLaunch } from '../../../src/commands/options/spec.js';
import { refusal } from '../../support/launch.js';

const of = (line: string) => explain('primary', line.split(' '));
const verdicts = (line: string) => of(line).options.map(({ verdict }) => verdict);

test('taken, so anyway, refused', () => {
  const line =
    '-kernel k -m 128 -m 1G -no-user-config -machine pc -device rtl8139,netdev=n ' +
    '-spice port=1 -smp 2 --explain';
  expect(of(line)).toEqual({
    options: [
      { option: '-kernel k', verdict: 'taken' },
      { option: '-m 128', verdict: 'anyway' },
      { option: '-m 1G', verdict: 'refused', why: '-m is given twice' },
      { option: '-no-user-config', verdict: 'anyway' },
      { option: '-machine pc', verdict: 'anyway' },
      {
        option: '-device rtl8139,netdev=n',
        verdict: 'refused',
        why: expect.stringContaining("'rtl8139' is not a device of colo; it has virtio-blk-pci"),
      },
      {
        option: '-spice port=1',
        verdict: 'refused',
        why: '-spice port=1: colo does not have this option',
        hint: 'The screen is shown over VNC: use -vnc.',
      },
      { option: '-smp 2', verdict: 'taken' },
    ],
    line: ['primary', '-kernel', 'k', '-smp', '2'],
  });
});

test('the line that is left is the same machine', () => {
  const line =
    '-enable-kvm -boot c -m 2048 -smp 2 -vnc :7 -name primary -cpu qemu64,+kvmclock -device ' +
    'piix3-usb-uhci -device usb-tablet -netdev tap,id=hn0,vhost=off -device ' +
    'virtio-net-pci,id=net-pci0,netdev=hn0 -drive if=virtio,id=colo-disk0,driver=quorum,' +
    'read-pattern=fifo,vote-threshold=1,children.0.file.filename=IMAGE,children.0.driver=raw';
  const { line: [role, ...words] = [] } = of(line);
  expect(role).toBe('primary');
  expect(parseLaunch('primary', words)).toEqual(parseLaunch('primary', line.split(' ')));
});

test('what is done elsewhere is taken, and of two that say the same one stays', () => {
  const line = '--config web.yaml --side b -S -nographic -enable-kvm -M pc,accel=kvm -nodefaults';
  expect(verdicts(line)).toEqual([
    ...['taken', 'taken', 'taken', 'taken', 'anyway', 'taken', 'anyway'],
  ]);
  const { line: [, ...words] = [] } = of(line);
  expect(words.slice(0, 4)).toEqual(['-config', 'web.yaml', '-side', 'b']);
  expect(parseLaunch('primary', words)).toEqual(parseLaunch('primary', line.split(' ')));
});

test('for people: why stands below, and the line can be pasted', () => {
  const explanation = explain('primary', [
    ...['-kernel', 'my kernel', '-append', "it's", '-device', 'rtl8139', '-nodefaults'],
  ]);
  const text = explanationText(explanation).split('\n');
  expect([...text.slice(0, 3), text[3].slice(0, 40), ...text.slice(4)]).toEqual([
    'taken    -kernel my kernel',
    "taken    -append it's",
    'refused  -device rtl8139',
    "         'rtl8139' is not a device of co",
    'anyway   -nodefaults',
    '',
    'It would run:',
    "  colo primary -kernel 'my kernel' -append 'it'\\''s'",
  ]);
});

test('what is missing then', () => {
  const { line, missing } = of('-netdev l2tpv3,id=n -device virtio-net-pci,netdev=n -kernel k');
  expect([line, missing?.why]).toEqual([
    undefined,
    "-device virtio-net-pci: there is no netdev 'n'",
  ]);
  expect(verdicts('-netdev l2tpv3,id=n -device virtio-net-pci,netdev=n -kernel k')).toEqual([
    ...['refused', 'taken', 'taken'],
  ]);
});

test('a refused line names all that it refuses at once', () => {
  expect(refusal('primary', '-kernel k -soundhw hda -kernle x -m lots disk.img')).toBe(
    [
      '4 options cannot be had:',
      '  -soundhw hda: colo does not have this option',
      '    There is no sound. Leave it out.',
      "  unknown option -kernle. Did you mean '-kernel'?",
      '    All options: --help',
      "  -m lots: 'lots' is not a size",
      '    Examples: 512 (MiB), 2048M, 2G.',
      "  'disk.img' is not an option",
      '    Every option begins with a dash; a disk is -drive ' +
        'if=virtio,file.filename=PATH,driver=raw. | What the others do: the same line with ' +
        '--explain.',
    ].join('\n'),
  );
  expect(refusal('primary', '-S --json')).toBe('--json: it goes with --explain');
});
