/** What the guest shows, and to whom. */
import { VmError } from '../../base/errors.js';
import { VGA_MODEL } from '../../hw/display/vga-device.js';
import { neededWord } from '../../words/named.js';
import { onOrOff } from '../../words/scalars.js';
import { bool, int, optional, parsed } from '../../words/types.js';
import type { VncSpec } from '../../vnc/server.js';
import type { Draft } from './draft.js';
import { keyedOption, type VmOption } from './option.js';

const CARDS = ['std', 'none'] as const;
/** The highest that has a port: 5900 and up. */
const LAST_DISPLAY = 65_535 - 5900;

export const vgaOption: VmOption = {
  name: 'vga',
  value: 'CARD',
  summary: 'graphics card: std (-device VGA) or none; default none, with -vnc std',
  offers: CARDS,
  take(draft, value) {
    if (!CARDS.some(card => card === value))
      throw new VmError(`colo has no graphics card '${value}': it has std and none`);
    draft.vga = value as (typeof CARDS)[number];
  },
};

interface Place {
  host: string;
  display: number;
}

/** `HOST:N`, `[::1]:N`, `:N`. */
function readPlace(word: string): Place | undefined {
  if (word === 'none') return undefined;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(word);
  const display = Number(match?.[3]);
  if (!match || display > LAST_DISPLAY)
    throw new VmError(
      `'${word}' is not HOST:DISPLAY, as in 127.0.0.1:7, which is port 5907; nor none`,
    );
  return { host: match[1] ?? match[2], display };
}

const checkedPlace = (word: string): string => {
  readPlace(word);
  return word;
};

function websocketPort(word = 'off'): VncSpec['websocket'] {
  const said = onOrOff(word);
  if (said === 'on') return 'by-display';
  if (said === 'off') return undefined;
  const port = Number(word);
  if (!/^[0-9]{1,5}$/.test(word) || port < 1 || port > 65_535)
    throw new VmError(`websocket=${word}: it is on, off or a port`);
  return port;
}

const checkedPort = (word: string): string => {
  websocketPort(word);
  return word;
};

export const vncOption = keyedOption({
  name: 'vnc',
  value: 'HOST:N[,OPTS]',
  summary:
    'show the screen over VNC at port 5900 + N, as in 127.0.0.1:7; with password=on viewers are ' +
    'asked for one (set_password vnc), with tls-creds=ID they come by TLS, with websocket=on ' +
    'browsers come to port 5700 + N; none: nowhere',
  implied: 'vnc',
  keys: {
    vnc: parsed('HOST:N, :N (every address of the host) or none', 'HOST:N', checkedPlace),
    to: optional(
      int('the last display to try, if those before are taken', { min: 0, max: LAST_DISPLAY }),
    ),
    websocket: optional(
      parsed('on: browsers come to port 5700 + N; or the port', 'on|off|PORT', checkedPort),
    ),
    password: optional(bool('viewers are asked for a password; before one is set nobody gets in')),
    'tls-creds': optional(parsed('a tls-creds-x509 object for a server', 'id', neededWord)),
  },
  take(draft, { vnc: word, to, websocket, password = false, 'tls-creds': tlsCreds }) {
    const place = readPlace(word);
    if (!place) {
      if ([to, websocketPort(websocket), tlsCreds].some(option => option !== undefined) || password)
        throw new VmError('none has no options');
      return;
    }
    if (to !== undefined && to < place.display)
      throw new VmError(`to=${to} is before ${place.display}`);
    draft.spec.vnc = { ...place, to, websocket: websocketPort(websocket), password, tlsCreds };
  },
});

/** The card of -vga, and the one that comes with -vnc. */
export function addCard(draft: Draft): void {
  const { spec, vga = spec.vnc ? 'std' : 'none' } = draft;
  const there = spec.devices.some(({ model }) => model === VGA_MODEL);
  if (vga === 'std' && !there)
    spec.devices.unshift({
      model: VGA_MODEL,
      id: draft.ids.claim('device', 'vga'),
      properties: {},
    });
  if (vga === 'none' && !there && spec.vnc)
    throw new VmError('there is no screen to show: -vga none');
}
