/** TLS over a connection that spoke plain text first, by certificates or by pre-shared keys. */
import type { Socket } from 'node:net';
import {
  connect,
  createSecureContext,
  createServer,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import { asVmError, VmError } from '../../base/errors.js';
import type { Stream, TlsContext, TlsCredentials } from '../ports.js';
import { isTlsError, tlsError } from './tls-errors.js';

type X509 = Extract<TlsCredentials, { kind: 'x509' }>;
type Psk = Extract<TlsCredentials, { kind: 'psk' }>;

/**
 * OpenSSL's callbacks for keys know TLS 1.2 only. First what keeps old recordings secret when a key
 * leaks.
 */
const PSK: SecureContextOptions = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.2',
  ciphers: [
    'ECDHE-PSK-CHACHA20-POLY1305',
    'ECDHE-PSK-AES256-CBC-SHA384',
    'ECDHE-PSK-AES128-CBC-SHA256',
    'DHE-PSK-AES256-GCM-SHA384',
    'PSK-AES256-GCM-SHA384',
    'PSK-CHACHA20-POLY1305',
    'PSK-AES128-GCM-SHA256',
  ].join(':'),
};

/** How a stream of this host is taken apart, and how one is made of the socket that comes out. */
export interface StreamDoor {
  release(stream: Stream): Socket;
  /** unheard: what it means that the connection ends before the peer has said a byte. */
  wrap(socket: Socket, like: Stream, unheard?: (error?: Error) => VmError): Stream;
}

export function tlsContext(
  role: 'client' | 'server',
  credentials: TlsCredentials,
  door: StreamDoor,
): TlsContext {
  const secure = credentials.kind === 'x509' ? x509Options(credentials) : PSK;
  try {
    createSecureContext(secure);
  } catch (error) {
    throw asVmError(error).during('the TLS credentials are no good');
  }
  const shake = role === 'client' ? clientHandshake : serverHandshake;
  return {
    async start(stream, { hostname, timeoutMs }) {
      const action = `TLS with ${stream.peer}`;
      try {
        const socket = door.release(stream);
        // A peer that has ended its direction does not shake hands any more.
        socket.allowHalfOpen = false;
        const secured = await bounded<TLSSocket>(timeoutMs, (done, fail) =>
          shake(socket, secure, credentials, { hostname, done, fail }),
        );
        secured.allowHalfOpen = true;
        return door.wrap(secured, stream, role === 'client' ? unwanted(action) : undefined);
      } catch (error) {
        stream.destroy();
        throw tlsError(action, error);
      }
    },
  };
}

/**
 * A server looks at the client's certificate when the handshake is over for the client, which then
 * hears an alert, or nothing but the end.
 */
const unwanted = (action: string) => (error?: Error) =>
  isTlsError(error)
    ? tlsError(action, error)
    : new VmError(
        `${action}: the peer closed the connection right after the handshake: its own messages ` +
          'say whether it does not take our certificate',
      );

interface Shake {
  hostname?: string;
  done: (socket: TLSSocket) => void;
  fail: (error: Error) => void;
}

function clientHandshake(
  socket: Socket,
  secure: SecureContextOptions,
  credentials: TlsCredentials,
  { hostname, done, fail }: Shake,
): void {
  const [user] = credentials.kind === 'psk' ? credentials.keys : [];
  // A name that is an address must not be sent as a server name.
  const servername = hostname !== undefined && !/^[0-9.]+$|:/.test(hostname) ? hostname : '';
  const secured = connect({
    ...secure,
    socket,
    host: hostname,
    servername,
    rejectUnauthorized: credentials.kind === 'x509' && credentials.verifyPeer,
    ...(user && {
      pskCallback: () => ({ identity: user[0], psk: user[1] }),
      checkServerIdentity: () => undefined,
    }),
  });
  secured.once('secureConnect', () => done(secured));
  secured.once('error', fail);
  secured.once('close', () => fail(new VmError('the peer closed the connection')));
}

/** A server that listens nowhere: connections are handed to it. */
function serverHandshake(
  socket: Socket,
  secure: SecureContextOptions,
  credentials: TlsCredentials,
  { done, fail }: Shake,
): void {
  const asks = credentials.kind === 'x509' && credentials.verifyPeer;
  const server = createServer({
    ...secure,
    requestCert: asks,
    rejectUnauthorized: asks,
    ...(credentials.kind === 'psk' && { dhparam: 'auto', pskCallback: pskOf(credentials) }),
  });
  server.once('secureConnection', done);
  server.once('tlsClientError', (error, { authorizationError }) =>
    // Node gives the reason by its code here, whatever its types say.
    fail(authorizationError ? Object.assign(error, { code: authorizationError }) : error),
  );
  // Behind the server's own word for it, which knows more.
  socket.once('close', () =>
    setImmediate(() => fail(new VmError('the peer closed the connection'))),
  );
  server.emit('connection', socket);
}

function pskOf(credentials: Psk) {
  return (_socket: TLSSocket, identity: string) => credentials.keys.get(identity) ?? null;
}

function x509Options({ ca, certificate, key }: X509): SecureContextOptions {
  return {
    minVersion: 'TLSv1.2',
    ca: Buffer.from(ca),
    cert: certificate && Buffer.from(certificate),
    key: key && Buffer.from(key),
  };
}

function bounded<T>(
  timeoutMs: number,
  body: (done: (value: T) => void, fail: (error: Error) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new VmError(`no handshake within ${timeoutMs} ms`)),
      timeoutMs,
    );
    const end = (act: () => void) => {
      clearTimeout(timer);
      act();
    };
    body(
      value => end(() => resolve(value)),
      error => end(() => reject(error)),
    );
  });
}
