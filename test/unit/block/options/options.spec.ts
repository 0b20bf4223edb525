/**
 * Goal: QEMU's -drive grammar, the seed's lines verbatim, and a refusal by name for everything
 * else. Method: text in, spec out.
 */
import { OptionTree } from '../../../../src/block/options/option-tree.js';
import { parseDrive, readBlockdev } from '../../../../src/block/options/options.js';

test('a plain image, in the three spellings', () => {
  const root = {
    driver: 'raw',
    file: { driver: 'file', filename: 'disk.raw', lock: 'auto', readOnly: false },
    readOnly: false,
  };
  expect(parseDrive('file=disk.raw,format=raw,if=virtio,id=d0')).toMatchObject({
    id: 'd0',
    interface: 'virtio',
    cache: 'writeback',
    root: { ...root, probed: false },
  });
  expect(parseDrive('file=disk.raw').root).toMatchObject({ ...root, probed: true });
  expect(parseDrive('driver=raw,file.driver=file,file.filename=file:disk.raw').root).toMatchObject(
    root,
  );
});

test("the seed's primary", () => {
  const spec = parseDrive(
    'if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
      'children.0.file.filename=F,children.0.driver=raw',
  );
  expect(spec).toMatchObject({
    id: 'colo-disk0',
    root: {
      driver: 'quorum',
      readPattern: 'fifo',
      voteThreshold: 1,
      children: [
        { name: 'children.0', source: { driver: 'raw', file: { driver: 'file', filename: 'F' } } },
      ],
    },
  });
});

test("the seed's replica", () => {
  const spec = parseDrive(
    'driver=replication,mode=primary,file.driver=nbd,file.host=9.61.1.7,file.port=8889,' +
      'file.export=colo-disk0,node-name=node0,if=none',
  );
  expect(spec).toMatchObject({
    interface: 'none',
    root: {
      driver: 'replication',
      mode: 'primary',
      nodeName: 'node0',
      file: {
        driver: 'nbd',
        address: { kind: 'tcp', host: '9.61.1.7', port: 8889 },
        exportName: 'colo-disk0',
      },
    },
  });
});

test("the seed's secondary: overlays in qcow2, or in memory", () => {
  const text =
    'if=virtio,id=active-disk0,throttling.bps-total=70000000,driver=replication,' +
    'mode=secondary,file.driver=qcow2,file.file.filename=A,file.backing.driver=qcow2,' +
    'file.backing.file.filename=H,file.backing.backing=colo-disk0';
  expect(parseDrive(text)).toMatchObject({
    root: {
      mode: 'secondary',
      file: {
        driver: 'qcow2',
        file: { filename: 'A' },
        backing: { driver: 'qcow2', file: { filename: 'H' }, backing: { reference: 'colo-disk0' } },
      },
    },
  });
  const memory = text
    .replaceAll('qcow2', 'memory')
    .replace('file.file.filename=A,', '')
    .replace('file.backing.file.filename=H,', '');
  expect(parseDrive(memory)).toMatchObject({
    throttle: { limits: { buckets: { 'bps-total': { avg: 70000000, max: 0, length: 1 } } } },
    root: {
      mode: 'secondary',
      file: {
        driver: 'memory',
        backing: { driver: 'memory', backing: { reference: 'colo-disk0' } },
      },
    },
  });
});

test('the short secondaries', () => {
  expect(parseDrive('driver=replication,mode=secondary,file=colo-disk0').root).toMatchObject({
    file: { reference: 'colo-disk0' },
  });
  expect(
    parseDrive(
      'driver=replication,mode=secondary,file.driver=memory,file.max-bytes=2G,file.backing=x',
    ).root,
  ).toMatchObject({ file: { maxBytes: 2 * 1024 ** 3, backing: { reference: 'x' } } });
});

test('a doubled comma is a comma, a slash before the colon is a name', () => {
  expect(parseDrive('file=a,,b.raw,format=raw').root).toMatchObject({
    file: { filename: 'a,b.raw' },
  });
  expect(parseDrive('file=./nbd:x,format=raw').root).toMatchObject({
    file: { filename: './nbd:x' },
  });
});

