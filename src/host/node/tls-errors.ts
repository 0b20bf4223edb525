/** What ends a TLS handshake, as a sentence: OpenSSL's words are for those who know its sources. */
import { VmError } from '../../base/errors.js';
import { printable } from '../../base/printable.js';
import { errorCode, systemError } from './errors.js';

const OTHER_CA = "the peer's certificate is not of the authority in ca-cert.pem";
const OUR_CA = 'the peer does not take our certificate: it is not of its authority';
const NO_TLS = 'the peer does not speak TLS';
const NOTHING_COMMON =
  'the two sides have no way in common: certificates here and keys there, or the other way round';
const WRONG_KEY = 'the two sides have different keys under this name';

/** By the code of the error: the peer's alert, or what this side found. */
const sentences: Readonly<Record<string, string>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: OTHER_CA,
  UNABLE_TO_GET_ISSUER_CERT: OTHER_CA,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: OTHER_CA,
  SELF_SIGNED_CERT_IN_CHAIN: OTHER_CA,
  DEPTH_ZERO_SELF_SIGNED_CERT: OTHER_CA,
  CERT_SIGNATURE_FAILURE: OTHER_CA,
  CERT_HAS_EXPIRED: "the peer's certificate has expired",
  CERT_NOT_YET_VALID: "the peer's certificate is not valid yet: look at the clocks of both hosts",
  INVALID_PURPOSE: "the peer's certificate is not for its side of a connection",
  ERR_TLS_CERT_ALTNAME_INVALID: "the peer's certificate is not made out to this address",
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'the peer shows no certificate',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'the peer wants a certificate, and this side has none',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: OUR_CA,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: OUR_CA,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'the peer says that our certificate has expired',
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_HTTP_REQUEST: NO_TLS,
  ERR_SSL_UNEXPECTED_MESSAGE: NO_TLS,
  ERR_SSL_NO_SHARED_CIPHER: NOTHING_COMMON,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: NOTHING_COMMON,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: NOTHING_COMMON,
  ERR_SSL_UNSUPPORTED_PROTOCOL: NOTHING_COMMON,
  ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: WRONG_KEY,
  ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC: WRONG_KEY,
  ERR_SSL_TLSV1_ALERT_DECRYPT_ERROR: WRONG_KEY,
  ERR_SSL_PSK_IDENTITY_NOT_FOUND: 'the name that the peer gives has no key here',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY: 'the peer has no key under our name',
};

/** There is a sentence for it. */
export const isTlsError = (thrown: unknown): boolean =>
  sentences[errorCode(thrown) ?? ''] !== undefined;

/** action: `TLS with 10.0.0.2:8888`. */
export function tlsError(action: string, thrown: unknown): VmError {
  const sentence = sentences[errorCode(thrown) ?? ''];
  if (sentence === undefined) return systemError(action, thrown);
  return new VmError(`${action}: ${sentence}${detail(thrown)}`, { cause: thrown });
}

/** For whom the certificate is instead. */
function detail(thrown: unknown): string {
  if (errorCode(thrown) !== 'ERR_TLS_CERT_ALTNAME_INVALID') return '';
  return `: ${printable((thrown as Error).message.replace(/^[^:]*: /, ''), 200)}`;
}
