/**
 * A command line of QEMU's options, however mangled, is a spec or a sentence that says which option
 * is in the way.
 */
import { HelpAsked, UsageError } from '../../../src/commands/options/argv.js';
import { parseLaunch } from '../../../src/commands/options/spec.js';
import { optionTable } from '../../../src/commands/options/table.js';
import type { Random } from '../../support/random.js';
import type { FuzzTarget } from '../target.js';

const good = [
  '-drive|if=virtio,id=d,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
    'children.0.driver=raw,children.0.file.filename=p.img',
  '-drive|if=none,id=a,driver=replication,mode=secondary,file.driver=qcow2,' +
    'file.file.filename=A,file.backing.driver=qcow2,file.backing.file.filename=H,' +
    'file.backing.backing=d',
  '-drive|file=X,format=raw,cache=none,werror=stop',
  '-blockdev|{"driver":"raw","node-name":"n","file":{"driver":"file","filename":"F"}}',
  '-device|virtio-blk-pci,drive=n,serial=1,werror=enospc',
  '-device|{"driver":"virtio-net-pci","netdev":"h","mac":"52:54:00:12:34:56"}',
  '-netdev|tap,id=h,ifname=t,script=no',
  '-netdev|socket,id=s,connect=127.0.0.1:1',
  '-chardev|socket,id=c,path=/x,server=on,wait=off',
  '-chardev|ringbuf,id=r,size=4k',
  '-object|filter-buffer,id=f,netdev=h,interval=1000',
  '-global|migration.x-colo=on',
  '-global|driver=virtio-net-pci,property=mac,value=x',
  '-smp|2,sockets=1,cores=2,threads=1',
  '-cpu|qemu64,+kvmclock,-pni',
  '-m|size=1G',
  '-machine|pc-i440fx-7.2,accel=soft,usb=off,dump-guest-core=off',
  '-boot|order=c,menu=off',
  '-rtc|base=utc',
  '-msg|timestamp=on',
  '-incoming|tcp:0:8888',
  '-serial|mon:stdio',
  '-monitor|unix:/x,server=on',
  '-name|guest=a,debug-threads=on',
  '-uuid|8f1c6e0a-5d54-4c3b-9c59-3d2f5d7a1b10',
  '-audiodev|{"id":"a","driver":"none"}',
  '-S',
  '-nographic',
  '-snapshot',
  '-daemonize',
  '-no-user-config',
  '-kernel|k',
  '-append|console=ttyS0',
];
const pieces = [
  ',',
  ',,',
  '=',
  '.',
  ':',
  '"',
  '{',
  '}',
  '[',
  ']',
  '{"a":',
  'on',
  'off',
  'none',
  'id=',
  '__proto__=1',
  'constructor.x=1',
  '-1',
  '99999999999999999999',
  '0x',
  '\u0000',
  'é',
  ' ',
  'help',
  '?',
];
/** It reads the file that it names. */
const readsFiles = ['trace', 'config'];
const words = optionTable.filter(({ name }) => !readsFiles.includes(name));

export const optionStringsTarget: FuzzTarget = {
  name: 'option-strings',
  summary: 'a command line is taken, or refused by the option that is in the way',
  run(random) {
    const argv = Array.from({ length: 1 + random.below(6) }, () => option(random)).flat();
    const role = random.pick(['primary', 'secondary'] as const);
    try {
      parseLaunch(role, argv);
    } catch (error) {
      if (error instanceof HelpAsked) return;
      const slip =
        !(error instanceof UsageError) ||
        error.message.length < 6 ||
        error.cause instanceof TypeError ||
        error.cause instanceof RangeError;
      if (slip) throw new Error(JSON.stringify(argv), { cause: error });
    }
  },
};

function option(random: Random): string[] {
  if (random.chance(0.1)) return [`-${random.pick(words).name}`, mangled(random, '')];
  const [name, value] = random.pick(good).split('|');
  return value === undefined ? [name] : [name, mangled(random, value)];
}

function mangled(random: Random, value: string): string {
  let text = value;
  for (let n = random.below(4); n > 0; n--) {
    const at = random.below(text.length + 1);
    text =
      text.slice(0, at) +
      random.pick(pieces).repeat(random.chance(0.05) ? 5000 : 1) +
      text.slice(at + random.below(6));
  }
  return text;
}
