/** Questions over HTTP and HTTPS, a connection for each. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { asVmError, VmError } from '../../base/errors.js';
import type { Http, HttpAnswer, HttpQuestion } from '../ports.js';

export const nodeHttp: Http = { post };

function post(question: HttpQuestion): Promise<HttpAnswer> {
  const { url, body, timeoutMs } = question;
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      request.destroy();
      clearTimeout(timer);
      reject(asVmError(error).during(url));
    };
    const request = (url.startsWith('https:') ? httpsRequest : httpRequest)(
      url,
      optionsOf(question),
    );
    // From the look-up of the name to the last byte: a server that trickles is late too.
    const timer = setTimeout(
      () => fail(new VmError(`no answer within ${Math.round(timeoutMs)} ms`)),
      timeoutMs,
    );
    request.on('error', fail);
    request.on('response', response => {
      const parts: Buffer[] = [];
      let length = 0;
      response.on('data', (part: Buffer) => {
        length += part.length;
        if (length > question.bytesMax) fail(new VmError(`more than ${question.bytesMax} bytes`));
        else parts.push(part);
      });
      response.on('error', fail);
      response.on('aborted', () => fail(new VmError('the answer was cut off')));
      response.on('end', () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') });
      });
    });
    request.end(body);
  });
}

function optionsOf({ body, credentials }: HttpQuestion): RequestOptions {
  const pem = (bytes: Uint8Array | undefined) => (bytes ? Buffer.from(bytes) : undefined);
  return {
    method: 'POST',
    agent: false,
    headers: {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    },
    ...(credentials && {
      ca: pem(credentials.ca),
      cert: pem(credentials.certificate),
      key: pem(credentials.key),
    }),
  };
}
