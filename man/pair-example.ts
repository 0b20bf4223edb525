/** A whole pair definition, for the manual; a test reads it. */
export const defaultExample = `name: web
memory: 2G
kernel: vmlinuz
initrd: initrd.img
append: console=ttyS0 root=/dev/vda
checkpoint-delay: 100
peer:
  migration: tcp:10.0.0.2:8888
  nbd: tcp:10.0.0.2:8889
back:
  migration: tcp:10.0.0.1:8888
  nbd: tcp:10.0.0.1:8889
disks:
  - primary: web.img
    secondary: web.img
    size: 20G
network:
  - primary: tap-web
    secondary: tap-web
    mac: 52:54:00:00:00:07
primary:
  serial: file:console.log
`;
