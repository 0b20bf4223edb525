/** The screen: pictures of it, and who looks at it over VNC. */
import { VmError } from '../../base/errors.js';
import { newPainter } from '../../hw/display/surface.js';
import { pictureFormats, savePicture } from '../../vm/screendump.js';
import type { VncPeer } from '../../qapi/types.js';
import type { Vm } from '../../vm/vm.js';
import type { VncServer } from '../../vnc/server.js';
import { bool, flag, list, oneOf, optional, str, struct } from '../../words/types.js';
import { vncPeer } from '../events.js';
import { command, hmp } from '../schema.js';

const format = oneOf(pictureFormats, 'of the file; default ppm', { name: 'ImageFormat' });
const client = struct('VncClientInfo', vncPeer);
const vncInfo = struct('VncInfo', {
  enabled: bool(),
  host: optional(str()),
  family: optional(vncPeer.family),
  service: optional(str()),
  auth: optional(str()),
  clients: optional(list(client)),
  'x-websocket': optional(struct('VncServerInfo', { ...vncPeer, auth: optional(str()) })),
});

async function dump(
  vm: Vm,
  filename: string,
  kind: (typeof pictureFormats)[number] = 'ppm',
): Promise<void> {
  const { screen } = vm.machine.board;
  if (!screen) throw new VmError('this machine has no screen: -vga std gives it one');
  await savePicture(vm.host.files, filename, screen.paint(newPainter()).surface, kind);
}

export function vncServerOf(vm: Vm): VncServer {
  if (vm.vnc) return vm.vnc;
  throw new VmError('this VM has no VNC server: -vnc was not given');
}

const websocketLines = (web: (VncPeer & { auth?: string }) | undefined): string[] =>
  web
    ? [`  Server: ${web.host}:${web.service} (${web.family}, Websocket)`, `    Auth: ${web.auth}`]
    : [];

export const displayCommands = [
  command({
    name: 'screendump',
    since: '0.1',
    summary: 'save the screen as a picture (PPM or PNG)',
    examples: ['screendump /tmp/screen.ppm', 'screendump /tmp/screen.png -f png'],
    args: {
      filename: str('the file', { complete: 'files' }),
      format: optional(format),
    },
    hmp: hmp(
      {
        filename: str('the file', { complete: 'files' }),
        f: flag('f', 'format follows'),
        format: optional(format),
      },
      async (vm, { filename, format: kind }) => {
        await dump(vm, filename, kind);
        return undefined;
      },
    ),
    run: (vm, { filename, format: kind }) => dump(vm, filename, kind),
  }),
  command({
    name: 'query-vnc',
    since: '0.1',
    summary: 'show the VNC server and its viewers',
    returns: vncInfo,
    run: ({ vnc }) => {
      if (!vnc) return { enabled: false };
      const { host, family: kind, service } = vnc.address;
      const { auth, clients, webAddress } = vnc;
      const web = webAddress && { ...webAddress, auth: vnc.webAuth };
      return {
        enabled: true,
        host,
        family: kind,
        service,
        auth,
        clients,
        'x-websocket': web,
      };
    },
    show: info =>
      info.enabled
        ? [
            `default:`,
            `  Server: ${info.host}:${info.service} (${info.family})`,
            `    Auth: ${info.auth}`,
            ...websocketLines(info['x-websocket']),
            ...(info.clients ?? []).map(c => `  Client: ${c.host}:${c.service} (${c.family})`),
          ].join('\n')
        : 'None',
  }),
  command({
    name: 'set_password',
    hmpName: 'set_password',
    since: '0.1',
    summary: 'set the password that VNC asks for; an empty one lets nobody in',
    examples: ['set_password vnc secret'],
    args: {
      protocol: oneOf(['vnc'], 'vnc', { name: 'DisplayProtocol' }),
      password: str('at most 8 characters'),
      connected: optional(
        oneOf(['keep'], 'viewers that are there stay', { name: 'SetPasswordAction' }),
      ),
    },
    run: (vm, { password }) => vncServerOf(vm).setPassword(password),
  }),
  command({
    name: 'change-vnc-password',
    since: '0.1',
    summary: 'the same',
    examples: ['{ "password": "secret" }'],
    monitors: 'qmp',
    args: { password: str('at most 8 characters') },
    run: (vm, { password }) => vncServerOf(vm).setPassword(password),
  }),
];
