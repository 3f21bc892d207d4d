import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';

/** A certificate that vouches for itself, and its key. PEM. */
export interface Certificate {
  readonly certificate: Buffer;
  readonly key: Buffer;
}

const ECDSA_WITH_SHA256 = oid('1.2.840.10045.4.3.2');
const COMMON_NAME = oid('2.5.4.3');
const BASIC_CONSTRAINTS = oid('2.5.29.19');
const ALTERNATIVE_NAMES = oid('2.5.29.17');
const TRUE = tlv(0x01, Buffer.of(0xff));

/** Makes a certificate for localhost, as Node has no call for it (RFC 5280, in DER). */
export function selfSigned(): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = sequence(ECDSA_WITH_SHA256);
  const body = bodyOf(publicKey, algorithm);
  const signature = sign('sha256', body, privateKey);
  const certificate = sequence(body, algorithm, bits(signature));
  return {
    certificate: Buffer.from(
      `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64')}\n-----END CERTIFICATE-----\n`,
    ),
    key: Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' })),
  };
}

function bodyOf(publicKey: KeyObject, algorithm: Buffer): Buffer {
  const name = sequence(tlv(0x31, sequence(COMMON_NAME, tlv(0x0c, Buffer.from('test server')))));
  const validity = sequence(time('20200101000000Z'), time('21200101000000Z'));
  const version3 = tlv(0xa0, tlv(0x02, Buffer.of(2)));
  const serial = tlv(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)]));
  const host = tlv(0x82, Buffer.from('localhost'));
  const extensions = sequence(
    sequence(BASIC_CONSTRAINTS, TRUE, tlv(0x04, sequence(TRUE))),
    sequence(ALTERNATIVE_NAMES, tlv(0x04, sequence(host))),
  );
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  return sequence(
    ...[version3, serial, algorithm, name, validity, name, spki],
    tlv(0xa3, extensions),
  );
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tlv(0x30, ...parts);
}

function bits(content: Buffer): Buffer {
  return tlv(0x03, Buffer.of(0), content);
}

function time(text: string): Buffer {
  return tlv(0x18, Buffer.from(text));
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = rest.flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    return groups;
  });
  return tlv(0x06, Buffer.of(first * 40 + second, ...bytes));
}

/** Tag, length and content. */
function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...size), content]);
}
