/**
 * What authenticates the two sides of a pair to each other, made by openssl: an authority of this
 * pair alone, and of each side one certificate as a server and one as a client, under the names
 * that tls-creds-x509 reads. In one folder: ca-key.pem and ca-cert.pem, and for each side a folder
 * with all that its host needs.
 */
import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { VmError } from '../../base/errors.js';
import { printable } from '../../base/printable.js';
import { errorCode, systemError } from '../../host/node/errors.js';
import { type Side, sides } from './side.js';

const DAYS = 3650;
const OPENSSL_MS = 30_000;
const run = promisify(execFile);

/** What each side's certificate is made out to: its addresses, as the other one dials them. */
export type SideHosts = Readonly<Record<Side, readonly string[]>>;

/**
 * dir: of mode 0700; all files in it 0600. It is there whole or not at all; what was there before
 * is replaced.
 */
export async function makeCertificates(dir: string, pair: string, hosts: SideHosts): Promise<void> {
  const parent = dirname(dir);
  await mkdir(parent, { recursive: true });
  // mkdtemp gives mode 0700.
  const fresh = await mkdtemp(join(parent, `.${basename(dir)}-`)).catch((error: unknown) => {
    throw systemError(`Could not make a folder in '${parent}'`, error);
  });
  try {
    await fill(fresh, pair, hosts);
    await rm(dir, { recursive: true, force: true });
    await rename(fresh, dir);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    throw systemError(`Could not make the certificates in '${dir}'`, error);
  }
}

async function fill(dir: string, pair: string, hosts: SideHosts): Promise<void> {
  await certificate(dir, { name: 'ca', subject: `colo pair ${pair}`, extensions: ofAuthority });
  for (const side of sides) {
    const folder = join(dir, side);
    await mkdir(folder, { mode: 0o700 });
    await copyFile(join(dir, 'ca-cert.pem'), join(folder, 'ca-cert.pem'));
    const names = [...new Set([...hosts[side], 'localhost'])].map(alternative).join(',');
    for (const end of ['server', 'client'] as const)
      await certificate(folder, {
        name: end,
        subject: `${pair} ${side}`,
        extensions: [
          'basicConstraints = critical,CA:FALSE',
          'keyUsage = critical,digitalSignature',
          `extendedKeyUsage = ${end}Auth`,
          `subjectAltName = ${names}`,
        ],
        authority: dir,
      });
  }
}

const ofAuthority = [
  'basicConstraints = critical,CA:TRUE,pathlen:0',
  'keyUsage = critical,keyCertSign,cRLSign',
];

interface Wanted {
  readonly name: string;
  readonly subject: string;
  readonly extensions: readonly string[];
  /** Its folder; undefined: the certificate signs itself. */
  readonly authority?: string;
}

/** NAME-key.pem and NAME-cert.pem. */
async function certificate(dir: string, { name, subject, extensions, authority }: Wanted) {
  const at = (file: string) => join(dir, file);
  const config = at('openssl.cnf');
  const lines = [
    '[req]',
    'prompt = no',
    'distinguished_name = subject',
    'x509_extensions = extensions',
    '[subject]',
    `CN = ${subject}`,
    '[extensions]',
    ...extensions,
    'subjectKeyIdentifier = hash',
  ];
  await writeFile(config, `${lines.join('\n')}\n`);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const out = ['-keyout', at(`${name}-key.pem`), '-out', at(`${name}-cert.pem`)];
  const signer = authority
    ? ['-CA', join(authority, 'ca-cert.pem'), '-CAkey', join(authority, 'ca-key.pem')]
    : [];
  await openssl('req', '-x509', '-config', config, ...key, ...out, ...signer, '-days', `${DAYS}`);
  await rm(config);
  for (const part of ['key', 'cert']) await chmod(at(`${name}-${part}.pem`), 0o600);
}

const alternative = (host: string) =>
  /^[0-9.]+$|:/.test(host) ? `IP:${host.replace(/^\[|\]$/g, '')}` : `DNS:${host}`;

async function openssl(...args: string[]): Promise<void> {
  try {
    await run('openssl', args, { timeout: OPENSSL_MS });
  } catch (error) {
    if (errorCode(error) === 'ENOENT')
      throw new VmError('openssl, which makes the certificates, is not installed', {
        hint: 'On Debian: apt-get install openssl. Or bring your own: see `tls` in colo-pair(5).',
      });
    const { stderr = '' } = error as { stderr?: string };
    throw new VmError(`openssl ${args[0]}: ${printable(stderr.trim() || String(error), 300)}`);
  }
}
