/**
 * Goal: what colo cannot do is refused by the very option that is in the way; what asks for nothing
 * is taken. Method: tables of mistakes, each with its whole sentence.
 */
import { UsageError } from '../../../src/commands/options/argv.js';
import type { Role } from '../../../src/commands/options/spec.js';
import { launch, refusal } from '../../support/launch.js';

test.each<[Role, string, string | RegExp]>([
  [
    'primary',
    '-kernel k -kernle x',
    "unknown option -kernle. Did you mean '-kernel'? | All options: --help",
  ],
  [
    'primary',
    '-kernel k disk.img',
    "'disk.img' is not an option | Every option begins with a dash; a disk is -drive " +
      'if=virtio,file.filename=PATH,driver=raw.',
  ],
  ['primary', '-kernel', '-kernel needs a value: -kernel PATH'],
  ['primary', '-kernel k -m 1G -m 2G', '-m is given twice'],
  [
    'primary',
    '-m 1G',
    '-kernel is missing, and there is no disk that firmware could boot | Give it a disk with ' +
      '-drive, or a Linux kernel, and with -initrd and -append what that needs. With -S a ' +
      'machine starts without: an empty machine to try the monitor on.',
  ],
  ['primary', '-S -append x', '-initrd and -append need -kernel'],
  [
    'primary',
    '-kernel k -serial stdio -monitor stdio',
    '-monitor stdio: standard input is taken by -serial stdio',
  ],
  [
    'primary',
    '-S -serial mon:stdio -monitor stdio',
    '-monitor stdio: standard input is taken by -serial mon:stdio',
  ],
  [
    'primary',
    '-S -chardev stdio,id=c -serial chardev:c -mon c',
    "chardev 'c' has two users | With mux=on it takes several.",
  ],
  [
    'secondary',
    '-incoming file:state',
    '-incoming file:state: a secondary waits for a primary on tcp: or unix: | A saved guest ' +
      'is loaded by `colo primary -incoming file:PATH`.',
  ],
  [
    'secondary',
    '-m 1G',
    'a secondary needs -incoming | Example: -incoming tcp:0:8888. A VM that runs at once is ' +
      'started with `colo primary`.',
  ],
  [
    'primary',
    '-kernel k -accel tcg',
    "-accel tcg: 'tcg' is not an accelerator of colo; it has auto, soft, kvm | The software " +
      'CPU is called soft.',
  ],
  [
    'primary',
    '-kernel k -accel kvm,lockstep=on',
    "-accel kvm: lockstep=on is the software CPU's; say -accel soft,lockstep=on",
  ],
  [
    'primary',
    '-kernel k -accel soft,lockstep=2',
    "-accel soft,lockstep=2: Invalid parameter type for 'lockstep', expected: boolean",
  ],
  [
    'primary',
    '-kernel k -netdev hubport,id=n',
    "-netdev hubport,id=n: network type 'hubport' is not supported: there are no hubs; use a " +
      'bridge of the host',
  ],
  [
    'primary',
    '-kernel k -netdev user,id=n,hostfwd=tcp::22-:0',
    "-netdev user,id=n,hostfwd=tcp::22-:0: invalid host forwarding rule 'tcp::22-:0': ':0' is " +
      'not [GUESTADDR]:GUESTPORT | As tcp:127.0.0.1:2222-:22, or tcp::2222-10.0.2.15:22.',
  ],
  [
    'primary',
    '-kernel k -object filter-mirro,id=m0',
    /^-object filter-mirro,id=m0: Parameter 'qom-type' does not accept value 'filter-mirro' \| Object types: filter-buffer/,
  ],
  [
    'primary',
    '-kernel k -object filter-buffer,id=b0,netdev=n0',
    "-object filter-buffer,id=b0,netdev=n0: Parameter 'interval' is missing",
  ],
  [
    'primary',
    '-kernel k -object throttle-group,id=g',
    /^-object throttle-group,id=g: object type 'throttle-group' is not supported: limits are of a disk/,
  ],
  [
    'primary',
    '-kernel k -object iothread,id=t0',
    /^-object iothread,id=t0: object type 'iothread' is not supported/,
  ],
  [
    'primary',
    '-kernel k -drive if=scsi,file=x',
    '-drive if=scsi,file=x: if=scsi is not supported; colo has if=virtio, if=ide, if=none',
  ],
  [
    'primary',
    '-kernel k -drive if=virtio,file=a,file.filename=b',
    "-drive id=virtio0: parameters 'file' and 'file.filename' say the same thing",
  ],
  [
    'primary',
    '-kernel k -netdev tap,id=n,vhost=on',
    '-netdev tap,id=n,vhost=on: vhost=on is not supported: COLO must see every packet. Use ' +
      'vhost=off',
  ],
  [
    'primary',
    '-kernel k -netdev tap,id=n,queues=2',
    "-netdev tap,id=n,queues=2: Parameter 'queues' is unexpected | It takes ifname, script, " +
      'downscript, vhost, vnet_hdr.',
  ],
  [
    'primary',
    '-kernel k -device rtl8139',
    "-device rtl8139: 'rtl8139' is not a device of colo; it has virtio-blk-pci, virtio-net-pci, " +
      'VGA, isa-debug-exit, isa-debugcon, pc-testdev, ide-hd, ide-cd, piix3-usb-uhci, ' +
      'usb-tablet, usb-kbd, usb-mouse, e1000.',
  ],
  [
    'primary',
    '-kernel k -device virtio-net-pci,netdev=n',
    "-device virtio-net-pci: there is no netdev 'n' | Add -netdev ...,id=n",
  ],
  [
    'primary',
    '-kernel k -serial pty',
    "-serial pty: 'pty' is not a character device of colo; it has null, stdio, file:PATH, " +
      'unix:PATH, tcp:HOST:PORT and ringbuf',
  ],
  [
    'primary',
    '-kernel k -qmp unix:/q,server=on,telnet=on',
    "-qmp unix:/q,server=on,telnet=on: Parameter 'telnet' is unexpected | It takes path, " +
      'host, port, server, wait, reconnect, reconnect-ms, tls-creds.',
  ],
  [
    'primary',
    '-kernel k -qmp unix:/q,wait=off',
    "-qmp unix:/q,wait=off: 'wait' is for a server: add server=on",
  ],
  [
    'primary',
    '-kernel k -display gtk',
    '-display gtk: there is no window on this host: only `none` is taken | Use -vnc.',
  ],
  ['primary', '-kernel k -name a -uuid zz', '-uuid zz: not a UUID'],
  ['primary', '-kernel k -smbios type=1,uuid=zz', '-smbios type=1,uuid=zz: not a UUID'],
])('%s %s', (role, line, message) => {
  expect(refusal(role, line)).toEqual(
    typeof message === 'string' ? message : expect.stringMatching(message),
  );
});