test('readonly goes down to the file', () => {
  expect(parseDrive('file=F,format=raw,readonly').root).toMatchObject({
    readOnly: true,
    file: { readOnly: true },
  });
  expect(parseDrive('file.filename=F,driver=raw,read-only=on').root).toMatchObject({
    file: { readOnly: true },
  });
});

test('blockdev-add: nested objects and arrays', () => {
  expect(
    readBlockdev(
      OptionTree.from({
        driver: 'quorum',
        'node-name': 'q',
        'vote-threshold': 1,
        'read-pattern': 'fifo',
        children: ['a', { driver: 'raw', file: { driver: 'file', filename: 'F' } }],
      }),
    ),
  ).toMatchObject({
    nodeName: 'q',
    children: [{ source: { reference: 'a' } }, { name: 'children.1', source: { driver: 'raw' } }],
  });
  expect(() => readBlockdev(OptionTree.from({ driver: 'raw', file: 'x' }))).toThrow(
    "'node-name' is missing",
  );
});

test.each([
  ['cache=none', 'writeback', true],
  ['cache=directsync', 'writethrough', true],
  ['cache.direct=on', 'writeback', true],
  ['cache=none,cache.direct=off', 'writeback', undefined],
  ['cache.no-flush=on', 'unsafe', undefined],
])('%s: how the files are opened', (text, cache, direct) => {
  const drive = parseDrive(
    `driver=qcow2,file.filename=F,backing.driver=raw,backing.file.filename=G,${text}`,
  );
  expect(drive.cache).toBe(cache);
  expect(drive.root).toMatchObject({
    file: { driver: 'file', filename: 'F' },
    backing: { file: { driver: 'file', filename: 'G' } },
  });
  const { file, backing } = drive.root as unknown as {
    file: { direct?: boolean };
    backing: { file: { direct?: boolean } };
  };
  expect([file.direct, backing.file.direct]).toEqual([direct, direct]);
});

test('what a node says of its cache holds for what is made below it', () => {
  const node = (text: string) => readBlockdev(OptionTree.parse(`node-name=n,${text}`));
  expect(
    node('driver=qcow2,cache.direct=on,cache.no-flush=on,file.driver=file,file.filename=F'),
  ).toMatchObject({ policy: { noFlush: true }, file: { direct: true, policy: { noFlush: true } } });
  expect(
    node(
      'driver=qcow2,cache.direct=on,file.driver=file,file.filename=F,file.cache.direct=off,' +
        'backing=',
    ),
  ).toMatchObject({ file: { direct: false }, backing: 'none' });
  expect(node('driver=raw,cache.no-flush=on,filename=F')).toMatchObject({
    file: { policy: { noFlush: true, discard: 'unmap' } },
  });
  expect(() => node('driver=raw,cache.writeback=on,filename=F')).toThrow(
    "'cache.writeback' is not known of a node",
  );
});

test('a node of QMP or -blockdev: what must be there, and how deep it may go', () => {
  const node = (options: Record<string, unknown>) => readBlockdev(OptionTree.from(options));
  expect(node({ driver: 'qcow2', 'node-name': 'n', file: 'f', backing: null })).toMatchObject({
    backing: 'none',
    file: { reference: 'f' },
  });
  expect(node({ driver: 'file', 'node-name': 'n', filename: 'F', aio: 'threads' })).toMatchObject({
    filename: 'F',
  });
  expect(() => node({ driver: 'file', 'node-name': 'n', filename: 'F', aio: 'io_uring' })).toThrow(
    "'aio': files are read and written by threads (aio=threads); not 'io_uring'",
  );
  expect(() => node({ 'node-name': 'n', filename: 'F' })).toThrow("'driver' is missing");
  let deep: unknown = 'f';
  for (let n = 0; n < 1000; n++) deep = { driver: 'raw', file: deep };
  expect(() => node({ driver: 'raw', 'node-name': 'n', file: deep })).toThrow(
    'is nested too deeply',
  );
});

