/**
 * What `colo init` wants to know, in the order of asking: each is a question on a terminal and a
 * flag elsewhere.
 */
export const wanted = {
  name: { value: 'NAME', text: 'name of the pair' },
  peer: {
    value: 'HOST',
    text: 'address of the secondary host, as the primary reaches it (127.0.0.1: both on this host)',
  },
  port: { value: 'PORT', text: 'its first TCP port; the next one is for the disks' },
  own: {
    value: 'HOST',
    text:
      'address of the primary host, as the secondary reaches it: where it waits when the roles ' +
      'have changed (empty: not said)',
  },
  arbiter: {
    value: 'ADDRESS',
    text:
      'arbiter, that decides in place of a person when a side is lost: file:/DIR, etcd:, exec: ' +
      '(empty: a person)',
  },
  memory: { value: 'SIZE', text: 'memory of the guest' },
  kernel: { value: 'PATH', text: 'Linux kernel' },
  initrd: { value: 'PATH', text: 'initial RAM disk (empty: none)' },
  append: { value: 'LINE', text: 'kernel command line' },
  disk: { value: 'PATH', text: 'disk image on the primary (empty: no disk)' },
  replica: { value: 'PATH', text: 'its replica on the secondary' },
  size: { value: 'SIZE', text: 'size, if the images shall be made (empty: they exist)' },
  tap: { value: 'IFNAME', text: 'tap interface on the primary (empty: no network)' },
  'replica-tap': { value: 'IFNAME', text: 'tap interface on the secondary' },
  delay: { value: 'MS', text: 'milliseconds from one checkpoint to the next' },
} as const;

export type AnswerName = keyof typeof wanted;
export const answerNames = Object.keys(wanted) as AnswerName[];