test.each([
  ['-m 1T', '-m: 1048576 MiB is not a whole number from 16 to 262144'],
  ['-m 257k', '-m: 0.2509765625 MiB is not a whole number from 16 to 262144'],
  ['-smp 9', '-smp 9: machines have 1 to 8 vCPUs'],
  ['-drive driver=raw', "-drive id=virtio0: parameter 'file' is missing"],
  [
    '-drive file=a.img,format=raw,bogus=1',
    "-drive id=virtio0: parameter 'bogus' is not known to driver 'raw'",
  ],
])('%s: what this build cannot do is a mistake of usage', (line, message) => {
  const parse = () => launch('primary', `-kernel k ${line}`);
  expect(parse).toThrow(UsageError);
  expect(parse).toThrow(message);
});

test('-machine is one machine by many names; -boot c is what happens anyway', () => {
  for (const [option, name] of [
    ['-M pc', 'pc-i440fx-7.2'],
    ['-machine pc-i440fx-2.3', 'pc-i440fx-2.3'],
    ['-machine type=pc,accel=soft', 'pc-i440fx-7.2'],
    ['-boot c', 'pc-i440fx-7.2'],
    ['-boot order=c', 'pc-i440fx-7.2'],
  ])
    expect(launch('primary', `-kernel k ${option}`)).toMatchObject({
      kernel: 'k',
      machineType: name,
    });
  expect(launch('primary', '-kernel k -M pc,accel=soft').accel).toBe('soft');
  expect(refusal('primary', '-kernel k -M q35')).toBe(
    "-M q35: 'q35' is not a machine of colo; it has pc. | pc-i440fx-2.3 and its like are " +
      'the same machine by another name.',
  );
  for (const boot of ['d', 'menu=on', 'order=nc'])
    expect(refusal('primary', `-kernel k -boot ${boot}`)).toBe(
      '-boot: what boots is the kernel of -kernel | Leave -boot out, or say -boot c; with ' +
        '-bios, or without -kernel, firmware boots.',
    );
  expect(refusal('primary', '-S -boot a')).toBe("-boot a: order 'a': there is no floppy drive");
  expect(refusal('primary', '-S -boot cc')).toBe(
    "-boot cc: order 'cc' is no boot order: it has c (disk), d (CD-ROM) and n (network), each " +
      'once',
  );
});

