/**
 * Goal: what is said of an image stays with it: through renaming, links and restarts, whatever the
 * file system can do; or it is refused with a sentence. Method: real files; a file system without
 * attributes and block devices are played, real loop devices are used where there are some (skipped
 * by name elsewhere).
 */
import { execFileSync } from 'node:child_process';
import {
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostModule } from '../../../src/host/node/addon.js';
import { deviceId } from '../../../src/host/node/device-id.js';
import { NodeFiles } from '../../../src/host/node/files.js';
import {
  type LabelPorts,
  NodeLabel,
  SIDE_PREFIX,
  stateDirOf,
} from '../../../src/host/node/label.js';
import { addonBuilt } from '../../support/colo-process.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-label-'));
const at = (name: string) => join(dir, name);
const said = Buffer.from('said of it');
afterAll(() => rmSync(dir, { recursive: true }));
afterEach(() => {
  for (const name of readdirSync(dir)) rmSync(at(name), { recursive: true });
});

async function say(path: string, bytes: Uint8Array | undefined): Promise<void> {
  const file = await new NodeFiles().open(path, { readOnly: false, lock: 'none' });
  await file.label.write(bytes).finally(() => file.close());
}
async function heard(path: string): Promise<Uint8Array | undefined> {
  const file = await new NodeFiles().open(path, { readOnly: true, lock: 'none' });
  return file.label.read().finally(() => file.close());
}

/** Tells the calls in order; has no attributes, as some file systems. */
function played(extra: Partial<LabelPorts> = {}): LabelPorts {
  const none = () => Promise.reject(Object.assign(new Error('no'), { code: 'EOPNOTSUPP' }));
  return {
    host: { getXattr: none, setXattr: none },
    stateDir: at('state'),
    deviceId: () => Promise.resolve({ kind: 'unknown' }),
    ...extra,
  };
}

/** An open file that is taken for a block device. */
async function device(path: string): Promise<FileHandle> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT);
  const stat = { isBlockDevice: () => true, rdev: 1n, ino: 1n, birthtimeNs: 1n };
  return new Proxy(handle, {
    get: (of, name) =>
      name === 'stat' ? () => Promise.resolve(stat) : (Reflect.get(of, name) as unknown),
  });
}

describe('on the image itself', () => {
  withAddon(
    'renaming, hard and symbolic links lead to the same label; a copy has none (skipped where ' +
      'the addon is not built)',
    async () => {
      writeFileSync(at('a.img'), 'x');
      expect(await heard(at('a.img'))).toBeUndefined();
      await say(at('a.img'), said);
      renameSync(at('a.img'), at('b.img'));
      linkSync(at('b.img'), at('hard.img'));
      mkdirSync(at('sub'));
      symlinkSync(at('b.img'), at('sub/soft.img'));
      for (const name of ['b.img', 'hard.img', 'sub/soft.img'])
        expect(await heard(at(name))).toEqual(said);
      writeFileSync(at('copy.img'), 'x');
      expect(await heard(at('copy.img'))).toBeUndefined();
      await say(at('hard.img'), undefined);
      expect(await heard(at('b.img'))).toBeUndefined();
      await say(at('b.img'), undefined);
      expect(await heard(at('b.img'))).toBeUndefined();
    },
  );

  withAddon(
    'it belongs to the open file, even when its name means another one by now (skipped where ' +
      'the addon is not built)',
    async () => {
      writeFileSync(at('a.img'), 'x');
      const file = await new NodeFiles().open(at('a.img'), { readOnly: false, lock: 'none' });
      renameSync(at('a.img'), at('b.img'));
      writeFileSync(at('a.img'), 'another');
      await file.label.write(said).finally(() => file.close());
      expect([await heard(at('a.img')), await heard(at('b.img'))]).toEqual([undefined, said]);
    },
  );

  withAddon(
    'it is written before it is synced, and a sync that fails is told (skipped where the ' +
      'addon is not built)',
    async () => {
      writeFileSync(at('a.img'), 'x');
      const handle = await open(at('a.img'), 'r+');
      const calls: string[] = [];
      const host = {
        getXattr: hostModule().getXattr,
        setXattr: async (...args: Parameters<ReturnType<typeof hostModule>['setXattr']>) =>
          void calls.push('set', args[1]),
      };
      const broken = new Proxy(handle, {
        get: (of, name) =>
          name === 'sync'
            ? () => (
                calls.push('sync'),
                Promise.reject(Object.assign(new Error('EIO'), { errno: -5 }))
              )
            : (Reflect.get(of, name) as unknown),
      });
      await expect(new NodeLabel(played({ host }), broken, 'a.img').write(said)).rejects.toThrow(
        "Could not write attribute user.colo.pair of 'a.img'",
      );
      expect(calls).toEqual(['set', 'user.colo.pair', 'sync']);
      await handle.close();
    },
  );
});

