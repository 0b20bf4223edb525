/**
 * The procedure as the mail of the series (COLO-Frame v12, December 2015) has it: two command
 * lines, and what is typed at the monitors. Paths stand for images; the processor is the only other
 * thing that may be said here, where there is no KVM to enable.
 */

export interface Images {
  image: string;
  /** Of the secondary: what the guest writes, and what the replica undoes. */
  active: string;
  hidden: string;
}

const words = (line: string) => line.trim().split(/\s+/);
const typed = (lines: string) => lines.trim().split(/\n\s*/);

const machine = (name: string, accel: string) => `
  ${accel} -boot c -m 2048 -smp 2 -qmp stdio -vnc :7 -name ${name} -cpu qemu64,+kvmclock
  -device piix3-usb-uhci -device usb-tablet -netdev tap,id=hn0,vhost=off
  -device virtio-net-pci,id=net-pci0,netdev=hn0`;

export const primaryLine = (accel: string, { image }: Images): string[] =>
  words(`${machine('primary', accel)}
    -drive if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,children.0.file.filename=${image},children.0.driver=raw`);

export const secondaryLine = (accel: string, { image, active, hidden }: Images): string[] =>
  words(`${machine('secondary', accel)}
    -drive if=none,id=colo-disk0,file.filename=${image},driver=raw,node-name=node0
    -drive if=virtio,id=active-disk0,throttling.bps-total=70000000,driver=replication,mode=secondary,file.driver=qcow2,file.file.filename=${active},file.backing.driver=qcow2,file.backing.file.filename=${hidden},file.backing.backing=colo-disk0
    -incoming tcp:0:8888`);

export const secondaryOrders = typed(`
  {'execute':'qmp_capabilities'}
  { 'execute': 'nbd-server-start', 'arguments': {'addr': {'type': 'inet', 'data': {'host': '192.168.2.88', 'port': '8889'} } } }
  {'execute': 'nbd-server-add', 'arguments': {'device': 'colo-disk0', 'writable': true } }
  {'execute': 'trace-event-set-state', 'arguments': {'name': 'colo*', 'enable': true} }
`);

export const primaryOrders = typed(`
  {'execute':'qmp_capabilities'}
  { 'execute': 'human-monitor-command', 'arguments': {'command-line': 'drive_add buddy driver=replication,mode=primary,file.driver=nbd,file.host=9.61.1.7,file.port=8889,file.export=colo-disk0,node-name=node0,if=none'}}
  { 'execute':'x-blockdev-change', 'arguments':{'parent': 'colo-disk0', 'node': 'node0' } }
  { 'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': [ {'capability': 'x-colo', 'state': true } ] } }
  { 'execute': 'migrate', 'arguments': {'uri': 'tcp:192.168.2.88:8888' } }
  { 'execute': 'migrate-set-parameters', 'arguments': {'x-checkpoint-delay': 2000 } }
`);

/** To the secondary, when the primary is lost. */
export const afterPrimary = typed(`
  { 'execute': 'nbd-server-stop' }
  { 'execute': 'human-monitor-command', 'arguments': {'command-line': 'x_colo_lost_heartbeat'}}
`);

/** To the primary, when the secondary is lost. */
export const afterSecondary = typed(`
  { 'execute': 'x-blockdev-change', 'arguments': {'parent': 'colo-disk0', 'child': 'children.1'}}
  { 'execute': 'x-colo-lost-heartbeat' }
`);