test('a file of its own mind stays in the page cache', () => {
  expect(
    parseDrive('driver=raw,file.filename=F,file.cache.direct=off,cache=none').root,
  ).toMatchObject({ file: { direct: false } });
  expect(() => parseDrive('driver=raw,file.filename=F,file.cache.writeback=on')).toThrow(
    "parameter 'file.cache.writeback' is not known",
  );
});

test.each([
  ['file=F,foo=1', "parameter 'foo' is not known to driver 'raw'"],
  [
    'driver=raw,file.filename=F,file.foo.bar=1',
    "parameter 'file.foo.bar' is not known to driver 'file'",
  ],
  ['file=F,format=vmdk', "driver 'vmdk' (parameter 'format') is not implemented"],
  [
    'driver=throttle,throttle-group=g,file=x',
    "driver 'throttle' (parameter 'driver') is not implemented: limits are of a disk: " +
      'throttling.* of -drive, or block_set_io_throttle',
  ],
  ['driver=host_device,filename=/dev/sda', 'driver=file opens devices too'],
  ['file=F,format=nonsense', "driver 'nonsense'"],
  ['file=F,format=raw,driver=memory', 'say different things'],
  ['file=F,cache=fast', "parameter 'cache' takes"],
  ['file=F,if=scsi', "parameter 'if' takes virtio, ide, none; not 'scsi'"],
  ['file=F,snapshot=on', "parameter 'snapshot' is not known"],
  [
    'file=F,aio=native',
    "parameter 'aio': files are read and written by threads (aio=threads); not 'native'",
  ],
  ['file=F,file=G', "'file' is given twice"],
  ['file=F,id=1bad', "parameter 'id' takes a letter"],
  ['file=F,media=tape', "parameter 'media' takes disk, cdrom; not 'tape'"],
  ['file=F,media=cdrom', 'media=cdrom: a CD-ROM drive is on IDE: if=ide, or if=none with'],
  ['if=ide,file=F,media=cdrom,readonly=off', "parameter 'readonly': a CD-ROM is read-only"],
  ['if=ide,media=cdrom,discard=unmap', "parameter 'discard' is not known to an empty drive"],
  ['file=nbd://', 'the host is missing'],
  ['file=nbd://h:99999/x', 'port 99999 is not from 1 to 65535'],
  ['file=nbd+unix:///x', "'socket=PATH' is missing"],
  ['file=nbd://h/%zz', 'is not encoded as a URI asks'],
  ['file=nbd://h/x?cache=no', "parameter 'cache' is not known"],
  ['file=nbds://h/x', "nbds: parameter 'file.tls-creds' is missing"],
  ['file=nbd:h', 'say nbd://HOST:PORT/EXPORT'],
  ['file=json:{}', "protocol 'json'"],
  ['file=F,throttling.foo=1', "parameter 'throttling.foo' is not known"],
  ['file=F,throttling.bps-total=-1', 'takes a whole number from 0'],
  ['', "parameter 'file' is missing"],
  ['driver=memory', undefined],
  ['driver=memory,size=12X', "parameter 'size' takes a size"],
  ['driver=quorum,vote-threshold=1', "parameter 'children.0' is missing"],
  ['driver=quorum,children.0=a', "parameter 'vote-threshold' is missing"],
  ['driver=quorum,vote-threshold=1,children.x=a', "parameter 'children.x' is not known"],
  [
    'driver=quorum,vote-threshold=1,children.0=a,blkverify=maybe',
    "'blkverify' is on or off, not 'maybe'",
  ],
  ['driver=replication,file=x', 'Missing the option mode'],
  [
    'driver=replication,mode=third,file=x',
    "The option mode's value should be primary or secondary",
  ],
  [
    'driver=replication,mode=primary,file=x,top-id=t',
    'The primary side does not support option top-id',
  ],
  ['driver=replication,mode=secondary,file=x,file.driver=memory', "'file' names a node"],
  ['driver=nbd,export=e', "parameter 'host' is missing"],
  ['driver=nbd,host=h,port=99999', "parameter 'port' takes a whole number"],
  ['driver=nbd,path=/s,host=h', 'exclude each other'],
  ['driver=nbd,host=h,reconnect-delay=-1', "parameter 'reconnect-delay' takes a whole number"],
  ['driver=nbd,host=h,tls-hostname=x', 'goes with tls-creds'],
  ['a..b=1', "'a..b' is not a name"],
  ['file=F,', "'file=F,' has an empty item between commas"],
])('%s', (text, message) => {
  if (message === undefined) expect(parseDrive(text).root).toMatchObject({ driver: 'memory' });
  else expect(() => parseDrive(text)).toThrow(message);
});