describe('where the file system has no attributes', () => {
  test(
    'a hidden file in the folder, found after renaming and through links, and gone without a ' +
      'trace',
    async () => {
      writeFileSync(at('a.img'), 'x');
      const write = async (path: string, bytes: Uint8Array | undefined) => {
        const handle = await open(path, 'r+');
        await new NodeLabel(played(), handle, path).write(bytes).finally(() => handle.close());
      };
      const read = async (path: string) => {
        const handle = await open(path, 'r');
        return new NodeLabel(played(), handle, path).read().finally(() => handle.close());
      };
      await write(at('a.img'), said);
      expect(readdirSync(dir).filter(name => name.startsWith(SIDE_PREFIX))).toHaveLength(1);
      renameSync(at('a.img'), at('b.img'));
      mkdirSync(at('sub'));
      symlinkSync(at('b.img'), at('sub/soft.img'));
      expect([await read(at('b.img')), await read(at('sub/soft.img'))].map(String)).toEqual([
        'said of it',
        'said of it',
      ]);
      writeFileSync(at('a.img'), 'another');
      expect(await read(at('a.img'))).toBeUndefined();
      await write(at('b.img'), undefined);
      expect(readdirSync(dir).sort()).toEqual(['a.img', 'b.img', 'sub']);
    },
  );

  test('the folder is synced after the file is put in place, and after it is removed', async () => {
    writeFileSync(at('a.img'), 'x');
    const module = new URL('../../../dist/host/node/label.js', import.meta.url).href;
    const script = `
      import { open } from 'node:fs/promises';
      import { NodeLabel } from ${JSON.stringify(module)};
      const none = () => Promise.reject(Object.assign(new Error('no'), { code: 'EOPNOTSUPP' }));
      const handle = await open(${JSON.stringify(at('a.img'))}, 'r+');
      const host = { getXattr: none, setXattr: none };
      const deviceId = () => ({ kind: 'unknown' });
      const label = new NodeLabel({ host, stateDir: '/', deviceId }, handle, 'a.img');
      await label.write(Buffer.from('x'));
      await label.write(undefined);`;
    writeFileSync(at('script.mjs'), script);
    const traced = at('trace');
    try {
      execFileSync(
        'strace',
        [
          '-f',
          '-y',
          '-o',
          traced,
          '-e',
          'trace=rename,unlink,fsync',
          process.execPath,
          at('script.mjs'),
        ],
        { stdio: 'pipe' },
      );
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return; // no strace here
      throw error;
    }
    const calls = readFileSync(traced, 'utf8')
      .split('\n')
      .flatMap(line => /(rename|unlink|fsync)\((.*)\) /.exec(line)?.slice(1, 3).join(' ') ?? []);
    const order = calls
      .filter(call => call.includes(dir))
      .map(call =>
        call.startsWith('fsync')
          ? call.includes(SIDE_PREFIX)
            ? 'sync file'
            : 'sync folder'
          : call.split(' ')[0],
      );
    expect(order).toEqual(['sync file', 'rename', 'sync folder', 'unlink', 'sync folder']);
  });
});