const asksForNothing = `
  -name guest=vm1,debug-threads=on; -name vm1,debug-threads=off; -msg timestamp=on
  -msg timestamp=off,guest-name=off; -no-user-config; -nodefconfig
  -machine pc-i440fx-7.2,accel=soft,usb=off,vmport=off,dump-guest-core=off,mem-merge=no,hpet=off
  -boot strict=on; -boot menu=off,strict=on; -boot c,strict; -rtc base=utc
  -rtc base=utc,clock=host,driftfix=none; -overcommit mem-lock=off; -overcommit cpu-pm=off
  -realtime mlock=off; -vga none; -vnc none; -net none -nic none; -parallel none -parallel none
  -no-hpet; -no-fd-bootchk; -balloon none; -audio none; -audiodev none,id=a
  -audiodev {"id":"audio1","driver":"none"}; -only-migratable; -sandbox off; -sandbox enable=off
  -smp 1,maxcpus=1,dies=1,clusters=1,cores=1
  -global PIIX4_PM.disable_s3=1 -global PIIX4_PM.disable_s4=1
  -global kvm-pit.lost_tick_policy=delay
  -netdev tap,id=n -device virtio-net-pci,netdev=n,romfile=,rombar=0
  -drive if=none,id=d,file=F -device virtio-blk-pci,drive=d,scsi=off,num-queues=1`
  .trim()
  .split(/[;\n]/)
  .map(line => line.trim());

test.each(asksForNothing)('%s asks for nothing, and is taken', line => {
  expect(launch('primary', `-kernel k ${line}`).kernel).toBe('k');
});

test.each([
  ['-vga cirrus', "-vga cirrus: colo has no graphics card 'cirrus': it has std and none"],
  [
    '-vnc somewhere',
    "-vnc somewhere: 'somewhere' is not HOST:DISPLAY, as in 127.0.0.1:7, which is port 5907; " +
      'nor none',
  ],
  ['-vnc none,password=on', '-vnc none,password=on: none has no options'],
  ['-vnc :7,to=3', '-vnc :7,to=3: to=3 is before 7'],
  ['-vnc :7,websocket=70000', '-vnc :7,websocket=70000: websocket=70000: it is on, off or a port'],
  ['-vnc none,websocket=on', '-vnc none,websocket=on: none has no options'],
  ['-vnc :7 -vga none', '-vnc: there is no screen to show: -vga none'],
  ['-device VGA -device VGA', '-device VGA: a machine has one graphics card'],
  [
    '-net nic,model=virtio',
    "-net nic,model=virtio: only 'none' is taken here | Use -netdev with -device virtio-net-pci.",
  ],
  [
    '-rtc base=localtime',
    "-rtc base=localtime: base=localtime: only 'utc' is taken here | The clock is UTC: tell " +
      'the guest so, or set its time zone.',
  ],
  ['-rtc base=utc,driftfix=slew', /driftfix=slew: only 'none' is taken here/],
  [
    '-overcommit mem-lock=on',
    /^-overcommit mem-lock=on: mem-lock=on: only 'off' is taken here \| Memory of the guest is not locked/,
  ],
  ['-overcommit mem-lock', /mem-lock=on: only 'off'/],
  [
    '-sandbox on,obsolete=deny',
    /^-sandbox on,obsolete=deny: only 'off' is taken here \| Use a service manager/,
  ],
  ['-audiodev pa,id=a', /only 'none' is taken here \| There is no sound/],
  [
    '-audiodev none,id=a,timer-period=1',
    "-audiodev none,id=a,timer-period=1: Parameter 'timer-period' is unexpected | It takes " +
      'driver, id.',
  ],
  [
    '-machine pc,dump-guest-core=on',
    /dump-guest-core=on: only 'off' is taken here \| The memory of the guest is never in a core file/,
  ],
  ['-machine pc,acpi=off', /acpi=off: only 'on' or 'auto' is taken here/],
  ['-msg timestamp=maybe', "-msg timestamp=maybe: Parameter 'timestamp' expects 'on' or 'off'"],
  ['-msg guest-name=on', /guest-name=on: only 'off'/],
  ['-name vm1,process=x', /Parameter 'process' is unexpected \| It takes guest, debug-threads/],
  [
    '-global PIIX4_PM.disable_s3=0',
    "-global PIIX4_PM.disable_s3=0: PIIX4_PM.disable_s3=0: only '1' or 'on' or 'true' is " +
      'taken here | Guests cannot suspend to memory.',
  ],
  ['-global kvm-pit.lost_tick_policy=discard', /only 'delay' is taken here/],
  [
    '-netdev tap,id=n -device virtio-net-pci,netdev=n,romfile=x.rom',
    /romfile=x.rom: only nothing is taken here/,
  ],
])('%s asks for something', (line, message) => {
  expect(refusal('primary', `-kernel k ${line}`)).toEqual(
    typeof message === 'string' ? message : expect.stringMatching(message),
  );
});
