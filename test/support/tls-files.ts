/**
 * Certificates and keys for TLS tests, made by GnuTLS's certtool and psktool under the names that
 * QEMU gives them.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const quiet = { stdio: 'ignore' } as const;

/** A CA, and a server's and a client's certificate of it, for localhost. */
export function makeX509(dir: string): string {
  mkdirSync(dir, { recursive: true });
  const at = (name: string) => join(dir, name);
  const key = (name: string) =>
    execFileSync(
      'certtool',
      ['--generate-privkey', '--key-type', 'ecdsa', '--outfile', at(`${name}-key.pem`)],
      quiet,
    );
  writeFileSync(at('ca.txt'), 'cn = "tests"\nca\ncert_signing_key\nexpiration_days = 3650\n');
  key('ca');
  execFileSync(
    'certtool',
    [
      '--generate-self-signed',
      '--load-privkey',
      at('ca-key.pem'),
      '--template',
      at('ca.txt'),
      '--outfile',
      at('ca-cert.pem'),
    ],
    quiet,
  );
  for (const role of ['server', 'client']) {
    writeFileSync(
      at(`${role}.txt`),
      `cn = localhost\ndns_name = localhost\nip_address = ` +
        `127.0.0.1\ntls_www_${role}\nencryption_key\nsigning_key\nexpiration_days = 3650\n`,
    );
    key(role);
    const ca = ['--load-ca-certificate', at('ca-cert.pem'), '--load-ca-privkey', at('ca-key.pem')];
    execFileSync(
      'certtool',
      [
        '--generate-certificate',
        ...ca,
        '--load-privkey',
        at(`${role}-key.pem`),
        '--template',
        at(`${role}.txt`),
        '--outfile',
        at(`${role}-cert.pem`),
      ],
      quiet,
    );
  }
  return dir;
}

/** keys.psk with a key for each user. */
export function makePsk(dir: string, users: readonly string[]): string {
  mkdirSync(dir, { recursive: true });
  for (const user of users)
    execFileSync('psktool', ['-u', user, '-p', join(dir, 'keys.psk')], quiet);
  return dir;
}
