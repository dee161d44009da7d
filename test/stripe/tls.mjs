// A certificate authority and a server certificate for localhost, made with openssl and kept for a few days.
// The authority's own key is thrown away at once: nothing else can ever be signed by it.
import { execFile } from 'node:child_process';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const DAYS = '7';
const MIN_LEFT = 24 * 3600 * 1000;

const CONFIG = `
[req]
distinguished_name = name
prompt = no
[name]
O = Local Stripe
CN = localhost
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
authorityKeyIdentifier = keyid
subjectKeyIdentifier = hash
`;

// Makes ca.pem, server.pem and server.key in `dir`, or keeps those that are there and good for another day.
// Returns {key, cert, ca}: PEM of the server's key and certificate, and the path of ca.pem.
export async function certificates(dir) {
  const paths = { ca: join(dir, 'ca.pem'), cert: join(dir, 'server.pem'), key: join(dir, 'server.key') };
  if (!(await stillGood(paths))) await make(dir, paths);
  return { key: await readFile(paths.key), cert: await readFile(paths.cert), ca: paths.ca };
}

async function stillGood(paths) {
  try {
    const ca = new X509Certificate(await readFile(paths.ca));
    const cert = new X509Certificate(await readFile(paths.cert));
    const key = createPrivateKey(await readFile(paths.key));
    return cert.verify(ca.publicKey) && cert.checkPrivateKey(key) && Date.parse(cert.validTo) - Date.now() > MIN_LEFT;
  } catch {
    return false;
  }
}

async function make(dir, paths) {
  const work = await mkdtemp(join(dir, '.tls-'));
  try {
    const at = (name) => join(work, name);
    const request = (subject, extensions, key, out) =>
      ['req', '-x509', '-config', at('config'), '-subj', subject, '-extensions', extensions, '-days', DAYS, '-sha256']
        .concat(['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at(key), '-out', at(out)]);
    await writeFile(at('config'), CONFIG);
    await run('openssl', request('/O=Local Stripe/CN=Local Stripe test authority', 'authority', 'ca.key', 'ca.pem'));
    await run('openssl', [
      ...request('/O=Local Stripe/CN=localhost', 'server', 'server.key', 'server.pem'),
      ...['-CA', at('ca.pem'), '-CAkey', at('ca.key')],
    ]);
    await rename(at('server.key'), paths.key);
    await rename(at('server.pem'), paths.cert);
    await rename(at('ca.pem'), paths.ca);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