test.each([
  ['nbd://h/x', { kind: 'tcp', host: 'h', port: 10809 }, 'x'],
  ['nbd://[::1]:77', { kind: 'tcp', host: '::1', port: 77 }, ''],
  ['nbd+unix:///a%20b?socket=/run/s', { kind: 'unix', path: '/run/s' }, 'a b'],
  ['nbd:h:5:exportname=a:b', { kind: 'tcp', host: 'h', port: 5 }, 'a:b'],
  ['nbd:unix:/run/s', { kind: 'unix', path: '/run/s' }, ''],
])('file=%s', (uri, address, exportName) => {
  const { root } = parseDrive(`file=${uri},file.reconnect-delay=5,if=none`);
  expect(root).toMatchObject({
    driver: 'raw',
    file: { driver: 'nbd', address, exportName, reconnectDelayMs: 5000 },
  });
});

describe('lines of the wild', () => {
  test.each([
    ['file=F,format=raw,file.locking=off', { lock: 'none' }],
    ['file=F,format=raw,file.driver=file', { lock: 'auto' }],
    ['file=F,format=raw,file.aio=threads', { lock: 'auto' }],
    ['file=F,format=raw,aio=threads', { lock: 'auto' }],
    ['file=F,format=raw,file.node-name=f', { nodeName: 'f' }],
    ['file=F,format=raw,read-only=off,auto-read-only=on', { readOnly: false, autoReadOnly: true }],
    ['filename=F,driver=raw,file.auto-read-only=on', { autoReadOnly: true }],
  ])('%s', (text, file) => {
    expect(parseDrive(text).root).toMatchObject({
      driver: 'raw',
      file: { driver: 'file', filename: 'F', ...file },
    });
  });

  test('a name that is said twice', () => {
    expect(() => parseDrive('file=F,format=raw,file.filename=G')).toThrow(
      "'file' and 'file.filename' say the same thing",
    );
    expect(() => parseDrive('file=F,format=raw,file.driver=nbd')).toThrow("'F' is no NBD server");
  });

  test('media=cdrom: read-only, and empty without an image', () => {
    expect(parseDrive('if=ide,media=cdrom,file=F')).toMatchObject({
      media: 'cdrom',
      root: { driver: 'raw', readOnly: true, file: { readOnly: true } },
    });
    const empty = parseDrive('if=none,id=c,media=cdrom,readonly=on');
    expect([empty.media, empty.root]).toEqual(['cdrom', undefined]);
  });

  test('index: which of its interface it is', () => {
    expect(parseDrive('file=F,if=virtio,index=3,media=disk')).toMatchObject({ index: 3 });
    expect(() => parseDrive('file=F,index=x')).toThrow("parameter 'index' takes a whole number");
  });

  test('limits by their old names are those of throttling.*; one of the two is enough', () => {
    const { throttle } = parseDrive(
      'file=F,iops=100,bps_rd=1000,bps_rd_max=2000,bps_rd_max_length=3,iops_size=4096,group=g',
    );
    expect(throttle).toMatchObject({
      group: 'g',
      limits: {
        iopsSize: 4096,
        buckets: { 'iops-total': { avg: 100 }, 'bps-read': { avg: 1000, max: 2000, length: 3 } },
      },
    });
    expect(() => parseDrive('file=F,iops=100,throttling.iops-total=7')).toThrow(
      "parameters 'throttling.iops-total' and its alias 'iops' cannot be used at the same time",
    );
  });
});
