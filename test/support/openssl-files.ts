/**
 * Credentials for TLS tests, by openssl: the program's own, and those that it would never make.
 * Each folder has what tls-creds-x509 reads.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeCertificates } from '../../src/commands/pair/certificates.js';

/** Folders a and b, for one host. */
export const pairCertificates = (dir: string, hosts: readonly string[] = ['127.0.0.1']) =>
  makeCertificates(dir, 'test', { a: hosts, b: hosts });

/** What a side of the authority in `dir` has, but its certificates ended yesterday. */
export function expiredSide(dir: string, into: string): string {
  mkdirSync(into);
  copyFileSync(join(dir, 'ca-cert.pem'), join(into, 'ca-cert.pem'));
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' });
  for (const end of ['server', 'client']) {
    const [key, request, extensions] = [`${end}-key.pem`, `${end}.csr`, `${end}.ext`].map(name =>
      join(into, name),
    );
    const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    openssl('req', ...ec, '-keyout', key, '-out', request, '-subj', '/CN=old');
    writeFileSync(
      extensions,
      `extendedKeyUsage = ${end}Auth\nsubjectAltName = IP:127.0.0.1,DNS:localhost\n`,
    );
    const ca = ['-CA', join(dir, 'ca-cert.pem'), '-CAkey', join(dir, 'ca-key.pem')];
    const out = ['-out', join(into, `${end}-cert.pem`), '-set_serial', '1', '-days', '-1'];
    openssl('x509', '-req', '-in', request, ...ca, '-extfile', extensions, ...out);
  }
  return into;
}

/** keys.psk with one key of this digit. */
export function pskFolder(dir: string, digit: string, user = 'qemu'): string {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'keys.psk'), `${user}:${digit.repeat(64)}\n`);
  return dir;
}