describe('block devices', () => {
  test('a device is known by what its maker or its volume manager calls it', async () => {
    const sys = at('sys');
    const put = (path: string, text: string) => {
      mkdirSync(join(sys, path, '..'), { recursive: true });
      writeFileSync(join(sys, path), `${text}\n`);
    };
    put('devices/dm-0/dm/uuid', 'LVM-abc/1');
    put('devices/sda/device/wwid', 'naa.5000 c500');
    put('devices/sda/sda2/partition', '2');
    put('devices/loop0/loop/backing_file', '/images/a.img');
    put('devices/loop0/loop/offset', '0');
    put('devices/vda/serial', '');
    mkdirSync(join(sys, 'dev/block'), { recursive: true });
    const link = (number: string, to: string) =>
      symlinkSync(join(sys, 'devices', to), join(sys, 'dev/block', number));
    link('252:0', 'dm-0');
    link('8:2', 'sda/sda2');
    link('7:300', 'loop0');
    link('253:0', 'vda');
    const number = (major: number, minor: number) =>
      (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
    expect(await deviceId(number(252, 0), sys)).toEqual({
      kind: 'device',
      key: 'dm-uuid-LVM-abc_2f_1',
    });
    expect(await deviceId(number(8, 2), sys)).toEqual({
      kind: 'device',
      key: 'device-wwid-naa.5000_20_c500-part2',
    });
    expect(await deviceId(number(7, 300), sys)).toEqual({
      kind: 'loop',
      file: '/images/a.img',
      offset: 0,
    });
    expect(await deviceId(number(253, 0), sys)).toEqual({ kind: 'unknown' });
    expect(await deviceId(number(9, 9), sys)).toEqual({ kind: 'unknown' });
  });

  test('its label lies in the state directory, by that name; one without a name is refused', async () => {
    const handle = await device(at('dev'));
    const named = new NodeLabel(
      played({ deviceId: () => Promise.resolve({ kind: 'device', key: 'dm-uuid-x' }) }),
      handle,
      '/dev/x',
    );
    expect(await named.read()).toBeUndefined();
    await named.write(said);
    expect([existsSync(at('state/devices/dm-uuid-x')), String(await named.read())]).toEqual([
      true,
      'said of it',
    ]);
    const nameless = new NodeLabel(played(), handle, '/dev/y');
    expect(await nameless.read()).toBeUndefined();
    await expect(nameless.write(said)).rejects.toThrow(
      "block device '/dev/y' has no uuid, wwid or serial number that would tell it from " +
        'another one after a reboot',
    );
    const part = new NodeLabel(
      played({ deviceId: () => Promise.resolve({ kind: 'loop', file: '/i', offset: 512 }) }),
      handle,
      '/dev/z',
    );
    await expect(part.write(said)).rejects.toThrow("block device '/dev/z' is a part of '/i'");
    await handle.close();
  });

  withAddon('a loop device is the file behind it (skipped where there is none)', async () => {
    writeFileSync(at('a.img'), Buffer.alloc(1 << 20));
    let loop: string;
    try {
      loop = execFileSync('losetup', ['--find', '--show', at('a.img')], { stdio: 'pipe' })
        .toString()
        .trim();
    } catch {
      return;
    }
    try {
      await say(loop, said);
    } finally {
      execFileSync('losetup', ['-d', loop]);
    }
    expect(await heard(at('a.img'))).toEqual(said);
  });

  test('the state directory survives a reboot: by environment, for root, for other users', () => {
    expect(stateDirOf({ COLO_STATE_DIR: '/s' }, true)).toBe('/s');
    expect(stateDirOf({}, true)).toBe('/var/lib/colo');
    expect(stateDirOf({ XDG_STATE_HOME: '/u/state' }, false)).toBe('/u/state/colo');
    expect(stateDirOf({}, false)).toMatch(/\/\.local\/state\/colo$/);
  });
});
